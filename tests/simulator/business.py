"""What the synthetic MSP deals in: products, the services of clients, and what is true of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal

TENANT_ZONE = "America/New_York"
_ZONES = ("America/New_York", "Europe/London", "Europe/Berlin")
PSA = "connectwise"
CURRENCY = "USD"
OBSERVED_AT = timedelta(hours=14)
"""After midnight UTC: the same local date in each of the zones above."""

_FIRST = (
    *("Northwind", "Aster", "Cobalt", "Juniper", "Harbor", "Summit", "Granite", "Meadow"),
    *("Willow", "Copper", "Falcon", "Lantern", "Orchid", "Pioneer", "Quarry"),
)
_SECOND = (
    *("Dental", "Legal", "Foods", "Logistics", "Clinic", "Partners", "Foundry"),
    *("Studio", "Bakery", "Architects", "Optics", "Trading", "School", "Marine"),
)


@dataclass(frozen=True)
class Product:
    id: str
    name: str
    source: str | None
    """The vendor that meters it; None for the MSP's own flat service."""
    sku: str
    kind: str
    unit: str
    price: Decimal
    """Usual price of a unit, or the flat amount."""
    cost: Decimal
    included: Decimal = Decimal(0)
    list_price: Decimal | None = None


PRODUCTS = {
    product.id: product
    for product in (
        Product(
            "edr",
            "Endpoint protection",
            "huntress",
            "hnt-edr",
            "gauge",
            "agent",
            Decimal("4.20"),
            Decimal("2.10"),
            list_price=Decimal("5.00"),
        ),
        Product(
            "backup",
            "Cloud backup",
            "acronis",
            "acr-backup-gib",
            "gauge",
            "GiB",
            Decimal("0.18"),
            Decimal("0.02"),
            included=Decimal(100),
            list_price=Decimal("0.25"),
        ),
        Product(
            "m365",
            "Microsoft 365 seat",
            "pax8",
            "px8-m365-bp",
            "gauge",
            "seat",
            Decimal("22.00"),
            Decimal("11.00"),
            list_price=Decimal("24.00"),
        ),
        Product(
            "voice",
            "Voice minutes",
            "twilio",
            "twl-voice-min",
            "counter",
            "minute",
            Decimal("0.035"),
            Decimal("0.0085"),
            included=Decimal(500),
            list_price=Decimal("0.05"),
        ),
        Product(
            "archive",
            "Mail archive",
            "acronis",
            "acr-mail-archive",
            "gauge",
            "mailbox",
            Decimal("2.50"),
            Decimal("0.90"),
            list_price=Decimal("3.10"),
        ),
        Product(
            "soc", "Managed detection", "huntress", "hnt-soc", "gauge", "identity", Decimal("3.30"), Decimal("1.40")
        ),
        Product(
            "sms",
            "Text messages",
            "twilio",
            "twl-sms",
            "counter",
            "message",
            Decimal("0.50"),
            Decimal("0.20"),
            list_price=Decimal("0.60"),
        ),
        Product("helpdesk", "Helpdesk", None, "", "flat", "month", Decimal("350.00"), Decimal(0)),
        Product("labour", "Engineer hours", None, "", "hours", "hour", Decimal("120.00"), Decimal(0)),
        Product(
            "vault",
            "Offsite vault",
            "veeam",
            "vee-vault",
            "gauge",
            "TiB",
            Decimal("9.00"),
            Decimal("4.00"),
            list_price=Decimal("11.00"),
        ),
    )
}
SOURCES = ("acronis", "huntress", "pax8", "twilio")
"""The vendors that meter; ``veeam`` is one that falls silent, each time under a source of its own."""


def cents(value: Decimal) -> Decimal:
    return value.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)


def text(value: Decimal) -> str:
    return format(value, "f")


