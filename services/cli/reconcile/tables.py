"""The answer as CSV files. A cell that a spreadsheet would run as a formula begins with an apostrophe instead."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from services.cli.reconcile.answer import Answer, Names, standing_of
from services.cli.reconcile.as_json import text
from shared.kernel.canonical import decimal_text
from shared.kernel.periods import Period
from shared.reconciliation.bulk import Settled
from shared.reconciliation.statement import GroupLines, Statement

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
    rows = (
        row
        for one in answer.statements
        for group in one.groups
        for row in lines_of(answer, one.client, one.period, group)
    )
    return written(LINES, rows)


def lines_of(names: Names, client: str, period: Period, group: GroupLines) -> Iterator[list[Any]]:
    """The rows of a group."""
    head = [client, names.client(client), period.start, period.end]
    for line in group.lines:
        yield [
            *head,
            *(line.product, names.product(line.product), line.service.start, line.service.end),
            *(line.state, line.currency),
            *map(text, (line.expected, line.billed, line.explained, line.pending, line.broken)),
            *(text(line.cost), line.cost_currency),
            *map(text, (line.quantity_expected, line.quantity_billed, line.price_expected, line.price_billed)),
            *(line.contract_ref, line.billed_ref, line.by, line.until, " ".join(line.codes)),
        ]


class LineWriter:
    """The rows of many statements of one period: those of settled lines are put together from texts."""

    def __init__(self, names: Names, period: Period) -> None:
        self._names, self._span = names, f"{period.start},{period.end}"
        self._products: dict[str, str] = {}

    def rows(self, drawn: Statement, settled: Sequence[Settled]) -> str:
        """The rows of a client, by group."""
        head = self._text([drawn.client, self._names.client(drawn.client)])
        texts = [(group.item, self._drawn(drawn, group)) for group in drawn.groups]
        texts += [(one.product, self._settled(head, one)) for one in settled]
        return "".join(text for _, text in sorted(texts))

    def _drawn(self, drawn: Statement, group: GroupLines) -> str:
        rows = lines_of(self._names, drawn.client, drawn.period, group)
        return "".join(f"{self._text(row)}\n" for row in rows)

    def _settled(self, head: str, one: Settled) -> str:
        product = self._products.get(one.product)
        if product is None:
            product = self._text([one.product, self._names.product(one.product)])
            self._products[one.product] = product
        amount = decimal_text(one.amount)
        # Of a flat price no units are compared: the invoice line's quantity answers none.
        quantity, billed = ("", "0") if one.quantity is None else (one.quantity, one.quantity)
        price = one.price or ""
        return (
            f"{head},{self._span},{product},{self._span},matched,{one.currency},{amount},{amount},0,0,0,,,"
            f"{quantity},{billed},{price},{price},{self._ref(one.contract_ref)},{self._ref(one.billed_ref)},,,\n"
        )

    def _ref(self, ref: str) -> str:
        # Cells of a plain file hold no quotes and no line ends.
        return ref if ref[0].isalnum() and "," not in ref else self._text([ref])

    @staticmethod
    def _text(row: Iterable[Any]) -> str:
        out = io.StringIO()
        csv.writer(out, lineterminator="").writerow([harmless(cell) for cell in row])
        return out.getvalue()


def rejected(answer: Answer) -> str:
    return written(REJECTED, ([getattr(one, name) for name in REJECTED] for one in answer.rejected))
