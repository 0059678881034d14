"""What is not comparable says so, with the side that is missing, and gives no break."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from shared.kernel.periods import Period
from shared.reconciliation.compare import draw_group
from shared.reconciliation.inputs import Client, FeedSpan, InvoiceState, LineVersion
from shared.reconciliation.verdict import State, Verdict
from tests.unit.reconciliation.given import (
    COMPLETE,
    MID_MONTH,
    MONTH_OVER,
    D,
    at,
    counter,
    drawn,
    flat_line,
    gauge,
    group,
    only_break,
    posted,
    sides,
    unit_line,
)

USED_40 = (gauge((at(1), "40")),)


def ended(on: date, line: str = "3") -> LineVersion:
    return replace(unit_line(line=line), effective_from=on, terms=None, recurring=None, currency=None)


def not_comparable(verdict: Verdict) -> list[str]:
    assert (verdict.state, verdict.breaks, verdict.billed) == (State.NOT_COMPARABLE, (), None)
    return sides(verdict)


def test_a_recurring_quantity_that_changes_inside_the_month_counts_by_its_last() -> None:
    lines = (unit_line("4.20", "30"), unit_line("4.20", "35", effective_from=date(2026, 10, 20)))
    assert only_break(drawn(lines=lines, used=USED_40, as_of=MID_MONTH)).quantity == D(5)


def test_a_line_that_ended_before_the_month_is_not_in_force() -> None:
    lines = (unit_line(), ended(date(2026, 10, 1)))
    assert draw_group(group(lines=lines, complete=True)) is None
    assert only_break(drawn(lines=lines, used=USED_40, invoice=())).code == "EXPIRED_AGREEMENT"


def test_a_line_that_begins_after_the_month_is_not_in_force() -> None:
    assert draw_group(group(lines=(unit_line(effective_from=date(2026, 11, 1)),))) is None


def test_an_invoice_line_that_cuts_through_the_parts_is_not_compared() -> None:
    line = posted("40", "4.20", period=Period(date(2026, 9, 15), date(2026, 10, 15)))
    verdict = drawn(lines=(unit_line(),), used=USED_40, invoice=(line,), complete=True)
    assert not_comparable(verdict) == ["partial_period"]
    assert verdict.waiting[0].what == "INV-20931 line 7 bills 2026-09-15 to 2026-10-15"


def test_meters_of_different_kinds_or_units_are_not_added_up() -> None:
    by_unit = drawn(lines=(unit_line(),), used=(counter("3"), counter("4", account="a-2", unit="TiB")), invoice=())
    assert not_comparable(by_unit) == ["unit"]
    assert by_unit.waiting[0].what == (
        "quantity (counter, GiB) and quantity (counter, TiB) are measured; the terms name no meter"
    )
    assert by_unit.owed
    assert not_comparable(drawn(lines=(unit_line(),), used=(*USED_40, counter("3")), invoice=())) == ["unit"]


def test_a_meter_that_shows_nothing_conflicts_with_none() -> None:
    used = (*USED_40, counter("0"), gauge((at(3, month=9), "7"), (at(20, month=9), "0"), account="a-2", unit="seat"))
    assert drawn(lines=(unit_line(),), used=used, invoice=(posted("40", "4.20"),)).state is State.MATCHED


def test_the_terms_may_name_the_meter_that_counts() -> None:
    used = (*USED_40, gauge((at(1), "9"), account="a-2", meter="servers"))
    lines = (unit_line(meter="servers"),)
    assert only_break(drawn(lines=lines, used=used, invoice=(posted("8", "4.20"),))).quantity == D(1)
    other = drawn(lines=(unit_line(meter="seats"),), used=used, invoice=(posted("8", "4.20"),), complete=True)
    assert not_comparable(other) == ["unit"]
    assert other.waiting[0].what.startswith("the terms bill meter seats; quantity (gauge, agent) and servers")


def test_several_lines_of_other_terms_that_do_not_say_how_much_each_sells() -> None:
    lines = (unit_line(), unit_line("5.00", line="4"))
    verdict = drawn(lines=lines, used=USED_40, invoice=(posted("40", "4.20"),))
    assert not_comparable(verdict) == ["terms"]
    assert verdict.waiting[0].what == "C-1042 line 3 and 1 more all sell this product by use"


def test_an_agreement_that_does_not_say_what_it_bills() -> None:
    verdict = drawn(lines=(unit_line(),), used=USED_40, as_of=MID_MONTH)
    assert not_comparable(verdict) == ["invoice", "invoice"]
    assert (verdict.expected, verdict.owed) == (D("168.00"), True)
    assert verdict.waiting[0].what == "C-1042 line 3 does not say what it is set to bill"


def test_figures_that_no_record_could_hold() -> None:
    huge = "12345678901234567890"
    assert not_comparable(drawn(lines=(unit_line(huge),), used=(counter(huge),), invoice=())) == ["terms"]
    lines, invoice = (unit_line("1" + "0" * 18),), (posted("1" + "0" * 18, "1", "3"),)
    assert not_comparable(drawn(lines=lines, used=(counter("0.1"),), invoice=invoice, complete=True)) == ["terms"]


# --- the calendar ------------------------------------------------------------------------------------------------
def test_before_the_calendar_began_nothing_is_overdue() -> None:
    verdict = drawn(lines=(unit_line("4.20", "30"),), used=USED_40, as_of=None)
    assert (only_break(verdict).quantity, str(only_break(verdict).deadline)) == (D(10), "2026-11-01")
    assert draw_group(group(lines=(unit_line("4.20", "30"),), as_of=None)) is None


def test_a_contract_line_alone_says_nothing_of_a_month_that_has_not_begun() -> None:
    assert draw_group(group(lines=(unit_line("4.20", "30"),), as_of=date(2026, 9, 30))) is None
    assert drawn(lines=(unit_line("4.20", "30"),), as_of=date(2026, 10, 1)).state is State.NOT_COMPARABLE


def test_before_the_books_were_opened_only_what_was_loaded_is_compared() -> None:
    november = date(2026, 11, 1)
    assert draw_group(group(lines=(unit_line(),), opens=november)) is None
    assert drawn(lines=(flat_line(),), invoice=(), opens=november).breaks
    assert drawn(lines=(flat_line(),), opens=november, invoices=InvoiceState(straddling=1)).state is not None
    assert drawn(lines=(unit_line("4.20", "30"),), used=USED_40, opens=november).breaks
    assert drawn(lines=(unit_line("4.20", "30"),), opens=date(2026, 10, 1)).state is State.NOT_COMPARABLE


def test_the_deadline_is_the_next_bill_cycle_day() -> None:
    def deadline(day: int, as_of: date) -> str:
        client = Client("northwind", "Northwind Dental", bill_cycle_day=day)
        return str(
            only_break(drawn(lines=(unit_line(),), used=USED_40, invoice=(), client=client, as_of=as_of)).deadline
        )

    assert deadline(20, MID_MONTH) == "2026-10-20"
    assert deadline(14, MID_MONTH) == "2026-11-14"
    assert deadline(31, date(2026, 10, 31)) == "2026-11-30"
    assert deadline(1, date(2026, 12, 31)) == "2027-01-01"


# --- time zones --------------------------------------------------------------------------------------------------
NEW_YORK = Client("northwind", "Northwind Dental", time_zone="America/New_York")


def test_the_clients_zone_decides_what_lies_in_the_month() -> None:
    """In New York October 2026 ends at 04:00 UTC of 1 November: the clocks go back only later that day."""
    early, late = (
        gauge((at(1, 3), "90"), (at(1, 4), "40")),
        gauge((at(1, 4), "40"), (at(1, 3, month=11, minute=59), "41")),
    )
    given = {"lines": (unit_line(),), "invoice": (posted("40", "4.20"),), "client": NEW_YORK}
    assert drawn(**given, used=(early,)).state is State.MATCHED
    assert only_break(drawn(**given, used=(late,))).quantity == D(1)
    after = gauge((at(1, 4), "40"), (at(1, 4, month=11), "41"))
    assert drawn(**given, used=(after,)).state is State.MATCHED


def test_the_months_end_in_the_clients_zone_must_be_covered() -> None:
    given = {"lines": (unit_line(),), "used": USED_40, "invoice": (posted("41", "4.20"),), "client": NEW_YORK}
    assert drawn(**given, feeds=COMPLETE).breaks == ()
    until = replace(COMPLETE[0], covers_to=at(1, 4, month=11))
    assert drawn(**given, feeds=(until,)).breaks
    november = {**given, "period": Period(date(2026, 11, 1), date(2026, 12, 1)), "lines": (unit_line(),)}
    november["invoice"] = (posted("41", "4.20", period=november["period"]),)
    # November ends on winter time: 05:00 UTC.
    span = FeedSpan("huntress", at(1, 4, month=11), at(1, 4, month=12))
    assert drawn(**november, feeds=(span,), as_of=MONTH_OVER).breaks == ()
    assert drawn(**november, feeds=(replace(span, covers_to=at(1, 5, month=12)),), as_of=MONTH_OVER).breaks
