"""Allocation at its edges: small figures, several bundles, credits that cancel a line, prices that meet."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal as D

import pytest

from shared.kernel.periods import Period
from shared.reconciliation.allocation import Left, Offset, allocate
from tests.unit.reconciliation.allocation.test_allocation import OCTOBER, bill, shares, want

NOVEMBER = Period(date(2025, 11, 1), date(2025, 12, 1))
KIN = {"m365": ("office", "edr")}


def test_prices_that_are_each_others_nearest_meet_before_the_cheapest_takes_anything() -> None:
    wanted = [want("1", "5", "1.00"), want("2", "6", "4.20"), want("3", "7", "9.00")]
    result = allocate(wanted, [bill("a", "3", "8.50"), bill("b", "4", "4.10")])
    assert shares(result) == [("2", "b", "4", "16.40", "near"), ("3", "a", "3", "25.50", "near")]
    assert result.wanted == (
        Left(("1",), D(5), D("5.00")),
        Left(("2",), D(2), D("8.40")),
        Left(("3",), D(4), D("36.00")),
    )


def test_several_bundle_lines_fill_the_components_one_after_another() -> None:
    wanted = [
        want("1", "10", "20", product="office"),
        want("2", "10", "10", product="edr"),
        want("3", "10", "7", product="edr"),
    ]
    offered = [bill(key, "10", price, product="m365") for key, price in (("a", "14.9"), ("b", "15.3"), ("c", "9"))]
    result = allocate(wanted, offered, KIN)
    assert sum(share.amount for share in result.shares) == D(149 + 153 + 90)
    assert result.offered == ()
    by_want = {key: sum(s.amount for s in result.shares if s.wanted == (key,) and s.by == "kin") for key in "123"}
    assert by_want == {"1": D(222), "2": D(100), "3": D(70)}  # 22 that nothing asked for stay with a partner
    assert result.wanted == ()


def test_a_bundle_that_bills_less_leaves_units_and_money_open_in_proportion() -> None:
    wanted = [want("1", "10", "20", product="office"), want("2", "10", "10", product="edr")]
    result = allocate(wanted, [bill("a", "10", "27", product="m365")], KIN)
    assert result.wanted == (Left(("1",), D(1), D(20)), Left(("2",), D(1), D(10)))
    cents = [want("1", None, "0.50", product="office"), want("2", None, "0.40", product="edr")]
    small = allocate(cents, [bill("a", "1", "0.72", product="m365")], KIN)
    assert [(s.wanted[0], s.amount) for s in small.shares] == [("1", D("0.40")), ("2", D("0.32"))]
    assert [(one.quantity, one.amount) for one in small.wanted] == [(None, D("0.10")), (None, D("0.08"))]


def test_a_bundle_pays_no_component_of_another_month_or_of_no_known_price() -> None:
    wanted = [
        want("1", "10", "20", product="office"),
        want("2", "10", "10", product="edr", period=NOVEMBER),
        want("3", "10", None, product="edr"),
    ]
    result = allocate(wanted, [bill("a", "10", "19", product="m365")], KIN)
    assert [(s.wanted[0], s.amount) for s in result.shares] == [("1", D(190))]
    assert [one.key for one in result.wanted] == [("1",), ("2",), ("3",)]


def test_a_credit_cancels_the_line_that_it_equals_before_the_first() -> None:
    offered = [bill("a", "12"), bill("b", "10"), bill("credit", "-10", corrects="INV-1", invoice="CN-1")]
    result = allocate([want("1", "12")], offered)
    assert result.offsets == (Offset(("credit",), ("b",), D(10), D("42.00")),)
    assert shares(result) == [("1", "a", "12", "50.40", "equal")]
    assert result.offered == ()


def test_a_credit_of_cents_takes_cents_back_and_one_over_two_lines_goes_on() -> None:
    offered = [bill("a", "1", "0.80"), bill("credit", "-0.5", "0.60", corrects="INV-1", invoice="CN-1")]
    result = allocate([], offered)
    assert [(o.offered, o.amount) for o in result.offsets] == [(("a",), D("0.30"))]
    assert [(one.key, one.amount) for one in result.offered] == [(("a",), D("0.50"))]
    two = [bill("a", "1"), bill("b", "2"), bill("credit", "-2.5", corrects="INV-1", invoice="CN-1")]
    assert [(o.offered[0], o.amount) for o in allocate([], two).offsets] == [("a", D("4.20")), ("b", D("6.30"))]


def test_a_credit_takes_back_no_more_than_was_billed_and_the_rest_is_left() -> None:
    offered = [bill("a", "1"), bill("credit", "-3", corrects="INV-1", invoice="CN-1")]
    result = allocate([], offered)
    assert [(o.offered[0], o.quantity, o.amount) for o in result.offsets] == [("a", 1, D("4.20"))]
    assert [(one.key[0], one.quantity, one.amount) for one in result.offered] == [("credit", -2, D("-8.40"))]


def test_credits_prefer_the_contract_line_then_the_product() -> None:
    other = bill("other", "3", product="dns")
    offered = [other, bill("same", "3"), bill("credit", "-2", corrects="INV-1", invoice="CN-1")]
    assert [o.offered[0] for o in allocate([], offered).offsets] == ["same"]
    named = [bill("a", "3", ref="1"), bill("b", "3", ref="2"), bill("credit", "-2", corrects="INV-1", ref="2")]
    assert [o.offered[0] for o in allocate([], named).offsets] == ["b"]


def test_parts_of_a_unit_are_given_like_units() -> None:
    result = allocate([want("1", "0.5", "4.00")], [bill("a", "0.8", "4.00")])
    assert shares(result) == [("1", "a", "0.8", "3.20", "near")]
    short = allocate([want("1", "0.8", "4.00")], [bill("a", "0.5", "4.00")])
    assert shares(short) == [("1", "a", "0.5", "2.00", "near")]
    assert short.wanted == (Left(("1",), D("0.3"), D("1.20")),)


def test_a_flat_price_is_met_by_money_and_has_the_lines_units() -> None:
    for billed, open_ in (("0.90", ()), ("0.60", (Left(("1",), None, D("0.20")),))):
        result = allocate([want("1", None, "0.80")], [bill("a", "1", billed)])
        assert [(s.wanted[0], s.quantity, s.amount) for s in result.shares] == [("1", 1, D(billed))]
        assert result.wanted == open_


def test_a_line_of_which_nothing_is_known_takes_the_one_that_is_billed() -> None:
    result = allocate([want("1", None, None)], [bill("a", "3")])
    assert [(s.quantity, s.amount) for s in result.shares] == [(3, D("12.60"))]
    assert result.wanted == ()


def test_units_without_a_known_price_are_met_by_units() -> None:
    result = allocate([want("1", "10", None)], [bill("a", "4")])
    assert [(s.quantity, s.amount) for s in result.shares] == [(4, D("16.80"))]
    assert result.wanted == (Left(("1",), D(6), None),)


def test_periods_that_only_touch_do_not_meet() -> None:
    result = allocate([want("1"), want("2", period=NOVEMBER)], [bill("a", "3", "5.00", period=NOVEMBER)])
    assert [(s.wanted[0], s.quantity) for s in result.shares] == [("2", 3)]
    late = allocate([want("1", period=NOVEMBER)], [bill("a", "3", "5.00", period=OCTOBER)])
    assert late.shares == ()
    assert [one.key for one in late.offered] == [("a",)]
    long = Period(date(2025, 10, 1), date(2025, 12, 1))
    both = allocate([want("1", "3"), want("2", "4", period=NOVEMBER)], [bill("a", "7", "5.00", period=long)])
    assert [(s.wanted[0], s.quantity, s.by) for s in both.shares] == [("1", 3, "near"), ("2", 4, "near")]


def test_what_was_credited_in_full_is_neither_answered_nor_left() -> None:
    free = bill("free", "2", "0.00")
    result = allocate([], [bill("a"), free, bill("credit", "-10", corrects="INV-1", invoice="CN-1")])
    assert [one.key for one in result.offered] == [("free",)]
    money = bill("money", "0", "5.00", amount="5.00")
    assert [one.key for one in allocate([], [money]).offered] == [("money",)]


def test_money_whose_units_were_credited_is_still_given_by_money() -> None:
    for credited, money in (("-20.00", "22.00"), ("-41.50", "0.50")):
        offered = [bill("a"), bill("c", "-10", amount=credited, corrects="INV-1", invoice="CN-1")]
        result = allocate([want("1")], offered)
        assert shares(result) == [("1", "a", "0", money, "near")]
        assert [one.amount for one in result.wanted] == [D("42.00") - D(money)]


def test_a_line_of_no_units_answers_one_of_none_and_a_line_that_is_used_up_answers_nothing() -> None:
    assert shares(allocate([want("1", "0")], [bill("a", "0")])) == [("1", "a", "0", "0.00", "equal")]
    used_up = allocate([want("1"), want("2", "0"), want("3", "5")], [bill("a", ref="1")])
    assert shares(used_up) == [("1", "a", "10", "42.00", "reference")]


@pytest.mark.parametrize("before", [1, 2])
def test_lines_that_cost_nothing_do_not_stand_before_the_one_that_pays_a_flat_price(before: int) -> None:
    free = [bill(f"a{n}", "2", "5.50", amount="0.00") for n in range(before)]
    result = allocate([want("1", None, "5.00")], [*free, bill("b", "1", "5.50")])
    assert shares(result) == [("1", "b", "1", "5.50", "near")]
    assert result.wanted == ()


@pytest.mark.parametrize("before", [1, 2])
def test_lines_that_expect_nothing_do_not_stand_before_the_one_that_does(before: int) -> None:
    nothing = [want(f"1{n}", "0") for n in range(before)]
    result = allocate([*nothing, want("2", "3")], [bill("a", "4", "5.00")])
    assert [share[:3] for share in shares(result)] == [("2", "a", "4")]


def test_a_credit_that_names_a_contract_alone_goes_by_its_product() -> None:
    nameless = replace(want("1", product="dns"), line=None)
    result = allocate([nameless, want("2")], [replace(bill("c", "-3"), contract="C-1")])
    assert [share[:2] for share in shares(result)] == [("2", "c")]


def test_cents_that_a_credit_leaves_are_there_for_the_next() -> None:
    credits_ = [
        bill(key, "-1", amount=amount, product="dns", corrects="INV-1", invoice="CN-1")
        for key, amount in (("c1", "-41.50"), ("c2", "-0.50"))
    ]
    result = allocate([], [bill("a"), *credits_])
    assert [(o.credit[0], o.amount) for o in result.offsets] == [("c1", D("41.50")), ("c2", D("0.50"))]
