"""Given records: a tenant's book written down fact by fact, as decoded CloudEvents in their real envelope."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson

from shared.events import catalog, contracts, feeds, invoices, mappings, settings, usage
from shared.events.catalogue import CATALOGUE, mapping_stream, setting_stream
from shared.events.contracts import FlatPrice, Recurring, Terms, UnitPrice
from shared.events.invoices import lines_digest
from shared.events.record import Assertion, Context, Draft, draft_decision, draft_fact
from shared.kernel.canonical import canonical, sha256_hex
from shared.reconciliation.world import World

TENANT = "harbor-msp"
NOON = datetime(2026, 10, 1, 12, tzinfo=UTC)
_CONTEXT = Context("key:test")
Record = dict[str, Any]


def fact(
    name: str, source: str, record_id: str, data: Any, *, asserted: datetime = NOON, run: int = 0, time: datetime = NOON
) -> Record:
    draft = draft_fact(
        CATALOGUE[name],
        tenant=TENANT,
        source=source,
        record_id=record_id,
        time=time,
        data=data,
        assertion=Assertion(asserted, run),
        context=_CONTEXT,
    )
    return _decoded(draft)


def _decoded(draft: Draft) -> Record:
    record: Record = orjson.loads(draft.body)
    return record


class Book:
    """Collects records; ``records`` is what a log would hold."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._versions: dict[Any, int] = {}

    def world(self) -> World:
        return World().fold(self.records)

    def _fact(self, name: str, source: str, record_id: str, data: Any, **rank: Any) -> Record:
        record = fact(name, source, record_id, data, **rank)
        self.records.append(record)
        return record

    def _decide(self, name: str, stream: Any, data: Any) -> None:
        expected = self._versions.get(stream, 0)
        self._versions[stream] = expected + 1
        command = {"name": name, "n": expected}
        draft = draft_decision(
            CATALOGUE[name],
            tenant=TENANT,
            source="plumbline.ingestion",
            record_id=f"{stream}/{expected}",
            time=NOON,
            data=data,
            command=command,
            stream=stream,
            expected=expected,
            context=_CONTEXT,
        )
        self.records.append(_decoded(draft))

    def tick(self, day: str) -> None:
        data = feeds.CalendarAdvanced(zone="UTC", date=date.fromisoformat(day))
        self._fact("calendar.advanced.v1", "plumbline.ingestion", f"calendar/UTC/{day}", data)

    def client(self, client: str, name: str | None = None, **more: Any) -> None:
        rank = {key: more.pop(key) for key in ("asserted", "run") if key in more}
        source = more.pop("source", "psa")
        data = catalog.ClientRecorded(client=client, name=name or client.title(), **more)
        self._fact("client.recorded.v1", source, f"client/{client}/{len(self.records)}", data, **rank)

    def product(self, product: str, name: str | None = None, **more: Any) -> None:
        data = catalog.ProductRecorded(product=product, name=name or product.upper(), **more)
        self._fact("product.recorded.v1", "psa", f"product/{product}/{len(self.records)}", data)

    def map(self, kind: Any, source: str, key: str, target: str, share: str = "1") -> None:
        targets = (mappings.MappingTarget(id=target, share=Decimal(share)),)
        data = mappings.MappingConfirmed(kind=kind, source=source, key=key, targets=targets)
        self._decide("mapping.confirmed.v1", mapping_stream(TENANT, kind, source, key), data)

    def exclude(self, kind: Any, source: str, key: str, until: date | None = None) -> None:
        excluded = mappings.Exclusion(reason="test", until=until)
        data = mappings.MappingConfirmed(kind=kind, source=source, key=key, excluded=excluded)
        self._decide("mapping.confirmed.v1", mapping_stream(TENANT, kind, source, key), data)

    def unmap(self, kind: Any, source: str, key: str) -> None:
        data = mappings.MappingWithdrawn(kind=kind, source=source, key=key)
        self._decide("mapping.withdrawn.v1", mapping_stream(TENANT, kind, source, key), data)

    def set(self, key: str, value: str | None) -> None:
        data = settings.SettingChanged(key=key, value=value)
        self._decide("setting.changed.v1", setting_stream(TENANT, key), data)

    def usage(
        self,
        quantity: str,
        time: datetime = NOON,
        *,
        account: str = "a-1",
        sku: str = "s-edr",
        kind: Any = "gauge",
        source: str = "huntress",
        run: int = 0,
        asserted: datetime | None = None,
        **more: Any,
    ) -> Record:
        if kind != "gauge" and more.get("event") is None and more.get("until") is None:
            more["until"] = time + timedelta(minutes=1)
        data = usage.UsageMetered(account=account, sku=sku, kind=kind, quantity=Decimal(quantity), **more)
        key = f"{account}/{sku}/{more.get('meter', '')}/{more.get('event', '')}/{time:%m%dT%H%M}@{run}"
        return self._fact("usage.metered.v1", source, key, data, run=run, asserted=asserted or time, time=time)

    def line(
        self,
        client: str,
        product: str,
        since: str,
        *,
        unit: str | None = None,
        flat: str | None = None,
        recurring: tuple[str, str] | None = None,
        line: str = "1",
        contract: str = "C-1",
        included: str = "0",
        amended: bool = False,
        run: int = 0,
        currency: str = "EUR",
        until: str | None = None,
    ) -> None:
        price: Any = (
            UnitPrice(kind="unit", unit_amount=Decimal(unit))
            if unit is not None
            else FlatPrice(kind="flat", amount=Decimal(flat or "0"))
        )
        model = contracts.ContractAmended if amended else contracts.ContractAgreed
        data = model(
            contract=contract,
            line=line,
            client=client,
            product=product,
            effective_from=date.fromisoformat(since),
            effective_to=date.fromisoformat(until) if until else None,
            currency=currency,
            terms=Terms(price=price, included=Decimal(included)),
            recurring=Recurring(quantity=Decimal(recurring[0]), unit_price=Decimal(recurring[1]))
            if recurring
            else None,
        )
        name = "contract.amended.v1" if amended else "contract.agreed.v1"
        self._fact(name, "psa", f"{contract}/{line}/{since}@{run}", data, run=run)

    def end_line(self, client: str, product: str, since: str, line: str = "1", contract: str = "C-1") -> None:
        data = contracts.ContractEnded(
            contract=contract, line=line, client=client, product=product, effective_from=date.fromisoformat(since)
        )
        self._fact("contract.ended.v1", "psa", f"{contract}/{line}/{since}/end", data)

    def invoice(
        self,
        client: str,
        *lines: tuple[str, str, str],
        invoice: str = "INV-1",
        version: int = 1,
        month: tuple[str, str] = ("2026-10-01", "2026-11-01"),
        kind: Any = "invoice",
        send: int | None = None,
        corrects: str | None = None,
        currency: str = "EUR",
        digest: str | None = None,
    ) -> None:
        """Lines are (product, quantity, unit price); only the first ``send`` of them arrive."""
        start, end = (date.fromisoformat(day) for day in month)
        posted = [
            invoices.InvoiceLine(
                invoice=invoice,
                version=version,
                line=str(number),
                product=product,
                quantity=Decimal(quantity),
                unit_price=Decimal(price),
                amount=Decimal(quantity) * Decimal(price),
            )
            for number, (product, quantity, price) in enumerate(lines, 1)
        ]
        stated = digest or lines_digest(
            sha256_hex(canonical(one.model_dump(mode="json", exclude_defaults=True))) for one in posted
        )
        header = invoices.InvoiceIssued(
            invoice=invoice,
            version=version,
            kind=kind,
            client=client,
            issued_on=end,
            period_from=start,
            period_to=end,
            currency=currency,
            lines=len(lines),
            lines_digest=stated,
            corrects=corrects,
        )
        self._fact("invoice.issued.v1", "psa", f"{invoice}@{version}", header)
        for one in posted[:send]:
            self._fact("invoice.line.v1", "psa", f"{invoice}@{version}/{one.line}", one)

    def void(self, invoice: str = "INV-1", version: int = 1) -> None:
        data = invoices.InvoiceVoided(invoice=invoice, version=version)
        self._fact("invoice.voided.v1", "psa", f"{invoice}/void/{version}", data)

    def charge(
        self, cost: str, *, account: str = "a-1", sku: str = "s-edr", line: str = "1", version: int = 1, **more: Any
    ) -> None:
        data = invoices.VendorBillLine(
            issuer="Huntress",
            bill="B-1",
            version=version,
            line=line,
            account=account,
            sku=sku,
            charge_from=NOON,
            charge_to=NOON,
            billed_cost=Decimal(cost),
            currency=more.pop("currency", "EUR"),
            **more,
        )
        self._fact("vendor_bill.line.v1", "huntress", f"B-1/{version}/{line}", data)

    def complete(
        self, covers_from: str = "2026-10-01", covers_to: str = "2026-11-01", *, source: str = "huntress", run: int = 1
    ) -> None:
        start, end = (datetime.fromisoformat(day).replace(tzinfo=UTC) for day in (covers_from, covers_to))
        data = feeds.FeedObserved(feed="usage", run=run, asserted_at=end, covers_from=start, covers_to=end)
        self._fact("feed.observed.v1", source, f"usage/{covers_from}/{run}", data, run=run)


def mapped_book() -> Book:
    """One client with one product, mapped; the calendar stands at 2 November."""
    book = Book()
    book.tick("2026-10-01")
    book.tick("2026-11-02")
    book.client("northwind", "Northwind Dental")
    book.product("edr", "Huntress EDR")
    book.map("account", "huntress", "a-1", "northwind")
    book.map("sku", "huntress", "s-edr", "edr")
    return book
