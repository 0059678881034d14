"""From one decoded record to the one cell of the fold that it fills (protocols.md section 7).

The state of a reconciliation is a finite map *cell -> (rank, value)*; each cell keeps the value of the greatest rank
that it has seen. Ranks come from the sources (their own version, else the run), from decision streams (the version) or
from the calendar (the date), never from the order of arrival: so any order and any repetition of a set of records end
in one state. The service's fold and every replay use this one extractor.

Records were validated at the edge, so nothing is validated again here: plain dictionary access, 2-4 microseconds each.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from hashlib import sha256
from typing import Any, NamedTuple

from shared.events.catalogue import CATALOGUE
from shared.events.discrepancies import Source
from shared.kernel.canonical import canonical, sha256_hex
from shared.reconciliation.settings import is_setting

LABOUR = "labour"
"""The product of time that names none."""
_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)


class Unreadable(ValueError):
    """The record cannot be folded: its type is newer than this release, or a field is missing or of another shape."""


class Rank(NamedTuple):
    """The order of a cell's values: the greatest stays. Equal ranks mean one and the same record."""

    asserted_at: datetime
    """What the source says of its version. 1970 where the order is not a matter of time: decisions, invoices, dates."""
    run: int
    """The run; of a decision the version of its stream; of a calendar tick the date's ordinal."""
    content: str
    """Breaks ties: 32 hex digits over content and id (empty for decisions and dates, which have no ties)."""


@lru_cache(maxsize=65_536)  # the records of a group are named again by each of its draws
def evidence(record_type: str, source: str, record_id: str) -> Source:
    """A record, by its identity."""
    return Source(type=record_type, source=source, id=record_id)


class Slot(NamedTuple):
    """One slot of one meter (from ``usage.metered`` and ``usage.restated``)."""

    tenant: str
    source: str
    account: str
    sku: str
    meter: str
    kind: str
    """``gauge``, ``counter`` or ``peak``; part of the meter's key, as is the unit."""
    unit: str | None
    slot: str
    """``event <id>`` if the vendor names its events (a gauge has none), else ``<from>/<until>``, else the instant."""
    at: datetime
    until: datetime | None
    quantity: Decimal
    account_name: str | None
    sku_name: str | None
    rank: Rank
    record_type: str
    record_id: str

    @property
    def record(self) -> Source:
        return evidence(self.record_type, self.source, self.record_id)


class Cell(NamedTuple):
    """One cell of any other kind. ``key`` is unique within (tenant, kind)."""

    kind: str
    """``client``, ``product``, ``contract_line``, ``invoice``, ``invoice_line``, ``invoice_void``, ``vendor_bill``,
    ``vendor_bill_line``, ``time_entry``, ``mapping``, ``feed``, ``feed_missed``, ``calendar``, ``setting``,
    ``statement`` or ``statement_group``."""
    tenant: str
    key: tuple[str, ...]
    rank: Rank
    value: dict[str, Any] | None
    """JSON-able (decimals and dates as text); ``None``: withdrawn."""
    source: str
    record_type: str
    record_id: str

    @property
    def record(self) -> Source:
        return evidence(self.record_type, self.source, self.record_id)


Fact = Slot | Cell


def extract(fields: dict[str, Any]) -> Fact | None:
    """What a decoded record (CloudEvents fields) puts into the fold; ``None`` for types that the fold does not read.

    Raises :class:`Unreadable` for a type that this release does not know and for a record of another shape.
    """
    name = fields.get("type")
    extractor = _EXTRACTORS.get(name)  # type: ignore[arg-type]
    if extractor is None:
        if name in CATALOGUE:
            return None
        raise Unreadable(f"type {name} is not known to this release")
    try:
        return extractor(fields, fields["data"])
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise Unreadable(f"{name} cannot be read: {type(error).__name__} {error}") from error


def _content(fields: dict[str, Any]) -> str:
    # The id is hashed too, so that two records that say the same still have one order: the greater is the evidence.
    said = [fields["id"], fields["type"], fields["time"], fields["data"]]
    return sha256(canonical(said)).hexdigest()[:32]


def _asserted(fields: dict[str, Any]) -> Rank:
    return Rank(datetime.fromisoformat(fields["assertedat"]), fields["run"], _content(fields))


def _decided(fields: dict[str, Any]) -> Rank:
    return Rank(_NO_TIME, fields["streamversion"], "")


def _cell(fields: dict[str, Any], kind: str, key: tuple[str, ...], rank: Rank, value: dict[str, Any] | None) -> Cell:
    return Cell(kind, fields["tenant"], key, rank, value, fields["source"], fields["type"], fields["id"])


