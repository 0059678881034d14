"""What should be billed: terms x what was measured x period -> components, each with its arithmetic (rating.md).

``parts`` cuts a contract line's time into billing parts (grid.py), ``due`` prices one (apply.py, over fraction.py,
gauge.py, billable.py, prices.py and entries.py), ``rate`` takes away what was billed (billed.py), and advance.py books
changes inside a period that was paid before it began.
"""

from shared.reconciliation.rating.advance import Position, cancel_lines, change_lines, refund
from shared.reconciliation.rating.apply import apply_commitment, due, fraction
from shared.reconciliation.rating.billed import Statement, difference, rate, rate_original, total
from shared.reconciliation.rating.grid import due_on, parts, version_at, zone_of

__all__ = [
    "Position",
    "Statement",
    "apply_commitment",
    "cancel_lines",
    "change_lines",
    "difference",
    "due",
    "due_on",
    "fraction",
    "parts",
    "rate",
    "rate_original",
    "refund",
    "total",
    "version_at",
    "zone_of",
]
