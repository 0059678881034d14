"""The one table: each record type, its topic (and so its one writing service), its kind and its partition key.

To add a type: write its model, add a row here, run ``make schemas``, keep a v1 example in ``tests/unit/events/v1``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from shared.events import (
    catalog,
    contracts,
    discrepancies,
    feeds,
    invoices,
    mappings,
    notifications,
    settings,
    statements,
    time_entries,
    usage,
)
from shared.kernel.identity import join_key, stream_id


class Kind(StrEnum):
    """A fact happened outside; a decision was made by a person or a rule of ours; a derived record was computed."""

    FACT = "fact"
    DECISION = "decision"
    DERIVED = "derived"


WRITERS: dict[str, str] = {
    "catalog": "ingestion",
    "usage": "ingestion",
    "contracts": "ingestion",
    "invoices": "ingestion",
    "vendor-bills": "ingestion",
    "time-entries": "ingestion",
    "mappings": "ingestion",
    "feeds": "ingestion",
    "settings": "ingestion",
    "discrepancies": "matching",
    "statements": "matching",
    "notifications": "notification",
}
"""Topic -> the one service that writes it. The database enforces the same table."""

PARTITIONS = 12
"""Partitions of every topic, in the log and in Kafka. Fixed for the life of a log."""


@dataclass(frozen=True, slots=True)
class RecordType:
    """One row of the table."""

    name: str
    """Wire type, ``<noun>.<past verb>.v<n>``."""
    topic: str
    kind: Kind
    model: type[BaseModel]
    subject: Callable[[BaseModel], str]
    """What the record is about, from its data."""
    key: Callable[[str, BaseModel], str] | None
    """Partition key from (source, data); ``None``: the key is the record's stream."""

    @property
    def writer(self) -> str:
        return WRITERS[self.topic]


def _values(*names: str) -> Callable[[BaseModel], Iterable[str]]:
    # Called for every record that enters: attrgetter reads several names in one call (but one name as a bare value).
    if len(names) == 1:
        return lambda data: (str(getattr(data, names[0])),)
    read = attrgetter(*names)
    return lambda data: map(str, read(data))


def _fields(*names: str) -> Callable[[BaseModel], str]:
    values = _values(*names)
    return lambda data: "/".join(values(data))


def _key(*names: str) -> Callable[[str, BaseModel], str]:
    values = _values(*names)
    return lambda source, data: join_key(source, *values(data))


def _entity(kind: str, name: str) -> Callable[[str, BaseModel], str]:
    return lambda source, data: join_key(source, kind, str(getattr(data, name)))


def _body_subject(data: BaseModel) -> str:
    body = data.body  # type: ignore[attr-defined]
    return "/".join(filter(None, (body.client, body.product, body.account, body.sku, body.code)))


def _statement(data: BaseModel) -> str:
    said: Any = getattr(data, "body", data)
    return f"{said.client}/{said.period.from_}"


F, DE, DR = Kind.FACT, Kind.DECISION, Kind.DERIVED
_USAGE = ("account", "sku", "meter")
_LINE = ("contract", "line")
_MAPPING = ("kind", "source", "key")

