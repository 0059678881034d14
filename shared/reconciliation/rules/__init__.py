"""One file per rule; :data:`PRECEDENCE` is the order in which they get to speak.

**One residual, one code.** A group's residual is what is billed less what is due. Each rule in turn looks at the case
and at what is left of the residual, and may take a part of it: as breaks, or as explained. What it takes no later rule
sees; ``settled`` ends the matter. To add a rule: write its file, put it in its place below, add golden cases to
``tests/unit/reconciliation``.
"""

from __future__ import annotations

from shared.reconciliation.rules import (
    missing_line,
    phantom_line,
    price_mismatch,
    qty_over,
    qty_under,
    tolerated,
    unbilled_service,
)
from shared.reconciliation.rules.base import Rule

PRECEDENCE: tuple[Rule, ...] = (
    phantom_line.phantom_line,
    unbilled_service.unbilled_service,
    missing_line.missing_line,
    qty_under.qty_under,
    qty_over.qty_over,
    price_mismatch.price_mismatch,
    tolerated.tolerated,
)
"""First come, first served. Before all of them: what is not comparable (:mod:`shared.reconciliation.sides`)."""
