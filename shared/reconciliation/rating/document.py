"""One question to the rating engine as a JSON document, and its answer (``plumbline rate``).

Names are those of rating.md section 0. Its JSON Schema is kept in docs/schemas/rate.json (``make schemas``).
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, WithJsonSchema
from pydantic.json_schema import models_json_schema

from shared.events.base import Data, Day, Exact, Instant, Key, Label, Zone
from shared.events.contracts import KnownCurrency, RateRow, Terms
from shared.events.discrepancies import Span
from shared.reconciliation.rating.model import ZERO

_ITEMS_MAX = 100_000


def _day_or_instant(value: Any) -> str:
    bare = len(value) == len("2026-09-01") if isinstance(value, str) else not isinstance(value, datetime)
    return "day" if bare else "instant"


Moment = Annotated[
    Annotated[Day, Tag("day")] | Annotated[Instant, Tag("instant")],
    Discriminator(_day_or_instant),
    WithJsonSchema({"type": "string", "anyOf": [{"format": "date"}, {"format": "date-time"}]}),
]
"""A local date (its first instant), or an instant with its offset."""


class TermsVersion(Terms):
    """Terms, and from when to when they hold."""

    effective_from: Day
    """First day on which they hold."""
    effective_to: Day | None = None
    """First day on which they no longer do; empty: until the next version, or open."""


class ServiceDates(Data):
    """When the service is in force."""

    start: Day
    """Its first day."""
    end: Day | None = None
    """The day after its last; empty: it goes on."""


class LevelGiven(Data):
    """A gauge stands at a quantity until the next level."""

    at: Moment | None = None
    """From when; empty: from the part's start."""
    quantity: Exact
    """Units."""
    until: Moment | None = None
    """Until when at most; empty: until the next level."""
    id: Key | None = None
    """Id of the record that says so."""


class AmountGiven(Data):
    """Something that occurred: use, a mark, a transaction, a cost."""

    at: Moment | None = None
    """When; empty: at the part's start."""
    quantity: Exact
    """Units, the mark's height, the transaction's value, or the cost."""
    id: Key | None = None
    """Id of the record that says so; a repeated record adds nothing."""


class Break(Data):
    """Time that does not count."""

    start: Instant
    """When it began."""
    end: Instant
    """When it ended."""


class EntryGiven(Data):
    """A time entry. Give its ``minutes``, its ``hours``, or its ``start`` and ``end``."""

    id: Key
    """Its id."""
    worked_on: Day
    """Local date of the work."""
    minutes: Exact | None = None
    """Minutes worked."""
    hours: Exact | None = None
    """Hours worked."""
    start: Instant | None = None
    """When work began."""
    end: Instant | None = None
    """When it ended."""
    breaks: tuple[Break, ...] = Field(default=(), max_length=100)
    """Breaks between them."""
    billable: bool = True
    """Whether it is billable at all."""
    approved: bool = True
    """Whether it was approved for billing; if not, it is pending."""
    role: Label | None = None
    """Role that sets the rate."""
    work_type: Label | None = None
    """Work type that sets or changes the rate."""
    ticket: Key | None = None
    """Ticket, where minutes are rounded by ticket and day."""
    when: tuple[Literal["out_of_hours", "weekend", "holiday"], ...] = Field(default=(), max_length=3)
    """What adds a factor."""


class Measured(Data):
    """What was measured in the part: one of these."""

    unit: Label | None = None
    """Unit of the quantities, checked where the terms convert."""
    gauge: tuple[LevelGiven, ...] | None = Field(default=None, max_length=_ITEMS_MAX)
    """Levels of a gauge, led by the one that stands at the part's start."""
    counter: tuple[AmountGiven, ...] | None = Field(default=None, max_length=_ITEMS_MAX)
    """Amounts of a counter; what occurred outside the part is of another."""
    peak: tuple[AmountGiven, ...] | None = Field(default=None, max_length=_ITEMS_MAX)
    """Marks, of which the highest counts."""
    transactions: tuple[AmountGiven, ...] | None = Field(default=None, max_length=_ITEMS_MAX)
    """Values of transactions, for a percentage."""
    cost: tuple[AmountGiven, ...] | None = Field(default=None, max_length=_ITEMS_MAX)
    """What the vendor billed, in the line's currency, for cost plus."""
    entries: tuple[EntryGiven, ...] | None = Field(default=None, max_length=_ITEMS_MAX)
    """All time entries since the first prepaid block began."""


class StepShown(Data):
    """One step of a line's arithmetic, as it was computed."""

    label: str
    """What is computed."""
    formula: str
    """With its figures."""
    result: Exact
    """Its result."""
    rounding: str | None = None
    """Such as ``half_up 2``."""


