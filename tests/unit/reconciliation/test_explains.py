"""DUPLICATE, EXPIRED_AGREEMENT, OUT_OF_SCOPE, PRORATION, TIER_CROSS, MIN_COMMIT, CURRENCY, ROUNDING, LATE_USAGE and
RESTATED: found with amount and direction, let pass within the tolerance, pending while a side is missing."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from shared.events.contracts import FlatPrice, GraduatedPrice, Terms, Tier, UnitPrice, VolumePrice
from shared.events.discrepancies import Code, Direction, Standing
from shared.kernel.periods import Period
from shared.reconciliation.inputs import ClosedGroup, LineVersion, Product, Unmapped
from shared.reconciliation.settings import Settings
from shared.reconciliation.verdict import LineState, State
from tests.unit.reconciliation.given import (
    MID_MONTH,
    D,
    at,
    counter,
    credit,
    drawn,
    flat_line,
    gauge,
    only_break,
    posted,
    record,
    sides,
    unit_line,
)

US, THEM = Direction.CLIENT_OWES_US, Direction.WE_OWE_CLIENT
USED_40 = (gauge((at(20, month=9), "40"), (at(1, 0), "40")),)
GONE = (gauge((at(3, month=9), "7"), (at(20, month=9), "0")),)
LISTED = Product("edr", "Huntress EDR", list_price=D("5.00"), currency="EUR")


def day(number: int, month: int = 10) -> date:
    return date(2026, month, number)


def terms_line(terms: Terms, recurring: Any = None, **changes: Any) -> LineVersion:
    return replace(unit_line(recurring=recurring), terms=terms, **changes)


def ended(on: date, line: str = "3") -> LineVersion:
    return replace(unit_line(line=line), effective_from=on, terms=None, recurring=None, currency=None)


def found(verdict: Any) -> list[tuple[str, str, Any]]:
    return [(one.body.code.value, one.body.direction.value, one.body.amount) for one in verdict.breaks]


# --- DUPLICATE -----------------------------------------------------------------------------------------------------
def test_the_same_charge_on_two_invoices() -> None:
    again = posted("40", "4.20", invoice="INV-20990", line="1", issued_on=day(31))
    verdict = drawn(lines=(unit_line(),), used=USED_40, invoice=(again, posted("40", "4.20")), complete=True)
    body = only_break(verdict)
    assert (body.code, body.direction, body.amount, body.quantity) == (Code.DUPLICATE, THEM, D("168.00"), D(40))
    assert verdict.breaks[0].key == ("invoice", "psa", "INV-20990", "1")
    assert body.why == "40 billed at 4.20 on INV-20990 line 1 and again what INV-20931 line 7 bills already"
    assert body.standing is Standing.OWED


def test_a_repetition_that_is_due_or_credited_is_none() -> None:
    twice = (posted("20", "4.20"), posted("20", "4.20", line="8"))
    assert drawn(lines=(unit_line(),), used=USED_40, invoice=twice, complete=True).state is State.MATCHED
    back = (*(posted("40", "4.20", line=n) for n in ("7", "8")), credit("-168.00", "-40"))
    assert drawn(lines=(unit_line(),), used=USED_40, invoice=back, complete=True).state is State.MATCHED


def test_a_repetition_waits_for_complete_usage_and_one_of_a_flat_price_does_not() -> None:
    twice = (posted("40", "4.20"), posted("40", "4.20", line="8"))
    waiting = drawn(lines=(unit_line(),), used=USED_40, invoice=twice)
    assert (waiting.breaks, sides(waiting), waiting.explained) == ((), ["usage_complete"], D("168.00"))
    flats = (posted("1", "150.00"), posted("1", "150.00", line="8"))
    assert found(drawn(lines=(flat_line(),), invoice=flats)) == [("DUPLICATE", THEM, D("150.00"))]


def test_a_repetition_comes_before_the_quantity_that_is_left() -> None:
    lines = (posted("40", "4.20"), posted("40", "4.20", line="8"), posted("3", "4.20", line="9"))
    assert found(drawn(lines=(unit_line(),), used=USED_40, invoice=lines, complete=True)) == [
        ("DUPLICATE", THEM, D("168.00")),
        ("QTY_OVER", THEM, D("12.60")),
    ]


def test_equal_lines_that_are_due_in_part_are_a_quantity() -> None:
    lines = (posted("25", "4.20"), posted("25", "4.20", line="8"))
    assert found(drawn(lines=(unit_line(),), used=USED_40, invoice=lines, complete=True)) == [
        ("QTY_OVER", THEM, D("42.00"))
    ]


def test_a_repetition_comes_before_the_phantom_that_it_repeats() -> None:
    lines = (posted("7", "4.20"), posted("7", "4.20", line="8"))
    verdict = drawn(lines=(unit_line(),), used=GONE, invoice=lines, complete=True)
    assert [(one.body.code, one.key[-1]) for one in verdict.breaks] == [(Code.PHANTOM_LINE, "7"), (Code.DUPLICATE, "8")]


# --- EXPIRED_AGREEMENT ---------------------------------------------------------------------------------------------
def test_used_after_the_end_and_billed_by_nobody() -> None:
    verdict = drawn(lines=(unit_line(recurring="40"), ended(day(1))), used=USED_40, as_of=MID_MONTH)
    body = only_break(verdict)
    assert (body.code, body.direction, body.amount, body.standing) == (
        Code.EXPIRED_AGREEMENT,
        US,
        D("168.00"),
        Standing.AT_RISK,
    )
    assert body.why == "C-1042 line 3 has ended; 40 used and nothing billed from 2026-10-01 on"


def test_used_after_an_end_inside_the_month() -> None:
    lines = (unit_line(statistic="prorated"), ended(day(17)))
    bill = posted("40", "4.20", "86.71", period=Period(day(1), day(17)))
    body = only_break(drawn(lines=lines, used=USED_40, invoice=(bill,), complete=True))
    assert (body.code, body.amount) == (Code.EXPIRED_AGREEMENT, D("81.29"))  # 168.00 x 15/31


def test_billed_after_the_end() -> None:
    lines, bill = (flat_line(), ended(day(1), "1")), (posted("1", "150.00"),)
    assert found(drawn(lines=lines, invoice=bill)) == [("EXPIRED_AGREEMENT", THEM, D("150.00"))]
    by_use = (unit_line(), ended(day(1)))
    waiting = drawn(lines=by_use, used=GONE, invoice=(posted("7", "4.20"),))
    assert (waiting.breaks, sides(waiting)) == ((), ["usage_complete"])
    hiding = (Unmapped("account", "huntress", "a-9"),)
    stranger = drawn(lines=by_use, used=GONE, invoice=(posted("7", "4.20"),), complete=True, unmapped=hiding)
    assert (stranger.breaks, sides(stranger)) == ((), ["mapping"])
    known = drawn(lines=by_use, used=GONE, invoice=(posted("7", "4.20"),), complete=True)
    assert found(known) == [("EXPIRED_AGREEMENT", THEM, D("29.40"))]


def test_used_and_billed_after_the_end_asks_for_a_renewal_and_no_money() -> None:
    verdict = drawn(lines=(unit_line(), ended(day(1))), used=USED_40, invoice=(posted("40", "4.20"),))
    assert (found(verdict), verdict.breaks[0].side, verdict.broken) == ([("EXPIRED_AGREEMENT", US, None)], "none", 0)


def test_a_line_that_goes_on_under_another_contract_has_not_expired() -> None:
    lines = (unit_line(), ended(day(1)), unit_line(contract="C-2000"))
    assert drawn(lines=lines, used=USED_40, invoice=(posted("40", "4.20"),)).state is State.MATCHED


# --- OUT_OF_SCOPE --------------------------------------------------------------------------------------------------
EXCLUDED = terms_line(Terms(price=FlatPrice(kind="flat", amount=D(0)), excluded=True))


def test_used_though_the_contract_excludes_it() -> None:
    priced = drawn(lines=(EXCLUDED,), used=USED_40, invoice=(), product=LISTED)
    assert found(priced) == [("OUT_OF_SCOPE", US, D("200.00"))]
    unpriced = drawn(lines=(EXCLUDED,), used=USED_40, invoice=())
    assert (found(unpriced), unpriced.breaks[0].side) == ([("OUT_OF_SCOPE", US, None)], "none")
    assert unpriced.breaks[0].body.why == "40 used of what the contract excludes, no invoice line"


def test_what_is_billed_or_not_used_is_in_nobodys_way() -> None:
    assert drawn(lines=(EXCLUDED,), used=USED_40, invoice=(posted("40", "5.00"),)).state is State.MATCHED
    inside = drawn(lines=(EXCLUDED, unit_line(line="4")), used=USED_40, invoice=(posted("40", "4.20"),))
    assert inside.state is State.MATCHED


# --- PRORATION -----------------------------------------------------------------------------------------------------
FROM_17TH = unit_line(statistic="prorated", effective_from=day(17))
"""40 x 4.20 x 15/31 = 81.29 are due."""


@pytest.mark.parametrize(
    ("billed", "amount", "direction", "text"),
    [
        ("168.00", "86.71", THEM, "168.00 billed for the whole period, 81.29 due for 15 of 31 days"),
        ("108.39", "27.10", THEM, "108.39 billed for 20 of 31 days, 81.29 due for 15 of 31 days"),
        ("54.19", "27.10", US, "54.19 billed for 10 of 31 days, 81.29 due for 15 of 31 days"),
    ],
)
def test_billed_for_other_days(billed: str, amount: str, direction: Direction, text: str) -> None:
    verdict = drawn(lines=(FROM_17TH,), used=USED_40, invoice=(posted("40", "4.20", billed),), complete=True)
    body = only_break(verdict)
    assert (body.code, body.direction, body.amount, body.why) == (Code.PRORATION, direction, D(amount), text)
    assert body.tolerance is not None
    assert (body.tolerance.name, body.tolerance.absolute) == ("proration", D("5.42"))


def test_a_days_price_is_let_pass() -> None:
    verdict = drawn(lines=(FROM_17TH,), used=USED_40, invoice=(posted("40", "4.20", "86.71"),), complete=True)
    assert (verdict.state, verdict.explained_by) == (State.MATCHED, "tolerance proration")


def test_too_many_days_wait_for_complete_usage_and_those_of_a_flat_fee_do_not() -> None:
    waiting = drawn(lines=(FROM_17TH,), used=USED_40, invoice=(posted("40", "4.20"),))
    assert (waiting.breaks, sides(waiting)) == ((), ["usage_complete"])
    flat = drawn(lines=(flat_line(effective_from=day(17)),), invoice=(posted("1", "150.00"),))
    assert found(flat) == [("PRORATION", THEM, D("77.42"))]


def test_seats_that_were_added_inside_the_month_billed_as_if_all_along() -> None:
    used = (gauge((at(20, month=9), "3"), (at(1, 0), "3"), (at(11), "5")),)
    line = unit_line("12.40", statistic="prorated")
    whole = drawn(lines=(line,), used=used, invoice=(posted("5", "12.40"),), complete=True)
    assert found(whole) == [("PRORATION", THEM, D("8.00"))]  # 62.00 - 12.40 x (3 x 10 + 5 x 21) / 31
    why = "62.00 billed for the whole period, 54.00 due for 4.354839 units by the days that they stood"
    assert only_break(whole).why == why
    old = drawn(lines=(line,), used=used, invoice=(posted("3", "12.40"),), complete=True)
    assert found(old) == [("QTY_UNDER", US, D("16.80"))]


def test_a_part_that_is_missing_is_missing_and_another_price_is_a_price() -> None:
    assert found(drawn(lines=(FROM_17TH,), used=USED_40, invoice=())) == [("MISSING_LINE", US, D("81.29"))]
    other = drawn(lines=(FROM_17TH,), used=USED_40, invoice=(posted("40", "2.40"),), complete=True)
    assert found(other) == [("PRICE_MISMATCH", THEM, D("14.71"))]


# --- TIER_CROSS ----------------------------------------------------------------------------------------------------
TIERS = (
    Tier(up_to=D(20), unit_amount=D("4.00")),
    Tier(up_to=D(50), unit_amount=D("3.00")),
    Tier(unit_amount=D("2.00")),
)
VOLUME = terms_line(Terms(price=VolumePrice(kind="volume", tiers=TIERS), statistic="max"))
GRADUATED = terms_line(Terms(price=GraduatedPrice(kind="graduated", tiers=TIERS), statistic="max"))


def test_billed_at_the_price_of_another_tier() -> None:
    high = drawn(lines=(VOLUME,), used=USED_40, invoice=(posted("40", "4.00"),), complete=True)
    body = only_break(high)
    assert (body.code, body.direction, body.amount) == (Code.TIER_CROSS, THEM, D("40.00"))
    assert body.why == "40 billed at 4.00 of tier 1 = 160.00, 120.00 due"
    low = drawn(lines=(VOLUME,), used=USED_40, invoice=(posted("40", "2.00"),))
    assert found(low) == [("TIER_CROSS", US, D("40.00"))]


def test_tiers_read_the_other_way() -> None:
    graduated = drawn(lines=(GRADUATED,), used=USED_40, invoice=(posted("40", "3.00"),), complete=True)
    assert found(graduated) == [("TIER_CROSS", US, D("20.00"))]  # 20 x 4 + 20 x 3 = 140
    volume = drawn(lines=(VOLUME,), used=USED_40, invoice=(posted("40", "3.50"),), complete=True)
    assert only_break(volume).why == "40 billed tier by tier = 140.00, 120.00 due"


def test_tiers_billed_one_by_one_match_and_a_price_of_no_tier_is_a_price() -> None:
    by_tier = (posted("20", "4.00"), posted("20", "3.00", line="8"))
    assert drawn(lines=(GRADUATED,), used=USED_40, invoice=by_tier).state is State.MATCHED
    other = drawn(lines=(VOLUME,), used=USED_40, invoice=(posted("40", "3.30"),), complete=True)
    assert found(other) == [("PRICE_MISMATCH", THEM, D("12.00"))]
    within = drawn(lines=(VOLUME,), used=USED_40, invoice=(posted("40", "3.01"),), complete=True)
    assert (within.state, within.explained_by) == (State.MATCHED, "tolerance unit_price")


def test_another_quantity_is_worth_what_the_tiers_say() -> None:
    assert found(drawn(lines=(GRADUATED,), used=USED_40, invoice=(posted("10", "4.00"),))) == [
        ("QTY_UNDER", US, D("100.00"))
    ]
    waiting = drawn(lines=(VOLUME,), used=USED_40, invoice=(posted("30", "3.00"),))
    assert (waiting.breaks, sides(waiting)) == ((), ["usage_complete"])  # the volume price may fall still
    known = drawn(lines=(VOLUME,), used=USED_40, invoice=(posted("30", "3.00"),), complete=True)
    assert found(known) == [("QTY_UNDER", US, D("30.00"))]


def test_a_tiers_flat_has_no_units() -> None:
    tiers = (Tier(up_to=D(20), unit_amount=D("4.00"), flat_amount=D("9.00")), Tier(unit_amount=D("3.00")))
    line = terms_line(Terms(price=GraduatedPrice(kind="graduated", tiers=tiers), statistic="max"))
    bills = (posted("1", "9.00"), posted("20", "4.00", line="8"), posted("20", "3.00", line="9"))
    assert drawn(lines=(line,), used=USED_40, invoice=bills).state is State.MATCHED


# --- MIN_COMMIT ----------------------------------------------------------------------------------------------------
def test_billed_by_use_below_the_least_amount() -> None:
    line = terms_line(
        Terms(price=UnitPrice(kind="unit", unit_amount=D("4.20")), minimum_amount=D(300), statistic="max")
    )
    verdict = drawn(lines=(line,), used=USED_40, invoice=(posted("40", "4.20"),))
    body = only_break(verdict)
    assert (body.code, body.direction, body.amount) == (Code.MIN_COMMIT, US, D("132.00"))
    assert body.why == "168.00 billed for 40 used, 300.00 due by the agreed minimum"
    trued_up = (posted("40", "4.20"), posted("1", "132.00", line="8"))
    assert drawn(lines=(line,), used=USED_40, invoice=trued_up).state is State.MATCHED
    missing = drawn(lines=(line,), used=USED_40, invoice=())
    assert found(missing) == [("MISSING_LINE", US, D("300.00"))]


def test_billed_by_use_below_the_least_quantity() -> None:
    unit = UnitPrice(kind="unit", unit_amount=D("4.20"))
    line = terms_line(Terms(price=unit, minimum_quantity=D(50), statistic="max"))
    assert found(drawn(lines=(line,), used=USED_40, invoice=(posted("40", "4.20"),))) == [
        ("MIN_COMMIT", US, D("42.00"))
    ]
    assert found(drawn(lines=(line,), used=USED_40, invoice=(posted("30", "4.20"),))) == [("QTY_UNDER", US, D("84.00"))]
    assert drawn(lines=(line,), used=GONE, invoice=(posted("50", "4.20"),), complete=True).state is State.MATCHED


# --- CURRENCY ------------------------------------------------------------------------------------------------------
def test_two_currencies_without_a_rate_have_no_amount() -> None:
    verdict = drawn(lines=(unit_line(),), used=USED_40, invoice=(posted("40", "4.20", currency="USD"),))
    body = only_break(verdict)
    assert (body.code, body.amount, verdict.expected, verdict.broken) == (Code.CURRENCY, None, None, 0)
    assert body.why == "168.00 USD billed, 168.00 EUR agreed; the invoice names no exchange rate"
    assert [(line.state, line.expected, line.billed) for line in verdict.lines] == [(LineState.BREAK, None, None)]


def test_the_invoices_rate_brings_them_together() -> None:
    rated = {"currency": "USD", "exchange_rate": D("1.25"), "exchange_from": "EUR"}
    given: dict[str, Any] = {"lines": (unit_line(),), "used": USED_40, "complete": True}
    even = drawn(**given, invoice=(posted("40", "5.25", **rated),))
    assert (even.state, even.currency, even.expected) == (State.MATCHED, "USD", D("210.00"))
    unchanged = only_break(drawn(**given, invoice=(posted("40", "4.20", **rated),)))
    assert (unchanged.code, unchanged.direction, unchanged.amount) == (Code.CURRENCY, US, D("42.00"))
    fewer = only_break(drawn(**given, invoice=(posted("36", "5.25", **rated),)))
    assert (fewer.code, fewer.amount, fewer.currency) == (Code.QTY_UNDER, D("21.00"), "USD")
    dearer = only_break(drawn(**given, invoice=(posted("40", "6.00", **rated),)))
    assert (dearer.code, dearer.amount) == (Code.PRICE_MISMATCH, D("30.00"))


# --- ROUNDING ------------------------------------------------------------------------------------------------------
def test_a_minor_unit_a_rounded_line_is_absorbed_and_more_is_a_price() -> None:
    lines = (unit_line("0.333"),)
    within = drawn(lines=lines, used=USED_40, invoice=(posted("40", "0.333", "13.34"),))
    assert (within.state, within.explained, within.explained_by) == (State.MATCHED, D("0.02"), "rounding")
    beyond = drawn(lines=(unit_line("0.0033"),), used=(counter("100"),), invoice=(posted("100", "0.02", "2.00"),))
    assert [one.body.code for one in beyond.breaks] == [Code.PRICE_MISMATCH]


# --- LATE_USAGE and RESTATED ---------------------------------------------------------------------------------------
def closed(quantity: str, expected: str, records: int) -> ClosedGroup:
    amount = D(expected)
    return ClosedGroup("EUR", amount, amount, D(quantity), records, record("statement.group_closed.v1", "c-1"))


def late(quantity: str, before: ClosedGroup, bill: str, **more: Any) -> Any:
    used, line = (counter(quantity),), unit_line("1.00")
    return drawn(lines=(line,), used=used, invoice=(posted(bill, "1.00"),), closed=before, **more)


def test_usage_that_came_after_the_closing() -> None:
    body = only_break(late("120", closed("100", "100.00", 3), "100"))  # 3 records and the contract's line now
    assert (body.code, body.direction, body.amount, body.quantity) == (Code.LATE_USAGE, US, D("20.00"), D(20))
    assert body.why == "120 used, 100 when the period was closed; 100.00 was billed on the old figure"


def test_a_figure_that_was_restated() -> None:
    body = only_break(late("120", closed("100", "100.00", 4), "100"))
    assert body.code is Code.RESTATED
    waiting = late("80", closed("100", "100.00", 4), "100")
    assert (waiting.breaks, sides(waiting)) == ((), ["usage_complete"])
    lower = only_break(late("80", closed("100", "100.00", 4), "100", complete=True))
    assert (lower.code, lower.direction, lower.amount) == (Code.RESTATED, THEM, D("20.00"))


def test_a_percent_is_let_pass() -> None:
    verdict = late("101", closed("100", "100.00", 4), "100")
    assert (verdict.state, verdict.explained, verdict.explained_by) == (State.MATCHED, D(-1), "tolerance restated")
    assert late(
        "101", closed("100", "100.00", 4), "100", settings=Settings(widths=(("tolerance.restated.relative_pct", D(0)),))
    ).breaks


def test_where_another_break_holds_the_money_the_change_is_named_beside_it() -> None:
    verdict = late("120", closed("100", "100.00", 4), "90")
    assert [(one.body.code, one.side, one.body.amount) for one in verdict.breaks] == [
        (Code.RESTATED, "none", None),
        (Code.QTY_UNDER, "client", D("30.00")),
    ]
    assert late("120", closed("100", "100.00", 4), "120").state is State.MATCHED


# --- standing ------------------------------------------------------------------------------------------------------
def test_what_is_too_old_to_be_billed_is_lost() -> None:
    given: dict[str, Any] = {"lines": (unit_line(),), "used": USED_40, "invoice": ()}
    last = day(1, 11) + timedelta(days=365)
    assert only_break(drawn(**given, as_of=last - timedelta(days=1))).standing is Standing.OWED
    assert drawn(**given).next_change == last
    assert only_break(drawn(**given, as_of=last)).standing is Standing.LOST
    assert only_break(drawn(**given)).remedy == "add the line and back-bill"
