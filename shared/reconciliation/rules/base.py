"""What a rule is given and what it answers, and the tolerances that rules measure with."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Protocol

from shared.events.discrepancies import Direction, Tolerance
from shared.reconciliation.case import Case
from shared.reconciliation.inputs import Settings
from shared.reconciliation.verdict import Break, Waiting

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rule takes of the residual."""

    breaks: tuple[Break, ...] = ()
    broken: Decimal = ZERO
    """Signed: negative when too little is billed."""
    explained: Decimal = ZERO
    explained_by: str | None = None
    waiting: tuple[Waiting, ...] = ()
    """What a difference waits for before it is a break."""
    settled: bool = False
    """No later rule looks at this group."""


class Rule(Protocol):
    """``left`` is the part of the residual that no earlier rule took; ``None`` where no price is known.
    ``None`` as an answer: the rule has nothing to say."""

    def __call__(self, case: Case, left: Decimal | None) -> Outcome | None: ...


EXACT = Tolerance(name="exact", absolute=ZERO, relative_pct=ZERO)
"""What must agree to the last digit."""


def quantity_tolerance(settings: Settings) -> Tolerance:
    """The tolerance of quantities: exact unless the tenant has set one."""
    if settings.quantity_absolute == 0 and settings.quantity_relative_pct == 0:
        return EXACT
    return Tolerance(name="quantity", absolute=settings.quantity_absolute, relative_pct=settings.quantity_relative_pct)


def price_tolerance(settings: Settings) -> Tolerance:
    """The tolerance of unit prices."""
    return Tolerance(
        name="unit_price", absolute=settings.unit_price_absolute, relative_pct=settings.unit_price_relative_pct
    )


def exceeds(difference: Decimal | Fraction, reference: Decimal | Fraction, tolerance: Tolerance) -> bool:
    """Whether a difference is a break: it exceeds both widths; the relative one is a share of what is right."""
    size, of = abs(Fraction(difference)), abs(Fraction(reference))
    return size > Fraction(tolerance.absolute) and size * 100 > Fraction(tolerance.relative_pct) * of


def direction_of(signed: Decimal) -> Direction:
    """Billed too little: the client owes us."""
    return Direction.CLIENT_OWES_US if signed < 0 else Direction.WE_OWE_CLIENT
