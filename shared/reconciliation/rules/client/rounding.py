"""ROUNDING: a document's totals are not the sums of its parts. Its parts stand; its total is wrong (rating.md
section 9).

Within one minor unit for each rounded line it is explained. The sums of the statement are those of the lines, so the
break belongs to no residual.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from shared.events.discrepancies import Code, Direction, Reached, Side
from shared.reconciliation import words
from shared.reconciliation.bodies import Frame, body, step
from shared.reconciliation.inputs import ClientInputs, DocumentFacts
from shared.reconciliation.rules.client.base import LEVEL, LevelOutcome, frame_of, readable
from shared.reconciliation.rules.client.tax import printed
from shared.reconciliation.verdict import Break, LineState, StatementLine


class _Total(NamedTuple):
    name: str
    """``net`` or ``gross``."""
    printed: Decimal
    right: Decimal
    formula: str


def rounding(inputs: ClientInputs) -> LevelOutcome:
    """By document: the net total against its lines, the gross total against net and tax. Only totals that differ are
    told."""
    breaks, lines = [], []
    for document in sorted(inputs.documents, key=lambda one: (one.source, one.invoice)):
        tolerance = inputs.settings.tolerance("rounding", currency=document.currency, lines=len(document.lines) or 1)
        for total in _totals(document) if readable(document) else ():
            difference = total.printed - total.right
            if not difference:
                continue
            broken = abs(difference) > tolerance.absolute
            if broken:
                breaks.append(_break(frame_of(inputs), document, total))
            figures = f"{total.name} total {words.price(total.printed, document.currency)}, its parts come to "
            figures += words.price(total.right, document.currency)
            lines.append(
                StatementLine(
                    key=("total", document.source, document.invoice, total.name),
                    product=LEVEL,
                    service=document.period,
                    state=LineState.BREAK if broken else LineState.EXPLAINED,
                    currency=document.currency,
                    billed_ref=document.invoice,
                    by=figures if broken else f"{figures}: {tolerance.name}",
                    codes=(Code.ROUNDING,) if broken else (),
                )
            )
    return LevelOutcome(tuple(breaks), tuple(lines))


def _totals(document: DocumentFacts) -> Iterator[_Total]:
    net, tax, currency = sum((line.amount for line in document.lines), Decimal(0)), printed(document), document.currency
    if document.total is not None:
        ordered = sorted(document.lines, key=lambda line: line.line)
        formula = " + ".join(words.price(line.amount, currency) for line in ordered)
        yield _Total("net", document.total, net, formula)
    if document.gross_total is not None and tax is not None:
        formula = f"{words.price(net, currency)} + {words.price(tax, currency)} of tax"
        # A net total that is off is told once, as the net's.
        off = Decimal(0) if document.total is None else document.total - net
        right = net + tax + (off if document.gross_total == net + tax + off else Decimal(0))
        yield _Total("gross", document.gross_total, right, formula)


def _break(frame: Frame, document: DocumentFacts, total: _Total) -> Break:
    currency, difference = document.currency, total.printed - total.right
    figures = f"{words.price(total.printed, currency)} printed, its parts come to {words.price(total.right, currency)}"
    lines = len(document.lines) or 1
    return Break(
        (LEVEL, document.source, document.invoice, total.name),
        body(
            frame,
            Code.ROUNDING,
            Direction.WE_OWE_CLIENT if difference > 0 else Direction.CLIENT_OWES_US,
            reached=Reached.CLIENT_INVOICE,
            amount=abs(difference),
            currency=currency,
            expected=Side(amount=total.right),
            billed=Side(amount=total.printed, ref=words.clip(document.invoice)),
            tolerance=frame["settings"].tolerance("rounding", currency=currency, lines=lines),
            why=f"{document.invoice}: {total.name} total of {figures}",
            steps=(
                step("parts", total.formula, total.right, [line.record for line in document.lines]),
                step("printed", words.price(total.printed, currency), total.printed, [document.record]),
                step("difference", figures, abs(difference)),
            ),
        ),
        "none",
    )