_ROWS = (
    RecordType(
        "client.recorded.v1", "catalog", F, catalog.ClientRecorded, _fields("client"), _entity("client", "client")
    ),
    RecordType(
        "product.recorded.v1", "catalog", F, catalog.ProductRecorded, _fields("product"), _entity("product", "product")
    ),
    RecordType("usage.metered.v1", "usage", F, usage.UsageMetered, _fields(*_USAGE), _key(*_USAGE)),
    RecordType("usage.restated.v1", "usage", F, usage.UsageRestated, _fields(*_USAGE), _key(*_USAGE)),
    RecordType("feed.missed.v1", "feeds", F, feeds.FeedMissed, _fields("feed", "run"), _key("feed")),
    RecordType("feed.observed.v1", "feeds", F, feeds.FeedObserved, _fields("feed", "run"), _key("feed")),
    RecordType("calendar.advanced.v1", "feeds", F, feeds.CalendarAdvanced, _fields("date"), lambda _s, _d: "calendar"),
    RecordType("contract.agreed.v1", "contracts", F, contracts.ContractAgreed, _fields(*_LINE), _key("contract")),
    RecordType("contract.amended.v1", "contracts", F, contracts.ContractAmended, _fields(*_LINE), _key("contract")),
    RecordType("contract.ended.v1", "contracts", F, contracts.ContractEnded, _fields(*_LINE), _key("contract")),
    RecordType("invoice.issued.v1", "invoices", F, invoices.InvoiceIssued, _fields("invoice"), _key("invoice")),
    RecordType("invoice.line.v1", "invoices", F, invoices.InvoiceLine, _fields("invoice", "line"), _key("invoice")),
    RecordType("invoice.voided.v1", "invoices", F, invoices.InvoiceVoided, _fields("invoice"), _key("invoice")),
    RecordType(
        "vendor_bill.received.v1",
        "vendor-bills",
        F,
        invoices.VendorBillReceived,
        _fields("issuer", "bill"),
        _key("bill"),
    ),
    RecordType(
        "vendor_bill.line.v1",
        "vendor-bills",
        F,
        invoices.VendorBillLine,
        _fields("issuer", "bill", "line"),
        _key("bill"),
    ),
    RecordType(
        "time_entry.logged.v1", "time-entries", F, time_entries.TimeEntryLogged, _fields("entry"), _key("entry")
    ),
    RecordType(
        "time_entry.revised.v1", "time-entries", F, time_entries.TimeEntryRevised, _fields("entry"), _key("entry")
    ),
    RecordType("mapping.confirmed.v1", "mappings", DE, mappings.MappingConfirmed, _fields(*_MAPPING), None),
    RecordType("mapping.withdrawn.v1", "mappings", DE, mappings.MappingWithdrawn, _fields(*_MAPPING), None),
    RecordType("setting.changed.v1", "settings", DE, settings.SettingChanged, _fields("key"), None),
    RecordType("discrepancy.detected.v1", "discrepancies", DR, discrepancies.DiscrepancyDetected, _body_subject, None),
    RecordType("discrepancy.changed.v1", "discrepancies", DR, discrepancies.DiscrepancyChanged, _body_subject, None),
    RecordType("discrepancy.cleared.v1", "discrepancies", DR, discrepancies.DiscrepancyCleared, _body_subject, None),
    RecordType("statement.drawn.v1", "statements", DR, statements.StatementDrawn, _statement, None),
    RecordType("statement.closed.v1", "statements", DE, statements.StatementClosed, _statement, None),
    RecordType("statement.group_closed.v1", "statements", DE, statements.StatementGroupClosed, _statement, None),
    RecordType(
        "notification.sent.v1", "notifications", DE, notifications.NotificationSent, _fields("discrepancy"), None
    ),
    RecordType(
        "notification.failed.v1", "notifications", DE, notifications.NotificationFailed, _fields("discrepancy"), None
    ),
)

CATALOGUE: dict[str, RecordType] = {row.name: row for row in _ROWS}
"""Wire type -> its row."""


def mapping_stream(tenant: str, kind: str, source: str, key: str) -> UUID:
    """The stream of one mapping."""
    return stream_id("mappings", tenant, "mapping", kind, source, key)


def statement_stream(tenant: str, client: str, period: str) -> UUID:
    """The stream of one client's statements of one period (``2026-09-01/2026-10-01``)."""
    return stream_id("statements", tenant, "statement", client, period)


def setting_stream(tenant: str, key: str) -> UUID:
    """The stream of one setting."""
    return stream_id("settings", tenant, "setting", key)


def notification_stream(tenant: str, intent: str) -> UUID:
    """The stream of one message's attempts."""
    return stream_id("notifications", tenant, "intent", intent)
