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
from shared.reconciliation.settings import Settings as Settings

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
    unit_cost: Decimal | None = None
    """What one unit costs at the vendor, as agreed."""
    cost_currency: str | None = None
    components: tuple[str, ...] = ()
    """The products that this one is a bundle of."""


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
    product: str = ""


@dataclass(frozen=True, slots=True)
class Observation:
    """One effective instant of a gauge, or one bucket: then it holds only until ``until``."""

    at: datetime
    quantity: Decimal
    record: Source
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """One meter of the group in one span (:func:`shared.reconciliation.spans.needed` says which are asked for).

    Counter: ``total`` is the sum of the slots in ``[start, end)`` of the span. Peak: their maximum. Gauge:
    ``observations`` are those of the span in order of time, led by the last one before it if there is one; a gauge is
    given once, over the hull of all spans.
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
    product: str = ""
    """The product that the sku is mapped to."""
    span: Period | None = None
    """Local dates of the client that the figures are of; ``None``: the group's period."""
    events: tuple[Observation, ...] = ()
    """Each event by itself, in order of time: only where terms price single transactions."""


@dataclass(frozen=True, slots=True)
class VendorLine:
    """A charge of a vendor for an account and a sku that are mapped to the group; of each bill the newest version.

    Its home is the client's month in which what it charges begins (:func:`shared.reconciliation.views.charged_in`).
    """

    source: str
    issuer: str
    bill: str
    version: int
    line: str
    account: str
    sku: str
    product: str
    share: Decimal
    """Share of the account's and the sku's mapping that this group gets: of quantity and cost."""
    category: str | None
    """FOCUS: ``Usage``, ``Purchase``, ``Tax``, ``Credit``, ``Adjustment``."""
    correction: bool
    charge_from: datetime
    charge_to: datetime
    quantity: Decimal | None
    unit: str | None
    unit_price: Decimal | None
    billed_cost: Decimal
    currency: str
    record: Source
    arrived: bool = True
    """Whether its bill's header is here, and all its lines."""


@dataclass(frozen=True, slots=True)
class TimeEntry:
    """One piece of work for the client, of the group's product."""

    source: str
    entry: str
    worked_on: date
    minutes: Decimal
    billable: bool
    approved: bool
    contract: str | None
    role: str | None
    work_type: str | None
    ticket: str | None
    when: tuple[str, ...]
    invoice: str | None
    product: str
    record: Source


@dataclass(frozen=True, slots=True)
class ClosedGroup:
    """What the group came to when its period was closed (``statement.group_closed``)."""

    currency: str | None
    expected: Decimal | None
    billed: Decimal | None
    quantity: Decimal | None
    records: int
    record: Source


@dataclass(frozen=True, slots=True)
class MissedFeed:
    """A feed of one of the group's sources that is silent: no run since the one that was missed."""

    source: str
    feed: str
    due_at: datetime
    last_at: datetime | None
    record: Source


@dataclass(frozen=True, slots=True)
class DocumentFacts:
    """A posted document of the client with its figures as printed, and all its lines."""

    source: str
    invoice: str
    version: int
    kind: Literal["invoice", "credit_note"]
    issued_on: date
    period: Period
    currency: str
    corrects: str | None
    total: Decimal | None
    tax_total: Decimal | None
    gross_total: Decimal | None
    lines: tuple[InvoiceLineFacts, ...]
    record: Source


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
    product: str = ""
    corrects: str | None = None
    """The invoice that its credit note corrects."""
    tax: Decimal | None = None
    tax_pct: Decimal | None = None
    discount: bool = False
    exchange_rate: Decimal | None = None
    """Of its document: what one unit of ``exchange_from`` came to in ``currency``."""
    exchange_from: str | None = None


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
class GroupInputs:
    """Everything that the verdict on one group is a function of: the products of one client that touch each other
    (a product, or a bundle and its parts), in one calendar month.

    What belongs to a month: each billing part of a contract line that *starts* in it, each invoice line whose service
    period starts in it, and each invoice line that meets it.
    """

    client: Client
    product: Product
    """Whose id is the group's: the least of them."""
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
    others: tuple[Product, ...] = ()
    """The other products of the group, by id."""
    vendor_lines: tuple[VendorLine, ...] = ()
    """Vendors' charges whose home is the month."""
    entries: tuple[TimeEntry, ...] = ()
    """Time entries of the products: of the month, and as far back as a prepaid block of the lines reaches."""
    closed: ClosedGroup | None = None
    missed: tuple[MissedFeed, ...] = ()
    """Silent feeds of ``feed_sources``."""


@dataclass(frozen=True, slots=True)
class ScopeTotal:
    """What one contract line of a group comes to: what a commitment over several lines adds up."""

    source: str
    contract: str
    line: str
    product: str
    total: Decimal
    currency: str


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
    scope: tuple[ScopeTotal, ...] = ()
    """Its contract lines, for commitments that cover several."""


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
    commitments: tuple[LineVersion, ...] = ()
    """Every version of the lines whose terms have a ``scope``: they are rated here and in no group."""
    commitment_lines: tuple[InvoiceLineFacts, ...] = ()
    """Posted lines of the products of these lines whose service period meets the month."""
    documents: tuple[DocumentFacts, ...] = ()
    """Posted documents whose period starts in the month."""


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
