"""What each pass of the allocation looks at: references, equal figures, sums, nearness, touching products."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal as D

import pytest

from shared.kernel.periods import Period
from shared.reconciliation.allocation import Allocation, Offered, Wanted, allocate
from tests.unit.reconciliation.allocation.test_allocation import bill, want

KIN = {"m365": ("office", "edr")}


def month(first: int, *days: int) -> Period:
    since, until = days or (1, 1)
    return Period(date(2025, first, since), date(2025, first if days else first + 1, until))


def pairs(result: Allocation) -> list[tuple[str, str, str]]:
    return [(s.wanted[0], s.offered[0], s.by) for s in result.shares]


def test_a_contract_line_is_named_across_sources_where_only_one_has_it() -> None:
    billed = replace(bill("a", "3", "9.00", ref="1"), source="accounting")
    assert pairs(allocate([want("1"), want("2")], [billed])) == [("1", "a", "reference")]
    mine, theirs = want("1"), replace(want("1b"), source="crm", line="1")
    for source, whose in (("psa", "1"), ("crm", "1b")):
        named = replace(bill("a", "3", "9.00", ref="1"), source=source)
        assert pairs(allocate([mine, theirs], [named])) == [(whose, "a", "reference")]
    assert [by for _, _, by in pairs(allocate([mine, theirs], [billed]))] == ["near"]


def test_an_equal_amount_of_other_units_is_a_partner() -> None:
    result = allocate([want("1", "10", "4.20"), want("2", "9", "5.00")], [bill("a", "7", "6.00")])
    assert pairs(result) == [("1", "a", "amount")]


def test_an_unknown_price_is_no_price_of_one() -> None:
    assert pairs(allocate([want("1", "10", None)], [bill("a", "10", "1.00")])) == [("1", "a", "near")]


def test_a_line_that_costs_nothing_is_a_charge_unless_it_gives_units_back() -> None:
    assert pairs(allocate([want("1", "2", "0.00")], [bill("a", "2", "0.00")])) == [("1", "a", "equal")]
    for back in (bill("a", "-2", "0.00"), bill("a", "1", "-5.00", amount="-5.00")):
        assert pairs(allocate([want("1")], [back])) == [("1", "a", "credit")]


def flat(key: str, amount: str) -> Wanted:
    return want(key, None, amount)


def ones(*amounts: str) -> list[Offered]:
    return [bill(f"b{n}", "1", amount) for n, amount in enumerate(amounts)]


@pytest.mark.parametrize(
    ("asked", "billed", "used"),
    [
        ("10.50", ("10.00", "0.50"), 2),
        ("0.70", ("0.40", "0.30"), 2),
        ("15", ("1", "2", "4", "8", "100"), 4),
        ("32", ("1", "2", "3", "5", "8", "13"), 6),  # all of them, though more than four
    ],
)
def test_several_billed_lines_that_sum_to_one_expected_are_its_own(
    asked: str, billed: tuple[str, ...], used: int
) -> None:
    result = allocate([flat("1", asked)], ones(*billed))
    assert [by for _, _, by in pairs(result) if by == "sum"] == ["sum"] * used
    assert sum(s.amount for s in result.shares if s.by == "sum") == D(asked)


def test_more_than_four_terms_are_no_sum_unless_they_are_all() -> None:
    result = allocate([flat("1", "31")], ones("1", "2", "4", "8", "16", "100"))
    assert "sum" not in [by for _, _, by in pairs(result)]


def test_what_is_left_after_a_sum_may_be_the_next_one() -> None:
    result = allocate([flat("1", "42"), flat("2", "32")], ones("20", "22", "1", "2", "3", "5", "8", "13"))
    assert {s.by for s in result.shares} == {"sum"}
    assert [sum(s.amount for s in result.shares if s.wanted == (key,)) for key in "12"] == [42, 32]


def test_one_billed_line_that_equals_several_expected_gives_each_its_amount() -> None:
    result = allocate([flat("1", "0.40"), flat("2", "0.30"), flat("3", "9")], ones("0.70"))
    assert [(s.wanted[0], s.amount, s.by) for s in result.shares] == [("1", D("0.40"), "sum"), ("2", D("0.30"), "sum")]


def test_an_amount_of_another_period_that_overlaps_is_found_as_a_sum_of_one() -> None:
    longer = Period(date(2025, 10, 1), date(2025, 12, 1))
    result = allocate([flat("1", "42"), flat("2", "5")], [bill("a", "1", "42", period=longer)])
    assert pairs(result) == [("1", "a", "sum")]


def test_units_follow_the_money_where_they_do_not_sum() -> None:
    result = allocate([want("1", "10", "4.20"), want("2", "5", "4.20")], [bill("a", "12", "5.25")])
    assert [(s.quantity, s.amount, s.by) for s in result.shares] == [(8, D("42.00"), "sum"), (4, D("21.00"), "sum")]
    mixed = allocate([want("1", None, "20"), want("2", "10", "4.20")], [bill("a", "10", "6.20")])
    assert [(s.quantity, s.amount) for s in mixed.shares] == [
        (D("3.225806452"), D("20.00")),
        (D("6.774193548"), D("42.00")),
    ]


def test_all_of_a_line_keeps_its_decimals() -> None:
    result = allocate([want("1", "8", "9.00")], [bill("a", "5", "2.00", amount="10.005")])
    assert [(s.quantity, s.amount) for s in result.shares] == [(5, D("10.005"))]


def test_months_are_passed_by_until_they_overlap() -> None:
    wanted = [want(f"{m}", units, "4.20", period=month(m)) for m, units in ((8, "2"), (9, "3"), (10, "4"), (11, "7"))]
    billed = [bill("a", "3", "9.00", period=month(10, 5, 10)), bill("b", "6", "9.00", period=month(11, 5, 10))]
    assert pairs(allocate(wanted, billed)) == [("10", "a", "near"), ("11", "b", "near")]
    late = [want("10", "4", "4.20", period=month(10)), want("11", "7", "4.20", period=month(11))]
    early = [bill(f"{m}", "3", "9.00", period=month(m, 5, 10)) for m in (7, 8, 9, 10)]
    result = allocate(late, early)
    assert pairs(result) == [("10", "10", "near")]
    assert [one.key[0] for one in result.offered] == ["7", "8", "9"]


def test_units_are_walked_in_order_until_one_side_is_used_up() -> None:
    wanted = [want(f"{n}", units, "4.20") for n, units in enumerate(("2", "3", "4", "5"))]
    billed = [bill(f"b{n}", units, "5.00") for n, units in enumerate(("1", "7", "1.5"))]
    result = allocate(wanted, billed)
    assert [sum(s.quantity for s in result.shares if s.wanted == (f"{n}",)) for n in range(4)] == [2, 3, 4, D("0.5")]
    assert [(one.key[0], one.quantity) for one in result.wanted] == [("3", D("4.5"))]
    more = allocate(wanted[:2], [bill(f"b{n}", units, "5.00") for n, units in enumerate(("1", "1.5", "0.7", "1.1"))])
    assert [sum(s.quantity for s in more.shares if s.wanted == (f"{n}",)) for n in range(2)] == [2, D("2.3")]


def test_a_component_that_was_billed_by_itself_is_none_of_the_bundles() -> None:
    wanted = [want("1", "10", "20", product="office"), want("2", "10", "10", product="edr")]
    result = allocate(wanted, [bill("a", "4", "20", product="office"), bill("b", "10", "30", product="m365")], KIN)
    assert {(s.wanted[0], s.offered[0]) for s in result.shares} == {("1", "a"), ("2", "b")}
    assert [(one.key[0], one.quantity) for one in result.wanted] == [("1", 6)]


def test_one_line_that_equals_an_expected_one_is_found_among_others() -> None:
    longer = Period(date(2025, 10, 1), date(2025, 12, 1))
    offered = [bill("a", "1", "42", period=longer), bill("z", "1", "9.99", period=longer)]
    assert pairs(allocate([flat("1", "42"), flat("2", "5")], offered))[0] == ("1", "a", "sum")


def test_units_that_sum_are_given_as_they_are_asked_for_at_any_price() -> None:
    result = allocate([want("1", "10", "4.20"), want("2", "5", "2.00")], [bill("a", "15", "1.00", amount="52.00")])
    assert [(s.quantity, s.amount, s.by) for s in result.shares] == [(10, D("42.00"), "sum"), (5, D("10.00"), "sum")]


def test_a_line_that_costs_nothing_is_no_term_of_a_sum() -> None:
    offered = [*ones("1", "2", "3", "5", "8", "13"), bill("free", "1", "0.00")]
    result = allocate([flat("1", "32")], offered)
    assert [one.key[0] for one in result.offered] == ["free"]


def test_money_beyond_a_flat_price_is_its_own_and_fills_no_line_of_units() -> None:
    result = allocate([want("1", None, "4.00"), want("2", "10", "1.00")], [bill("a", "1", "9.00", ref="1")])
    assert [(s.wanted[0], s.quantity, s.amount) for s in result.shares] == [("1", 1, D("9.00"))]
    with_next = allocate(
        [want("1", None, "4.00"), want("2", "10", "1.00")], [bill("a", "1", "9.00", ref="1"), bill("b", "8", "9.50")]
    )
    assert [(s.wanted[0], s.offered[0]) for s in with_next.shares] == [("1", "a"), ("2", "b")]


def test_units_beyond_a_line_pay_no_flat_price() -> None:
    late = Period(date(2025, 10, 15), date(2025, 11, 1))
    result = allocate([want("1", "2", "5.00"), want("2", None, "7.00", period=late)], [bill("a", "5", "5.00")])
    assert [(s.wanted[0], s.quantity, s.amount) for s in result.shares] == [("1", 5, D("25.00"))]
    assert [one.key[0] for one in result.wanted] == ["2"]


def nameless(line: Wanted) -> Wanted:
    return replace(line, contract=None, line=None)


def test_lines_of_no_contract_do_not_name_each_other() -> None:
    assert pairs(allocate([nameless(want("1"))], [bill("a")])) == [("1", "a", "equal")]


def test_what_is_left_of_a_line_goes_on_at_its_price_and_not_to_equal_units_at_another() -> None:
    others = [nameless(want("2", "3", "9.00")), nameless(want("3", "5", "4.20"))]
    result = allocate([want("1"), *others], [bill("a", "13", ref="1")])
    assert pairs(result) == [("1", "a", "reference"), ("3", "a", "near")]


def test_all_that_is_left_of_a_contract_may_sum_to_a_line_of_units() -> None:
    billed = [replace(one, contract="C-1") for one in ones("20", "22", "1", "2", "3", "5", "8", "13")]
    result = allocate([want("1", "2", "21.00"), want("2", "10", "3.20")], billed)
    assert [sum(s.amount for s in result.shares if s.wanted == (key,)) for key in "12"] == [42, 32]
    assert result.wanted == ()


@pytest.mark.parametrize("price", [None, "0.00"])
def test_what_asks_for_no_money_is_no_term_of_a_sum(price: str | None) -> None:
    asked = [flat(f"{n}", amount) for n, amount in enumerate(("1", "2", "4", "8", "16"))]
    result = allocate([*asked, want("9", "3", price)], ones("31"))
    assert [(s.wanted[0], s.amount, s.by) for s in result.shares] == [(one.key[0], one.amount, "sum") for one in asked]
    assert [one.key[0] for one in result.wanted] == ["9"]
