"""The synthetic MSP: clients, products, contracts, invoices, vendor bills and usage, from a seed, with planted errors.

Every figure of the truth is computed here by its own arithmetic and never by the product's engine. A client has at most
one planted error, so that what should be found can be said exactly. The tenant's zone is the westernmost of all, so
that a month which is over for the tenant is over for each client.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import cached_property
from zoneinfo import ZoneInfo

TENANT_ZONE = "America/New_York"
_ZONES = ("America/New_York", "Europe/London", "Europe/Berlin")
PSA = "connectwise"
CURRENCY = "USD"
OBSERVED_AT = timedelta(hours=14)
"""After midnight UTC: the same local date in each of the zones above."""

KINDS = (
    "qty_under_invoice",
    "qty_over_invoice",
    "missing_line",
    "phantom_without_contract",
    "price_high_invoice",
    "unbilled_client",
    "unmapped_client",
    "unmapped_product",
    "qty_under_agreement",
    "unbilled_service",
    "price_low_invoice",
    "phantom_zero_usage",
    "price_high_agreement",
    "unbilled_service_without_price",
)
"""Planted errors. Every second client has one, in turn."""

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
            Decimal("0.07"),
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
            Decimal("18.70"),
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
        Product("helpdesk", "Helpdesk", None, "", "flat", "month", Decimal("350.00"), Decimal(0)),
    )
}
SOURCES = ("acronis", "huntress", "pax8", "twilio")


def cents(value: Decimal) -> Decimal:
    return value.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)


def text(value: Decimal) -> str:
    return format(value, "f")


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

    def account(self, source: str) -> str:
        return f"{source[:3]}-{10_000 + self.number}"


class Msp:
    """The whole MSP at ``now``: a closed month with invoices, and the running one with agreements only."""

    def __init__(self, seed: int, clients: int, now: datetime, *, tenant: str = "harbor-msp") -> None:
        self.seed, self.count, self.now, self.tenant = seed, clients, now, tenant
        today = now.astimezone(ZoneInfo(TENANT_ZONE)).date()
        self.running, self.closed = month_of(today), month_before(today)

    # --- clients -----------------------------------------------------------------------------------------------
    @cached_property
    def clients(self) -> list[Client]:
        return [self._client(number) for number in range(self.count)]

    def _client(self, number: int) -> Client:
        rng = random.Random(f"{self.seed}/{number}")
        name = f"{_FIRST[number % len(_FIRST)]} {_SECOND[number // len(_FIRST) % len(_SECOND)]}"
        if number >= len(_FIRST) * len(_SECOND):
            name += f" {number // (len(_FIRST) * len(_SECOND)) + 1}"
        kind = KINDS[number // 2 % len(KINDS)] if number % 2 == 0 else None
        chosen = ["edr", *rng.sample(["backup", "m365", "voice"], rng.randint(1, 3)), "helpdesk"]
        client = Client(
            number,
            name.lower().replace(" ", "-"),
            name,
            _ZONES[number % len(_ZONES)],
            kind,
            [self._service(PRODUCTS[product], rng) for product in chosen],
        )
        if kind is not None:
            getattr(self, f"_plant_{kind}")(client, rng)
        elif number % 5 == 1:
            # Within both tolerances: must be absorbed, not reported.
            service = client.services[0]
            service.invoice_price = service.price + Decimal("0.01")
        return client

    def _service(self, product: Product, rng: random.Random, *, contracted: bool = True) -> Service:
        price = product.price + Decimal(rng.randint(-2, 4)) * product.price.scaleb(-1).quantize(Decimal("0.001"))
        service = Service(product, price, contracted)
        if product.kind == "flat":
            service.price = product.price
            service.invoiced, service.invoice_price = Decimal(1), product.price
            service.recurring, service.recurring_price = Decimal(1), product.price
            return service
        service.closed = self._levels(product, rng, self.closed)
        service.running = self._levels(product, rng, self.running, top=max(service.closed.values()))
        service.invoiced, service.invoice_price = service.billable(service.closed), price
        service.recurring, service.recurring_price = service.billable(service.running), price
        return service

    def _levels(
        self, product: Product, rng: random.Random, month: Month, top: Decimal | None = None
    ) -> dict[date, Decimal]:
        """Each day's figure. A gauge reaches ``top`` on the first day and stays at most 2 below it afterwards."""
        days = month.days()
        if product.kind == "counter":
            return {day: Decimal(rng.randint(400, 9_000)).scaleb(-1) for day in days}
        if top is None:
            top = (
                Decimal(rng.randint(15_000, 90_000)).scaleb(-2)
                if product.unit == "GiB"
                else Decimal(rng.randint(6, 60))
            )
        return {day: top if n == 0 else top - rng.randint(0, 2) for n, day in enumerate(days)}

    def seen(self, days: dict[date, Decimal]) -> dict[date, Decimal]:
        """The days whose observation has already been made."""
        return {day: value for day, value in days.items() if self.observed(day) <= self.now}

    @staticmethod
    def observed(day: date) -> datetime:
        return datetime(day.year, day.month, day.day, tzinfo=UTC) + OBSERVED_AT

    # --- planted errors ----------------------------------------------------------------------------------------
    def _metered(self, client: Client, rng: random.Random) -> Service:
        return rng.choice([s for s in client.services if s.product.kind == "gauge"])

    def _plant_qty_under_invoice(self, client: Client, rng: random.Random) -> None:
        service = self._metered(client, rng)
        more = Decimal(rng.randint(3, 20))
        days = list(service.closed)
        top = max(service.closed.values()) + more
        for day in days[10:14]:  # back to normal well before the month ends: a gauge carries over
            service.closed[day] = top
        amount = cents((service.billable(service.closed) - service.invoiced) * service.price)
        client.truths.append(self._truth("QTY_UNDER", "client_owes_us", client, service, self.closed, amount))

    def _plant_qty_over_invoice(self, client: Client, rng: random.Random) -> None:
        service = self._metered(client, rng)
        more = Decimal(rng.randint(2, 9))
        service.invoiced += more
        client.truths.append(
            self._truth("QTY_OVER", "we_owe_client", client, service, self.closed, cents(more * service.price))
        )

    def _plant_missing_line(self, client: Client, rng: random.Random) -> None:
        service = self._metered(client, rng)
        service.invoiced = None
        amount = service.expected(service.closed)
        client.truths.append(self._truth("MISSING_LINE", "client_owes_us", client, service, self.closed, amount))

    def _plant_phantom_without_contract(self, client: Client, rng: random.Random) -> None:
        service = Service(PRODUCTS["archive"], PRODUCTS["archive"].price, contracted=False)
        service.invoiced, service.invoice_price = Decimal(rng.randint(3, 12)), service.price
        client.services.append(service)
        amount = cents(service.invoiced * service.price)
        client.truths.append(self._truth("PHANTOM_LINE", "we_owe_client", client, service, self.closed, amount))

    def _plant_phantom_zero_usage(self, client: Client, rng: random.Random) -> None:
        service = Service(PRODUCTS["archive"], PRODUCTS["archive"].price)
        service.closed = dict.fromkeys(self.closed.days(), Decimal(0))
        service.running = dict.fromkeys(self.running.days(), Decimal(0))
        service.invoiced, service.invoice_price = Decimal(rng.randint(3, 12)), service.price
        service.recurring, service.recurring_price = Decimal(0), service.price
        client.services.append(service)
        amount = cents(service.invoiced * service.price)
        client.truths.append(self._truth("PHANTOM_LINE", "we_owe_client", client, service, self.closed, amount))

    def _plant_price_high_invoice(self, client: Client, rng: random.Random) -> None:
        self._misprice(client, rng, Decimal("1.10"))

    def _plant_price_low_invoice(self, client: Client, rng: random.Random) -> None:
        self._misprice(client, rng, Decimal("0.85"))

    def _misprice(self, client: Client, rng: random.Random, factor: Decimal) -> None:
        service = self._metered(client, rng)
        service.invoice_price = (service.price * factor).quantize(Decimal("0.001"))
        if abs(service.invoice_price - service.price) <= Decimal("0.01"):
            service.invoice_price = service.price + (Decimal("0.03") if factor > 1 else Decimal("-0.03"))
        billed, due = cents(service.invoiced * service.invoice_price), service.expected(service.closed)
        direction = "we_owe_client" if billed > due else "client_owes_us"
        client.truths.append(self._truth("PRICE_MISMATCH", direction, client, service, self.closed, abs(billed - due)))

    def _plant_price_high_agreement(self, client: Client, rng: random.Random) -> None:
        service = client.services[0]  # endpoint protection: seats from the first day on
        service.recurring_price = service.price + Decimal("0.75")
        amount = cents(service.recurring * service.recurring_price) - cents(service.recurring * service.price)
        client.truths.append(self._truth("PRICE_MISMATCH", "we_owe_client", client, service, self.running, amount))

    def _plant_unbilled_client(self, client: Client, rng: random.Random) -> None:
        # Until the invoice is overdue, the closed month is held against the agreement, which must agree with it: true
        # of gauges (both months have one top), not of counters.
        client.services = [service for service in client.services if service.product.kind != "counter"]
        for service in client.services:
            service.invoiced = None
        amount = sum((service.expected(service.closed) for service in client.services), Decimal(0))
        client.truths.append(
            Truth("UNBILLED_CLIENT", "client_owes_us", client=client.id, period=self.closed, amount=amount)
        )

    def _plant_unmapped_client(self, client: Client, rng: random.Random) -> None:
        product, account = PRODUCTS["edr"], f"hun-{90_000 + client.number}"
        client.extra["unmapped_client"] = (product.source or "", account, product.sku)
        amount = cents(Decimal(7) * product.cost)
        client.truths.append(
            Truth("UNMAPPED_CLIENT", "client_owes_us", source=product.source, account=account, amount=amount)
        )

    def _plant_unmapped_product(self, client: Client, rng: random.Random) -> None:
        sku = f"hnt-pilot-{client.number}"
        client.extra["unmapped_product"] = ("huntress", client.account("huntress"), sku)
        amount = cents(Decimal(7) * PRODUCTS["edr"].cost)
        client.truths.append(Truth("UNMAPPED_PRODUCT", "client_owes_us", source="huntress", sku=sku, amount=amount))

    def _plant_qty_under_agreement(self, client: Client, rng: random.Random) -> None:
        service = self._metered(client, rng)
        more = Decimal(rng.randint(3, 20))
        seen = list(self.seen(service.running))
        if not seen:
            return  # the month's first observation is still to come
        top = max(service.running.values()) + more
        for day in service.running:
            if day >= seen[len(seen) // 2]:
                service.running[day] = top
        over = service.billable(self.seen(service.running)) - service.recurring
        client.truths.append(
            self._truth("QTY_UNDER", "client_owes_us", client, service, self.running, cents(over * service.price))
        )

    def _plant_unbilled_service(self, client: Client, rng: random.Random) -> None:
        self._unbilled(client, rng, PRODUCTS["archive"])

    def _plant_unbilled_service_without_price(self, client: Client, rng: random.Random) -> None:
        self._unbilled(client, rng, PRODUCTS["soc"])

    def _unbilled(self, client: Client, rng: random.Random, product: Product) -> None:
        service = Service(product, product.list_price or Decimal(0), contracted=False)
        level = Decimal(rng.randint(3, 15))
        service.running = dict.fromkeys(self.running.days(), level)
        client.services.append(service)
        if not self.seen(service.running):
            return
        amount = cents(level * product.list_price) if product.list_price else None
        client.truths.append(self._truth("UNBILLED_SERVICE", "client_owes_us", client, service, self.running, amount))

    @staticmethod
    def _truth(
        code: str, direction: str, client: Client, service: Service, period: Month, amount: Decimal | None
    ) -> Truth:
        return Truth(code, direction, client=client.id, product=service.product.id, period=period, amount=amount)

    @cached_property
    def truths(self) -> list[Truth]:
        return [truth for client in self.clients for truth in client.truths]

    # --- what the PSA sends, as rows of our own CSV formats ----------------------------------------------------
    def client_rows(self) -> Iterator[dict[str, str]]:
        for client in self.clients:
            yield {
                "client": client.id,
                "name": client.name,
                "time_zone": client.zone,
                "bill_cycle_day": "1",
                "currency": CURRENCY,
            }

    def product_rows(self) -> Iterator[dict[str, str]]:
        for product in PRODUCTS.values():
            yield {
                "product": product.id,
                "name": product.name,
                "unit": product.unit,
                "list_price": text(product.list_price) if product.list_price else "",
                "currency": CURRENCY if product.list_price else "",
            }

    def mapping_rows(self) -> Iterator[dict[str, str]]:
        for product in PRODUCTS.values():
            if product.source:
                yield {"kind": "sku", "source": product.source, "key": product.sku, "target": product.id}
        for client in self.clients:
            for source in SOURCES:
                yield {"kind": "account", "source": source, "key": client.account(source), "target": client.id}

    def contract_rows(self) -> Iterator[dict[str, str]]:
        start = month_before(self.closed.start).start
        for client in self.clients:
            for number, service in enumerate((s for s in client.services if s.contracted), 1):
                flat = service.product.kind == "flat"
                yield {
                    "contract": f"C-{1000 + client.number}",
                    "line": str(number),
                    "client": client.id,
                    "product": service.product.id,
                    "effective_from": start.isoformat(),
                    "currency": CURRENCY,
                    "price_model": "flat" if flat else "unit",
                    "price": text(service.price),
                    "included": "0" if flat else text(service.product.included),
                    "recurring_quantity": text(service.recurring),
                    "recurring_price": text(service.recurring_price),
                }

    def invoice_rows(self) -> Iterator[dict[str, str]]:
        for client in self.clients:
            lines = [s for s in client.services if s.invoiced is not None]
            for number, service in enumerate(lines, 1):
                yield {
                    "invoice": f"INV-{20_000 + client.number}",
                    "client": client.id,
                    "issued_on": self.closed.end.isoformat(),
                    "period_from": self.closed.start.isoformat(),
                    "period_to": self.closed.end.isoformat(),
                    "currency": CURRENCY,
                    "line": str(number),
                    "product": service.product.id,
                    "quantity": text(service.invoiced),
                    "unit_price": text(service.invoice_price),
                    "amount": text(cents(service.invoiced * service.invoice_price)),
                }

    # --- what the vendors send ---------------------------------------------------------------------------------
    def vendor_bill_rows(self, source: str) -> Iterator[dict[str, str]]:
        """The vendor's bill of the closed month: only what nobody is mapped to has a figure that the truth names."""
        number = 0
        for client in self.clients:
            for account, sku, quantity, cost in self._charges(client, source):
                number += 1
                yield {
                    "issuer": source,
                    "bill": f"{source}-{self.closed.start:%Y-%m}",
                    "line": str(number),
                    "period_from": self.closed.start.isoformat(),
                    "period_to": self.closed.end.isoformat(),
                    "account": account,
                    "account_name": client.name,
                    "sku": sku,
                    "quantity": text(quantity),
                    "unit_price": text(cost),
                    "billed_cost": text(cents(quantity * cost)),
                    "currency": CURRENCY,
                }

    def _charges(self, client: Client, source: str) -> Iterator[tuple[str, str, Decimal, Decimal]]:
        for service in client.services:
            if service.product.source == source and service.closed:
                yield (
                    client.account(source),
                    service.product.sku,
                    service.measured(service.closed),
                    service.product.cost,
                )
        for extra_source, account, sku in client.extra.values():
            if extra_source == source:
                yield account, sku, Decimal(7), PRODUCTS["edr"].cost

    def usage(
        self, source: str, *, repeat: float = 0.02, late: float = 0.03, restate: float = 0.01
    ) -> Iterator[dict[str, object]]:
        """CloudEvents of one vendor, day by day, as far as ``now``: with repeats, late arrivals, reordering, and
        restatements (a first assertion that was too low, and its correction with a later ``assertedat``)."""
        rng = random.Random(f"{self.seed}/usage/{source}")
        held: list[dict[str, object]] = []
        for day in self.closed.days() + self.running.days():
            if self.observed(day) > self.now:
                break
            batch: list[dict[str, object]] = []
            for client in self.clients:
                for event in self._events(client, source, day):
                    if rng.random() < restate:
                        batch.append(self._too_low(event))
                    if rng.random() < late:
                        held.append(event)
                        continue
                    batch.append(event)
                    if rng.random() < repeat:
                        batch.append(event)
            rng.shuffle(batch)
            yield from batch
            if len(held) > 10_000:
                yield from held
                held.clear()
        rng.shuffle(held)
        yield from held

    def _events(self, client: Client, source: str, day: date) -> Iterator[dict[str, object]]:
        for service in client.services:
            if service.product.source == source:
                days = service.closed if day < self.closed.end else service.running
                if day in days:
                    yield self._event(
                        client, service.product, client.account(source), service.product.sku, day, days[day]
                    )
        for extra_source, account, sku in client.extra.values():
            if extra_source == source:
                yield self._event(client, PRODUCTS["edr"], account, sku, day, Decimal(7))

    def _event(
        self, client: Client, product: Product, account: str, sku: str, day: date, value: Decimal
    ) -> dict[str, object]:
        at = self.observed(day)
        data: dict[str, object] = {
            "account": account,
            "account_name": client.name,
            "sku": sku,
            "sku_name": product.name,
            "kind": product.kind,
            "unit": product.unit,
            "quantity": text(value),
        }
        if product.kind == "counter":
            data["until"] = (at + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
        return {
            "specversion": "1.0",
            "id": f"{account}/{sku}/{day.isoformat()}",
            "source": product.source,
            "type": "usage.metered.v1",
            "time": at.isoformat().replace("+00:00", "Z"),
            "assertedat": (at + timedelta(minutes=30)).isoformat().replace("+00:00", "Z"),
            "data": data,
        }

    def _too_low(self, event: dict[str, object]) -> dict[str, object]:
        data = dict(event["data"])  # type: ignore[call-overload]
        data["quantity"] = text((Decimal(data["quantity"]) / 2).quantize(Decimal("0.01")))
        first = datetime.fromisoformat(str(event["time"])) + timedelta(minutes=5)
        return {
            **event,
            "id": f"{event['id']}@first",
            "assertedat": first.isoformat().replace("+00:00", "Z"),
            "data": data,
        }

    def broken_usage(self, source: str) -> list[dict[str, object]]:
        """A few records that must be quarantined, each with its field named."""
        client = next(c for c in self.clients if any(s.product.source == source for s in c.services))
        service = next(s for s in client.services if s.product.source == source)
        good = self._event(
            client, service.product, client.account(source), service.product.sku, self.closed.start, Decimal(1)
        )
        data = good["data"]
        assert isinstance(data, dict)
        return [
            {**good, "id": "bad/quantity", "data": {**data, "quantity": "n/a"}},
            {**good, "id": "bad/float", "data": {**data, "quantity": 1.5}},
            {**good, "id": "bad/account", "data": {**data, "account": ""}},
        ]

    def covers(self) -> tuple[datetime, datetime]:
        """The span that every vendor declares complete: the closed month, in the widest of the clients' zones."""
        starts = [
            datetime(self.closed.start.year, self.closed.start.month, 1, tzinfo=ZoneInfo(zone)) for zone in _ZONES
        ]
        ends = [datetime(self.closed.end.year, self.closed.end.month, 1, tzinfo=ZoneInfo(zone)) for zone in _ZONES]
        return min(s.astimezone(UTC) for s in starts), max(e.astimezone(UTC) for e in ends)