def _usage(fields: dict[str, Any], data: dict[str, Any]) -> Slot:
    time, until, event, kind = fields["time"], data.get("until"), data.get("event"), data["kind"]
    slot = time if until is None else f"{time}/{until}"
    if event is not None and kind != "gauge":
        slot = f"event {event}"
    return Slot(
        fields["tenant"],
        fields["source"],
        data["account"],
        data["sku"],
        data.get("meter", "quantity"),
        kind,
        data.get("unit"),
        slot,
        datetime.fromisoformat(time),
        None if until is None else datetime.fromisoformat(until),
        Decimal(data["quantity"]),
        data.get("account_name"),
        data.get("sku_name"),
        _asserted(fields),
        fields["type"],
        fields["id"],
    )


def _client(fields: dict[str, Any], data: dict[str, Any]) -> Cell:
    value = {
        "client": data["client"],
        "name": data["name"],
        "time_zone": data.get("time_zone", "UTC"),
        "bill_cycle_day": data.get("bill_cycle_day", 1),
        "currency": data.get("currency"),
    }
    return _cell(fields, "client", (fields["source"], data["client"]), _asserted(fields), value)


def _product(fields: dict[str, Any], data: dict[str, Any]) -> Cell:
    names = ("product", "name", "unit", "list_price", "currency", "unit_cost", "cost_currency")
    value = {name: data.get(name) for name in names} | {"components": data.get("components", [])}
    return _cell(fields, "product", (fields["source"], data["product"]), _asserted(fields), value)


def _contract_line(fields: dict[str, Any], data: dict[str, Any]) -> Cell:
    # Each effective date is a cell of its own: older versions stay. The end of a line is a version without terms.
    names = (
        "contract",
        "line",
        "client",
        "product",
        "effective_from",
        "effective_to",
        "currency",
        "terms",
        "recurring",
    )
    key = (fields["source"], data["contract"], data["line"], data["effective_from"])
    return _cell(fields, "contract_line", key, _asserted(fields), {name: data.get(name) for name in names})


def _grow_only(fields: dict[str, Any]) -> Rank:
    # A document's version says everything about its order: within one there is one content (else its digest disagrees).
    return Rank(_NO_TIME, 0, _content(fields))


def _invoice(fields: dict[str, Any], data: dict[str, Any]) -> Cell:
    version = data.get("version", 1)
    names = (
        "client",
        "issued_on",
        "period_from",
        "period_to",
        "currency",
        "lines",
        "lines_digest",
        "corrects",
        "total",
        "tax_total",
        "gross_total",
        "exchange_rate",
        "exchange_from",
    )
    value = {name: data.get(name) for name in names}
    value |= {"invoice": data["invoice"], "version": version, "kind": data.get("kind", "invoice")}
    return _cell(fields, "invoice", (fields["source"], data["invoice"], str(version)), _grow_only(fields), value)


def _invoice_line(fields: dict[str, Any], data: dict[str, Any]) -> Cell:
    # What a line says is part of its key: two contents of one line both stay, and so the document has more lines than
    # its header counts and waits, whichever came first.
    version, digest = data.get("version", 1), sha256_hex(canonical(data))
    names = ("invoice", "line", "product", "contract", "contract_line", "period_from", "period_to", "tax", "tax_pct")
    value = {name: data.get(name) for name in names}
    value |= {name: data[name] for name in ("quantity", "unit_price", "amount")}
    value |= {"version": version, "digest": digest, "discount": data.get("discount", False)}
    key = (fields["source"], data["invoice"], str(version), data["line"], digest)
    return _cell(fields, "invoice_line", key, _grow_only(fields), value)


def _invoice_void(fields: dict[str, Any], data: dict[str, Any]) -> Cell:
    version = data.get("version", 1)
    rank = Rank(_NO_TIME, version, _content(fields))
    return _cell(fields, "invoice_void", (fields["source"], data["invoice"]), rank, {"version": version})


def _vendor_bill(fields: dict[str, Any], data: dict[str, Any]) -> Cell:
    version = data.get("version", 1)
    names = ("issuer", "bill", "period_from", "period_to", "currency", "lines", "lines_digest")
    value = {name: data.get(name) for name in names} | {"version": version}
    key = (fields["source"], data["issuer"], data["bill"], str(version))
    return _cell(fields, "vendor_bill", key, _asserted(fields), value)


def _vendor_bill_line(fields: dict[str, Any], data: dict[str, Any]) -> Cell:
    version = data.get("version", 1)
    names = (
        "issuer",
        "bill",
        "line",
        "account",
        "account_name",
        "sku",
        "sku_name",
        "category",
        "charge_from",
        "charge_to",
        "quantity",
        "unit",
        "unit_price",
        "billed_cost",
        "currency",
    )
    value = {name: data.get(name) for name in names}
    value |= {"version": version, "correction": data.get("correction", False)}
    key = (fields["source"], data["issuer"], data["bill"], str(version), data["line"])
    return _cell(fields, "vendor_bill_line", key, _asserted(fields), value)


