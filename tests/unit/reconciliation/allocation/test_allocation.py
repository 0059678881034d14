"""Which billed line answers which expected one: the shapes in which bills and contracts differ."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from shared.kernel.periods import Period
from shared.reconciliation.allocation import Allocation, Left, Offered, Offset, Wanted, allocate

OCTOBER = Period(date(2025, 10, 1), date(2025, 11, 1))


def want(
    key: str, quantity: str | None = "10", price: str | None = "4.20", *, product: str = "edr", period: Period = OCTOBER
) -> Wanted:
    """A line of contract C-1; without a price nothing is known of its amount, without a quantity the price is it."""
    units, each = (None if one is None else Decimal(one) for one in (quantity, price))
    amount = each if units is None or each is None else units * each
    return Wanted((key,), "psa", "C-1", key, product, period, units, None if units is None else each, amount)


def bill(
    key: str,
    quantity: str = "10",
    price: str = "4.20",
    *,
    ref: str | None = None,
    amount: str | None = None,
    product: str = "edr",
    period: Period = OCTOBER,
    invoice: str = "INV-1",
    corrects: str | None = None,
) -> Offered:
    total = Decimal(quantity) * Decimal(price) if amount is None else Decimal(amount)
    kind = "credit_note" if total < 0 else "invoice"
    contract = "C-1" if ref else None
    line = (product, period, Decimal(quantity), Decimal(price), total)
    return Offered((key,), "psa", invoice, contract, ref, *line, kind, corrects)


def shares(result: Allocation) -> list[tuple[str, str, str, str, str]]:
    return [
        (s.wanted[0], s.offered[0], format(s.quantity.normalize(), "f"), format(s.amount, ".2f"), s.by)
        for s in result.shares
    ]


def test_a_named_contract_line_comes_before_equal_figures() -> None:
    result = allocate([want("1"), want("2")], [bill("b", ref="1"), bill("a", ref="2")])
    assert shares(result) == [("1", "b", "10", "42.00", "reference"), ("2", "a", "10", "42.00", "reference")]
    assert result.wanted == result.offered == ()


def test_a_named_line_keeps_what_nothing_asked_for() -> None:
    result = allocate([want("1")], [bill("a", "12", ref="1")])
    assert shares(result) == [("1", "a", "12", "50.40", "reference")]


def test_one_line_over_two_contract_lines_gives_each_its_units() -> None:
    result = allocate([want("1", "10"), want("2", "5")], [bill("a", "15")])
    assert shares(result) == [("1", "a", "10", "42.00", "sum"), ("2", "a", "5", "21.00", "sum")]


def test_units_beyond_a_named_line_fill_the_next_of_its_product() -> None:
    result = allocate([want("1", "10"), want("2", "5")], [bill("a", "13", ref="1")])
    assert shares(result) == [("1", "a", "10", "42.00", "reference"), ("2", "a", "3", "12.60", "reference")]
    assert result.wanted == (Left(("2",), Decimal(2), Decimal("8.40")),)


def test_a_line_that_was_split_on_the_invoice_is_put_together_again() -> None:
    result = allocate([want("1", "10")], [bill("a", "6"), bill("b", "4")])
    assert shares(result) == [("1", "a", "6", "25.20", "sum"), ("1", "b", "4", "16.80", "sum")]


def test_several_subscriptions_of_one_sku_find_their_own_price() -> None:
    result = allocate(
        [want("1", "3", "9.00"), want("2", "7", "4.20")], [bill("a", "6", "4.20"), bill("b", "3", "8.90")]
    )
    assert shares(result) == [("1", "b", "3", "26.70", "near"), ("2", "a", "6", "25.20", "near")]
    assert result.wanted == (Left(("2",), Decimal(1), Decimal("4.20")),)


def test_a_repriced_line_of_equal_units_is_its_own_partner() -> None:
    result = allocate(
        [want("1", "3", "4.00"), want("2", "7", "4.20")], [bill("a", "7", "4.00"), bill("b", "3", "4.20")]
    )
    assert [(one[0], one[1], one[2]) for one in shares(result)] == [("1", "b", "3"), ("2", "a", "7")]


def test_a_line_over_two_billing_parts_is_split_by_their_amounts() -> None:
    first, second = Period(date(2025, 10, 1), date(2025, 10, 16)), Period(date(2025, 10, 16), date(2025, 11, 1))
    result = allocate(
        [want("1", None, "20", period=first), want("2", None, "22", period=second)], [bill("a", "1", "42")]
    )
    assert [(one[0], one[3], one[4]) for one in shares(result)] == [("1", "20.00", "sum"), ("2", "22.00", "sum")]
    assert sum(one.quantity for one in result.shares) == 1


def test_a_bundles_line_answers_its_components_by_money() -> None:
    wanted = [want("1", "10", "20", product="office"), want("2", "10", "10", product="edr")]
    exactly = allocate(wanted, [bill("a", "10", "30", product="m365")], {"m365": ("office", "edr")})
    assert [(one[0], one[3], one[4]) for one in shares(exactly)] == [("1", "200.00", "kin"), ("2", "100.00", "kin")]
    short = allocate(wanted, [bill("a", "10", "27", product="m365")], {"m365": ("office", "edr")})
    assert [(one[0], one[3]) for one in shares(short)] == [("1", "180.00"), ("2", "90.00")]


def test_components_lines_answer_a_bundle_and_strangers_do_not() -> None:
    offered = [bill("a", "10", "20", product="office"), bill("b", "10", "10", product="edr"), bill("c", product="dns")]
    result = allocate([want("1", "10", "30", product="m365")], offered, {"m365": ("office", "edr")})
    assert [(one[0], one[1], one[3]) for one in shares(result)] == [("1", "a", "200.00"), ("1", "b", "100.00")]
    assert [one.key for one in result.offered] == [("c",)]


def test_a_credit_note_takes_back_from_its_invoice_before_anything_is_given() -> None:
    offered = [bill("a", "12"), bill("credit", "-2", corrects="INV-1", invoice="CN-1")]
    result = allocate([want("1", "10")], offered)
    assert result.offsets == (Offset(("credit",), ("a",), Decimal(2), Decimal("8.40")),)
    assert shares(result) == [("1", "a", "10", "42.00", "equal")]
    assert result.offered == ()


def test_a_duplicate_that_was_credited_is_none() -> None:
    repeated = [bill("a"), bill("b")]
    assert allocate([want("1")], repeated).duplicates == ((("b",), ("a",)),)
    credited = [*repeated, bill("credit", "-10", corrects="INV-1", invoice="CN-1")]
    result = allocate([want("1")], credited)
    assert result.duplicates == result.offered == ()


def test_a_credit_without_its_invoice_lowers_what_is_billed_too_much() -> None:
    offered = [bill("a", "10", ref="1"), bill("b", "8", ref="2"), bill("credit", "-3", corrects="INV-0")]
    result = allocate([want("1", "10"), want("2", "5")], offered)
    assert [one for one in shares(result) if one[4] == "credit"] == [("2", "credit", "-3", "-12.60", "credit")]


def test_twice_the_units_used_twice_the_line_is_no_duplicate() -> None:
    result = allocate([want("1", "20")], [bill("a"), bill("b")])
    assert result.duplicates == ()
    assert [one[2] for one in shares(result)] == ["10", "10"]


def test_a_line_at_another_price_that_nothing_asked_for_is_left_over() -> None:
    result = allocate([want("1")], [bill("a"), bill("b", "1", "99.00")])
    assert result.offered == (Left(("b",), Decimal(1), Decimal("99.00")),)


def test_more_units_at_the_same_price_stay_with_the_line() -> None:
    result = allocate([want("1")], [bill("a"), bill("b", "3")])
    assert [(one[1], one[2]) for one in shares(result)] == [("a", "10"), ("b", "3")]


def test_money_alone_never_fills_another_contract_line() -> None:
    result = allocate([want("1", None, "155"), want("2", None, "100")], [bill("a", "1", "165", ref="1", amount="165")])
    assert shares(result) == [("1", "a", "1", "165.00", "reference")]
    assert [one.key for one in result.wanted] == [("2",)]


def test_an_amount_of_a_part_is_rounded_and_the_rest_keeps_the_cent() -> None:
    result = allocate([want("1", "1", "3.33"), want("2", "2", "3.33")], [bill("a", "3", amount="10.00")])
    assert [one[3] for one in shares(result)] == ["3.33", "6.67"]


def test_two_lines_with_one_key_are_refused() -> None:
    with pytest.raises(ValueError, match="key"):
        allocate([want("1"), want("1")], [])
