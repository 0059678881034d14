"""One small function a price model: what a quantity costs, exactly (rating.md section 3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import NamedTuple

from shared.events.contracts import (
    CostPlusPrice,
    GraduatedPrice,
    PackagePrice,
    PercentagePrice,
    Price,
    Tier,
    UnitPrice,
    VolumePrice,
)
from shared.reconciliation.rating.model import ZERO, Number
from shared.reconciliation.rating.numbers import minus, plus, started, times

_ONE = Decimal(1)
_PERCENT = Decimal("0.01")


class Charge(NamedTuple):
    """``number x unit_price`` is the amount; of a percentage it is a sum of fees."""

    rank: int
    """Order of the lines: tiers ascending, a tier's usage before its flat."""
    component: str
    unit_price: Decimal
    number: Number
    """Units, started blocks or packages."""
    units: Number | None = None
    """Of blocks and packages: the units that started them."""
    size: Decimal | None = None
    beyond: bool = False
    """Priced in a last tier that ends below the quantity."""
    before: Number = ZERO
    """What an earlier version of the terms counted already; it is no part of ``number``."""


def usage(price: Price, quantity: Number) -> list[Charge]:
    """What ``quantity`` units cost without the flats of tiers. Percentages are priced by :class:`Transactions`."""
    if isinstance(price, UnitPrice):
        return [Charge(0, "usage", price.unit_amount, quantity)]
    if isinstance(price, GraduatedPrice):
        return _graduated(price.tiers, quantity)
    if isinstance(price, VolumePrice):
        return _volume(price.tiers, quantity)
    if isinstance(price, PackagePrice):
        return [Charge(0, "package", price.amount, started(quantity, price.size), quantity, price.size)]
    if isinstance(price, CostPlusPrice):
        return [Charge(0, "cost_plus", price.factor, quantity)]
    return []


def flats(price: Price, quantity: Number) -> list[Charge]:
    """The flats of the tiers that ``quantity`` has entered; the first tier's is due at zero use."""
    if isinstance(price, GraduatedPrice):
        last = _holding(price.tiers, quantity)
        return [
            Charge(2 * number + 1, f"tier {number + 1}.flat", tier.flat_amount, _ONE)
            for number, tier in enumerate(price.tiers[: last + 1])
            if tier.flat_amount
        ]
    if isinstance(price, VolumePrice):
        tier = price.tiers[_holding(price.tiers, quantity)]
        return [Charge(1, "flat", tier.flat_amount, _ONE)] if tier.flat_amount else []
    return []


def _graduated(tiers: Sequence[Tier], quantity: Number) -> list[Charge]:
    charges = []
    floor = ZERO
    last = len(tiers) - 1
    for number, tier in enumerate(tiers):
        inside = tier.up_to is not None and quantity <= tier.up_to
        ends = inside or number == last or tier.up_to is None
        units = minus(quantity if ends or tier.up_to is None else tier.up_to, floor)
        beyond = number == last and tier.up_to is not None and quantity > tier.up_to
        charges.append(_in_tier(2 * number, f"tier {number + 1}.usage", tier, units, beyond))
        if ends or tier.up_to is None:
            break
        floor = tier.up_to
    return charges


def _volume(tiers: Sequence[Tier], quantity: Number) -> list[Charge]:
    tier = tiers[_holding(tiers, quantity)]
    return [_in_tier(0, "usage", tier, quantity, tier.up_to is not None and quantity > tier.up_to)]


def _in_tier(rank: int, component: str, tier: Tier, units: Number, beyond: bool) -> Charge:
    if tier.size is None:
        return Charge(rank, component, tier.unit_amount, units, beyond=beyond)
    return Charge(rank, component, tier.unit_amount, started(units, tier.size), units, tier.size, beyond)


def _holding(tiers: Sequence[Tier], quantity: Number) -> int:
    """The tier that holds ``quantity``: its bound is inclusive; beyond a finite last tier, that one."""
    for number, tier in enumerate(tiers):
        if tier.up_to is None or quantity <= tier.up_to:
            return number
    return len(tiers) - 1


def less(now: Iterable[Charge], before: Iterable[Charge]) -> list[Charge]:
    """What ``now`` adds to ``before``: counts of the same component and price subtract; what is gone is negated."""
    left = {(charge.component, charge.unit_price): charge for charge in before}
    added = []
    for charge in now:
        old = left.pop((charge.component, charge.unit_price), None)
        added.append(charge if old is None else _minus(charge, old))
    gone = [_minus(charge._replace(number=ZERO, units=None), charge) for charge in left.values()]
    return [charge for charge in (*added, *gone) if charge.number]


def _minus(charge: Charge, old: Charge) -> Charge:
    return charge._replace(number=minus(charge.number, old.number), before=old.number)


class Fee(NamedTuple):
    """What one transaction costs: ``paying`` of its value at the rate, plus the fixed fee, within its bounds."""

    value: Number
    paying: Number
    amount: Number
    bounded: str
    """``at least 1.00``, ``at most 4.00``, or nothing."""


class Transactions:
    """Transactions in order of time against one allowance, which goes on over changes of the terms."""

    __slots__ = ("_closed", "_events", "_value")

    def __init__(self) -> None:
        self._events = 0
        self._value: Number = ZERO
        self._closed = False

    def fee(self, price: PercentagePrice, value: Number) -> Fee:
        paying = self._paying(price, value)
        if paying is None:
            return Fee(value, ZERO, ZERO, "")
        amount = plus(times(times(paying, price.rate_pct), _PERCENT), price.fixed)
        bounded = ""
        if price.per_event_min is not None and amount < price.per_event_min:
            amount, bounded = price.per_event_min, "at least"
        if price.per_event_max is not None and amount > price.per_event_max:
            amount, bounded = price.per_event_max, "at most"
        return Fee(value, paying, amount, bounded)

    def _paying(self, price: PercentagePrice, value: Number) -> Number | None:
        """The part of ``value`` that pays; ``None``: covered. The event that uses up the free amount pays on what lies
        above it, with the fixed fee, also where that is nothing."""
        if self._closed or (price.free_events is None and price.free_amount is None):
            return value
        if price.free_events is not None and self._events >= price.free_events:
            self._closed = True
            return value
        self._events += 1
        self._value = plus(self._value, value)
        if price.free_amount is None or self._value < price.free_amount:
            return None
        self._closed = True
        return minus(self._value, price.free_amount)
