"""``plumbline discrepancies`` and ``plumbline explain``: what has come apart, and the arithmetic behind it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Annotated, Any

import typer

from services.cli.api import Api, segment
from services.cli.faults import Exit
from services.cli.frame import current
from services.cli.output import DIRECTIONS, Column, Output
from shared.kernel.money import amount_text

app = typer.Typer(help="Where delivery, contract and bill have come apart.", no_args_is_help=True)

_AT_ONCE = 8


def _money(amount: str | None, currency: str | None) -> str:
    return amount_text(Decimal(amount), currency) if amount is not None and currency else "—"


def _who(body: dict[str, Any]) -> str:
    return (
        body.get("client_name")
        or body.get("client")
        or f"({body.get('vendor_source')} {body.get('account') or body.get('sku')})"
    )


def _period(body: dict[str, Any]) -> str:
    period = body.get("period")
    return f"{period['from']} to {period['to']}" if period else ""


def _row(item: dict[str, Any]) -> dict[str, Any]:
    body = item["body"]
    return {
        **item,
        "short": item["id"][:8],
        "code": body["code"],
        "who": _who(body),
        "product": body.get("product_name") or body.get("product") or "",
        "month": (body.get("period") or {}).get("from", "")[:7],
        "why": body["why"],
        "money": _money(body.get("amount"), body.get("currency")),
        "currency": body.get("currency") or "",
        "direction": DIRECTIONS[body["direction"]],
        "reached": body["reached"],
    }


@app.command("list")
def list_(
    state: Annotated[str, typer.Option(help="open, cleared or all.")] = "open",
    code: Annotated[str | None, typer.Option(help="One code, such as QTY_UNDER.")] = None,
    client: Annotated[str | None, typer.Option(help="One client.")] = None,
    min_: Annotated[str | None, typer.Option("--min", help="At least this amount.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 100,
    cursor: Annotated[str | None, typer.Option(help="Next page, from the last answer.")] = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit 1 if any is listed.")] = False,
) -> None:
    """List discrepancies, the largest amounts first."""
    frame = current()
    answer = frame.api("matching").get(
        "/v1/discrepancies", state=state, code=code, client=client, min=min_, limit=limit, cursor=cursor
    )
    rows, meta = [_row(item) for item in answer["data"]], answer["meta"]
    columns = [
        Column("short", "ID"),
        Column("code", "CODE"),
        Column("who", "CLIENT"),
        Column("product", "PRODUCT"),
        Column("month", "PERIOD", drop=2),
        Column("why", "WHY", drop=4),
        Column("money", "AMOUNT", right=True),
        Column("currency", "CUR"),
        Column("direction", "DIRECTION"),
        Column("reached", "REACHED", drop=3),
    ]
    empty = (
        "nothing has been compared yet"
        if not meta["compared_groups"]
        else f"0 {state}, over {meta['compared_groups']:,} comparisons"
    )
    if frame.out.for_programs:
        frame.out.rows(answer["data"], columns, meta)
    else:
        frame.out.rows(rows, columns, meta, empty=empty)
    frame.out.note(_footer(len(rows), meta))
    if exit_code and rows:
        raise typer.Exit(Exit.DIFFERENCE)


def _footer(shown: int, meta: dict[str, Any]) -> str:
    text = (
        f"{shown} of {meta['open']:,} open, over {meta['compared_groups']:,} comparisons;"
        f" {meta['not_comparable']:,} not yet comparable"
        f"{' (plumbline discrepancies waiting)' if meta['not_comparable'] else ''}."
    )
    if meta.get("next"):
        text += f" More: --cursor {meta['next']}"
    return text + (" Next: plumbline explain ID" if shown else "")


@app.command("waiting")
def waiting(
    client: Annotated[str | None, typer.Option(help="One client.")] = None,
    period: Annotated[str | None, typer.Option(help="One month, as 2026-10.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 100,
    cursor: Annotated[str | None, typer.Option(help="Next page, from the last answer.")] = None,
) -> None:
    """List what cannot be compared yet: what each waits for, and until when."""
    out = current().out
    answer = (
        current()
        .api("matching")
        .get("/v1/groups", state="not_comparable", client=client, period=period, limit=limit, cursor=cursor)
    )
    columns = [
        Column("client", "CLIENT"),
        Column("month", "PERIOD"),
        Column("product", "PRODUCT"),
        Column("side", "WAITS FOR"),
        Column("until", "UNTIL"),
        Column("what", "WHAT", drop=1),
    ]
    rows = answer["data"] if out.for_programs else [row for group in answer["data"] for row in _waits(group)]
    out.rows(rows, columns, answer["meta"], empty="nothing waits: all that is known can be compared")
    if answer["meta"].get("next"):
        out.note(f"more: --cursor {answer['meta']['next']}")


def _waits(group: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each side that a group waits for. Product ``*`` is the client's month as a whole."""
    head = {"client": group["client"], "month": group["period"]["from"][:7]}
    head["product"] = "(all)" if group["product"] == "*" else group["product"]
    return [{**head, **one, "side": one["side"].replace("_", " ")} for one in group["waiting"] or [{"side": "?"}]]


