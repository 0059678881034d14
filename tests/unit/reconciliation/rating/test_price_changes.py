"""Price models where something changes inside a period, and the order of their lines (rating.md sections 2 and 3)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from shared.events.contracts import PercentagePrice
from shared.reconciliation.rating import due, total
from shared.reconciliation.rating.prices import Charge, Transactions, less, usage
from tests.unit.reconciliation.rating.lines import JUNE, D, counter, figures, service, terms, tiers, used, versions

VOLUME = terms("volume", price=tiers(("100", "0.10"), (None, "0.08")))
ONE = Decimal(1)


def test_a_volume_that_changes_its_tier_under_new_terms_gives_back_what_came_before() -> None:
    """Version 2 pays its price of all 150 less its price of the 80 before it, which another tier held."""
    of = versions(("6-1", VOLUME), ("6-16", VOLUME))
    found = due(of, used(("6-5", "80"), ("6-20", "70")), JUNE, True)
    assert total(found) == D("12.00")
    assert [(line.unit_price, line.quantity) for line in found if line.amount] == [(D("0.08"), 150)]
    dearer = terms("volume", price=tiers(("100", "0.20"), (None, "0.10")))
    changed = due(versions(("6-1", VOLUME), ("6-16", dearer)), used(("6-5", "80"), ("6-20", "70")), JUNE, True)
    assert total(changed) == D("8.00") + (D("15.00") - D("16.00"))


def test_what_is_added_is_the_count_less_the_count_before_and_what_is_gone_is_negated() -> None:
    now, before = usage(VOLUME.price, D(90)), usage(VOLUME.price, D(80))
    assert [(c.unit_price, c.number) for c in less(now, before)] == [(D("0.10"), 10)]
    assert [(c.unit_price, c.number) for c in less(usage(VOLUME.price, D(150)), before)] == [
        (D("0.08"), 150),
        (D("0.10"), -80),
    ]
    assert less(now, now) == []
    assert less([], [Charge(0, "usage", ONE, D(3))])[0].number == -3


def test_only_what_lies_beyond_the_last_bound_is_flagged() -> None:
    finite = terms("graduated", price=tiers(("8", "4.00"), ("10", "3.00")))
    for q, flags in (("9", [(), ()]), ("10", [(), ()]), ("10.5", [(), ("beyond_last_tier",)])):
        assert [line.flags for line in due(service(finite), counter(q), JUNE, True)] == flags
    open_ended = terms("graduated", price=tiers(("8", "4.00"), (None, "3.00")))
    assert [line.flags for line in due(service(open_ended), counter("12"), JUNE, True)] == [(), ()]


def test_blocks_beyond_the_last_bound_are_flagged_too() -> None:
    for kind in ("graduated", "volume"):
        blocks = terms(kind, price=tiers(("10", "4.00", "0", "5")))
        (line,) = due(service(blocks), counter("12"), JUNE, True)
        assert (line.quantity, line.amount, line.flags) == (3, D("12.00"), ("beyond_last_tier",))


def test_the_usage_of_a_tier_comes_before_its_flat_and_both_before_the_next_tier() -> None:
    of = terms(
        "graduated", price=tiers(("8", "4.00", "9"), ("20", "3.25", "5"), ("30", "2.50", "15"), (None, "1", "2"))
    )
    assert [name for name, _ in figures(due(service(of), counter("31"), JUNE, True))] == [
        f"tier {number}.{kind}" for number in (1, 2, 3, 4) for kind in ("usage", "flat")
    ]


def test_the_usage_of_a_volume_is_paid_before_its_flat() -> None:
    of = terms("volume", price=tiers((None, "2.00", "9")), maximum_amount="25")
    assert figures(due(service(of), counter("10"), JUNE, True)) == [("usage", D("20.00")), ("flat", D("5.00"))]


def percentage(**more: Any) -> PercentagePrice:
    return PercentagePrice.model_validate({"kind": "percentage", "rate_pct": "10", "fixed": "0.30", **more})


def test_an_allowance_that_was_used_up_stays_closed_when_the_terms_grant_more() -> None:
    events = Transactions()
    assert [events.fee(percentage(free_events=1), D(10)).amount for _ in range(2)] == [0, D("1.30")]
    assert events.fee(percentage(free_events=5), D(10)).amount == D("1.30")
    amounts = Transactions()
    assert [amounts.fee(percentage(free_amount="15"), D(10)).amount for _ in range(2)] == [0, D("0.80")]
    assert amounts.fee(percentage(free_amount="100"), D(10)).amount == D("1.30")


def test_a_fee_within_its_bounds_says_none_of_them() -> None:
    bounds = percentage(per_event_min="1.30", per_event_max="2.30")
    found = [Transactions().fee(bounds, D(value)) for value in ("5", "10", "20", "30")]
    assert [(fee.amount, fee.bounded) for fee in found] == [
        (D("1.30"), "at least"),
        (D("1.30"), ""),
        (D("2.30"), ""),
        (D("2.30"), "at most"),
    ]
    covered = Transactions().fee(percentage(free_events=1), D(10))
    assert (covered.value, covered.paying, covered.amount, covered.bounded) == (10, 0, 0, "")
