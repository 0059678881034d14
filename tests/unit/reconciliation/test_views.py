"""What the registers mean: documents, lines, mappings, settings, calendar, costs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

from shared.kernel.periods import Period
from shared.reconciliation import views
from shared.reconciliation.facts import Cell, Slot, extract
from shared.reconciliation.inputs import Client, InvoiceState
from tests.unit.reconciliation.book import Book

OCTOBER = Period(date(2026, 10, 1), date(2026, 11, 1))
D = Decimal
LINES = (("edr", "40", "4.20"), ("backup", "3", "10"), ("helpdesk", "1", "150"))


def cells(book: Book) -> list[Cell]:
    return list(book.world().registers.cells.values())


def state(book: Book) -> InvoiceState:
    """What is known of October's invoices; their headers, one for each that is complete, are checked here."""
    found = views.invoice_state(*views.documents(cells(book)), "northwind", OCTOBER)
    assert [header.type for header in found.headers] == ["invoice.issued.v1"] * found.complete
    return replace(found, headers=())


def amounts(book: Book, product: str = "edr") -> list[Decimal]:
    counting, _ = views.documents(cells(book))
    lines = [line for document in counting for _, line in views.invoice_lines(document)]
    return [line.amount for line in views.meeting(lines, OCTOBER) if line.product == product]


# --- invoices ----------------------------------------------------------------------------------------------------
def test_a_document_counts_once_all_its_lines_are_there() -> None:
    book = Book()
    book.invoice("northwind", *LINES, send=2)
    waits = ("INV-1: 2 of 3 lines",)
    assert (state(book), amounts(book)) == (InvoiceState(incomplete=waits, coming=waits), [])
    whole = Book()
    whole.invoice("northwind", *LINES)
    assert (state(whole), amounts(whole)) == (InvoiceState(complete=1), [D(168)])


def test_lines_that_the_digest_does_not_know_keep_a_document_waiting() -> None:
    book = Book()
    book.invoice("northwind", *LINES, digest="0" * 64)
    assert state(book).incomplete == ("INV-1: its 3 lines are not those that its digest names",)


def test_the_newest_complete_version_counts_and_a_later_incomplete_one_waits() -> None:
    book = Book()
    book.invoice("northwind", ("edr", "40", "4.20"))
    book.invoice("northwind", ("edr", "50", "4.20"), ("backup", "3", "10"), version=2, send=1)
    assert (state(book), amounts(book)) == (InvoiceState(complete=1, incomplete=("INV-1: 1 of 2 lines",)), [D(168)])
    book.invoice("northwind", ("edr", "50", "4.20"), ("backup", "3", "10"), version=2)
    assert (state(book), amounts(book)) == (InvoiceState(complete=1), [D(210)])


def test_a_void_takes_all_versions_up_to_its_own() -> None:
    book = Book()
    book.invoice("northwind", ("edr", "40", "4.20"))
    book.invoice("northwind", ("edr", "50", "4.20"), version=2)
    book.void(version=1)
    assert amounts(book) == [D(210)]
    book.void(version=2)
    assert (state(book), amounts(book)) == (InvoiceState(), [])
    book.invoice("northwind", ("edr", "60", "4.20"), version=3)
    assert amounts(book) == [D(252)]


def test_what_corrected_an_invoice_that_is_void_leaves_with_it() -> None:
    book = Book()
    book.invoice("northwind", ("edr", "40", "4.20"))
    book.invoice("northwind", ("edr", "-10", "4.20"), invoice="CN-1", kind="credit_note", corrects="INV-1")
    assert amounts(book) == [D(-42), D(168)]
    book.void()
    assert amounts(book) == []


def test_an_invoice_is_the_months_if_it_lies_within() -> None:
    def months_state(month: tuple[str, str]) -> InvoiceState:
        book = Book()
        book.invoice("northwind", *LINES, month=month)
        return state(book)

    assert months_state(("2026-10-15", "2026-11-01")) == InvoiceState(complete=1)
    assert months_state(("2026-10-15", "2026-11-15")) == InvoiceState(straddling=1)
    assert months_state(("2026-10-01", "2027-01-01")) == InvoiceState(straddling=1)
    assert months_state(("2026-11-01", "2026-12-01")) == InvoiceState()


def test_a_credit_note_is_no_invoice_of_the_month() -> None:
    book = Book()
    book.invoice("northwind", ("edr", "-1", "4.20"), kind="credit_note")
    assert (state(book), amounts(book)) == (InvoiceState(), [D("-4.2")])


# --- contract lines ----------------------------------------------------------------------------------------------
def test_a_line_that_moves_to_another_product_ends_here() -> None:
    book = Book()
    book.line("northwind", "edr", "2026-01-01", unit="4.20")
    book.line("northwind", "backup", "2026-06-01", unit="9", amended=True)
    here = views.line_versions(cells(book), "northwind", ["edr"])
    assert [(str(v.effective_from), v.terms is None) for v in here] == [("2026-01-01", False), ("2026-06-01", True)]
    there = views.line_versions(cells(book), "northwind", ["backup"])
    assert [v.terms is None for v in there] == [True, False]
    assert views.line_versions(cells(book), "northwind", ["voice"]) == ()


# --- mappings, settings, calendar --------------------------------------------------------------------------------
def test_an_exclusion_holds_until_its_day() -> None:
    book = Book()
    book.exclude("account", "huntress", "a-1", date(2026, 12, 1))
    (cell,) = cells(book)
    assert views.mapping(cell.value, date(2026, 11, 30)) == views.Mapping(excluded=True, until=date(2026, 12, 1))
    assert views.mapping(cell.value, None).known
    assert not views.mapping(cell.value, date(2026, 12, 1)).known
    assert not views.mapping(None, None).known


