"""What the rules of a client's level answer: breaks and lines of the statement, which are summed up together."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from shared.reconciliation.bodies import Frame, sayable
from shared.reconciliation.inputs import ClientInputs, DocumentFacts
from shared.reconciliation.verdict import Break, StatementLine, Waiting

LEVEL = "*"
"""Stands where a product stands in the keys of groups."""


@dataclass(frozen=True, slots=True)
class LevelOutcome:
    """What a rule finds."""

    breaks: tuple[Break, ...] = ()
    lines: tuple[StatementLine, ...] = ()
    waiting: tuple[Waiting, ...] = ()


def readable(document: DocumentFacts) -> bool:
    """Whether the figures of a document, and their sums, fit a record."""
    totals = (document.total, document.tax_total, document.gross_total)
    net = sum((abs(line.amount) for line in document.lines), Decimal(0))
    tax = sum((abs(line.tax) for line in document.lines if line.tax is not None), Decimal(0))
    return sayable(net, tax, *totals)


def frame_of(inputs: ClientInputs) -> Frame:
    return Frame(client=inputs.client, period=inputs.period, as_of=inputs.as_of, settings=inputs.settings)