def _time_entry(fields: dict[str, Any], data: dict[str, Any]) -> Cell:
    names = ("entry", "client", "worked_on", "minutes", "contract", "role", "work_type", "ticket", "invoice")
    value = {name: data.get(name) for name in names}
    value |= {"product": data.get("product", LABOUR), "billable": data.get("billable", True)}
    value |= {"approved": data.get("approved", False), "when": data.get("when", [])}
    return _cell(fields, "time_entry", (fields["source"], data["entry"]), _asserted(fields), value)


def _mapping(fields: dict[str, Any], data: dict[str, Any]) -> Cell:
    targets = [{"id": target["id"], "share": target.get("share", "1")} for target in data.get("targets", ())]
    value = {"targets": targets, "excluded": data.get("excluded")}
    return _cell(fields, "mapping", (data["kind"], data["source"], data["key"]), _decided(fields), value)


def _mapping_withdrawn(fields: dict[str, Any], data: dict[str, Any]) -> Cell:
    return _cell(fields, "mapping", (data["kind"], data["source"], data["key"]), _decided(fields), None)


def _feed(fields: dict[str, Any], data: dict[str, Any]) -> Cell:
    # One cell a span: what was once declared complete stays so, whatever span a later run declares.
    value = {name: data[name] for name in ("feed", "run", "covers_from", "covers_to")}
    key = (fields["source"], data["feed"], data["covers_from"], data["covers_to"])
    return _cell(fields, "feed", key, _asserted(fields), value)


def _feed_missed(fields: dict[str, Any], data: dict[str, Any]) -> Cell:
    # The latest run that was missed; whether the feed is still silent its ``feed`` cells say (views.silent).
    value = {"feed": data["feed"], "run": data["run"], "due_at": data["due_at"], "last_at": data.get("last_at")}
    rank = Rank(datetime.fromisoformat(data["due_at"]), data["run"], _content(fields))
    return _cell(fields, "feed_missed", (fields["source"], data["feed"]), rank, value)


def _closed(fields: dict[str, Any], data: dict[str, Any]) -> Cell:
    period = data["period"]
    value = {"client": data["client"], "digest": data["digest"], "groups": data["groups"]}
    return _cell(fields, "statement", (data["client"], period["from"], period["to"]), _decided(fields), value)


def _group_closed(fields: dict[str, Any], data: dict[str, Any]) -> Cell:
    period = data["period"]
    value = {name: data.get(name) for name in ("client", "item", "currency", "expected", "billed", "quantity")}
    value["records"] = data.get("records", 0)
    key = (data["client"], period["from"], period["to"], data["item"])
    return _cell(fields, "statement_group", key, _decided(fields), value)


def _calendar(fields: dict[str, Any], data: dict[str, Any]) -> Cell:
    # One cell a day: the greatest is how far the calendar has got, the least is when the tenant began.
    rank = Rank(_NO_TIME, date.fromisoformat(data["date"]).toordinal(), "")
    return _cell(fields, "calendar", (data["date"],), rank, {"date": data["date"]})


def _setting(fields: dict[str, Any], data: dict[str, Any]) -> Cell | None:
    if not is_setting(data["key"]):
        return None
    return _cell(fields, "setting", (data["key"],), _decided(fields), {"value": data.get("value")})


_EXTRACTORS: dict[str, Callable[[dict[str, Any], dict[str, Any]], Fact | None]] = {
    "usage.metered.v1": _usage,
    "usage.restated.v1": _usage,
    "client.recorded.v1": _client,
    "product.recorded.v1": _product,
    "contract.agreed.v1": _contract_line,
    "contract.amended.v1": _contract_line,
    "contract.ended.v1": _contract_line,
    "invoice.issued.v1": _invoice,
    "invoice.line.v1": _invoice_line,
    "invoice.voided.v1": _invoice_void,
    "vendor_bill.received.v1": _vendor_bill,
    "vendor_bill.line.v1": _vendor_bill_line,
    "time_entry.logged.v1": _time_entry,
    "time_entry.revised.v1": _time_entry,
    "mapping.confirmed.v1": _mapping,
    "mapping.withdrawn.v1": _mapping_withdrawn,
    "feed.observed.v1": _feed,
    "feed.missed.v1": _feed_missed,
    "calendar.advanced.v1": _calendar,
    "setting.changed.v1": _setting,
    "statement.closed.v1": _closed,
    "statement.group_closed.v1": _group_closed,
}
