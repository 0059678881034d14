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