@app.command("sums")
def sums(
    by: Annotated[str, typer.Option(help="client, code, direction or standing.")] = "direction",
    client: Annotated[str | None, typer.Option(help="One client.")] = None,
    period: Annotated[str | None, typer.Option(help="One month, as 2026-10.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 100,
    cursor: Annotated[str | None, typer.Option(help="Next page, from the last answer.")] = None,
) -> None:
    """Sum up what is open: owed, at risk and lost. Directions are never netted, currencies never added."""
    out = current().out
    answer = (
        current()
        .api("matching")
        .get("/v1/discrepancies/sums", by=by, client=client, period=period, limit=limit, cursor=cursor)
    )
    columns = [
        *([] if by == "direction" else [Column("value", by.upper())]),
        Column("direction", "DIRECTION"),
        Column("currency", "CUR"),
        Column("owed", "OWED", right=True),
        Column("at_risk", "AT RISK", right=True),
        Column("lost", "LOST", right=True),
        Column("unplaced", "OTHER", right=True, drop=1),
        Column("count", "COUNT", right=True),
        Column("without_amount", "NO AMOUNT", right=True, drop=2),
    ]
    rows = answer["data"] if out.for_programs else [_sum(by, row) for row in answer["data"]]
    out.rows(rows, columns, answer["meta"], empty="nothing is open (plumbline discrepancies list says over how much)")
    if answer["meta"].get("next"):
        out.note(f"more: --cursor {answer['meta']['next']}")


def _sum(by: str, row: dict[str, Any]) -> dict[str, Any]:
    amounts = {name: _money(row[name], row["currency"]) for name in ("owed", "at_risk", "lost", "unplaced")}
    value = row[by] or "(none)"
    return row | amounts | {"value": value, "direction": DIRECTIONS[row["direction"]]}


@app.command("show")
def show(discrepancy: Annotated[str, typer.Argument(help="Its id, or the first eight digits.")]) -> None:
    """Show one discrepancy: the verdict, what it rests on, and its history."""
    data = current().api("matching").get(f"/v1/discrepancies/{segment(discrepancy)}")["data"]
    current().out.document(data, show=lambda: _show(current().out, data))


def _headline(data: dict[str, Any]) -> str:
    body = data["body"]
    money = (
        f"{body['currency']} {_money(body['amount'], body['currency'])}"
        if body.get("amount") is not None
        else "no price known"
    )
    parts = [_who(body), body.get("product_name") or body.get("product"), _period(body)]
    return f"{DIRECTIONS[body['direction']]} {money}: {', '.join(part for part in parts if part)}"


def _show(out: Output, data: dict[str, Any]) -> None:
    body = data["body"]
    out.say(_headline(data), style="bold")
    out.say(f"{body['code']}, {data['state']}, verdict {data['version']}, id {data['id']}")
    out.say(f"why       {body['why']}")
    reached = {
        "client_invoice": "on the client's invoice",
        "vendor_bill": "on the vendor's bill",
        "nowhere": "nowhere yet",
    }
    out.say(f"reached   {reached[body['reached']]}")
    for name, title in (("contract_ref", "contract"), ("deadline", "deadline")):
        if body.get(name):
            out.say(f"{title:<9} {body[name]}")
    if body.get("tolerance"):
        tolerance = body["tolerance"]
        out.say(
            f"tolerance {tolerance['name']}: {tolerance['absolute']} and {tolerance['relative_pct']} %, both exceeded"
        )
    for candidate in body.get("candidates", []):
        out.say(f"candidate {candidate['score']:<5} {candidate['id']}  {candidate['name']}: {candidate['why']}")
    for step in data["history"]:
        out.say(f"{step['recorded_at'][:19].replace('T', ' ')}  {step['type']:<26} {step['place']}")


def explain(discrepancy: Annotated[str, typer.Argument(help="Its id, or the first eight digits.")]) -> None:
    """Show the arithmetic of a discrepancy, from the records that it rests on. Nothing is computed again."""
    frame = current()
    data = frame.api("matching").get(f"/v1/discrepancies/{segment(discrepancy)}")["data"]
    if data.get("recorded"):
        data["body"] = data["recorded"]  # the body that the basis gives
    steps = data["body"].get("derivation", [])
    _locate(frame.api("ingestion"), [source for step in steps for source in step.get("sources", [])])
    frame.out.document(data, show=lambda: _explain(frame.out, data))


def _locate(log: Api, sources: list[dict[str, Any]]) -> None:
    """Add to each source where it stands; a few questions at a time."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for source, found in zip(sources, pool.map(partial(_whereabouts, log), sources), strict=True):
            source |= found


def _whereabouts(log: Api, source: dict[str, Any]) -> dict[str, str]:
    """Where a record stands in the log, and in the file that it came from."""
    found = log.get("/v1/records", type=source["type"], source=source["source"], id=source["id"])["data"]
    if not found:
        return {}
    record = found[0]["record"]
    origin = {"row": record["originlocator"], "document": record["origindocument"]} if "originlocator" in record else {}
    return {"place": found[0]["place"], **origin}


def _explain(out: Output, data: dict[str, Any]) -> None:
    body, basis = data["body"], data["basis"]
    out.say(_headline(data), style="bold")
    as_of = basis.get("as_of") or "no date yet"
    out.say(f"{body['code']}, verdict {data['version']}, rules r{basis['rules']}, as of {as_of}")
    steps = body.get("derivation", [])
    for number, step in enumerate(steps):
        last = number == len(steps) - 1
        rounding = f"   ({step['rounding']})" if step.get("rounding") else ""
        result = step["result"] if step["label"] == "used" else _money(step["result"], body.get("currency"))
        out.say(f"{'└' if last else '├'} {step['label']} {result} = {step['formula']}{rounding}")
        _sources(out, step, " " if last else "│")
    for candidate in body.get("candidates", []):
        out.say(f"  candidate {candidate['score']:<5} {candidate['id']}: {candidate['why']}")
    cause = basis.get("cause")
    if cause:
        at = datetime.fromisoformat(cause["recorded_at"]).astimezone(UTC)
        out.say(f"why now: {cause['type']} {cause['record']} arrived {at:%Y-%m-%d %H:%M:%S} UTC")


def _sources(out: Output, step: dict[str, Any], edge: str) -> None:
    for source in step.get("sources", []):
        parts = (source["type"], source["source"], source["id"], source.get("place"), source.get("row"))
        out.say(f"{edge}   {'  '.join(part for part in parts if part)}")
    more = step.get("records", 0) - len(step.get("sources", []))
    if more > 0:
        out.say(f"{edge}   and {more:,} more records")
