"""The answer on a terminal: how much, the discrepancies with their sentences, the statements, what waits and why."""

from __future__ import annotations

from collections import Counter
from datetime import date
from decimal import Decimal
from typing import Any

from services.cli.output import Column, Output, table
from services.cli.reconcile.answer import Answer, sums
from shared.events.discrepancies import Direction, DiscrepancyBody
from shared.kernel.money import amount_text
from shared.kernel.periods import Period
from shared.reconciliation import words

DIRECTIONS = {
    Direction.CLIENT_OWES_US: "▲ client owes us",
    Direction.WE_OWE_CLIENT: "▼ we owe client",
    Direction.VENDOR_OWES_US: "▲ vendor owes us",
    Direction.WE_OWE_VENDOR: "▼ we owe vendor",
}
STANDINGS = {"owed": "owed", "at_risk": "at risk", "lost": "lost", "unknown": "no price known"}
SHOWN = 20
"""Rows of a table; the rest is in the files."""


def show(out: Output, answer: Answer) -> None:
    out.say(headline(answer), style="bold")
    for sentence in answer.assumed:
        out.say(f"assumed: {sentence}")
    _rejected(out, answer)
    if not answer.compared:
        out.say("nothing was compared: that is not the same as clean")
    _totals(out, answer)
    _discrepancies(out, answer)
    _statements(out, answer)
    _pending(out, answer)


def headline(answer: Answer) -> str:
    """``October 2026, as of 2026-11-01: 3 clients, 12 lines compared, 4 discrepancies``."""
    months = months_of(answer.periods)
    clients = len({one.client for one in answer.statements})
    return (
        f"{months}, as of {answer.as_of}: {count(clients, 'client')}, {count(answer.compared, 'line')} compared,"
        f" {count(len(answer.discrepancies), 'discrepancy', 'discrepancies')}"
    )


def months_of(periods: tuple[Period, ...]) -> str:
    first, last = words.month(periods[0]), words.month(periods[-1])
    return first if first == last else f"{first} to {last}"


def count(n: int, one: str, many: str | None = None) -> str:
    return f"{n:,} {one if n == 1 else many or f'{one}s'}"


def money(amount: Decimal | None, currency: str | None) -> str:
    return "—" if amount is None or currency is None else amount_text(amount, currency)


def who(answer: Answer, body: DiscrepancyBody) -> str:
    """The client, or the vendor's identifier that nobody mapped."""
    if body.client is not None:
        return body.client_name or answer.client(body.client)
    return f"({body.vendor_source} {body.account or body.sku})"


def what(answer: Answer, body: DiscrepancyBody) -> str:
    return "" if body.product is None else body.product_name or answer.product(body.product)


def _rows(out: Output, title: str, rows: list[dict[str, Any]], columns: list[Column], rest: str) -> None:
    if not rows:
        return
    out.say()
    out.say(title, style="bold")
    head, *body = table(rows[:SHOWN], columns, out.stdout.width if out.stdout.is_terminal else None)
    out.say(head, style="dim")
    for text in body:
        out.say(text)
    if len(rows) > SHOWN:
        out.say(f"and {len(rows) - SHOWN:,} more ({rest})")


def _rejected(out: Output, answer: Answer) -> None:
    for one in answer.rejected[:SHOWN]:
        where = f"{one.file} row {one.row}" + (f", {one.field}" if one.field else "")
        out.say(f"not read: {where}: {one.reason}. Fix: {one.fix}", style="yellow")
    if len(answer.rejected) > SHOWN:
        out.say(f"not read: {len(answer.rejected) - SHOWN:,} more (rejected.csv)", style="yellow")


def _totals(out: Output, answer: Answer) -> None:
    rows = [
        {
            "direction": DIRECTIONS[one.direction],
            "standing": STANDINGS[one.standing],
            "amount": money(one.amount, one.currency),
            "currency": one.currency,
            "count": f"{one.discrepancies:,}",
        }
        for one in sums(answer.discrepancies)
    ]
    columns = [
        Column("direction", "DIRECTION"),
        Column("standing", "MONEY IS"),
        Column("amount", "AMOUNT", right=True),
        Column("currency", "CUR"),
        Column("count", "DISCREPANCIES", right=True),
    ]
    _rows(out, "Totals", rows, columns, "result.json")


def _discrepancies(out: Output, answer: Answer) -> None:
    rows = [
        {
            "code": body.code,
            "who": who(answer, body),
            "product": what(answer, body),
            "month": f"{body.period.from_:%Y-%m}" if body.period else "",
            "amount": money(body.amount, body.currency),
            "currency": body.currency,
            "direction": DIRECTIONS[body.direction],
            "why": body.why,
        }
        for body in answer.discrepancies[: SHOWN + 1]
    ]
    columns = [
        Column("code", "CODE"),
        Column("who", "CLIENT"),
        Column("product", "PRODUCT"),
        *([Column("month", "PERIOD", drop=2)] if len(answer.periods) > 1 else []),
        Column("amount", "AMOUNT", right=True),
        Column("currency", "CUR"),
        Column("direction", "DIRECTION", drop=1),
        Column("why", "WHY", drop=3),
    ]
    rows += [{}] * (len(answer.discrepancies) - len(rows))
    _rows(out, "Discrepancies, the largest first", rows, columns, "discrepancies.csv")


def _statements(out: Output, answer: Answer) -> None:
    rows = []
    for one in answer.statements:
        head = {"client": answer.client(one.client), "month": f"{one.period.start:%Y-%m}", "state": one.state}
        head |= {name: f"{value:,}" for name, value in one.counts._asdict().items()}
        head["state"] = one.state.replace("_", " ")
        for totals in one.totals or (None,):
            figures = {} if totals is None else {"currency": totals.currency}
            for name in ("expected", "billed", "cost"):
                figures[name] = "" if totals is None else money(getattr(totals, name), totals.currency)
            rows.append({**head, **figures})
    columns = [
        Column("client", "CLIENT"),
        Column("month", "PERIOD", drop=1),
        Column("state", "STATE"),
        *(Column(name, name.upper(), right=True, drop=2) for name in ("lines", "matched", "explained", "pending")),
        Column("broken", "BROKEN", right=True),
        Column("expected", "EXPECTED", right=True),
        Column("billed", "BILLED", right=True),
        *([Column("cost", "COST", right=True, drop=3)] if any(row.get("cost", "—") != "—" for row in rows) else []),
        Column("currency", "CUR"),
    ]
    _rows(out, "Statements", rows, columns, "statements.csv")


def _pending(out: Output, answer: Answer) -> None:
    waits: Counter[tuple[str, date]] = Counter()
    where: dict[tuple[str, date], str] = {}
    for client, _, line in answer.pending():
        key = (line.by or "a side is missing", line.until or date.max)
        waits[key] += 1
        where.setdefault(key, f"{answer.client(client)}, {answer.product(line.product)}")
    rows = [
        {
            "what": by,
            "until": "" if until == date.max else until.isoformat(),
            "lines": f"{waits[by, until]:,}",
            "where": where[by, until],
        }
        for by, until in sorted(waits, key=lambda key: (-waits[key], key))
    ]
    columns = [
        Column("what", "WAITS FOR"),
        Column("until", "DUE"),
        Column("lines", "LINES", right=True),
        Column("where", "FIRST", drop=1),
    ]
    _rows(out, "Pending", rows, columns, "statements.csv")
