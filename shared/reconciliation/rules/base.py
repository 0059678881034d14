"""What a rule is given and what it answers, and the tolerances that rules measure with."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Protocol

from shared.events.discrepancies import Direction, Tolerance
from shared.reconciliation import words
from shared.reconciliation.case import ZERO as ZERO
from shared.reconciliation.case import Case, Charge
from shared.reconciliation.rating.model import Number
from shared.reconciliation.verdict import Break, Waiting


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rule takes of the residual."""

    breaks: tuple[Break, ...] = ()
    broken: Decimal = ZERO
    """Signed: negative when too little is billed."""
    explained: Decimal = ZERO
    explained_by: str | None = None
    waiting: tuple[Waiting, ...] = ()
    """What a difference waits for before it is a break; what is explained beside it is pending."""
    taken: tuple[Charge, ...] = ()
    """Posted lines that are said: later rules see the case without them."""
    settled: bool = False
    """No later rule looks at this case."""


class Rule(Protocol):
    """``left`` is the part of the residual that no earlier rule took; ``None`` where no price is known.
    ``None`` as an answer: the rule has nothing to say."""

    def __call__(self, case: Case, left: Decimal | None) -> Outcome | None: ...


EXACT = Tolerance(name="exact", absolute=ZERO, relative_pct=ZERO)
"""What must agree to the last digit."""


def quantity_tolerance(case: Case) -> Tolerance:
    """The tolerance of quantities: exact unless the tenant has set one."""
    return case.inputs.settings.tolerance("quantity", case.currency, case.product.unit)


def price_tolerance(case: Case) -> Tolerance:
    """The tolerance of unit prices."""
    return case.inputs.settings.tolerance("unit_price", case.currency, case.product.unit)


def rounding_tolerance(case: Case) -> Tolerance:
    """What the rounded lines of a case may differ by."""
    lines = max(1, len(case.charges)) + max(1, len(case.expected.components))
    return case.inputs.settings.tolerance("rounding", case.currency, lines=lines)


def exceeds(difference: Number, reference: Number, tolerance: Tolerance) -> bool:
    """Whether a difference is a break: it exceeds both widths; the relative one is a share of what is right."""
    size, of = abs(Fraction(difference)), abs(Fraction(reference))
    return size > Fraction(tolerance.absolute) and size * 100 > Fraction(tolerance.relative_pct) * of


def direction_of(signed: Number) -> Direction:
    """Billed too little: the client owes us."""
    return Direction.CLIENT_OWES_US if signed < 0 else Direction.WE_OWE_CLIENT


def matched(case: Case, left: Decimal | None) -> bool:
    """Whether both sides are there and differ by more than rounding: what explains a residual exactly looks at it."""
    return bool(case.lines) and case.billed is not None and left is not None and abs(left) > case.rounding


def hidden(case: Case) -> tuple[Waiting, ...]:
    """Identifiers that nobody has mapped, under which the usage may be that is missing."""
    return tuple(
        Waiting("mapping", words.clip(f"{one.kind} {one.key} of {one.source} is not mapped"), None)
        for one in sorted(case.inputs.unmapped)
    )


def until_complete(case: Case, left: Decimal) -> Outcome | None:
    """What is billed too much rests on the absence of more usage: it waits until the usage is complete."""
    if left <= 0 or case.flat or not case.usage_gaps:
        return None
    return Outcome(explained=left, explained_by="pending usage", waiting=case.usage_gaps, settled=True)


def whole_residual(case: Case, one: Break, left: Decimal) -> Outcome:
    """One code takes all that is left."""
    return until_complete(case, left) or Outcome((one,), broken=left, settled=True)
