"""Random books: everything that an MSP's records can say, contradict and take back, small enough to collide often."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from shared.events import contracts, feeds, invoices, mappings, statements, time_entries, usage
from shared.events.catalogue import mapping_stream, statement_stream
from shared.events.discrepancies import Span
from tests.integration.matching.support import Numbered
from tests.unit.reconciliation.book import TENANT

CLIENTS = ("northwind", "aster", "atlas")
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Pacific/Auckland")
PRODUCTS = ("edr", "mail", "backup")
SOLD = (*PRODUCTS, "suite", "labour", "minimum")
"""What is agreed and invoiced: also a bundle, hours, and a commitment over the lines of its contract."""
SOURCES = ("huntress", "acronis")
ACCOUNTS = ("a-1", "a-2", "a-3")
SKUS = ("s-edr", "s-mail", "s-gib")
MONTHS = ("2026-08-01", "2026-09-01", "2026-10-01", "2026-11-01", "2026-12-01")
EDGES = (datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC))


class RandomBook:
    """Writes ``size`` records into a book, about one tenant."""

    def __init__(self, random: Random, size: int) -> None:
        self.random = random
        self.book = Numbered()
        self.invoices = 0
        writers = {
            self.tick: 3, self.client: 3, self.product: 2, self.map: 8, self.setting: 1, self.usage: 24, self.line: 7,
            self.end_line: 1, self.invoice: 6, self.void: 1, self.charge: 4, self.complete: 4, self.restate: 3,
            self.share: 2, self.bundle: 2, self.agree: 7, self.work: 5, self.miss: 1, self.close: 2,
        }  # fmt: skip
        while len(self.book.records) < size:
            random.choices(list(writers), list(writers.values()))[0]()
            if random.random() < 0.03:
                self.everything_complete()

    def shuffled(self) -> list[dict[str, Any]]:
        """The records in a random order that keeps each decision stream's own."""
        records = list(self.book.records)
        self.random.shuffle(records)
        decisions = [n for n, record in enumerate(records) if "stream" in record]
        in_order = sorted((records[n] for n in decisions), key=lambda one: one["streamversion"])
        for n, record in zip(decisions, in_order, strict=True):
            records[n] = record
        return records

    # --- one record or document each ---------------------------------------------------------------------------------
    def _pick(self, *choices: Any) -> Any:
        return self.random.choice(choices)

    def _rarely(self, this: Any, otherwise: Any) -> Any:
        return this if self.random.random() < 0.1 else otherwise

    def _asserted(self) -> datetime:
        return datetime(2026, 10, 1, tzinfo=UTC) + timedelta(hours=self.random.randrange(5))

    def tick(self) -> None:
        self.book.tick(str(date(2026, 9, 20) + timedelta(days=self.random.randrange(80))))

    def client(self) -> None:
        client = self._pick(*CLIENTS)
        self.book.client(
            client,
            self._pick(client.title(), f"{client.title()} Ltd"),
            time_zone=self._pick(*ZONES),
            bill_cycle_day=self._pick(1, 15, 31),
            source=self._pick("psa", "psa", "crm"),
            asserted=self._asserted(),
        )

    def product(self) -> None:
        product = self._pick(*PRODUCTS)
        price = self._pick(None, "3", "4.20")
        self.book.product(
            product,
            self._pick(product.upper(), f"{product} plus"),
            list_price=None if price is None else Decimal(price),
            currency="EUR",
        )

    def map(self) -> None:
        kind = self._pick("account", "sku")
        key, targets = (self._pick(*ACCOUNTS), CLIENTS) if kind == "account" else (self._pick(*SKUS), PRODUCTS)
        if kind == "sku" and self.random.random() < 0.6:
            targets = (dict(zip(SKUS, PRODUCTS, strict=True))[key],)
        source = self._pick(*SOURCES)
        how = self.random.random()
        if how < 0.75:
            self.book.map(kind, source, key, self._pick(*targets), self._pick("1", "1", "0.5"))
        elif how < 0.9:
            self.book.exclude(kind, source, key, self._pick(None, date(2026, 10, 20)))
        elif any(record.get("subject") == f"{kind}/{source}/{key}" for record in self.book.records):
            self.book.unmap(kind, source, key)

    def setting(self) -> None:
        key, values = self._pick(
            ("invoice.grace_days", ("0", "20", None)),
            ("tolerance.quantity.absolute", ("2", None)),
            ("tolerance.unit_price.absolute", ("5", None)),
        )
        self.book.set(key, self._pick(*values))

    def _instant(self) -> datetime:
        if self.random.random() < 0.3:
            return self._pick(*EDGES) + timedelta(hours=self.random.randrange(-14, 14))
        if self.random.random() < 0.02:
            return datetime(1999, 12, 31, 23, tzinfo=UTC) + timedelta(hours=self.random.randrange(2))
        return datetime(2026, 8, 1, tzinfo=UTC) + timedelta(hours=self.random.randrange(24 * 120))

    def usage(self) -> None:
        account, source = self._pick(*ACCOUNTS), self._pick(*SOURCES)
        sku, kind = self._pick(("s-edr", "gauge"), ("s-mail", "gauge"), *[("s-gib", "counter")] * 3, ("s-gib", "peak"))
        more: dict[str, Any] = {}
        time = self._instant()
        if kind != "gauge":
            more["event"] = f"e-{self.random.randrange(6)}"
        elif self.random.random() < 0.2:
            more["until"] = time + timedelta(hours=self.random.randrange(1, 900))
        if self.random.random() < 0.4:
            more["account_name"] = self._pick("Northwind", "Aster Ltd", "Atlas Legal")
        if self.random.random() < 0.1:
            more["sku_name"] = self._pick("EDR agent", "Backup GiB")
        if self.random.random() < 0.05:
            more["meter"] = "other"
        self.book.usage(
            self._pick("0", "0", "2", "5", "7.5"),
            time,
            account=account,
            sku=sku,
            kind=kind,
            source=source,
            run=self.random.randrange(3),
            asserted=self._asserted(),
            **more,
        )

    def line(self) -> None:
        client, product = self._pick(*CLIENTS), self._pick(*PRODUCTS)
        price = self._pick({"unit": "4.20"}, {"unit": "4.20"}, {"unit": "3"}, {"flat": "50"})
        self.book.line(
            client,
            product,
            self._pick("2024-03-01", "2026-08-01", "2026-08-01", "2026-09-01", "2026-10-15", "2026-12-01"),
            recurring=self._pick(None, ("5", "4.20"), ("7", "3"), ("1", "50")),
            # Mostly a line of its own, now and then one that moves between clients and products.
            contract=f"C-{client}-{product}" if self.random.random() < 0.7 else self._pick("C-1", "C-2"),
            included=self._pick("0", "0", "1"),
            amended=self._pick(True, False),
            run=self.random.randrange(4),
            currency=self._rarely("USD", "EUR"),
            until=self._pick(None, None, None, "2026-12-31"),
            **price,
        )

    def end_line(self) -> None:
        self.book.end_line(
            self._pick(*CLIENTS), self._pick(*PRODUCTS), self._pick("2026-10-01", "2026-11-01"), contract="C-1"
        )

    def invoice(self) -> None:
        if self.invoices and self.random.random() < 0.3:
            number, version = self.random.randrange(self.invoices), 2
        else:
            number, version = self.invoices, 1
            self.invoices += 1
        start = self.random.randrange(len(MONTHS) - 1)
        months = 1 if self.random.random() < 0.8 else 2
        lines = [
            (product, self._pick("1", "5", "7"), self._pick("4.20", "4.20", "3", "50"))
            for product in self.random.sample(SOLD, self.random.randrange(4))
        ]
        kind = self._pick("invoice", "invoice", "invoice", "credit_note")
        if kind == "credit_note":
            lines = [(product, quantity, f"-{price}") for product, quantity, price in lines]
        self.book.invoice(
            self._pick(*CLIENTS),
            *lines,
            invoice=f"INV-{number}",
            version=version,
            month=(MONTHS[start], MONTHS[min(start + months, len(MONTHS) - 1)]),
            kind=kind,
            send=self._pick(None, None, None, 1),
            corrects=f"INV-{self.random.randrange(self.invoices)}" if kind == "credit_note" else None,
            currency=self._rarely("USD", "EUR"),
            digest=self._rarely("0" * 64, None),
        )
        if lines and self.random.random() < 0.2:
            self._line_again(f"INV-{number}", version, lines[0])

    def _line_again(self, invoice: str, version: int, line: tuple[str, str, str]) -> None:
        """The last line of a document once more, with another content or a period of its own."""
        _, quantity, price = line
        start = self._pick(None, *MONTHS[:3])
        data = invoices.InvoiceLine(
            invoice=invoice,
            version=version,
            line="1",
            product=self._pick(*PRODUCTS),
            period_from=None if start is None else date.fromisoformat(start),
            period_to=None if start is None else date.fromisoformat(start) + timedelta(days=31),
            quantity=Decimal(quantity),
            unit_price=Decimal(price),
            amount=Decimal(quantity) * Decimal(price),
        )
        self.book._fact("invoice.line.v1", "psa", f"{invoice}@{version}/1", data)

    def void(self) -> None:
        self.book.void(f"INV-{self.random.randrange(self.invoices + 1)}", self._pick(1, 1, 2))

    def charge(self) -> None:
        start, quantity = self._instant(), self._pick(None, Decimal(5), Decimal("2.5"))
        data = invoices.VendorBillLine(
            issuer="vendor",
            bill=self._pick("B-1", "B-2"),
            version=self._pick(1, 1, 1, 2),
            line=str(self.random.randrange(5)),
            account=self._pick(*ACCOUNTS, "a-9"),
            account_name=self._pick(None, "Northwind", "Zephyr"),
            sku=self._pick(*SKUS),
            category=self._pick(None, "Usage", "Tax", "Cycle"),
            correction=self._rarely(True, False),
            charge_from=start,
            charge_to=start + timedelta(days=self.random.randrange(40)),
            quantity=quantity,
            unit_price=self._pick(None, Decimal("2.40")),
            billed_cost=Decimal(self._pick("12.345", "-3", "0", "12")),
            currency=self._pick("EUR", "EUR", "EUR", "USD"),
        )
        source = self._pick(*SOURCES)
        self.book._fact("vendor_bill.line.v1", source, "charge", data, run=self.random.randrange(3))
        if self.random.random() < 0.4:
            header = invoices.VendorBillReceived(
                issuer=data.issuer,
                bill=data.bill,
                version=data.version,
                period_from=start,
                period_to=start + timedelta(days=31),
                currency=data.currency,
                lines=self.random.randrange(4),
            )
            self.book._fact("vendor_bill.received.v1", source, "bill", header, run=self.random.randrange(3))

    # --- what came with the money engine ------------------------------------------------------------------------------
    def restate(self) -> None:
        """Another word on a slot that an earlier record filled (or on one of its own)."""
        said = [record for record in self.book.records if record["type"] == "usage.metered.v1"]
        if not said:
            return
        record = self._pick(*said)
        data = usage.UsageRestated.model_validate(record["data"] | {"quantity": self._pick("1", "6", "40")})
        self.book._fact(
            "usage.restated.v1",
            record["source"],
            "restated",
            data,
            time=datetime.fromisoformat(record["time"]),
            run=self.random.randrange(4),
            asserted=self._asserted(),
        )

    def share(self) -> None:
        """An identifier that is several clients' or several products'."""
        kind = self._pick("account", "sku")
        keys, targets = (ACCOUNTS, CLIENTS) if kind == "account" else (SKUS, PRODUCTS)
        source, key = self._pick(*SOURCES), self._pick(*keys)
        one, other = self.random.sample(targets, 2)
        shares = (
            mappings.MappingTarget(id=one, share=Decimal("0.6")),
            mappings.MappingTarget(id=other, share=Decimal(self._pick("0.4", "0.1"))),
        )
        data = mappings.MappingConfirmed(kind=kind, source=source, key=key, targets=shares)
        self.book._decide("mapping.confirmed.v1", mapping_stream(TENANT, kind, source, key), data)

    def bundle(self) -> None:
        product, parts = self._pick(
            ("suite", ("edr", "mail")),
            ("suite", ("mail", "backup")),
            ("suite", ()),
            ("mail", ("labour",)),
            ("mail", ()),
        )
        more: dict[str, Any] = {"unit_cost": Decimal(self._pick("2", "3.50")), "cost_currency": "EUR"}
        self.book.product(product, product.title(), components=parts, **(more if self.random.random() < 0.5 else {}))

    def _price(self) -> dict[str, Any]:
        tiers = [
            {"up_to": 3, "unit_amount": "5"},
            {"up_to": 6, "unit_amount": "4", "flat_amount": 2},
            {"unit_amount": "3"},
        ]
        return self._pick(
            {"kind": "unit", "unit_amount": "4.20"},
            {"kind": "flat", "amount": "50"},
            {"kind": "graduated", "tiers": tiers},
            {"kind": "volume", "tiers": tiers},
            {"kind": "package", "size": 5, "amount": "20"},
            {"kind": "percentage", "rate_pct": "2.5", "fixed": "0.30"},
        )

    def _terms(self, product: str) -> dict[str, Any]:
        if product == "labour":
            block = {"block": "B", "start": "2026-08-10", "end": "2026-10-20", "hours": 5}
            labour = {"increment_minutes": 15, "cap_hours": self._pick(None, 2), "blocks": self._pick([], [block])}
            return {"price": {"kind": "unit", "unit_amount": 120}, "labour": labour}
        if product == "minimum" or self.random.random() < 0.05:
            return {"price": {"kind": "flat", "amount": 0}, "minimum_amount": 90, "scope": {"contract": True}}
        more: dict[str, Any] = {}
        if self.random.random() < 0.6:
            more["period"] = self._pick(
                {"unit": "quarter"}, {"unit": "quarter", "anchor": "2026-08-01"}, {"day": 15}, {"unit": "week"},
                {"unit": "once"}, {"count": 2},
            )  # fmt: skip
        if self.random.random() < 0.3:
            more |= self._pick(
                {"minimum_amount": 40},
                {"excluded": True},
                {"included": 2},
                {"statistic": "max"},
                {"billing": "advance"},
            )
        return {"price": self._price(), **more}

    def agree(self) -> None:
        client, product = self._pick(*CLIENTS), self._pick(*SOLD)
        data = contracts.ContractAgreed(
            contract=self._pick(f"C-{client}-{product}", f"C-{client}", "C-1"),
            line=self._pick("1", "1", "2"),
            client=client,
            product=product,
            effective_from=self._pick(date(2026, 1, 1), date(2026, 8, 1), date(2026, 9, 10), date(2026, 11, 1)),
            effective_to=self._pick(None, None, date(2026, 12, 20)),
            currency=self._rarely("USD", "EUR"),
            terms=contracts.Terms.model_validate(self._terms(product)),
            recurring=self._pick(None, contracts.Recurring(quantity=Decimal(5), unit_price=Decimal("4.20"))),
        )
        self.book._fact("contract.agreed.v1", "psa", "agreed", data, run=self.random.randrange(4))

    def work(self) -> None:
        name, model = self._pick(
            ("time_entry.logged.v1", time_entries.TimeEntryLogged),
            ("time_entry.revised.v1", time_entries.TimeEntryRevised),
        )
        data = model(
            entry=f"t-{self.random.randrange(8)}",
            client=self._pick(*CLIENTS),
            worked_on=self._instant().date(),
            minutes=Decimal(self.random.randrange(300)),
            billable=self._rarely(False, True),
            approved=self._pick(True, True, False),
            product=self._pick(None, None, "labour", "backup"),
            contract=self._pick(None, None, "C-1"),
            role=self._pick(None, "engineer"),
        )
        self.book._fact(name, "psa", "work", data, run=self.random.randrange(4))

    def miss(self) -> None:
        due = self._instant()
        last = self._pick(None, due - timedelta(days=1))
        data = feeds.FeedMissed(feed="usage", run=self.random.randrange(4), due_at=due, last_at=last)
        self.book._fact("feed.missed.v1", self._pick(*SOURCES), "missed", data)

    def close(self) -> None:
        client, start = self._pick(*CLIENTS), self._pick(*MONTHS[1:4])
        period = Span(from_=date.fromisoformat(start), to=date.fromisoformat(MONTHS[MONTHS.index(start) + 1]))
        stream = statement_stream(TENANT, client, f"{period.from_}/{period.to}")
        closed = statements.StatementClosed(client=client, period=period, digest="0" * 64, groups=1)
        self.book._decide("statement.closed.v1", stream, closed)
        for item in self.random.sample(SOLD, 2):
            group = statements.StatementGroupClosed(
                client=client,
                period=period,
                item=item,
                currency=self._pick("EUR", None),
                expected=Decimal(self._pick("21", "50")),
                billed=Decimal(self._pick("21", "50")),
                quantity=self._pick(None, Decimal(5)),
                records=3,
            )
            self.book._decide("statement.group_closed.v1", stream, group)

    def everything_complete(self) -> None:
        for source in SOURCES:
            self.book.complete(MONTHS[0], MONTHS[-1], source=source)

    def complete(self) -> None:
        start = self.random.randrange(len(MONTHS) - 1)
        end = self.random.randrange(start + 1, len(MONTHS))
        self.book.complete(
            str(date.fromisoformat(MONTHS[start]) - timedelta(days=1)),
            str(date.fromisoformat(MONTHS[end]) + timedelta(days=1)),
            source=self._pick(*SOURCES),
            run=self.random.randrange(3),
        )
