"""What rating reads and answers: plain values, so that a million lines can be rated without a model each.

Figures between two rounding points are exact: ``Decimal`` where the inputs allow it, else ``Fraction``. Whatever bears
the name ``amount``, ``discounts`` or ``charges`` is a ``Decimal`` that has passed its rounding step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Literal, NamedTuple

from shared.events.contracts import Terms
from shared.events.discrepancies import Source

Number = Decimal | Fraction
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Version:
    """Terms in force in ``[start, end)``, local dates."""

    terms: Terms
    start: date
    end: date | None = None
    """``None``: open."""
    record: Source | None = None
    """The record that says so."""


@dataclass(frozen=True, slots=True)
class Service:
    """One contract line through time: its versions in order, without overlap (a gap is a time without service)."""

    versions: tuple[Version, ...]
    currency: str
    time_zone: str = "UTC"
    """Zone of its dates where its terms name none."""
    ref: str = ""
    """``C-1042 line 3``."""


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """A piece ``[start, end)`` of the full period ``[full_start, full_end)``, in local dates of the service."""

    start: date
    end: date
    full_start: date
    full_end: date

    @property
    def whole(self) -> bool:
        return self.start == self.full_start and self.end == self.full_end


class Level(NamedTuple):
    """A gauge stands at ``quantity`` from ``at`` on, until the next level (or ``until``, if that is earlier)."""

    at: datetime
    quantity: Number
    until: datetime | None = None
    sources: tuple[Source, ...] = ()


class Amount(NamedTuple):
    """An amount of a counter, a mark of a peak, or a transaction's value, that occurred at ``at``.

    Sums are welcome where no event is priced by itself, as long as a sum lies inside one version of the terms.
    """

    at: datetime
    quantity: Number
    sources: tuple[Source, ...] = ()
    records: int = 1


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured in a part: levels of a gauge (led by the one that stands at its start), or amounts."""

    kind: Literal["gauge", "counter", "peak", "cost"]
    """``cost``: what a vendor billed, for cost_plus."""
    levels: tuple[Level, ...] = ()
    amounts: tuple[Amount, ...] = ()
    unit: str | None = None


class Arithmetic(NamedTuple):
    """One step of a figure, as it was computed: nothing computes it again for showing."""

    label: str
    """``used``, ``included``, ``tier 2``, ``discount``, ``minimum`` ..."""
    formula: str
    """With its figures: ``53 - 5 included = 48``, ``40 x 4.20 x 10/30 + 60 x 4.20 x 20/30``."""
    result: Number
    rounding: str | None = None
    """``half_up 2``."""
    sources: tuple[Source, ...] = ()
    records: int = 0


@dataclass(frozen=True, slots=True)
class Component:
    """One part of what is due, or of what was billed: ``total = amount - discounts + charges``."""

    component: str
    """``flat``, ``usage``, ``tier 2.usage``, ``tier 2.flat``, ``cost_plus``, ``minimum``, or of labour
    ``hours`` and ``block``."""
    unit_price: Number | None
    quantity: Number
    amount: Decimal
    start: date
    end: date
    discounts: Decimal = ZERO
    charges: Decimal = ZERO
    category: Literal["usage", "flat", "commitment"] = "usage"
    corrects: str | None = None
    """The statement or line that it corrects."""
    steps: tuple[Arithmetic, ...] = ()
    sources: tuple[Source, ...] = ()
    """The records that it rests on, the first twenty by id."""
    records: int = 0
    """How many they are in all."""
    flags: tuple[str, ...] = ()
    """``beyond_last_tier``."""
    booked: str | None = None
    """Of a line that was billed: the statement (and line) that it stands on; a reversal names it."""

    @property
    def total(self) -> Decimal:
        return self.amount - self.discounts + self.charges

    def reversed(self, step: Arithmetic) -> Component:
        """Its exact negative, which corrects the line that it was booked as."""
        return replace(
            self,
            quantity=-self.quantity,
            amount=-self.amount,
            discounts=-self.discounts,
            charges=-self.charges,
            corrects=self.booked,
            booked=None,
            steps=(step,),
        )
