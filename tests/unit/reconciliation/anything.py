"""Whole books at random: every record type that the engine reads, with repeats, restatements and late facts.

One seed is one book, so that a failing example can be drawn again; ``size`` says how many facts of each kind there are.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from shared.events import catalog, contracts, feeds, invoices, mappings, settings, statements, time_entries, usage
from shared.events.catalogue import CATALOGUE, mapping_stream, setting_stream, statement_stream
from shared.events.discrepancies import Span
from shared.events.record import draft_decision
from tests.unit.reconciliation.book import _CONTEXT, NOON, TENANT, Record, _decoded, fact

CLIENTS = ("aster", "cobalt")
PRODUCTS = ("backup", "edr", "labour", "m365", "minimum", "suite")
METERED = ("backup", "edr", "m365")
KINDS = {"backup": ("counter", "GiB"), "edr": ("gauge", "agent"), "m365": ("gauge", "seat")}
MONTHS = tuple(date(2026, month, 1) for month in (8, 9, 10, 11))
SOURCES = ("acronis", "huntress")


class Anything:
    """Makes records; ``records`` is a log in no order that matters."""

    def __init__(self, seed: int, size: int = 6) -> None:
        self.rng = Random(seed)
        self.size = size
        self.records: list[Record] = []
        self._versions: dict[Any, int] = {}
        self._master()
        for make in (self._contracts, self._usage, self._invoices, self._charges, self._time, self._silence):
            for _ in range(self.rng.randint(0, size)):
                make()
        self._decisions()

    # --- helpers -------------------------------------------------------------------------------------------------
    def pick(self, *options: Any) -> Any:
        return self.rng.choice(options)

    def figure(self, top: int = 60) -> Decimal:
        return Decimal(self.rng.randint(0, top * 4)) / self.pick(1, 1, 4)

    def price(self) -> Decimal:
        return Decimal(self.rng.randint(0, 900)) / 100

    def day(self) -> date:
        return date(2026, 8, 1) + timedelta(days=self.rng.randint(0, 110))

    def instant(self) -> datetime:
        at = self.day()
        return datetime(at.year, at.month, at.day, self.pick(0, 6, 12, 23), tzinfo=UTC)

    def _fact(self, name: str, source: str, key: str, data: Any, **rank: Any) -> None:
        self.records.append(fact(name, source, f"{key}#{len(self.records)}", data, **rank))

    def _decide(self, name: str, stream: Any, data: Any, topic_source: str = "plumbline.ingestion") -> None:
        expected = self._versions.get(stream, 0)
        self._versions[stream] = expected + 1
        draft = draft_decision(
            CATALOGUE[name],
            tenant=TENANT,
            source=topic_source,
            record_id=f"{stream}/{expected}",
            time=NOON,
            data=data,
            command={"n": expected},
            stream=stream,
            expected=expected,
            context=_CONTEXT,
        )
        self.records.append(_decoded(draft))

    # --- what the tenant sets ------------------------------------------------------------------------------------
    def _master(self) -> None:
        for month in (*MONTHS, date(2026, 11, 24)):
            if self.rng.random() < 0.9:
                tick = feeds.CalendarAdvanced(zone="UTC", date=month)
                self._fact("calendar.advanced.v1", "plumbline.ingestion", f"{month}", tick)
        for client, zone in zip(CLIENTS, ("Europe/Berlin", "UTC"), strict=True):
            data = catalog.ClientRecorded(client=client, name=client.title(), time_zone=zone, currency="EUR")
            self._fact("client.recorded.v1", "psa", client, data)
        for product in PRODUCTS:
            more: dict[str, Any] = {}
            if product == "suite" and self.rng.random() < 0.5:
                more["components"] = ("backup", "edr")
            if self.rng.random() < 0.5:
                more |= {"unit_cost": self.price(), "cost_currency": "EUR"}
            if self.rng.random() < 0.5:
                more |= {"list_price": self.price(), "currency": "EUR"}
            self._fact(
                "product.recorded.v1", "psa", product, catalog.ProductRecorded(product=product, name=product, **more)
            )
        for source in SOURCES:
            for number, client in enumerate(CLIENTS):
                self._map("account", source, f"a-{number}", client)
            for product in METERED:
                self._map("sku", source, f"s-{product}", product)
            for month in MONTHS:
                if self.rng.random() < 0.6:
                    self._observed(source, month)
        for key, value in (("tolerance.quantity.absolute", "2"), ("invoice.grace_days", "0")):
            if self.rng.random() < 0.2:
                self._decide(
                    "setting.changed.v1", setting_stream(TENANT, key), settings.SettingChanged(key=key, value=value)
                )

    def _map(self, kind: Any, source: str, key: str, target: str) -> None:
        roll = self.rng.random()
        if roll < 0.1:
            return
        targets = (mappings.MappingTarget(id=target, share=Decimal(1)),)
        if roll < 0.2:
            others = [one for one in (CLIENTS if kind == "account" else METERED) if one != target]
            targets = (
                mappings.MappingTarget(id=target, share=Decimal("0.6")),
                mappings.MappingTarget(id=self.pick(*others), share=Decimal("0.4")),
            )
        data = mappings.MappingConfirmed(kind=kind, source=source, key=key, targets=targets)
        self._decide("mapping.confirmed.v1", mapping_stream(TENANT, kind, source, key), data)

    def _observed(self, source: str, month: date) -> None:
        start = datetime(month.year, month.month, 1, tzinfo=UTC) - timedelta(days=1)
        end = start + timedelta(days=33)
        data = feeds.FeedObserved(feed="usage", run=month.month, asserted_at=end, covers_from=start, covers_to=end)
        self._fact("feed.observed.v1", source, f"{month}", data, run=month.month)

    def _silence(self) -> None:
        if self.rng.random() < 0.3:
            due = self.instant()
            data = feeds.FeedMissed(feed="usage", run=self.rng.randint(8, 13), due_at=due)
            self._fact("feed.missed.v1", self.pick(*SOURCES), "missed", data, run=data.run)

    # --- contracts -----------------------------------------------------------------------------------------------
    def _tiers(self) -> list[dict[str, Any]]:
        return [
            {"up_to": Decimal(10), "unit_amount": self.price(), "flat_amount": self.pick(0, 5)},
            {"up_to": Decimal(30), "unit_amount": self.price(), "size": self.pick(None, None, 5)},
            {"unit_amount": self.price()},
        ]

    def _price(self) -> dict[str, Any]:
        kind = self.pick("unit", "unit", "unit", "flat", "graduated", "volume", "package", "percentage", "cost_plus")
        return {
            "kind": kind,
            **{
                "unit": {"unit_amount": self.price()},
                "flat": {"amount": self.price()},
                "graduated": {"tiers": self._tiers()},
                "volume": {"tiers": self._tiers()},
                "package": {"size": 10, "amount": self.price()},
                "percentage": {"rate_pct": "2.5", "fixed": "0.30", "free_events": self.pick(None, 1)},
                "cost_plus": {"factor": "1.25"},
            }[kind],
        }

    def _terms(self, product: str) -> contracts.Terms:
        if product == "minimum":
            price = {"kind": "flat", "amount": 0}
            return contracts.Terms(price=price, minimum_amount=self.figure(300), scope={"contract": True})
        if product == "labour":
            labour: dict[str, Any] = {"increment_minutes": 15, "cap_hours": self.pick(None, 4)}
            if self.rng.random() < 0.4:
                labour["blocks"] = [{"block": "B1", "start": date(2026, 8, 10), "end": date(2026, 10, 20), "hours": 5}]
            return contracts.Terms(price={"kind": "unit", "unit_amount": 120}, labour=labour)
        more: dict[str, Any] = {}
        options = {
            "included": self.figure(10),
            "free": Decimal(self.rng.randint(0, 4)),
            "minimum_quantity": self.figure(10),
            "minimum_amount": self.figure(50),
            "maximum_amount": Decimal(200),
            "discount_pct": Decimal(10),
            "statistic": self.pick("max", "last", "first", "time_weighted"),
            "proration": self.pick("none", "thirty_day", "seconds"),
            "billing": "advance",
            "period": self.pick(
                {"unit": "quarter", "anchor": date(2026, 7, 1)}, {"day": 15}, {"unit": "week"}, {"unit": "once"}
            ),
            "excluded": True,
            "tax_pct": Decimal(19),
        }
        for name in self.rng.sample(sorted(options), self.rng.randint(0, 3)):
            if self.rng.random() < 0.6:
                more[name] = options[name]
        if more.get("proration") == "thirty_day" and "period" in more:
            del more["proration"]
        if "maximum_amount" in more and more.get("minimum_amount", 0) > more["maximum_amount"]:
            del more["minimum_amount"]
        return contracts.Terms(price=self._price(), **more)

    def _contracts(self) -> None:
        client, product = self.pick(*CLIENTS), self.pick(*PRODUCTS)
        number, since = self.rng.randint(1, 3), self.pick(date(2026, 1, 1), date(2026, 1, 1), self.day())
        key = {"contract": f"C-{client}", "line": f"{product}-{number}", "client": client, "product": product}
        if self.rng.random() < 0.12:
            self._fact("contract.ended.v1", "psa", "end", contracts.ContractEnded(**key, effective_from=self.day()))
            return
        recurring = contracts.Recurring(quantity=self.figure(), unit_price=self.price())
        data = contracts.ContractAgreed(
            **key,
            effective_from=since,
            effective_to=self.pick(None, None, None, since + timedelta(days=40)),
            currency=self.pick("EUR", "EUR", "EUR", "EUR", "JPY"),
            terms=self._terms(product),
            recurring=self.pick(None, recurring),
        )
        self._fact("contract.agreed.v1", "psa", "line", data, run=self.rng.randint(0, 3))

    # --- usage, documents, time ----------------------------------------------------------------------------------
    def _usage(self) -> None:
        for _ in range(self.rng.randint(1, 4)):
            product, at = self.pick(*METERED), self.instant()
            kind, unit = KINDS[product]
            more: dict[str, Any] = {} if kind == "gauge" else {"until": at + timedelta(hours=1)}
            run = self.rng.randint(0, 3)
            name, model = self.pick(
                ("usage.metered.v1", usage.UsageMetered), ("usage.restated.v1", usage.UsageRestated)
            )
            data = model(
                account=self.pick("a-0", "a-0", "a-1", "a-x"),
                sku=self.pick(f"s-{product}", f"s-{product}", "s-x"),
                kind=kind,
                unit=unit,
                quantity=self.figure(),
                **more,
            )
            self._fact(name, self.pick(*SOURCES), "u", data, time=at, run=run, asserted=at + timedelta(days=run))

    def _invoices(self) -> None:
        client, month = self.pick(*CLIENTS), self.pick(*MONTHS[:3])
        end = (month + timedelta(days=32)).replace(day=1)
        number = f"I-{client}-{month.month}-{self.rng.randint(1, 2)}"
        kind = self.pick("invoice", "invoice", "invoice", "credit_note")
        count, version, currency = self.rng.randint(1, 4), self.pick(1, 1, 2), self.pick("EUR", "EUR", "EUR", "USD")
        header = invoices.InvoiceIssued(
            invoice=number if kind == "invoice" else f"N-{number}",
            version=version,
            kind=kind,
            client=client,
            issued_on=end,
            period_from=month,
            period_to=self.pick(end, end, end, end + timedelta(days=61)),
            currency=currency,
            lines=count,
            corrects=number if kind == "credit_note" else None,
            total=self.pick(None, self.figure(200)),
            tax_total=self.pick(None, self.figure(20)),
            exchange_rate=self.pick(None, Decimal("1.1")),
            exchange_from=self.pick(None, "EUR"),
        )
        self._fact("invoice.issued.v1", "psa", "i", header)
        for line in range(1, count + (0 if self.rng.random() < 0.1 else 1)):
            product, quantity, price = self.pick(*PRODUCTS), self.figure(), self.price()
            sign = -1 if kind == "credit_note" else 1
            data = invoices.InvoiceLine(
                invoice=header.invoice,
                version=version,
                line=str(line),
                product=product,
                contract=self.pick(None, f"C-{client}"),
                contract_line=self.pick(None, f"{product}-1"),
                quantity=sign * quantity,
                unit_price=price,
                amount=sign * quantity * price,
                tax_pct=self.pick(None, Decimal(19)),
            )
            self._fact("invoice.line.v1", "psa", "l", data)
        if self.rng.random() < 0.08:
            data = invoices.InvoiceVoided(invoice=header.invoice, version=1)
            self._fact("invoice.voided.v1", "psa", "v", data)

    def _charges(self) -> None:
        source, month = self.pick(*SOURCES), self.pick(*MONTHS)
        start = datetime(month.year, month.month, 1, tzinfo=UTC) + timedelta(hours=self.pick(0, 2, 30))
        quantity, cost = self.figure(), self.price()
        data = invoices.VendorBillLine(
            issuer=source,
            bill=f"B-{month.month}",
            version=self.pick(1, 1, 2),
            line=str(self.rng.randint(1, 9)),
            account=self.pick("a-0", "a-1", "a-x"),
            sku=self.pick(*(f"s-{product}" for product in METERED)),
            category=self.pick(None, "Usage", "Tax", "Credit"),
            correction=self.pick(False, False, True),
            charge_from=start,
            charge_to=start + timedelta(days=20),
            quantity=self.pick(None, quantity, quantity),
            unit_price=self.pick(None, cost),
            billed_cost=quantity * cost,
            currency=self.pick("EUR", "EUR", "EUR", "USD"),
        )
        self._fact("vendor_bill.line.v1", source, "b", data, run=self.rng.randint(0, 2))

    def _time(self) -> None:
        name, model = self.pick(
            ("time_entry.logged.v1", time_entries.TimeEntryLogged),
            ("time_entry.revised.v1", time_entries.TimeEntryRevised),
        )
        client = self.pick(*CLIENTS)
        data = model(
            entry=f"t-{self.rng.randint(1, 12)}",
            client=client,
            worked_on=self.day(),
            minutes=Decimal(self.rng.randint(0, 400)),
            billable=self.pick(True, True, False),
            approved=self.pick(True, True, False),
            product=self.pick(None, "labour"),
            contract=self.pick(None, f"C-{client}"),
            role=self.pick(None, "engineer"),
            work_type=self.pick(None, "project"),
        )
        self._fact(name, "psa", "t", data, run=self.rng.randint(0, 3))

    # --- decisions -----------------------------------------------------------------------------------------------
    def _decisions(self) -> None:
        for client in CLIENTS:
            if self.rng.random() < 0.3:
                period = Span(from_=date(2026, 8, 1), to=date(2026, 9, 1))
                stream = statement_stream(TENANT, client, "2026-08-01/2026-09-01")
                closed = statements.StatementClosed(client=client, period=period, digest="0" * 64, groups=1)
                self._decide("statement.closed.v1", stream, closed, "plumbline.matching")
                group = statements.StatementGroupClosed(
                    client=client,
                    period=period,
                    item=self.pick("edr", "backup"),
                    currency="EUR",
                    expected=self.figure(),
                    billed=self.figure(),
                    quantity=self.figure(),
                    records=self.rng.randint(0, 4),
                )
                self._decide("statement.group_closed.v1", stream, group, "plumbline.matching")
