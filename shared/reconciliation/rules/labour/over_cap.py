"""OVER_CAP: hours beyond the contract's cap. They are worth nothing, and lost at the rate they would have had."""

from __future__ import annotations

from shared.events.discrepancies import Code
from shared.reconciliation.rules.labour.base import LabourCase, LabourLine
from shared.reconciliation.rules.labour.beyond import beyond
from shared.reconciliation.verdict import Break


def over_cap(case: LabourCase, line: LabourLine) -> Break | None:
    """By contract line and part."""
    return beyond(case, line, Code.OVER_CAP, line.pieces("over_cap"), "beyond the cap of the contract", lost=True)
