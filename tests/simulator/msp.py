"""The synthetic MSP: clients, products, contracts, invoices, vendor bills and usage, from a seed, with planted errors.

Every figure of the truth is computed here by its own arithmetic and never by the product's engine. A client has at most
one planted error (errors.py), so that what should be found can be said exactly. The tenant's zone is the westernmost of
all, so that a month which is over for the tenant is over for each client.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from zoneinfo import ZoneInfo

from tests.simulator import errors
from tests.simulator.business import (
    _FIRST,
    _SECOND,
    _ZONES,
    CURRENCY,
    OBSERVED_AT,
    PRODUCTS,
    SOURCES,
    TENANT_ZONE,
    Client,
    Month,
    Product,
    Service,
    Truth,
    cents,
    month_before,
    month_of,
    text,
    utc,
)


class Msp:
    """The whole MSP at ``now``: a closed month with invoices, and the running one with agreements only."""

    def __init__(self, seed: int, clients: int, now: datetime, *, tenant: str = "harbor-msp", every: int = 1) -> None:
        """``every``: the vendors observe each so many days."""
        self.seed, self.count, self.now, self.tenant, self.every = seed, clients, now, tenant, every
        self.today = now.astimezone(ZoneInfo(TENANT_ZONE)).date()
        self.running, self.closed = month_of(self.today), month_before(self.today)
        self.settings = {"invoice.grace_days": "0", "time.stale_days": "20"}

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Every source of usage, those that fall silent too."""
        return (*SOURCES, *(client.silent for client in self.clients if client.silent))

    # --- clients -----------------------------------------------------------------------------------------------
    @cached_property
    def clients(self) -> list[Client]:
        return [self._client(number) for number in range(self.count)]

    def _client(self, number: int) -> Client:
        rng = random.Random(f"{self.seed}/{number}")
        name = f"{_FIRST[number % len(_FIRST)]} {_SECOND[number // len(_FIRST) % len(_SECOND)]}"
        if number >= len(_FIRST) * len(_SECOND):
            name += f" {number // (len(_FIRST) * len(_SECOND)) + 1}"
        kind = errors.kind_of(number)
        chosen = ["edr", *rng.sample(["backup", "m365", "voice"], rng.randint(1, 3)), "helpdesk"]
        client = Client(
            number,
            name.lower().replace(" ", "-"),
            name,
            _ZONES[number % len(_ZONES)],
            kind,
            [self.service(PRODUCTS[product], rng) for product in chosen],
        )
        if kind is not None:
            errors.plant(kind, self, client, rng)
        else:
            # Within both tolerances: must be absorbed, not reported.
            service = client.services[0]
            service.invoice_price = service.price + Decimal("0.01")
            service.charged = (service.measured(service.closed), service.product.cost + Decimal("0.01"))
        return client

    def service(self, product: Product, rng: random.Random, *, contracted: bool = True) -> Service:
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
        days = self.days(month)
        if product.kind == "counter":
            return {day: self.every * Decimal(rng.randint(400, 9_000)).scaleb(-1) for day in days}
        if top is None:
            top = (
                Decimal(rng.randint(15_000, 90_000)).scaleb(-2)
                if product.unit == "GiB"
                else Decimal(rng.randint(6, 60))
            )
        return {day: top if n == 0 else top - rng.randint(0, 2) for n, day in enumerate(days)}

    def days(self, month: Month) -> list[date]:
        """The days of a month on which something is observed."""
        return month.days()[:: self.every]

    def seen(self, days: dict[date, Decimal]) -> dict[date, Decimal]:
        """The days whose observation has already been made."""
        return {day: value for day, value in days.items() if self.observed(day) <= self.now}

    @staticmethod
    def observed(day: date) -> datetime:
        return datetime(day.year, day.month, day.day, tzinfo=UTC) + OBSERVED_AT

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
                "unit_cost": text(product.cost) if product.cost else "",
                "cost_currency": CURRENCY if product.cost else "",
            }

    def mapping_rows(self) -> Iterator[dict[str, str]]:
        for product in PRODUCTS.values():
            if product.source:
                yield {"kind": "sku", "source": product.source, "key": product.sku, "target": product.id}
        for client in self.clients:
            for source in SOURCES:
                yield {"kind": "account", "source": source, "key": client.account(source), "target": client.id}
            if client.silent:
                product = PRODUCTS["vault"]
                yield {"kind": "account", "source": client.silent, "key": client.account("vee"), "target": client.id}
                yield {"kind": "sku", "source": client.silent, "key": product.sku, "target": product.id}

    def contract_rows(self) -> Iterator[dict[str, str]]:
        start = month_before(self.closed.start).start
        for client in self.clients:
            for number, service in enumerate((s for s in client.services if s.contracted), 1):
                flat, kind = service.product.kind == "flat", service.product.kind
                yield {
                    "contract": f"C-{1000 + client.number}",
                    "line": str(number),
                    "client": client.id,
                    "product": service.product.id,
                    "effective_from": (service.since or start).isoformat(),
                    "effective_to": service.until.isoformat() if service.until else "",
                    "currency": CURRENCY,
                    "price_model": "flat" if flat else "unit",
                    "price": text(service.price),
                    "included": "0" if flat else text(service.product.included),
                    "statistic": "max" if kind == "gauge" else "",
                    "recurring_quantity": "" if service.recurring is None else text(service.recurring),
                    "recurring_price": "" if service.recurring_price is None else text(service.recurring_price),
                    **service.terms,
                }

    def invoice_rows(self) -> Iterator[dict[str, str]]:
        for client in self.clients:
            lines = [(service.product, line) for service in client.services for line in service.lines()]
            for number, (product, line) in enumerate(lines, 1):
                yield {
                    "invoice": f"INV-{20_000 + client.number}",
                    "client": client.id,
                    "issued_on": self.closed.end.isoformat(),
                    "period_from": self.closed.start.isoformat(),
                    "period_to": self.closed.end.isoformat(),
                    "currency": CURRENCY,
                    "line": str(number),
                    "product": product.id,
                    "quantity": text(line.quantity),
                    "unit_price": text(line.price),
                    "amount": text(line.net),
                    "tax_percent": "" if line.tax_pct is None else text(line.tax_pct),
                    **client.invoice,
                }

    def time_rows(self) -> Iterator[dict[str, str]]:
        for client in self.clients:
            for service in client.services:
                for work in service.work:
                    yield {
                        "entry": work.entry,
                        "client": client.id,
                        "worked_on": work.worked_on.isoformat(),
                        "minutes": text(work.minutes),
                        "billable": "true",
                        "approved": "true" if work.approved else "false",
                        "product": service.product.id,
                        "work_type": work.work_type,
                    }

    # --- what comes late ---------------------------------------------------------------------------------------
    @cached_property
    def closings(self) -> list[Client]:
        """The clients whose closed month is closed before something of it comes late."""
        return [client for client in self.clients if client.late]

    def late_usage(self) -> Iterator[dict[str, object]]:
        for client in self.closings:
            for product, day, quantity in client.late:
                event = self._event(client, product, client.account(product.source or ""), product.sku, day, quantity)
                yield {**event, "id": f"{event['id']}@late", "assertedat": utc(self.now)}

    # --- what the vendors send ---------------------------------------------------------------------------------
    def vendor_bill_rows(self, source: str) -> Iterator[dict[str, str]]:
        """The vendor's bill of the closed month: only what nobody is mapped to has a figure that the truth names."""
        number = 0
        for client in self.clients:
            for account, sku, quantity, cost, category in self._charges(client, source):
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
                    "category": category,
                }

    def _charges(self, client: Client, source: str) -> Iterator[tuple[str, str, Decimal, Decimal, str]]:
        for service in client.services:
            if service.product.source == source and service.closed and not service.uncharged:
                quantity, cost = service.charged or (service.measured(service.closed), service.product.cost)
                yield client.account(source), service.product.sku, quantity, cost, service.category
        for extra_source, account, sku in client.extra.values():
            if extra_source == source:
                yield account, sku, Decimal(7), PRODUCTS["edr"].cost, ""

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
            if (client.silent if service.product.id == "vault" else service.product.source) == source:
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
            data["until"] = utc(at + timedelta(hours=1))
        return {
            "specversion": "1.0",
            "id": f"{account}/{sku}/{day.isoformat()}",
            "source": client.silent if product.id == "vault" else product.source,
            "type": "usage.metered.v1",
            "time": utc(at),
            "assertedat": utc(at + timedelta(minutes=30)),
            "data": data,
        }

    def _too_low(self, event: dict[str, object]) -> dict[str, object]:
        data = dict(event["data"])  # type: ignore[call-overload]
        data["quantity"] = text((Decimal(data["quantity"]) / 2).quantize(Decimal("0.01")))
        first = datetime.fromisoformat(str(event["time"])) + timedelta(minutes=5)
        return {
            **event,
            "id": f"{event['id']}@first",
            "assertedat": utc(first),
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
