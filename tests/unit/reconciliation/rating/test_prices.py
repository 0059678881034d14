"""Price models: rating.md section 3, by its figures."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from shared.events.contracts import Terms
from shared.reconciliation.rating import due, total
from shared.reconciliation.rating.model import Measurement
from tests.unit.reconciliation.rating.lines import (
    JUNE,
    D,
    amounts,
    counter,
    figures,
    flat,
    seats,
    service,
    terms,
    tiers,
    unit,
    used,
)

TIERS = tiers(("8", "4.00", "9"), ("20", "3.25"), (None, "2.50", "15"))


def priced(of: Terms, measured: Measurement | None, final: bool = True) -> dict[str, Decimal]:
    return amounts(due(service(of), measured, JUNE, final))


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("0", {"tier 1.flat": "9"}),
        ("8", {"tier 1.usage": "32", "tier 1.flat": "9"}),
        ("8.5", {"tier 1.usage": "32", "tier 1.flat": "9", "tier 2.usage": "1.63"}),
        (
            "23",
            {
                "tier 1.usage": "32",
                "tier 1.flat": "9",
                "tier 2.usage": "39",
                "tier 3.usage": "7.50",
                "tier 3.flat": "15",
            },
        ),
        ("-4", {"tier 1.flat": "9"}),
    ],
)
def test_graduated_tiers_price_the_units_that_lie_in_them(q: str, expected: dict[str, str]) -> None:
    found = priced(terms("graduated", price=TIERS), counter(q))
    assert found == {name: D(amount) for name, amount in expected.items()}
    assert list(found) == sorted(found, key=lambda name: (name.split(".")[0], name.endswith("flat")))


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("0", {"flat": "9"}),
        ("8", {"usage": "32", "flat": "9"}),
        ("8.5", {"usage": "27.63"}),
        ("23", {"usage": "57.50", "flat": "15"}),
    ],
)
def test_the_one_tier_that_holds_the_volume_prices_all_of_it(q: str, expected: dict[str, str]) -> None:
    found = priced(terms("volume", price=TIERS), counter(q))
    assert found == {name: D(amount) for name, amount in expected.items()}


@pytest.mark.parametrize(("q", "amount"), [("25", "6.00"), ("26", "12.00"), ("25.01", "12.00"), ("0.1", "6.00")])
def test_a_started_package_is_a_package(q: str, amount: str) -> None:
    assert priced(terms("package", price={"size": "25", "amount": "6.00"}), counter(q)) == {"package": D(amount)}


def test_nothing_used_is_no_package_and_no_line() -> None:
    assert priced(terms("package", price={"size": "25", "amount": "6.00"}), counter()) == {}
    assert priced(unit("0.50"), counter()) == {}


def test_blocks_are_started_within_their_tier() -> None:
    blocks = tiers(("200", "3.00", "0", "50"), (None, "4.50", "0", "100"))
    found = due(service(terms("graduated", price=blocks)), counter("430"), JUNE, True)
    assert figures(found) == [("tier 1.usage", D("12.00")), ("tier 2.usage", D("13.50"))]
    assert [c.quantity for c in found] == [4, 3]
    assert total(due(service(terms("volume", price=blocks)), counter("430"), JUNE, True)) == D("22.50")


def test_beyond_a_finite_last_tier_is_priced_in_it_and_flagged() -> None:
    for kind, sum_ in (("graduated", "44.00"), ("volume", "36.00")):
        found = due(service(terms(kind, price=tiers(("8", "4.00"), ("10", "3.00")))), counter("12"), JUNE, True)
        assert total(found) == D(sum_)
        assert found[-1].flags == ("beyond_last_tier",)
    within = due(service(terms("volume", price=tiers(("8", "4.00"), ("10", "3.00")))), counter("10"), JUNE, True)
    assert within[-1].flags == ()


def test_a_gauge_in_tiers_prices_each_level_and_charges_the_flats_of_the_highest_whole() -> None:
    of = terms("graduated", price=tiers(("4", "6.00", "20"), (None, "4.50", "10")))
    found = priced(of, seats(("6-1", "3"), ("6-13", "7"), ("6-25", "2")))
    assert found == {"tier 1.usage": D("19.20"), "tier 1.flat": 20, "tier 2.usage": D("5.40"), "tier 2.flat": 10}
    assert sum(found.values()) == D("54.60")


def test_a_gauge_by_volume_prices_each_level_in_the_tier_that_holds_it() -> None:
    of = terms("volume", price=tiers(("4", "6.00", "20"), (None, "4.50", "10")))
    found = due(service(of), seats(("6-1", "3"), ("6-13", "7"), ("6-25", "2")), JUNE, True)
    # 6.00 x (3 x 12 + 2 x 6)/30, 4.50 x 7 x 12/30, and the flat of the highest level's tier.
    assert [(c.component, c.unit_price, c.amount) for c in found] == [
        ("usage", D("6.00"), D("9.60")),
        ("usage", D("4.50"), D("12.60")),
        ("flat", D("10"), D("10.00")),
    ]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"free_events": 2, "free_amount": "120"}, "7.85"),
        ({"free_events": 2, "free_amount": "80"}, "8.65"),
        ({"free_events": 2, "free_amount": "80", "per_event_min": "1.00"}, "8.85"),
        ({"free_events": 2, "free_amount": "80", "per_event_min": "1.00", "per_event_max": "4.00"}, "7.55"),
        ({"free_amount": "100"}, "8.15"),  # the second uses it up exactly and pays the fixed fee alone
        ({}, "10.95"),
        ({"free_events": 4}, None),
    ],
)
def test_a_percentage_of_transactions(more: dict[str, Any], expected: str | None) -> None:
    of = terms("percentage", price={"rate_pct": "2.5", "fixed": "0.30", **more})
    measured = used(("6-1", "60"), ("6-2", "40"), ("6-3", "90"), ("6-4", "200"))
    assert priced(of, measured) == ({} if expected is None else {"percentage": D(expected)})


def test_a_transaction_of_nothing_counts_as_one() -> None:
    of = terms("percentage", price={"rate_pct": "2.5", "fixed": "0.30", "free_events": 1})
    assert priced(of, used(("6-1", "0"), ("6-2", "40"))) == {"percentage": D("1.30")}


def test_a_percentage_needs_transactions() -> None:
    with pytest.raises(ValueError, match="single transactions"):
        due(service(terms("percentage", price={"rate_pct": "1"})), seats(("6-1", "3")), JUNE, True)


def test_cost_plus_multiplies_the_cost_also_a_credit() -> None:
    of = terms("cost_plus", price={"factor": "1.25"})
    (line,) = due(service(of), used(("6-1", "80.04"), kind="cost"), JUNE, True)
    assert (line.component, line.unit_price, line.quantity, line.amount) == (
        "cost_plus",
        D("1.25"),
        D("80.04"),
        D("100.05"),
    )
    assert priced(of, used(("6-1", "-8"), kind="cost")) == {"cost_plus": D("-10.00")}


def test_a_flat_fee_is_due_at_the_start_in_advance_and_at_the_end_in_arrears() -> None:
    assert priced(flat("150"), None, final=False) == {}
    assert priced(flat("150"), None) == {"flat": D("150.00")}
    assert priced(flat("150", billing="advance"), None, final=False) == {"flat": D("150.00")}


def test_terms_that_exclude_a_product_bill_nothing() -> None:
    assert priced(flat("150", excluded=True), None) == {}
    assert priced(unit("1", excluded=True, minimum_amount="5"), counter("3")) == {}


def test_amounts_have_their_currencys_decimals() -> None:
    for currency, amount in (("JPY", "4"), ("KWD", "3.704"), ("EUR", "3.70")):
        (line,) = due(service(unit("1.2345"), currency=currency), counter("3"), JUNE, True)
        assert line.amount == D(amount)
