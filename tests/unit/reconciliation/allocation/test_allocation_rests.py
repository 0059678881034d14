"""What is left at the end of an allocation: repetitions, rests, and credits without an invoice to their name."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal as D

from shared.kernel.periods import Period
from shared.reconciliation.allocation import Offset, allocate
from tests.unit.reconciliation.allocation.test_allocation import bill, shares, want

NOVEMBER = Period(date(2025, 11, 1), date(2025, 12, 1))


def test_every_repetition_names_the_line_that_it_repeats() -> None:
    offered = [
        *(bill(key, "3", "9.00", product="dns") for key in ("d", "c", "e")),
        *(bill(key, "2", "7.00", product="mail") for key in ("g", "f")),
    ]
    assert allocate([], offered).duplicates == ((("d",), ("c",)), (("e",), ("c",)), (("g",), ("f",)))
    answered = allocate([want("1", "3", "9.00", product="dns")], [*offered, bill("b", "3", "9.00", product="dns")])
    assert answered.duplicates[0] == (("c",), ("b",))


def test_an_equal_amount_at_another_price_is_no_repetition() -> None:
    assert allocate([], [bill("a", "10", "4.20"), bill("b", "10", "4.21", amount="42.00")]).duplicates == ()
    unpriced = [replace(bill(key, "10", "4.20"), unit_price=None) for key in ("a", "b")]
    assert allocate([], unpriced).duplicates == ((("b",), ("a",)),)


def test_a_rest_stays_with_the_partner_that_has_most_of_the_line() -> None:
    result = allocate([want("1", "2", "4.20"), want("2", "5", "9.00")], [bill("a", "8", "6.00")])
    assert shares(result) == [("1", "a", "2", "12.00", "near"), ("2", "a", "6", "36.00", "near")]


def test_a_line_that_names_a_contract_line_stays_with_it_though_that_is_answered() -> None:
    alone = allocate([want("1")], [bill("a", ref="1"), bill("b", "2", "9.99", ref="1")])
    assert shares(alone)[1] == ("1", "b", "2", "19.98", "rest")
    assert alone.offered == ()


def test_a_credit_without_an_invoice_lowers_a_line_of_its_product_and_no_other() -> None:
    other = replace(want("1", product="dns"), contract=None, line=None)
    mine = replace(want("2"), contract=None, line=None)
    result = allocate([other, mine], [bill("c", "-3")])
    assert shares(result) == [("2", "c", "-3", "-12.60", "credit")]
    assert [one.key[0] for one in allocate([other], [bill("c", "-3")]).offered] == ["c"]


def test_a_credit_prefers_a_line_of_its_days_and_takes_another_where_there_is_none() -> None:
    wanted = [want("1"), want("2", period=NOVEMBER)]
    assert shares(allocate(wanted, [bill("c", "-3", period=NOVEMBER)]))[0][:2] == ("2", "c")
    assert shares(allocate([want("1")], [bill("c", "-3", period=NOVEMBER)]))[0][:2] == ("1", "c")


def test_a_credit_of_money_alone_is_placed_too() -> None:
    assert shares(allocate([want("1")], [bill("c", "0", "0", amount="-5.00")])) == [("1", "c", "0", "-5.00", "credit")]


def test_credits_that_were_taken_back_do_not_hide_those_that_were_not() -> None:
    offered = [
        bill("a"),
        bill("c1", "-10", corrects="INV-1", invoice="CN-1"),
        bill("c2", "-2", corrects="INV-0", invoice="CN-2"),
    ]
    result = allocate([want("1")], offered)
    assert result.offsets == (Offset(("c1",), ("a",), D(10), D("42.00")),)
    assert [share for share in shares(result) if share[1] == "c2"] == [("1", "c2", "-2", "-8.40", "credit")]


def test_a_credit_lowers_the_line_that_is_overbilled_most_however_large_it_is() -> None:
    offered = [bill("a", "24", ref="1"), bill("b", "5", ref="2"), bill("c", "-2")]
    result = allocate([want("1", "20"), want("2", "5")], offered)
    assert [share[:2] for share in shares(result) if share[4] == "credit"] == [("1", "c")]


def test_units_whose_money_was_credited_are_still_left() -> None:
    offered = [bill("a"), bill("c", "0", "0", amount="-42.00", corrects="INV-1", invoice="CN-1")]
    assert [(one.key[0], one.quantity, one.amount) for one in allocate([], offered).offered] == [("a", 10, 0)]


def test_a_credit_goes_on_over_as_many_lines_as_it_takes() -> None:
    offered = [bill(f"a{n}", "1") for n in range(6)] + [bill("c", "-5.5", corrects="INV-1", invoice="CN-1")]
    result = allocate([], offered)
    assert [(o.offered[0], o.amount) for o in result.offsets] == [
        *((f"a{n}", D("4.20")) for n in range(5)),
        ("a5", D("2.10")),
    ]


def test_what_a_bundle_bills_beyond_its_own_line_is_none_of_its_components() -> None:
    wanted = [want("1", "10", "30", product="m365"), want("2", "10", "20", product="office")]
    result = allocate(wanted, [bill("a", "12", "30", product="m365")], {"m365": ("office",)})
    assert {share[0] for share in shares(result)} == {"1"}
    assert [one.key[0] for one in result.wanted] == ["2"]


def test_bundles_pass_by_the_components_that_are_answered() -> None:
    both = Period(date(2025, 10, 1), date(2025, 12, 1))
    wanted = [want("1", None, "20", product="edr"), want("2", None, "30", product="edr", period=NOVEMBER)]
    offered = [
        bill("a", "1", "21", product="m365"),
        bill("b", "1", "25", product="m365", period=both),
        bill("c", "1", "9", product="m365", period=both),
        bill("d", "1", "3", product="m365", period=both),
    ]
    result = allocate(wanted, offered, {"m365": ("edr",)})
    assert [(share[0], share[1], share[3]) for share in shares(result)] == [
        ("1", "a", "21.00"),
        ("2", "b", "25.00"),
        ("2", "c", "9.00"),
    ]
    assert [one.key[0] for one in result.offered] == ["d"]


def test_a_line_that_begins_where_a_month_ends_belongs_to_the_next() -> None:
    days = Period(date(2025, 11, 1), date(2025, 11, 10))
    result = allocate([want("1"), want("2", period=NOVEMBER)], [bill("a", "3", "5.00", period=days)])
    assert [share[:2] for share in shares(result)] == [("2", "a")]


def test_where_nothing_is_expected_what_is_billed_is_a_rest() -> None:
    assert shares(allocate([want("1", "0")], [bill("a", "3")])) == [("1", "a", "3", "12.60", "rest")]
    assert allocate([want("1", None, "0.00")], [bill("a", "1", "5.00")]).shares == ()
    assert allocate([want("1", None, "5.00")], [bill("a", "2", "0.00")]).shares == ()


def test_money_without_units_lowers_what_is_expected_by_money() -> None:
    result = allocate([want("1")], [bill("a", "0", "0", amount="10.00")])
    assert [(share[0], share[3], share[4]) for share in shares(result)] == [("1", "10.00", "near")]
    assert [one.amount for one in result.wanted] == [D("32.00")]


def test_units_that_cost_nothing_are_given_once_like_any_others() -> None:
    free = [want("1", "2", "0.00"), want("2", "2", "0.00")]
    assert [one.key[0] for one in allocate(free, [bill("a", "2", "0.00")]).wanted] == ["2"]
    for first, second, billed in (("2", "3", "5"), ("2", "0.5", "2.5")):
        split = allocate([want("1", first, "0.00"), want("2", second, "0.00")], [bill("a", billed, "0.00")])
        assert [share[2] for share in shares(split)] == [first, second]
        assert split.wanted == split.offered == ()
    half = allocate([want("1", "0.5", "0.00")], [bill("a", "0.5", "0.00")])
    assert [share[4] for share in shares(half)] == ["equal"]


def test_a_repetition_of_cents_is_one() -> None:
    assert allocate([], [bill("a", "1", "0.50"), bill("b", "1", "0.50")]).duplicates == ((("b",), ("a",)),)


def test_a_line_of_no_contract_does_not_stay_with_a_stranger_of_none() -> None:
    stranger = replace(want("1", product="dns"), contract=None, line=None)
    assert [one.key[0] for one in allocate([stranger], [bill("a")]).offered] == ["a"]
    half_named = replace(bill("a"), contract="C-1")
    nameless = replace(want("1", product="dns"), line=None)
    assert [one.key[0] for one in allocate([nameless], [half_named]).offered] == ["a"]


def test_a_credit_lowers_the_line_that_it_names_before_the_one_that_is_overbilled_most() -> None:
    offered = [bill("a", "24", ref="1"), bill("b", "5", ref="2"), bill("c", "-2", ref="2")]
    result = allocate([want("1", "20"), want("2", "5")], offered)
    assert [share[:2] for share in shares(result) if share[4] == "credit"] == [("2", "c")]


def test_what_a_named_line_has_left_goes_on_by_units_and_not_by_an_equal_amount() -> None:
    other = replace(want("2", "2", "6.30"), contract=None, line=None)
    result = allocate([want("1"), other], [bill("a", "13", ref="1")])
    assert [share[:4] for share in shares(result)] == [("1", "a", "11", "46.20"), ("2", "a", "2", "8.40")]


def test_a_name_is_read_in_the_source_of_its_line() -> None:
    wanted = [want("1", "9", "8.00"), want("2", "3", "9.00"), replace(want("1b"), source="crm", line="1")]
    result = allocate(wanted, [bill("a", "3", "9.00", ref="1")])
    assert [share[:2] for share in shares(result)] == [("1", "a")]
