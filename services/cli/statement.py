"""``plumbline statement``: what a client's month comes to, line by line, what has changed since, and its closing."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any
from uuid import uuid4

import typer

from services.cli.api import segment
from services.cli.faults import Exit
from services.cli.frame import current
from services.cli.output import Column, Output
from shared.kernel.money import amount_text
from shared.runtime.clock import SystemClock

app = typer.Typer(
    help="Expected, billed and what vendors bill: a client's month, with a residual of zero.", no_args_is_help=True
)

_CLIENT = Annotated[str, typer.Argument(help="The client.")]
_PERIOD = Annotated[str, typer.Argument(help="A month, as 2026-09.")]
_STATES = {
    "nothing_compared": "nothing compared yet",
    "break": "breaks",
    "pending": "pending",
    "settled": "settled",
}
_GLYPHS = {"matched": "✓ matched", "explained": "░ explained", "pending": "◷ pending", "break": "✗ break"}


def _path(client: str, period: str, *more: str) -> str:
    return "/".join(("/v1/statements", segment(client), segment(period), *more))


def _amount(amount: str | None, currency: str | None) -> str:
    return "" if amount is None or currency is None else amount_text(Decimal(amount), currency).replace("-", "−")


# --- the board -------------------------------------------------------------------------------------------------------
@app.command("list")
def list_(
    period: Annotated[str | None, typer.Argument(help="A month, as 2026-09; the running one if none is given.")] = None,
    state: Annotated[str | None, typer.Option(help="nothing_compared, break, pending, settled or closed.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 100,
    cursor: Annotated[str | None, typer.Option(help="Next page, from the last answer.")] = None,
) -> None:
    """List the statements of a month, a row for each client and currency."""
    out = current().out
    month = period or f"{SystemClock().now():%Y-%m}"
    answer = current().api("matching").get("/v1/statements", period=month, state=state, limit=limit, cursor=cursor)
    columns = [
        Column("client", "CLIENT"),
        Column("state", "STATE"),
        Column("expected", "EXPECTED", right=True),
        Column("billed", "BILLED", right=True),
        Column("cost", "COST", right=True, drop=2),
        Column("explained", "EXPLAINED", right=True, drop=3),
        Column("pending", "PENDING", right=True, drop=3),
        Column("broken", "BREAKS", right=True),
        Column("currency", "CUR"),
        Column("lines", "LINES", right=True, drop=4),
        Column("waits", "WAITS FOR", drop=5),
        Column("closed", "CLOSED", drop=4),
    ]
    rows = answer["data"] if out.for_programs else [row for one in answer["data"] for row in _board(one)]
    empty = answer["meta"].get("note") or f"no statement of {month} is {state}"
    out.rows(rows, columns, answer["meta"], empty=empty)
    if answer["meta"].get("next"):
        out.note(f"more: --cursor {answer['meta']['next']}")
    elif rows:
        out.note(f"next: plumbline statement show CLIENT {month}")


def _board(one: dict[str, Any]) -> list[dict[str, Any]]:
    head = {
        "client": one["client"],
        "state": _STATES[one["state"]],
        "lines": f"{one['counts']['compared']}/{one['counts']['lines']}",
        "waits": _waits(one),
        "closed": one["closed"]["at"][:10] if one["closed"] else "",
    }
    names = ("expected", "billed", "cost", "explained", "pending", "broken")
    return [
        head
        | {"currency": of.get("currency", "")}
        | {name: _amount(of.get(name), of.get("currency")) for name in names}
        for of in one["totals"] or [{}]
    ]


def _waits(one: dict[str, Any]) -> str:
    return ", ".join(
        side["side"].replace("_", " ") + (f" by {side['until']}" if side["until"] else "") for side in one["waiting"]
    )


# --- one statement ---------------------------------------------------------------------------------------------------
@app.command("show")
def show(
    client: _CLIENT,
    period: _PERIOD,
    state: Annotated[str | None, typer.Option(help="Only lines: matched, explained, pending or break.")] = None,
    product: Annotated[str | None, typer.Option(help="Only lines of this product.")] = None,
    steps: Annotated[bool, typer.Option("--steps", help="With the arithmetic of each line.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 500,
    cursor: Annotated[str | None, typer.Option(help="Next page, from the last answer.")] = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit 7 while a side is missing, else 1 if a line is a break.")
    ] = False,
) -> None:
    """Show a statement: expected + explained + pending + breaks = billed, and its lines."""
    frame = current()
    answer = frame.api("matching").get(
        _path(client, period),
        state=state,
        product=product,
        steps="true" if steps else None,
        limit=limit,
        cursor=cursor,
    )
    meta = answer["meta"]
    frame.out.document(answer["data"], meta, show=lambda: _show(frame.out, answer["data"], meta))
    if meta.get("next"):
        frame.out.note(f"more: --cursor {meta['next']}")
    if exit_code:
        counts = meta["statement"]["counts"]
        if not counts["compared"] or counts["pending"] or meta["statement"]["state"] == "pending":
            raise typer.Exit(Exit.NOT_COMPARABLE)
        if counts["broken"]:
            raise typer.Exit(Exit.DIFFERENCE)


def _show(out: Output, lines: list[dict[str, Any]], meta: dict[str, Any]) -> None:
    head = meta["statement"]
    counts = head["counts"]
    for of in head["totals"]:
        out.say(_equation(of), style="bold")
    said = [f"{counts[name]} {name}" for name in ("matched", "explained", "pending") if counts[name]]
    said += [f"{counts['broken']} break{'s' if counts['broken'] != 1 else ''}"] if counts["broken"] else []
    out.say(f"{counts['lines']} lines: {', '.join(said)}" if counts["lines"] else meta["note"])
    if counts["lines"] and meta.get("note"):
        out.say(meta["note"])
    if head["waiting"]:
        out.say(f"◷ waits for {_waits(head)}")
    if head["closed"]:
        out.say(f"closed {head['closed']['at'][:19].replace('T', ' ')} UTC, record {head['closed']['record']}")
    if lines:
        out.rows([_line(line) for line in lines], _LINES)
    for line in lines:
        if line.get("steps"):
            out.say(f"{line['product']}  {_ref(line)}")
            for step in line["steps"]:
                out.say(f"  {step['label']} {step['result']} = {step['formula']}")


def _equation(of: dict[str, Any]) -> str:
    currency = of["currency"]
    parts = [("expected", "expected"), ("explained", "explained"), ("pending", "pending"), ("breaks", "broken")]
    said = "  ".join(f"{word} {_amount(of[name], currency)}" for word, name in parts)
    cost = f"  vendors {_amount(of['cost'], currency)}" if of["cost"] is not None else ""
    sound = "✓" if Decimal(of["residual"]) == 0 else "✗"
    billed, residual = _amount(of["billed"], currency), _amount(of["residual"], currency)
    return f"{currency}  {said}  billed {billed}  residual {residual} {sound}{cost}"


_LINES = [
    Column("product", "PRODUCT"),
    Column("ref", "LINE", drop=3),
    Column("expected", "EXPECTED", right=True),
    Column("billed", "BILLED", right=True),
    Column("difference", "DIFFERENCE", right=True),
    Column("currency", "CUR"),
    Column("state", "STATE"),
    Column("why", "WHY", drop=2),
]


def _line(line: dict[str, Any]) -> dict[str, Any]:
    currency = line.get("currency")
    known = line.get("expected") is not None and line.get("billed") is not None
    difference = str(Decimal(line["billed"]) - Decimal(line["expected"])) if known else None
    return {
        "product": "(all)" if line["product"] == "*" else line["product"],
        "ref": _ref(line),
        "expected": _amount(line.get("expected"), currency),
        "billed": _amount(line.get("billed"), currency),
        "difference": _amount(difference, currency),
        "currency": currency or "",
        "state": _GLYPHS[line["state"]],
        "why": _why(line),
    }


def _ref(line: dict[str, Any]) -> str:
    return line.get("contract_ref") or line.get("billed_ref") or ""


def _why(line: dict[str, Any]) -> str:
    said = [*line.get("codes", []), line.get("by")]
    until = f"until {line['until']}" if line.get("until") else None
    return ", ".join(one for one in (*said, until) if one)


# --- what has changed ------------------------------------------------------------------------------------------------
@app.command("diff")
def diff(
    client: _CLIENT,
    period: _PERIOD,
    against: Annotated[str, typer.Option(help="closed, drawn (what was recorded last), or a record's id.")] = "closed",
    limit: Annotated[int, typer.Option(min=1, max=500)] = 500,
    cursor: Annotated[str | None, typer.Option(help="Next page, from the last answer.")] = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit 1 if anything has changed.")] = False,
) -> None:
    """Show line by line what has changed since the statement was closed or recorded."""
    frame = current()
    answer = frame.api("matching").get(_path(client, period, "diff"), against=against, limit=limit, cursor=cursor)
    meta = answer["meta"]
    columns = [
        Column("kind", "CHANGE"),
        Column("product", "PRODUCT"),
        Column("ref", "LINE", drop=2),
        Column("was", "EXPECTED", right=True),
        Column("now", "NOW", right=True),
        Column("billed_was", "BILLED", right=True, drop=1),
        Column("billed_now", "NOW", right=True, drop=1),
        Column("currency", "CUR"),
        Column("fields", "WHAT", drop=3),
    ]
    rows = answer["data"] if frame.out.for_programs else [_changed(change) for change in answer["data"]]
    recorded = meta["against"]["recorded_at"][:19].replace("T", " ")
    frame.out.rows(rows, columns, meta, empty=f"nothing has changed since {recorded} UTC")
    frame.out.note(
        f"{meta['changed']} lines differ from record {meta['against']['record'][:8]} of {recorded} UTC"
        + (f"; more: --cursor {meta['next']}" if meta["next"] else "")
    )
    if exit_code and meta["changed"]:
        raise typer.Exit(Exit.DIFFERENCE)


def _changed(change: dict[str, Any]) -> dict[str, Any]:
    before, after = change["before"] or {}, change["after"] or {}
    line = after or before
    was, now = before.get("currency"), after.get("currency")
    return {
        "kind": change["kind"],
        "product": "(all)" if line["product"] == "*" else line["product"],
        "ref": _ref(line),
        "was": _amount(before.get("expected"), was),
        "now": _amount(after.get("expected"), now),
        "billed_was": _amount(before.get("billed"), was),
        "billed_now": _amount(after.get("billed"), now),
        "currency": now or was or "",
        "fields": ", ".join(change["fields"]).replace("_", " ") or _why(line),
    }


# --- records ---------------------------------------------------------------------------------------------------------
@app.command("draw")
def draw(client: _CLIENT, period: _PERIOD) -> None:
    """Record the statement as it stands; nothing new is recorded if the last record says the same."""
    frame = current()
    answer = frame.api("matching").post(_path(client, period, "draw"))["data"]
    frame.out.document(answer, show=lambda: _done(frame.out, f"statement of {client}, {period}", answer))


@app.command("close")
def close(
    client: _CLIENT,
    period: _PERIOD,
    reason: Annotated[
        str | None, typer.Option(help="Why it is closed although something is open. No person's name.")
    ] = None,
) -> None:
    """Close a client's month: what moves in it from now on is late, and is told apart."""
    frame = current()
    frame.confirm(f"Close {period} of {client}?")
    answer = frame.api("matching").post(
        _path(client, period, "close"), json={"reason": reason}, headers={"Idempotency-Key": str(uuid4())}
    )["data"]
    frame.out.document(answer, show=lambda: _done(frame.out, f"{client}, {period}: closed", answer))