def test_settings_have_defaults_and_go_back_to_them() -> None:
    book = Book()
    book.set("invoice.grace_days", "9")
    book.set("tolerance.unit_price.absolute", "0.05")
    found = views.settings(cells(book))
    assert (found.invoice_grace_days, found.unit_price_absolute, found.unit_price_relative_pct) == (
        9,
        D("0.05"),
        D("0.5"),
    )
    book.set("invoice.grace_days", None)
    assert views.settings(cells(book)).invoice_grace_days == 5


def test_the_books_open_a_month_before_the_calendar_began() -> None:
    book = Book()
    for day in ("2026-11-03", "2026-10-30", "2026-11-02"):
        book.tick(day)
    assert views.calendar(cells(book)) == (date(2026, 11, 3), date(2026, 10, 30))
    assert views.calendar([]) == (None, None)
    assert views.opening(date(2026, 10, 30)) == date(2026, 9, 1)
    assert views.opening(date(2026, 1, 31)) == date(2025, 12, 1)
    assert views.opening(None) is None


def test_the_months_of_a_fact_reach_as_far_as_the_calendar() -> None:
    def months(last: date | None, as_of: date | None) -> list[int]:
        return [period.start.month for period in views.months_touched(date(2026, 3, 15), last, as_of)]

    assert months(None, date(2026, 5, 1)) == [3, 4, 5]
    assert months(date(2026, 4, 30), date(2026, 9, 1)) == [3, 4]
    assert months(date(2026, 9, 30), date(2026, 4, 1)) == [3, 4]
    assert months(None, None) == months(None, date(2026, 1, 1)) == [3]


def test_a_fact_of_long_ago_makes_groups_in_the_last_ten_years_only() -> None:
    found = [period.start for period in views.months_touched(date(2, 1, 1), None, date(2026, 11, 24))]
    assert found[0] == date(2016, 11, 1)
    assert len(found) == 121
    assert [period.start for period in views.months_touched(date(2, 1, 1), date(2, 1, 31), None)] == [date(2, 1, 1)]


def test_of_several_sources_the_latest_assertion_about_a_client_holds() -> None:
    book = Book()
    book.client("northwind", "Old", source="crm", asserted=datetime(2026, 1, 1, tzinfo=UTC))
    book.client("northwind", "New", source="psa", asserted=datetime(2026, 2, 1, tzinfo=UTC), bill_cycle_day=15)
    assert len(cells(book)) == 2
    for order in (cells(book), cells(book)[::-1]):
        assert views.client("northwind", order) == Client("northwind", "New", "UTC", 15)
    assert views.client("nobody", ()) == Client("nobody", "nobody")


# --- usage and costs ---------------------------------------------------------------------------------------------
def slots(book: Book) -> list[Slot]:
    return [one for one in map(extract, book.records) if isinstance(one, Slot)]


def test_a_gauge_is_led_by_the_last_observation_before_the_period() -> None:
    book = Book()
    for day in (3, 20, 28):
        book.usage(str(day), datetime(2026, 9, day, tzinfo=UTC))
    book.usage("5", datetime(2026, 10, 9, tzinfo=UTC))
    book.usage("6", datetime(2026, 11, 1, tzinfo=UTC))
    [meter] = views.measured(slots(book), D(1), views.windows([OCTOBER], OCTOBER, "UTC"))
    assert [seen.quantity for seen in meter.observations] == [28, 5]
    assert meter.records == 2


def test_a_counter_sums_and_a_peak_takes_the_highest_of_the_period() -> None:
    november = Period(date(2026, 11, 1), date(2026, 12, 1))
    wanted = views.windows([november, OCTOBER], OCTOBER, "UTC")
    book = Book()
    for day, kind in ((1, "counter"), (2, "counter"), (1, "peak"), (2, "peak")):
        book.usage("1.5" if day == 1 else "2.25", datetime(2026, 10, day, tzinfo=UTC), kind=kind)
    book.usage("100", wanted[1].start, kind="counter")
    found = slots(book)
    counters, peaks = ([slot for slot in found if slot.kind == kind] for kind in ("counter", "peak"))
    totals = [(meter.span, meter.total) for meter in views.measured(counters, D(1), wanted)]
    assert totals == [(None, D("3.75")), (november, D(100))]
    assert [meter.total for meter in views.measured(peaks, D(1), wanted)] == [D("2.25"), 0]
    events = [meter.events for meter in views.measured(counters, D(1), wanted, events=True)]
    assert [[seen.quantity for seen in one] for one in events] == [[D("1.5"), D("2.25")], [D(100)]]


def test_costs_are_summed_over_the_greatest_version_of_each_bill() -> None:
    book = Book()
    book.charge("10.123456789")
    book.charge("5", line="2")
    cost = views.vendor_cost(cells(book))
    assert cost is not None
    assert (cost.amount, cost.currency, cost.records) == (D("15.123456789"), "EUR", 2)
    assert [source.id for source in cost.sample] == ["B-1/1/1", "B-1/1/2"]
    book.charge("7", version=2)
    cost = views.vendor_cost(cells(book))
    assert cost is not None
    assert (cost.amount, cost.records, [source.id for source in cost.sample]) == (D(7), 1, ["B-1/2/1"])
    book.charge("7", version=2, line="9", currency="USD")
    assert views.vendor_cost(cells(book)) is None
    assert views.vendor_cost([]) is None