class Line(Data):
    """A line of the answer, or a line that was billed before: ``total = amount - discounts + charges``."""

    component: str
    """``flat``, ``usage``, ``tier 2.usage``, ``minimum``, ``hours`` ..."""
    unit_price: Exact | None = None
    """Price of a unit; at 18 decimals where it has no last digit."""
    quantity: Exact = ZERO
    """Units."""
    amount: Exact
    """Rounded, before discounts and charges."""
    discounts: Exact = ZERO
    """Taken off."""
    charges: Exact = ZERO
    """Added, such as the rest to a minimum."""
    total: Exact | None = None
    """What the line comes to; checked where it is given."""
    period: Span | None = None
    """Local dates that it is for; empty: the part's."""
    category: Literal["usage", "flat", "commitment"] | None = None
    """``commitment``: the rest to a minimum."""
    corrects: str | None = None
    """The statement that it corrects."""
    statement: Key | None = None
    """Of a billed line: the statement that it stands on; its reversal names it."""
    sources: tuple[str, ...] = ()
    """Ids of the records that it rests on, the first twenty."""
    records: int = 0
    """How many they are."""
    flags: tuple[str, ...] = ()
    """``OVER_CAP``, ``BLOCK_OVERDRAWN``, ``beyond_last_tier``."""
    steps: tuple[StepShown, ...] = ()
    """Its arithmetic."""


class RatingDocument(Data):
    """What should be billed for a part of a period?"""

    terms: Annotated[
        Annotated[Terms, Tag("one")]
        | Annotated[tuple[TermsVersion, ...], Tag("versions"), Field(min_length=1, max_length=1_000)],
        Discriminator(lambda value: "versions" if isinstance(value, list | tuple) else "one"),
    ]
    """What was agreed: terms, or a list of their versions."""
    currency: KnownCurrency
    """Currency of every amount."""
    time_zone: Zone = "UTC"
    """Zone of the dates where the terms name none."""
    service: ServiceDates | None = None
    """When the service is in force; empty: as long as the terms."""
    measured: Measured | None = None
    """What was measured; empty: nothing is known, and only what needs no measure is due."""
    period: Span | None = None
    """The whole period; empty: the one that the terms' own calendar has around the part."""
    part: Span | None = None
    """The piece of it that is rated; empty: all of the period in which the service is in force."""
    final: bool | None = None
    """Whether the part reaches the end of its period or of the service; empty: by its dates."""
    billed: tuple[Line, ...] = Field(default=(), max_length=_ITEMS_MAX)
    """Lines of the part that were billed already, as they were booked."""
    tenant_rates: tuple[RateRow, ...] = Field(default=(), max_length=500)
    """Prices of an hour where the contract has none."""


class BlockShown(Data):
    """How a prepaid block stands at the end of the part."""

    block: str
    """Its id."""
    rolled_from: str | None = None
    """The block from which this lot rolled over."""
    unit: Literal["hours", "money"]
    """What it holds."""
    held: Exact
    """At its start."""
    drawn: Exact
    """Taken."""
    rolled_over: Exact
    """Moved into the next block."""
    expired: Exact
    """Lost at its end."""
    left: Exact
    """Still there."""


class EntryShown(Data):
    """What became of a time entry."""

    id: str
    """Its id."""
    state: Literal["rated", "pending", "not_billable", "excluded", "outside", "no_rate"]
    """``pending``: not approved; ``no_rate``: nothing says what an hour costs."""
    worked_minutes: Exact
    """Worked."""
    billable_minutes: Exact
    """After increment, minimum and maximum."""
    amount: Exact
    """Its share of the lines due."""
    why: tuple[str, ...] = ()
    """How the minutes came about, and where they went."""


class TaxShown(Data):
    """Tax of the lines at the agreed rate."""

    rate_pct: Exact
    """Percent."""
    base: Exact
    """Sum of the lines."""
    tax: Exact
    """Rounded."""
    total: Exact
    """With tax."""


class RatingAnswer(Data):
    """What should be billed."""

    lines: tuple[Line, ...]
    """What is to be billed now: due less billed."""
    total: Exact
    """Sum of the lines, before tax."""
    currency: KnownCurrency
    """Currency of every amount."""
    part: Span
    """What was rated."""
    period: Span
    """The whole period that it is a part of."""
    final: bool
    """Whether what waits for the end of the period is due."""
    tax: TaxShown | None = None
    """Where the terms name a rate."""
    blocks: tuple[BlockShown, ...] = ()
    """Prepaid blocks."""
    entries: tuple[EntryShown, ...] = ()
    """Time entries of the part."""
    outside: int | None = None
    """How many of the measured amounts occurred outside the part, and are not in it; empty: none."""


@cache
def json_schema() -> dict[str, Any]:
    """JSON Schema of the document; that of the answer is ``$defs/RatingAnswer``. Made once; do not change it."""
    _, schema = models_json_schema([(RatingDocument, "validation"), (RatingAnswer, "serialization")])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "plumbline rate",
        "description": "What `plumbline rate` reads; what it prints is $defs/RatingAnswer.",
        "$ref": "#/$defs/RatingDocument",
        "$defs": schema["$defs"],
    }
