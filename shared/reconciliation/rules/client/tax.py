"""TAX: a document's tax is not what its nets and rates come to. We check arithmetic; we do not decide tax law.

Tax is no part of what is billed for services: its line of the statement has no amount among the sums, and the break
belongs to no residual.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from shared.events.discrepancies import Code, Direction, Reached, Side
from shared.reconciliation import words
from shared.reconciliation.bodies import Frame, body, step
from shared.reconciliation.inputs import ClientInputs, DocumentFacts
from shared.reconciliation.rating.tax import TaxedLine, document_tax
from shared.reconciliation.rules.client.base import LEVEL, LevelOutcome, frame_of, readable
from shared.reconciliation.verdict import Break, LineState, StatementLine

_ZERO = Decimal(0)


def tax(inputs: ClientInputs) -> LevelOutcome:
    """By document: its printed tax (else the sum of its lines') against the tax of its nets by rate.

    Sources round by document or by line, and a discount may leave the base as it was: if any of these readings is
    what is printed, it holds; else the difference is to the one by document (by line, where only lines print
    tax). Documents that print no tax or no rate are passed by.
    """
    breaks, lines = [], []
    for document in sorted(inputs.documents, key=lambda one: (one.source, one.invoice)):
        stated = printed(document)
        rated = [line for line in document.lines if line.tax_pct is not None]
        if stated is None or not rated or not readable(document):
            continue
        tolerance = inputs.settings.tolerance("tax", currency=document.currency, lines=len(rated))
        readings = tuple(_readings(document))
        nearest = min(enumerate(readings), key=lambda item: (abs(stated - item[1]), item[0]))[1]
        broken = abs(stated - nearest) > tolerance.absolute
        by_document = document.tax_total is not None
        right = nearest if not broken else readings[0] if by_document else readings[1]
        difference, frame = stated - right, frame_of(inputs)
        if broken:
            breaks.append(_break(frame, document, stated, right, len(rated)))
        told = f"tax {words.price(stated, document.currency)}"
        lines.append(
            StatementLine(
                key=("tax", document.source, document.invoice),
                product=LEVEL,
                service=document.period,
                state=LineState.BREAK if broken else LineState.EXPLAINED if difference else LineState.MATCHED,
                currency=document.currency,
                billed_ref=document.invoice,
                by=f"{told}, {words.price(right, document.currency)} due"
                if broken
                else f"{told}: tolerance {tolerance.name}"
                if difference
                else told,
                codes=(Code.TAX,) if broken else (),
            )
        )
    return LevelOutcome(tuple(breaks), tuple(lines))


def printed(document: DocumentFacts) -> Decimal | None:
    """The tax that a document prints; ``None``: none, or not of every line."""
    if document.tax_total is not None:
        return document.tax_total
    of_lines = [line.tax for line in document.lines if line.tax is not None or line.tax_pct]
    known = [one for one in of_lines if one is not None]
    return sum(known, _ZERO) if known and len(known) == len(of_lines) else None


def _readings(document: DocumentFacts) -> Iterator[Decimal]:
    taxed = [
        TaxedLine(line.line, line.amount, line.tax_pct or _ZERO, "", line.tax_pct is not None, line.discount)
        for line in document.lines
    ]
    for reduces in (True, False):
        yield document_tax(taxed, document.currency, level="document", discount_reduces_base=reduces).tax
        yield document_tax(taxed, document.currency, level="line", discount_reduces_base=reduces).tax


def _break(frame: Frame, document: DocumentFacts, stated: Decimal, right: Decimal, lines: int) -> Break:
    currency = document.currency
    sums: dict[Decimal, Decimal] = {}
    for line in document.lines:
        if line.tax_pct is not None:
            sums[line.tax_pct] = sums.get(line.tax_pct, _ZERO) + line.amount
    formula = " + ".join(f"{words.price(sums[pct], currency)} x {words.quantity(pct)} %" for pct in sorted(sums))
    figures = f"{words.price(stated, currency)} of tax printed, {words.price(right, currency)} due"
    return Break(
        (LEVEL, document.source, document.invoice),
        body(
            frame,
            Code.TAX,
            Direction.WE_OWE_CLIENT if stated > right else Direction.CLIENT_OWES_US,
            reached=Reached.CLIENT_INVOICE,
            amount=abs(stated - right),
            currency=currency,
            expected=Side(amount=right),
            billed=Side(amount=stated, ref=words.clip(document.invoice)),
            tolerance=frame["settings"].tolerance("tax", currency=currency, lines=lines),
            why=f"{document.invoice}: {figures} ({formula})",
            steps=(
                step("due", formula, right, [line.record for line in document.lines], rounding="half_up"),
                step("printed", words.price(stated, currency), stated, [document.record]),
                step("difference", figures, abs(stated - right)),
            ),
        ),
        "none",
    )