def utc(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


@dataclass(frozen=True)
class Month:
    start: date
    end: date

    def days(self) -> list[date]:
        return [self.start + timedelta(days=n) for n in range((self.end - self.start).days)]


def month_before(day: date) -> Month:
    end = day.replace(day=1)
    return Month((end - timedelta(days=1)).replace(day=1), end)


def month_of(day: date) -> Month:
    start = day.replace(day=1)
    return Month(start, (start + timedelta(days=32)).replace(day=1))


@dataclass(frozen=True)
class Truth:
    """One discrepancy that must be found, and nothing else may be."""

    code: str
    direction: str
    client: str | None = None
    product: str | None = None
    source: str | None = None
    account: str | None = None
    sku: str | None = None
    period: Month | None = None
    amount: Decimal | None = None


@dataclass(frozen=True)
class Posted:
    """A line of the closed month's invoice as printed."""

    quantity: Decimal
    price: Decimal
    amount: Decimal | None = None
    """None: quantity x price."""
    tax_pct: Decimal | None = None

    @property
    def net(self) -> Decimal:
        return cents(self.quantity * self.price) if self.amount is None else self.amount


@dataclass(frozen=True)
class Work:
    """One time entry."""

    entry: str
    worked_on: date
    minutes: Decimal
    approved: bool = True
    work_type: str = ""


@dataclass
class Service:
    """One product of one client: what is delivered, agreed and billed."""

    product: Product
    price: Decimal
    contracted: bool = True
    closed: dict[date, Decimal] = field(default_factory=dict)
    """Level (gauge) or amount (counter) of each day of the closed month."""
    running: dict[date, Decimal] = field(default_factory=dict)
    """The same of the running month, planned for all of it."""
    invoiced: Decimal | None = None
    """Quantity on the closed month's invoice; None: no line."""
    invoice_price: Decimal | None = None
    recurring: Decimal | None = None
    recurring_price: Decimal | None = None
    terms: dict[str, str] = field(default_factory=dict)
    """Further cells of its contract row."""
    since: date | None = None
    until: date | None = None
    posted: list[Posted] | None = None
    """The invoice's lines, where they are not the one of ``invoiced`` and ``invoice_price``."""
    charged: tuple[Decimal, Decimal] | None = None
    """(quantity, cost of one) on the vendor's bill, where they are not what was used at the agreed cost."""
    category: str = ""
    """Of the vendor's charge."""
    uncharged: bool = False
    """The vendor's bill does not mention it."""
    work: list[Work] = field(default_factory=list)

    def measured(self, days: dict[date, Decimal]) -> Decimal:
        if not days:
            return Decimal(0)
        return sum(days.values(), Decimal(0)) if self.product.kind == "counter" else max(days.values())

    def billable(self, days: dict[date, Decimal]) -> Decimal:
        included = self.product.included if self.contracted else Decimal(0)
        return max(self.measured(days) - included, Decimal(0))

    def expected(self, days: dict[date, Decimal]) -> Decimal:
        if self.product.kind == "flat":
            return self.price
        return cents(self.billable(days) * self.price)

    def lines(self) -> list[Posted]:
        """The lines of the closed month's invoice that bill it."""
        if self.posted is not None:
            return self.posted
        if self.invoiced is None or self.invoice_price is None:
            return []
        return [Posted(self.invoiced, self.invoice_price)]


@dataclass
class Client:
    number: int
    id: str
    name: str
    zone: str
    kind: str | None
    services: list[Service]
    extra: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    truths: list[Truth] = field(default_factory=list)
    invoice: dict[str, str] = field(default_factory=dict)
    """Further cells of its invoice: what the header states."""
    late: list[tuple[Product, date, Decimal]] = field(default_factory=list)
    """(product, day, quantity) of usage that comes, or comes again, after the closed month is closed for the client."""
    silent: str | None = None
    """A source of its own that falls silent."""

    def account(self, source: str) -> str:
        return f"{source[:3]}-{10_000 + self.number}"
