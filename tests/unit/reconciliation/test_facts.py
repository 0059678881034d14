"""From a record to its cell: keys, ranks, values."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from shared.events.catalogue import CATALOGUE
from shared.reconciliation.facts import Cell, Rank, Slot, Unreadable, extract
from tests.unit.reconciliation.book import NOON, TENANT, Book, Record

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def slot(record: Record) -> Slot:
    found = extract(record)
    assert isinstance(found, Slot)
    return found


def cells(book: Book) -> list[Cell]:
    found = [extract(record) for record in book.records]
    return [one for one in found if isinstance(one, Cell)]


def only_cell(book: Book) -> Cell:
    (one,) = cells(book)
    return one


def test_usage_fills_a_slot_of_its_meter() -> None:
    asserted = datetime(2026, 10, 1, 13, tzinfo=UTC)
    record = Book().usage("53.10", run=4, asserted=asserted, unit="agent", account_name="Northwind", meter="agents")
    found = slot(record)
    assert found[:7] == (TENANT, "huntress", "a-1", "s-edr", "agents", "gauge", "agent")
    assert (found.slot, found.at, found.until) == ("2026-10-01T12:00:00Z", NOON, None)
    assert (found.quantity, found.account_name, found.sku_name) == (Decimal("53.1"), "Northwind", None)
    assert found.rank[:2] == (asserted, 4)
    assert len(found.rank.content) == 32
    assert (found.record.type, found.record.source, found.record.id) == ("usage.metered.v1", "huntress", record["id"])


def test_a_slot_is_the_event_else_the_bucket_else_the_instant() -> None:
    book, until = Book(), datetime(2026, 10, 2, tzinfo=UTC)
    assert slot(book.usage("1", kind="counter", event="e-7", until=until)).slot == "event e-7"
    assert slot(book.usage("1", kind="counter", until=until)).slot == "2026-10-01T12:00:00Z/2026-10-02T00:00:00Z"
    assert slot(book.usage("1", kind="gauge", event="e-7")).slot == "2026-10-01T12:00:00Z"


def test_two_records_that_say_the_same_still_have_one_order() -> None:
    book = Book()
    one, two = book.usage("1"), book.usage("1")
    two["id"] = "another"
    assert slot(one).rank[:2] == slot(two).rank[:2]
    assert slot(one).rank != slot(two).rank
    two["id"] = one["id"]
    two["recordedat"], two["correlationid"] = "2030-01-01T00:00:00.000000Z", "c-1"
    assert slot(one) == slot(two)


def test_decisions_rank_by_the_version_of_their_stream() -> None:
    book = Book()
    book.map("account", "huntress", "a-1", "northwind", "0.5")
    book.exclude("account", "huntress", "a-1", date(2027, 1, 1))
    book.unmap("account", "huntress", "a-1")
    mapped, excluded, withdrawn = cells(book)
    assert [one.rank for one in (mapped, excluded, withdrawn)] == [Rank(EPOCH, n, "") for n in (1, 2, 3)]
    assert {one.key for one in (mapped, excluded, withdrawn)} == {("account", "huntress", "a-1")}
    assert mapped.value == {"targets": [{"id": "northwind", "share": "0.5"}], "excluded": None}
    assert excluded.value == {"targets": [], "excluded": {"reason": "test", "until": "2027-01-01"}}
    assert withdrawn.value is None


def test_each_effective_date_of_a_contract_line_is_a_cell() -> None:
    book = Book()
    book.line("northwind", "edr", "2026-01-01", unit="4.20", recurring=("40", "4.20"))
    book.line("northwind", "edr", "2026-06-01", unit="4.50", amended=True)
    book.end_line("northwind", "edr", "2026-12-01")
    agreed, amended, ended = cells(book)
    assert agreed.key == ("psa", "C-1", "1", "2026-01-01")
    assert amended.key == ("psa", "C-1", "1", "2026-06-01")
    assert agreed.value is not None
    assert agreed.value["recurring"] == {"quantity": "40", "unit_price": "4.2"}
    assert ended.value is not None
    assert (ended.value["terms"], ended.value["client"]) == (None, "northwind")


def test_documents_grow_only_and_rank_by_their_version_in_the_key() -> None:
    book = Book()
    book.invoice("northwind", ("edr", "40", "4.20"), version=2)
    book.void(version=2)
    header, line, void = cells(book)
    assert (header.kind, header.key) == ("invoice", ("psa", "INV-1", "2"))
    assert (line.kind, line.key[:4]) == ("invoice_line", ("psa", "INV-1", "2", "1"))
    assert line.value is not None
    assert line.key[4] == line.value["digest"]
    assert (header.rank[:2], line.rank[:2], void.rank[:2]) == ((EPOCH, 0), (EPOCH, 0), (EPOCH, 2))
    assert (void.kind, void.key, void.value) == ("invoice_void", ("psa", "INV-1"), {"version": 2})


def test_defaults_that_a_record_leaves_out_are_filled_in() -> None:
    book = Book()
    book.client("northwind")
    assert only_cell(book).value == {
        "client": "northwind",
        "name": "Northwind",
        "time_zone": "UTC",
        "bill_cycle_day": 1,
        "currency": None,
    }
    assert slot(book.usage("1")).meter == "quantity"


def test_a_complete_span_is_a_cell_for_ever_and_a_day_too() -> None:
    book = Book()
    book.complete()
    book.tick("2026-11-02")
    span, day = cells(book)
    assert span.key == ("huntress", "usage", "2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z")
    assert (day.kind, day.key, day.rank) == (
        "calendar",
        ("2026-11-02",),
        Rank(EPOCH, date(2026, 11, 2).toordinal(), ""),
    )


def test_settings_of_others_are_not_folded() -> None:
    book = Book()
    book.set("invoice.grace_days", "9")
    book.set("notification.webhook.url", "https://example.org")
    assert only_cell(book).value == {"value": "9"}


def test_types_that_the_fold_does_not_read_are_passed_over() -> None:
    read = {name for name in CATALOGUE if _reads(name)}
    assert set(CATALOGUE) - read == {
        "statement.drawn.v1",
        "discrepancy.detected.v1",
        "discrepancy.changed.v1",
        "discrepancy.cleared.v1",
        "notification.sent.v1",
        "notification.failed.v1",
    }


def _reads(name: str) -> bool:
    try:
        return extract({"type": name}) is not None
    except Unreadable:
        return True


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": "usage.metered.v9"}, "usage.metered.v9 is not known"),
        ({"type": None}, "None is not known"),
        ({"data": {}}, "KeyError"),
        ({"data": None}, "AttributeError|TypeError"),
        ({"assertedat": "yesterday"}, "ValueError"),
        ({"time": 7}, "TypeError"),
    ],
)
def test_what_cannot_be_read_says_so(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        extract({**Book().usage("1"), **change})


def test_a_quantity_that_is_no_number_is_unreadable() -> None:
    record = Book().usage("1")
    record["data"] = {**record["data"], "quantity": "many"}
    with pytest.raises(Unreadable, match="InvalidOperation"):
        extract(record)
