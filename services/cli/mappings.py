"""``plumbline mappings``: what a vendor's accounts and products are here."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any
from uuid import uuid4

import typer

from services.cli.faults import Fault
from services.cli.frame import current
from services.cli.output import DIRECTIONS, Column, Output
from shared.kernel.money import amount_text

app = typer.Typer(help="Vendor accounts to clients, vendor products to products.", no_args_is_help=True)

_UNMAPPED = ("UNMAPPED_CLIENT", "UNMAPPED_PRODUCT")


@app.command("list")
def list_(
    state: Annotated[str, typer.Option(help="unmapped, confirmed or all.")] = "all",
) -> None:
    """List identifiers: those nobody mapped (with what they probably are) first, then the confirmed ones."""
    if state not in {"unmapped", "confirmed", "all"}:
        raise Fault(f"--state {state} is none of unmapped, confirmed, all")
    frame = current()
    rows: list[dict[str, Any]] = []
    if state != "confirmed":
        for code in _UNMAPPED:
            rows += [
                _unmapped(row["body"])
                for row in frame.api("matching").pages("/v1/discrepancies", state="open", code=code, limit=500)
            ]
    if state != "unmapped":
        rows += [_confirmed(row) for row in frame.api("ingestion").pages("/v1/mappings", limit=500)]
    columns = [
        Column("kind", "KIND"),
        Column("source", "SOURCE"),
        Column("key", "KEY"),
        Column("state", "STATE"),
        Column("target", "TARGET"),
        Column("money", "COST", right=True, drop=1),
        Column("why", "WHY", drop=2),
    ]
    frame.out.rows(rows, columns, empty="nothing to map: no vendor identifier has been seen")
    if any(row["state"] == "unmapped" for row in rows):
        frame.out.note("next: plumbline mappings preview KIND SOURCE KEY TARGET says what it would do; confirm does it")


def _unmapped(body: dict[str, Any]) -> dict[str, Any]:
    best = next(iter(body.get("candidates", [])), None)
    return {
        "kind": "account" if body.get("account") else "sku",
        "source": body["vendor_source"],
        "key": body.get("account") or body.get("sku"),
        "state": "unmapped",
        "target": f"{best['id']}?" if best else "",
        "why": best["why"] if best else "no candidate",
        "money": f"{amount_text(Decimal(body['amount']), body['currency'])} {body['currency']}"
        if body.get("amount")
        else "",
        "candidates": body.get("candidates", []),
    }


def _confirmed(row: dict[str, Any]) -> dict[str, Any]:
    target = ", ".join(t["id"] for t in row["targets"]) if row.get("targets") else "excluded"
    return {
        "kind": row["kind"],
        "source": row["source"],
        "key": row["key"],
        "state": "confirmed",
        "target": target,
        "money": "",
        "why": "",
    }


@app.command("confirm")
def confirm(
    kind: Annotated[str, typer.Argument(help="account or sku.")],
    source: Annotated[str, typer.Argument(help="Whose identifier it is.")],
    key: Annotated[str, typer.Argument(help="The identifier.")],
    target: Annotated[str | None, typer.Argument(help="The client (of an account) or product (of a sku).")] = None,
    exclude: Annotated[
        str | None, typer.Option(help="Instead of a target: internal, not_billed, test or other.")
    ] = None,
) -> None:
    """Say what an identifier is, or that it is not billed. Usage that is already there is compared again at once."""
    if (target is None) == (exclude is None):
        raise Fault("give a target, or --exclude REASON, not both")
    frame = current()
    body = {"kind": kind, "source": source, "key": key} | (
        {"target": target} if target else {"exclude": {"reason": exclude}}
    )
    answer = frame.api("ingestion").post("/v1/mappings", json=body, headers={"Idempotency-Key": str(uuid4())})["data"]
    frame.out.document(
        answer,
        show=lambda: frame.out.say(
            f"{kind} {source} {key} is {target or 'excluded: ' + str(exclude)}   {answer['place']}"
        ),
    )


@app.command("withdraw")
def withdraw(
    kind: Annotated[str, typer.Argument(help="account or sku.")],
    source: Annotated[str, typer.Argument(help="Whose identifier it is.")],
    key: Annotated[str, typer.Argument(help="The identifier.")],
) -> None:
    """Take a mapping back: the identifier is unmapped again."""
    frame = current()
    frame.confirm(f"Withdraw the mapping of {kind} {source} {key}?")
    answer = frame.api("ingestion").delete(
        "/v1/mappings", params={"kind": kind, "source": source, "key": key}, headers={"Idempotency-Key": str(uuid4())}
    )["data"]
    frame.out.document(
        answer, show=lambda: frame.out.say(f"{kind} {source} {key} is unmapped again   {answer['place']}")
    )


@app.command("preview")
def preview(
    kind: Annotated[str, typer.Argument(help="account or sku.")],
    source: Annotated[str, typer.Argument(help="Whose identifier it is.")],
    key: Annotated[str, typer.Argument(help="The identifier.")],
    target: Annotated[str | None, typer.Argument(help="The client (of an account) or product (of a sku).")] = None,
    exclude: Annotated[
        str | None, typer.Option(help="Instead of a target: internal, not_billed, test or other.")
    ] = None,
    withdraw: Annotated[bool, typer.Option("--withdraw", help="Instead of a target: take the mapping back.")] = False,
) -> None:
    """Say what a mapping would do to every period before anyone confirms it. Nothing is written."""
    if sum((target is not None, exclude is not None, withdraw)) != 1:
        raise Fault("give a target, --exclude REASON or --withdraw, one of them")
    body: dict[str, Any] = {"kind": kind, "source": source, "key": key}
    if target is not None:
        body["targets"] = [{"id": target}]
    elif exclude is not None:
        body["excluded"] = {"reason": exclude}
    else:
        body["withdraw"] = True
    frame = current()
    answer = frame.api("matching").post("/v1/mappings/preview", json=body)["data"]
    frame.out.document(answer, show=lambda: _effect(frame.out, answer))
    if answer["left"]:
        frame.out.note(f"{answer['left']:,} groups were not looked at: the figures are of the newest months")


_CHANGES = {"detected": "opens", "changed": "changes", "cleared": "clears"}


def _effect(out: Output, answer: dict[str, Any]) -> None:
    out.say(answer["sentence"], style="bold")
    rows = [
        _change(period, kind, change)
        for period in (*answer["periods"], *answer["identifiers"])
        for kind in _CHANGES
        for change in period[kind]
    ]
    columns = [
        Column("client", "CLIENT"),
        Column("month", "PERIOD"),
        Column("change", "CHANGE"),
        Column("code", "CODE"),
        Column("product", "PRODUCT"),
        Column("money", "AMOUNT", right=True),
        Column("currency", "CUR"),
        Column("direction", "DIRECTION"),
        Column("why", "WHY", drop=1),
    ]
    if rows:
        out.rows(rows, columns)


def _change(period: dict[str, Any], kind: str, change: dict[str, Any]) -> dict[str, Any]:
    amount, currency = change.get("amount"), change.get("currency")
    identifier = change.get("account") or change.get("sku")
    return {
        "client": period.get("client") or f"({change.get('vendor_source')} {identifier})",
        "month": period["period"]["from"][:7] + (" (closed)" if period["closed"] else "") if "period" in period else "",
        "change": _CHANGES[kind],
        "code": change["code"],
        "product": change.get("product") or "",
        "money": amount_text(Decimal(amount), currency) if amount is not None and currency else "—",
        "currency": currency or "",
        "direction": DIRECTIONS[change["direction"]],
        "why": change["why"],
    }
