"""The answer as CSV files. A cell that a spreadsheet would run as a formula begins with an apostrophe instead."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from services.cli.reconcile.answer import Answer, standing_of
from services.cli.reconcile.as_json import text

_FORMULA = re.compile(r"[=+\-@\t\r]")
_FIGURE = re.compile(r"[+-]?\d+(\.\d+)?", re.ASCII)

DISCREPANCIES = (
    *("code", "client", "client_name", "product", "product_name", "vendor_source", "account", "sku"),
    *("period_from", "period_to", "direction", "standing", "amount", "currency", "quantity", "reached"),
    *("contract_ref", "billed_ref", "deadline", "remedy", "why"),
)
LINES = (
    *("client", "client_name", "period_from", "period_to", "product", "product_name", "service_from", "service_to"),
    *("state", "currency", "expected", "billed", "explained", "pending", "broken", "cost", "cost_currency"),
    *("quantity_expected", "quantity_billed", "price_expected", "price_billed", "contract_ref", "billed_ref"),
    *("by", "until", "codes"),
)
REJECTED = ("file", "row", "field", "reason", "fix", "cells")


def harmless(cell: Any) -> str:
    """A cell as text that no spreadsheet takes for a formula; figures stay figures."""
    said = "" if cell is None else str(cell)
    return f"'{said}" if _FORMULA.match(said) and not _FIGURE.fullmatch(said) else said


def written(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A CSV as text."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([harmless(cell) for cell in row] for row in rows)
    return out.getvalue()


def discrepancies(answer: Answer) -> str:
    return written(DISCREPANCIES, _discrepancies(answer))


def _discrepancies(answer: Answer) -> Iterator[list[Any]]:
    for body in answer.discrepancies:
        yield [
            *(body.code, body.client, body.client_name, body.product, body.product_name),
            *(body.vendor_source, body.account, body.sku),
            *((body.period.from_, body.period.to) if body.period else (None, None)),
            *(body.direction, standing_of(body), text(body.amount), body.currency, text(body.quantity), body.reached),
            *(body.contract_ref, body.billed and body.billed.ref, body.deadline, body.remedy, body.why),
        ]


def lines(answer: Answer) -> str:
    return written(LINES, _lines(answer))


def _lines(answer: Answer) -> Iterator[list[Any]]:
    for statement in answer.statements:
        head = [statement.client, answer.client(statement.client), statement.period.start, statement.period.end]
        for line in (line for group in statement.groups for line in group.lines):
            yield [
                *head,
                *(line.product, answer.product(line.product), line.service.start, line.service.end),
                *(line.state, line.currency),
                *map(text, (line.expected, line.billed, line.explained, line.pending, line.broken)),
                *(text(line.cost), line.cost_currency),
                *map(text, (line.quantity_expected, line.quantity_billed, line.price_expected, line.price_billed)),
                *(line.contract_ref, line.billed_ref, line.by, line.until, " ".join(line.codes)),
            ]


def rejected(answer: Answer) -> str:
    return written(REJECTED, ([getattr(one, name) for name in REJECTED] for one in answer.rejected))
