"""One file per rule; :data:`PRECEDENCE` is the order in which they get to speak.

**One residual, one code.** A case's residual is what is billed less what is due. Each rule in turn looks at the case
and at what is left of the residual, and may take a part of it: as breaks, or as explained. What it takes no later rule
sees; ``settled`` ends the matter. To add a rule: write its file, put it in its place below, add golden cases to
``tests/unit/reconciliation``.
"""

from __future__ import annotations

from shared.reconciliation.rules import (
    currency,
    duplicate,
    expired_agreement,
    instalment,
    late_usage,
    min_commit,
    missing_line,
    out_of_scope,
    phantom_line,
    price_mismatch,
    proration,
    qty_over,
    qty_under,
    tier_cross,
    tolerated,
    unbilled_service,
)
from shared.reconciliation.rules.base import Rule

PRECEDENCE: tuple[Rule, ...] = (
    currency.currency,
    duplicate.duplicate,
    phantom_line.phantom_line,
    out_of_scope.out_of_scope,
    expired_agreement.expired_agreement,
    unbilled_service.unbilled_service,
    missing_line.missing_line,
    instalment.instalment,
    proration.proration,
    tier_cross.tier_cross,
    min_commit.min_commit,
    late_usage.late_usage,
    qty_under.qty_under,
    qty_over.qty_over,
    price_mismatch.price_mismatch,
    tolerated.tolerated,
)
"""First come, first served. Before all of them: what is not comparable (:mod:`shared.reconciliation.sides`)."""
