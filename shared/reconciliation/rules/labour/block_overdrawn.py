"""BLOCK_OVERDRAWN: hours for which no prepaid block has anything left, and that the contract does not bill."""

from __future__ import annotations

from shared.events.discrepancies import Code
from shared.reconciliation.rules.labour.base import LabourCase, LabourLine
from shared.reconciliation.rules.labour.beyond import beyond
from shared.reconciliation.verdict import Break


def block_overdrawn(case: LabourCase, line: LabourLine) -> Break | None:
    """By contract line and part: hours refused, or carried until a block pays for them."""
    found = [*line.pieces("refused"), *line.pieces("carried")]
    return beyond(case, line, Code.BLOCK_OVERDRAWN, found, "beyond the prepaid blocks", lost=False)
