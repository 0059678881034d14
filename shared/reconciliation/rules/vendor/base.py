"""What the rules of the vendors' side see: charges by identifier, what was agreed, what was used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from shared.events.discrepancies import Source
from shared.kernel.money import round_to
from shared.kernel.periods import Period
from shared.reconciliation.bodies import Frame
from shared.reconciliation.inputs import Measured, Product
from shared.reconciliation.licences import months_of
from shared.reconciliation.verdict import Break, Waiting

ZERO = Decimal(0)
_DECIMALS = 9


@dataclass(frozen=True, slots=True)
class Agreed:
    """What one unit costs, as agreed."""

    cost: Decimal
    currency: str
    ref: str
    """``C-1042 line 3``, or the product's name."""
    record: Source | None


@dataclass(frozen=True, slots=True)
class Charge:
    """A vendor's line that charges units, as far as it is the group's."""

    source: str
    account: str
    sku: str
    product: str
    purchase: bool
    """Licences bought, used or not."""
    correction: bool
    period: Period
    """Local dates, the last day exclusive."""
    quantity: Decimal
    cost: Decimal
    currency: str
    ref: str
    record: Source

    @property
    def key(self) -> tuple[str, str, str, str]:
        return (self.product, self.source, self.account, self.sku)


@dataclass(frozen=True, slots=True)
class Moved:
    """A charge without units: tax, credit, adjustment. Its quantity is empty, which is not zero."""

    product: str
    category: str
    cost: Decimal
    currency: str
    record: Source


@dataclass(frozen=True, slots=True)
class VendorCase:
    """The vendors' side of a group."""

    frame: Frame
    products: Mapping[str, Product]
    lead: Product
    """The product whose id is the group's."""
    charges: tuple[Charge, ...]
    moved: tuple[Moved, ...]
    agreed: Mapping[str, tuple[Agreed, ...]]
    """By product; several where its contract lines agree on different costs."""
    used: Mapping[str, Decimal]
    """By product; what is not known is not in it."""
    assigned: Mapping[str, tuple[Decimal, tuple[Measured, ...]]]
    """By product: what is assigned at most, where a meter counts that."""
    gaps: tuple[Waiting, ...]
    """What keeps an absence of usage from being concluded."""
    over: bool
    """Whether the month is over: before, a vendor may still charge more."""
    billed: tuple[Decimal, str] | None
    """What the client is billed, and its currency."""
    floor_pct: Decimal | None

    @property
    def costs(self) -> tuple[Charge | Moved, ...]:
        return (*self.charges, *self.moved)

    def of(self, product: str) -> tuple[Charge, ...]:
        return tuple(one for one in self.charges if one.product == product)

    def agreed_for(self, charge: Charge) -> Agreed | None:
        """The agreed cost in the charge's currency; of several the nearest to what it charges."""
        found = [one for one in self.agreed.get(charge.product, ()) if one.currency == charge.currency]
        if len(found) < 2:
            return found[0] if found else None
        each = [(abs(unit_cost(charge, one.cost) - Fraction(one.cost)), one.ref, one) for one in found]
        return min(each, key=lambda item: item[:2])[2]

    def bought(self, product: str) -> Decimal | None:
        """The licences that stand at the month's end: those of whole months, and what changed since and still holds.
        ``None``: none were bought so."""
        month_end = self.frame["period"].end
        own = [one for one in self.of(product) if one.purchase]
        standing = [one for one in own if months_of(one.period) or one.period.end >= month_end]
        return sum((one.quantity for one in standing), ZERO) if standing else None

    def units_of(self, charges: Sequence[Charge], counted: Decimal) -> Decimal:
        """The units that a month's charges come to: their sum, or those that cost in proportion to their days each
        for its days (a vendor that charges seats day by day). The reading that is nearest to what was counted holds."""
        plain = sum((one.quantity for one in charges), ZERO)
        if all(share(one.period) == 1 for one in charges):
            return plain
        by_days = Fraction(0)
        for one in charges:
            agreed = self.agreed_for(one)
            in_proportion = agreed is None or due(one, agreed.cost) != Fraction(agreed.cost) * Fraction(one.quantity)
            by_days += Fraction(one.quantity) * (share(one.period) if in_proportion else 1)
        if abs(Fraction(plain) - Fraction(counted)) <= abs(by_days - Fraction(counted)):
            return plain
        return round_to(by_days, _DECIMALS)


@dataclass(frozen=True, slots=True)
class VendorOutcome:
    """What a rule of the vendors' side finds."""

    breaks: tuple[Break, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    broken: Sequence[tuple[str, Decimal]] = ()
    """By currency, signed: positive where a vendor bills too much."""


def unit_cost(charge: Charge, agreed: Decimal) -> Fraction:
    """What the charge comes to for one unit and a whole month.

    A charge of a part of a month, or of several months, may be in proportion to its days or whole: vendors do not say
    which. The reading that is nearest to what was agreed holds.
    """
    each = _each(charge)
    portion = share(charge.period)
    if portion == 1:
        return each
    readings = [each, each / portion]
    return min(readings, key=lambda one: (abs(one - Fraction(agreed)), one))


@lru_cache(maxsize=4096)
def share(period: Period) -> Fraction:
    """The months in a charge's period: whole ones, else days over those of the month in which it starts."""
    start, end = period.start, period.end
    months = (end.year - start.year) * 12 + end.month - start.month
    if months >= 1 and end.day == start.day:
        return Fraction(months)
    first = start.replace(day=1)
    after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return Fraction(max((end - start).days, 1), (after - first).days)


def due(charge: Charge, agreed: Decimal) -> Fraction:
    """What the charge should cost at the agreed cost, read as :func:`unit_cost` reads it."""
    whole, portion = Fraction(agreed * charge.quantity), share(charge.period)
    return whole if portion == 1 or unit_cost(charge, agreed) == _each(charge) else whole * portion


def _each(charge: Charge) -> Fraction:
    if not charge.quantity:
        return Fraction(0)
    (a, b), (c, d) = charge.cost.as_integer_ratio(), charge.quantity.as_integer_ratio()
    return Fraction(a * d, b * c)
