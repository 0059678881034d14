"""What one verdict is a function of. The service fills these from PostgreSQL, a replay from memory; nothing else does.

Order never matters: whoever reads a collection sorts it by its own identifiers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Literal

from shared.events.contracts import Recurring, Terms
from shared.events.discrepancies import Source
from shared.kernel.periods import Period

MeterKind = Literal["gauge", "counter", "peak"]


@dataclass(frozen=True, slots=True)
class Client:
    id: str
    name: str
    time_zone: str = "UTC"
    bill_cycle_day: int = 1
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class Product:
    id: str
    name: str
    unit: str | None = None
    list_price: Decimal | None = None
    currency: str | None = None
    record: Source | None = None
    """The record that says so; None while only others name the product."""


@dataclass(frozen=True, slots=True)
class LineVersion:
    """A contract line from ``effective_from`` on; ``terms`` is None for the version that ends it."""

    source: str
    contract: str
    line: str
    effective_from: date
    effective_to: date | None
    currency: str | None
    terms: Terms | None
    recurring: Recurring | None
    record: Source


@dataclass(frozen=True, slots=True)
class Observation:
    """One effective instant of a gauge, or one bucket: then it holds only until ``until``."""

    at: datetime
    quantity: Decimal
    record: Source
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """One meter of the group in the period.

    Counter: ``total`` is the sum of the slots in ``[start, end)`` of the period. Peak: their maximum. Gauge:
    ``observations`` are those of the period in order of time, led by the last one before it if there is one.
    ``records`` counts the records behind the figure; ``sample`` holds the first twenty by id.
    """

    source: str
    account: str
    sku: str
    meter: str
    kind: MeterKind
    unit: str | None
    share: Decimal = Decimal(1)
    """Share of the account's and the sku's mapping that this group gets."""
    total: Decimal = Decimal(0)
    observations: tuple[Observation, ...] = ()
    records: int = 0
    sample: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class InvoiceLineFacts:
    """A line of the newest complete, not voided version of a document whose service period meets the group's."""

    source: str
    invoice: str
    version: int
    line: str
    kind: Literal["invoice", "credit_note"]
    issued_on: date
    currency: str
    contract: str | None
    contract_line: str | None
    period: Period
    quantity: Decimal
    unit_price: Decimal
    amount: Decimal
    record: Source


@dataclass(frozen=True, slots=True)
class InvoiceState:
    """What is known of the client's invoices of the period, all products together."""

    complete: int = 0
    """Complete, not voided documents of kind ``invoice``."""
    incomplete: tuple[str, ...] = ()
    """Documents whose lines are not all here, as ``INV-7: 3 of 12 lines``."""
    coming: tuple[str, ...] = ()
    """Of these, invoices of which no version counts yet: their lines may still bill what is missing."""
    crediting: tuple[str, ...] = ()
    """Of these, credit notes of which no version counts yet: their lines may still give back what is too much."""
    straddling: int = 0
    """Complete, not voided invoices whose service period meets this one without lying in it (quarters, cycles of the
    15th): they say that the client is invoiced, not what this month holds."""
    headers: tuple[Source, ...] = ()
    """The headers of the complete ones, the first twenty by id: what an absence from the invoice rests on."""


@dataclass(frozen=True, slots=True)
class FeedSpan:
    """A span that a source has declared complete (``feed.observed``)."""

    source: str
    covers_from: datetime
    covers_to: datetime


@dataclass(frozen=True, slots=True, order=True)
class Unmapped:
    """An identifier of a vendor, neither mapped nor excluded, under which a group's usage may hide."""

    kind: Literal["account", "sku"]
    source: str
    key: str


@dataclass(frozen=True, slots=True)
class Settings:
    """Tolerances and periods of grace, from ``setting.changed`` (keys in brackets)."""

    quantity_absolute: Decimal = Decimal(0)
    """[tolerance.quantity.absolute] units."""
    quantity_relative_pct: Decimal = Decimal(0)
    """[tolerance.quantity.relative_pct]"""
    unit_price_absolute: Decimal = Decimal("0.01")
    """[tolerance.unit_price.absolute] currency a unit."""
    unit_price_relative_pct: Decimal = Decimal("0.5")
    """[tolerance.unit_price.relative_pct]"""
    invoice_grace_days: int = 5
    """[invoice.grace_days] days after the period's end before a missing invoice is an error."""


@dataclass(frozen=True, slots=True)
class GroupInputs:
    """Everything that the verdict on one product of one client in one period is a function of."""

    client: Client
    product: Product
    period: Period
    as_of: date | None
    lines: tuple[LineVersion, ...] = ()
    """Every version of every contract line that was ever this client's and product's; a version of such a line that
    is another's has ``terms=None`` here."""
    measured: tuple[Measured, ...] = ()
    """Every meter of the group, also those with nothing in the period."""
    invoices: InvoiceState = field(default_factory=InvoiceState)
    invoice_lines: tuple[InvoiceLineFacts, ...] = ()
    """Lines of this product."""
    feeds: tuple[FeedSpan, ...] = ()
    """Complete spans of the sources that supply this product (those with a sku mapped to it)."""
    feed_sources: tuple[str, ...] = ()
    """Those sources, whether or not they have declared anything."""
    unmapped: tuple[Unmapped, ...] = ()
    """Where missing usage may hide: in each feed source where no account is this client's, the unmapped accounts that
    have a meter under a sku of this product; and the unmapped skus of feed sources that this client's accounts use."""
    opens: date | None = None
    """Before this day only what was loaded is compared (:func:`shared.reconciliation.views.opening`)."""
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True, slots=True)
class GroupTotal:
    """What one drawn group contributes to the client's level."""

    product: str
    expected: Decimal | None
    """What is due; None when no price is known."""
    currency: str | None
    owed: bool
    """True if usage or a contract line of the period asks for an invoice."""
    sources: tuple[Source, ...] = field(default=(), compare=False)
    """The records that it rests on, the first twenty by id; known where the client's level may speak."""
    records: int = field(default=0, compare=False)
    """How many they are in all."""


@dataclass(frozen=True, slots=True)
class ClientInputs:
    """The level above the groups (``*``): what can only be said of the whole client."""

    client: Client
    period: Period
    as_of: date | None
    groups: tuple[GroupTotal, ...]
    invoices: InvoiceState
    opens: date | None = None
    """As in :class:`GroupInputs`."""
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True, slots=True)
class VendorCost:
    """Sum of the billed cost of an identifier's vendor bill lines, if they are in one currency. ``records`` counts the
    lines; ``sample`` holds the first twenty by id."""

    amount: Decimal
    currency: str
    records: int = 0
    sample: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class UnmappedInputs:
    """An identifier of a vendor (account or sku) that has usage or charges."""

    kind: Literal["account", "sku"]
    source: str
    key: str
    name: str | None
    """Its name at the vendor: of the equal-ranked names the least, so that order does not matter."""
    mapped: bool
    """True when it has a target or an exclusion in force."""
    cost: VendorCost | None
    known: tuple[tuple[str, str], ...]
    """(id, name) of every client (for an account) or product (for a sku), for candidates."""
    until: date | None = None
    """The day on which the exclusion in force ends, if it ends."""
