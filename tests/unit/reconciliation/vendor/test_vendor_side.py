"""The vendors' side: cost and units charged, licences bought and assigned, margin."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.events.contracts import Terms, UnitPrice
from shared.events.discrepancies import Code, DiscrepancyBody
from shared.reconciliation.inputs import GroupInputs, Product, VendorLine
from shared.reconciliation.settings import Settings
from shared.reconciliation.vendor import VendorSide, vendor_side
from shared.reconciliation.verdict import VendorTotals
from tests.unit.reconciliation.given import COMPLETE, MID_MONTH, D, at, gauge, group, record, unit_line

EDR = Product("edr", "Huntress EDR", unit="agent", unit_cost=D("2.50"), cost_currency="EUR")
BEGIN, END = at(1, 0), at(1, 0, month=11)


def charge(
    quantity: str | None,
    cost: str,
    *,
    line: str = "1",
    begins: datetime = BEGIN,
    ends: datetime = END,
    category: str | None = "Usage",
    currency: str = "EUR",
    **changes: object,
) -> VendorLine:
    fact = VendorLine(
        source="huntress",
        issuer="huntress",
        bill="HB-10",
        version=1,
        line=line,
        account="a-1",
        sku="edr",
        product="edr",
        share=D(1),
        category=category,
        correction=False,
        charge_from=begins,
        charge_to=ends,
        quantity=None if quantity is None else D(quantity),
        unit="agent",
        unit_price=None,
        billed_cost=D(cost),
        currency=currency,
        record=record("vendor.bill.line.v1", f"HB-10/{line}", "huntress"),
    )
    return replace(fact, **changes)  # type: ignore[arg-type]


def charged(*lines: VendorLine, used: str | None = None, billed: str | None = None, **given: object) -> VendorSide:
    seen = () if used is None else (gauge((at(1, 0), used)),)
    inputs = group(**({"product": EDR, "feeds": COMPLETE, "vendor_lines": lines, "used": seen} | given))  # type: ignore[arg-type]
    return vendor_side(
        inputs, None if used is None else {"edr": D(used)}, None if billed is None else (D(billed), "EUR")
    )


def only(side: VendorSide) -> DiscrepancyBody:
    assert len(side.breaks) == 1, [one.body.code for one in side.breaks]
    return side.breaks[0].body


def test_a_unit_cost_above_the_agreed_one_is_owed_by_the_vendor() -> None:
    side = charged(charge("50", "130.00"), used="50")
    body = only(side)
    assert (body.code, body.direction, body.amount) == (Code.COST_MISMATCH, "vendor_owes_us", D("5.00"))
    assert (body.reached, body.standing, side.breaks[0].side) == ("vendor_bill", "owed", "vendor")
    assert side.breaks[0].key == ("edr", "huntress", "a-1", "edr")
    assert body.why == "huntress bills 2.60 a unit of Huntress EDR, 2.50 agreed (Huntress EDR), for 50 units"
    assert side.totals == (VendorTotals("EUR", D("125.00"), D("130.00"), D(0), D("5.00")),)


def test_a_unit_cost_below_is_owed_to_the_vendor() -> None:
    assert (only(charged(charge("50", "120.00"))).direction, only(charged(charge("50", "120.00"))).amount) == (
        "we_owe_vendor",
        D("5.00"),
    )


@pytest.mark.parametrize("cost", ["125.00", "125.50", "125.62"])  # 0.0100 a unit; 0.4 %
def test_within_both_widths_is_explained(cost: str) -> None:
    side = charged(charge("50", cost), used="50")
    assert side.breaks == ()
    assert side.totals[0].explained == D(cost) - 125


def test_the_contracts_cost_comes_before_the_products() -> None:
    terms = Terms(price=UnitPrice(kind="unit", unit_amount=D("4.20")), cost=D("2.60"))
    line = replace(unit_line(), terms=terms, product="edr")
    assert charged(charge("50", "130.00"), used="50", lines=(line,)).breaks == ()


def test_more_units_charged_than_used() -> None:
    body = only(charged(charge("53", "132.50"), used="50"))
    assert (body.code, body.direction, body.amount, body.quantity) == (
        Code.COST_MISMATCH,
        "vendor_owes_us",
        D("7.50"),
        D(3),
    )
    fewer = only(charged(charge("47", "117.50"), used="50"))
    assert (fewer.direction, fewer.amount) == ("we_owe_vendor", D("7.50"))


def test_units_wait_for_complete_usage_and_for_the_months_end() -> None:
    unseen = charged(charge("53", "132.50"), used="50", feeds=())
    assert unseen.breaks == ()
    assert [one.side for one in unseen.waiting] == ["usage_complete"]
    assert charged(charge("47", "117.50"), used="50", as_of=MID_MONTH).breaks == ()
    # What was charged for units below what was already seen needs no complete usage.
    proven = charged(charge("47", "117.50"), used="50", feeds=())
    assert only(proven).amount == D("7.50")
    assert proven.totals == (VendorTotals("EUR", D("125.00"), D("117.50"), D(0), D("-7.50")),)


def test_price_and_units_add_up_to_the_difference() -> None:
    side = charged(charge("53", "137.80"), used="48")
    assert sorted(one.body.amount or D(0) for one in side.breaks) == [D("5.30"), D("12.50")]
    assert side.totals == (VendorTotals("EUR", D("120.00"), D("137.80"), D(0), D("17.80")),)


def test_seats_charged_day_by_day_are_a_months_seats() -> None:
    begin = datetime.fromisoformat("2026-10-01T00:00:00+00:00")
    days = [
        charge("31", "2.50", line=f"{n}", begins=begin + timedelta(days=n), ends=begin + timedelta(days=n + 1))
        for n in range(31)
    ]
    assert charged(*days, used="31").breaks == ()


def test_rows_that_are_rounded_down_to_the_cent_differ_by_up_to_a_cent_each() -> None:
    # 0.3 GB a day at 0.055: 0.0165, floored. Recomputed from the price the month is 0.51, the rows say 0.31.
    stored = replace(EDR, unit_cost=D("0.055"))
    days = [charge("0.3", "0.01", line=f"{n}", begins=at(n, 0), ends=at(n + 1, 0)) for n in range(1, 31)]
    side = charged(*days, used="9", product=stored)
    assert (side.breaks, side.totals[0].explained) == ((), D("-0.20"))
    # What is not rounded has no such excuse.
    exact = [replace(one, billed_cost=D("0.010001")) for one in days]
    assert only(charged(*exact, used="9", product=stored)).code == Code.COST_MISMATCH


def test_seats_of_a_part_of_a_month_in_proportion() -> None:
    part = charge("10", "8.06", line="2", begins=at(22, 0))  # 10 x 2.50 x 10/31
    assert charged(charge("50", "125.00"), part, used="60").breaks == ()


@pytest.mark.parametrize("hours", [-9, 0, 9])
def test_a_vendors_month_is_a_month_in_whatever_zone(hours: int) -> None:
    moved = timedelta(hours=hours)
    body = only(charged(charge("40", "104.00", begins=BEGIN + moved, ends=END + moved), used="40"))
    assert (body.amount, body.cost.unit_price if body.cost else None) == (D("4.00"), D("2.60"))


def test_tax_and_adjustments_move_cost_and_never_units() -> None:
    tax = charge(None, "23.75", line="2", category="Tax")
    credit = charge("1", "-5.00", line="3", category="Credit")
    side = charged(charge("50", "125.00"), tax, credit, used="50")
    assert side.breaks == ()
    assert side.totals == (VendorTotals("EUR", D("125.00"), D("143.75"), D("18.75"), D(0)),)
    assert side.cost == {"edr": ((D("143.75"), "EUR"),)}


def test_a_correction_is_part_of_the_period_it_is_charged_for_and_is_named() -> None:
    fixed = charge("3", "7.50", line="2", begins=at(14, 0), ends=at(15, 0), correction=True)
    body = only(charged(charge("50", "125.00"), fixed, used="50"))
    assert body.amount == D("7.50")
    assert body.why.endswith("; corrected afterwards for 2026-10-14")


def test_amounts_of_two_currencies_are_not_added_up() -> None:
    side = charged(charge("50", "125.00"), charge("50", "150.00", line="2", currency="USD"), used="100")
    assert [(one.currency, one.expected) for one in side.totals] == [("EUR", D("125.00")), ("USD", None)]
    assert side.breaks == ()
    assert [one.side for one in side.waiting] == ["price"]


def test_without_a_bill_nothing_is_concluded() -> None:
    waits = charged(used="50", billed="10.00")
    assert (waits.breaks, waits.totals) == ((), ())
    assert [(one.side, one.what) for one in waits.waiting] == [
        ("vendor_bill", "no vendor's bill of October 2026 for Huntress EDR yet")
    ]
    assert charged(used="50", product=replace(EDR, unit_cost=None)).waiting == ()


def test_a_share_of_an_account_is_charged_its_share() -> None:
    assert charged(charge("100", "250.00", share=D("0.5")), used="50").breaks == ()


# --- assigned and bought -------------------------------------------------------------------------------------------
def assigned(level: str) -> object:
    return replace(gauge((at(3), level)), meter="assigned", product="edr")


def test_fewer_licences_assigned_than_bought() -> None:
    side = charged(charge("50", "125.00", category="Purchase"), used="50", measured=(assigned("46"),))
    body = only(side)
    assert (body.code, body.direction, body.amount, body.quantity) == (
        Code.ASSIGNED_NE_PURCHASED,
        "vendor_owes_us",
        D("10.00"),
        D(4),
    )
    assert (body.standing, side.breaks[0].side) == ("at_risk", "none")
    assert side.totals == (VendorTotals("EUR", D("125.00"), D("125.00"), D(0), D(0)),)


def test_more_licences_assigned_than_bought_and_no_amount_without_a_cost() -> None:
    side = charged(
        charge("50", "125.00", category="Purchase"), measured=(assigned("51"),), product=replace(EDR, unit_cost=None)
    )
    body = only(side)
    assert (body.direction, body.amount, body.quantity, body.standing) == ("we_owe_vendor", None, D(1), None)


def test_licences_bought_are_measured_by_use_where_nothing_counts_assignments() -> None:
    assert only(charged(charge("50", "125.00", category="Purchase"), used="48")).quantity == D(2)
    assert charged(charge("50", "125.00", category="Purchase"), used="50").breaks == ()
    assert charged(charge("50", "125.00", category="Purchase")).breaks == ()


def test_unassigned_licences_wait_for_complete_usage() -> None:
    side = charged(charge("50", "125.00", category="Purchase"), measured=(assigned("46"),), feeds=())
    assert (side.breaks, [one.side for one in side.waiting]) == ((), ["usage_complete"])


# --- margin --------------------------------------------------------------------------------------------------------
def test_sold_below_cost_is_lost_with_no_floor_set() -> None:
    body = only(charged(charge("50", "125.00"), used="50", billed="110.00"))
    assert (body.code, body.amount, body.standing) == (Code.MARGIN_FLOOR, D("15.00"), "lost")
    assert charged(charge("50", "125.00"), used="50", billed="125.00").breaks == ()


def test_a_margin_below_the_floor_of_the_setting_or_the_terms() -> None:
    thin = {"used": "50", "billed": "150.00"}  # margin 25.00 = 16.7 %
    body = only(charged(charge("50", "125.00"), **thin, settings=Settings(margin_floor_pct=D(20))))  # type: ignore[arg-type]
    assert body.amount == D("5.00")
    assert body.why == "EUR 150.00 billed, 125.00 charged by vendors: margin 25.00, less than the 20 % agreed"
    assert charged(charge("50", "125.00"), **thin, settings=Settings(margin_floor_pct=D("16.6"))).breaks == ()  # type: ignore[arg-type]
    terms = Terms(price=UnitPrice(kind="unit", unit_amount=D(3)), margin_floor_pct=D(30))
    line = replace(unit_line(), terms=terms, product="edr")
    assert only(charged(charge("50", "125.00"), **thin, lines=(line,))).amount == D("20.00")  # type: ignore[arg-type]


def test_what_is_disputed_with_the_vendor_is_not_lost() -> None:
    side = charged(charge("50", "150.00"), used="50", billed="140.00")  # 25.00 too much
    assert [one.body.code for one in side.breaks] == [Code.COST_MISMATCH]
    codes = {one.body.code: one.body for one in charged(charge("50", "150.00"), used="50", billed="120.00").breaks}
    assert codes[Code.MARGIN_FLOOR].amount == D("5.00")
    assert "125.00 charged by vendors (without 25.00 in dispute)" in codes[Code.MARGIN_FLOOR].why


def test_a_bill_in_another_currency_gives_no_margin() -> None:
    lines = (charge("50", "500.00", currency="USD"),)
    side = charged(*lines, used="50", billed="150.00", product=replace(EDR, unit_cost=None))
    assert side.breaks == ()


def test_what_is_too_old_to_be_billed_is_lost() -> None:
    old = charged(charge("50", "130.00"), used="50", as_of=date(2027, 11, 1))
    assert only(old).standing == "lost"
    kept = charged(charge("50", "130.00"), used="50", as_of=date(2027, 10, 31))
    assert only(kept).standing == "owed"


def test_figures_beyond_a_record_wait() -> None:
    for line in (charge("1", "10000000000000000000"), charge("0.000000000000000001", "50")):
        side = charged(line, used="50", billed="10")
        assert ([one.side for one in side.waiting], side.breaks, side.totals) == (["terms"], (), ())


def test_order_never_matters() -> None:
    lines = [charge("20", "55.00", line="1"), charge("30", "78.00", line="2"), charge(None, "4", line="3")]
    one = charged(*lines, used="48", billed="100")
    assert charged(*reversed(lines), used="48", billed="100") == one
    assert isinstance(group(), GroupInputs)
    assert Decimal(sum(t.billed for t in one.totals)) == D("137.00")


quantities = st.one_of(st.none(), st.integers(-5, 60).map(Decimal))
costs = st.integers(-2_000, 20_000).map(lambda cents: Decimal(cents) / 100)
categories = st.sampled_from(["Usage", "Usage", "Purchase", "Tax", "Credit", "Adjustment", None])
rows = st.tuples(
    quantities, costs, categories, st.integers(1, 31), st.sampled_from(["EUR", "EUR", "USD"]), st.booleans()
)


@settings(max_examples=200, deadline=None)
@given(st.lists(rows, min_size=1, max_size=5), st.one_of(st.none(), st.integers(0, 60).map(str)), st.booleans())
def test_totals_add_up_whatever_the_order(
    charges: list[tuple[Decimal | None, Decimal, str | None, int, str, bool]], used: str | None, complete: bool
) -> None:
    lines = [
        charge(None if units is None else str(units), str(cost), line=f"{n}", category=category, begins=at(day, 0),
               currency=currency, correction=correction)
        for n, (units, cost, category, day, currency, correction) in enumerate(charges)
    ]  # fmt: skip
    feeds = COMPLETE if complete else ()
    side = charged(*lines, used=used, billed="100.00", feeds=feeds)
    assert charged(*reversed(lines), used=used, billed="100.00", feeds=feeds) == side
    for total in side.totals:
        assert total.billed == sum(line.billed_cost for line in lines if line.currency == total.currency)
        signed = [
            (one.body.amount or D(0)) * (1 if one.body.direction == "vendor_owes_us" else -1)
            for one in side.breaks
            if one.side == "vendor" and one.body.currency == total.currency
        ]
        assert total.broken == sum(signed)
        if total.expected is not None:
            assert total.billed - total.expected - total.explained - total.broken == 0