def _done(out: Output, what: str, answer: dict[str, Any]) -> None:
    out.say(f"{what}: {answer['outcome']}, record {answer['record']}")
    for of in answer.get("totals", ()):
        out.say(_equation(of))


@app.command("restatements")
def restatements(
    period: Annotated[str | None, typer.Option(help="One month, as 2026-09.")] = None,
    client: Annotated[str | None, typer.Option(help="One client.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 100,
    cursor: Annotated[str | None, typer.Option(help="Next page, from the last answer.")] = None,
) -> None:
    """List what moved after it was closed: what was billed on the old figure, and what it comes to now."""
    frame = current()
    answer = frame.api("matching").get("/v1/restatements", period=period, client=client, limit=limit, cursor=cursor)
    columns = [
        Column("client", "CLIENT"),
        Column("month", "PERIOD"),
        Column("group", "PRODUCT"),
        Column("was", "CLOSED AT", right=True),
        Column("billed", "BILLED THEN", right=True),
        Column("now", "NOW", right=True),
        Column("moved", "MOVED BY", right=True),
        Column("currency", "CUR"),
        Column("codes", "CODE", drop=1),
        Column("closed", "CLOSED", drop=2),
    ]
    rows = answer["data"] if frame.out.for_programs else [_restated(row) for row in answer["data"]]
    frame.out.rows(rows, columns, answer["meta"], empty="nothing has moved in what was closed")
    if answer["meta"].get("next"):
        frame.out.note(f"more: --cursor {answer['meta']['next']}")


def _restated(row: dict[str, Any]) -> dict[str, Any]:
    then, now = row["closed"], row["now"]
    return {
        "client": row["client"],
        "month": row["period"]["from"][:7],
        "group": row["group"],
        "was": _amount(then["expected"], then["currency"]),
        "billed": _amount(then["billed"], then["currency"]),
        "now": _amount(now["expected"], now["currency"]),
        "moved": _amount(row["moved"], then["currency"]),
        "currency": now["currency"] or then["currency"] or "",
        "codes": ", ".join(row["codes"]),
        "closed": row["closed_at"][:10],
    }
