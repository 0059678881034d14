"""Blocks, caps and grouping at their edges (rating.md section 7, 1 and 4-7)."""

from __future__ import annotations

from datetime import date
from decimal import Decimal as D
from typing import Any

import pytest

from shared.events.contracts import Labour, PrepaidBlock, Terms, UnitPrice
from shared.reconciliation.rating.labour import Entry, Rated, labour
from shared.reconciliation.rating.model import Part, Service, Version

JUNE = Part(date(2026, 6, 1), date(2026, 7, 1), date(2026, 6, 1), date(2026, 7, 1))
JULY = Part(date(2026, 7, 1), date(2026, 8, 1), date(2026, 7, 1), date(2026, 8, 1))


def terms(rate: str = "120", *, more: Any = None, **rules: Any) -> Terms:
    return Terms(price=UnitPrice(kind="unit", unit_amount=D(rate)), labour=Labour(**rules), **(more or {}))


def block(name: str, start: str, end: str, hours: str | None = "10", **more: Any) -> PrepaidBlock:
    return PrepaidBlock(block=name, start=day(start), end=day(end), hours=None if hours is None else D(hours), **more)


def day(text: str) -> date:
    month, of_month = text.split("-")
    return date(2026, int(month), int(of_month))


def rated(agreed: Terms, *works: tuple[str, str], part: Part = JUNE, **more: Any) -> Rated:
    """Hours by day, in the order of their ids."""
    entries = [Entry(f"T-{n}", day(on), D(hours) * 60) for n, (on, hours) in enumerate(works)]
    return labour(Service((Version(agreed, date(2026, 1, 1)),), "EUR"), entries, part, **more)


def fates(answer: Rated) -> list[list[tuple[str, str | None, D]]]:
    return [[(p.kind, p.block, D(p.hours)) for p in outcome.pieces] for outcome in answer.outcomes]


def billable(agreed: Terms, *entries: Entry) -> list[D]:
    answer = labour(Service((Version(agreed, date(2026, 1, 1)),), "EUR"), entries, JUNE)
    return [D(outcome.billable) for outcome in answer.outcomes]


def test_only_entries_of_one_ticket_and_day_are_rounded_together() -> None:
    by_ticket = terms(increment_minutes=D(15), group="ticket_day")
    mine, other = day("6-3"), day("6-4")
    assert billable(by_ticket, Entry("T-1", mine, D(5)), Entry("T-2", mine, D(5))) == [15, 15]
    two = [Entry("T-1", mine, D(5), ticket="S-1"), Entry("T-2", mine, D(5), ticket="S-2")]
    assert billable(by_ticket, *two) == [15, 15]
    days = [Entry("T-1", mine, D(5), ticket="S-1"), Entry("T-2", other, D(5), ticket="S-1")]
    assert billable(by_ticket, *days) == [15, 15]
    same = [Entry("T-1", mine, D(5), ticket="S-1"), Entry("T-2", mine, D(5), ticket="S-1")]
    assert billable(by_ticket, *same) == [5, 10]
    assert billable(terms(increment_minutes=D(15)), *same) == [15, 15]


def test_what_was_rounded_says_on_which_ticket() -> None:
    agreed = terms(increment_minutes=D(15), group="ticket_day")
    entries = [Entry("T-1", day("6-3"), D(5), ticket="S-1")]
    (alone,) = labour(Service((Version(agreed, date(2026, 1, 1)),), "EUR"), entries, JUNE).outcomes
    assert alone.why == ("5 min become 15",)


def test_a_block_is_drawn_from_its_first_day_up_to_its_last_exclusive() -> None:
    agreed = terms(blocks=(block("A", "6-10", "6-20", overage_rate=D(140)),))
    answer = rated(agreed, ("6-9", "1"), ("6-10", "1"), ("6-19", "1"), ("6-20", "1"))
    assert fates(answer) == [[("billed", None, 1)], [("block", "A", 1)], [("block", "A", 1)], [("billed", None, 1)]]


def test_an_overage_rate_holds_on_the_days_of_its_block() -> None:
    agreed = terms(blocks=(block("A", "6-10", "6-20", "1", overage_rate=D(140)),))
    for on, whose in (("6-10", "A"), ("6-19", "A")):
        assert fates(rated(agreed, (on, "3"))) == [[("block", "A", 1), ("billed", whose, 2)]]
    assert fates(rated(agreed, ("6-10", "1"), ("6-20", "3")))[1] == [("billed", None, 3)]


def test_less_than_an_hour_left_is_drawn_and_a_block_that_is_empty_is_passed_by() -> None:
    agreed = terms(blocks=(block("A", "6-1", "7-1"), block("B", "6-1", "8-1")))
    answer = rated(agreed, ("6-2", "9.5"), ("6-3", "1"), ("6-4", "1"))
    assert fates(answer) == [
        [("block", "A", D("9.5"))],
        [("block", "A", D("0.5")), ("block", "B", D("0.5"))],
        [("block", "B", 1)],
    ]


@pytest.mark.parametrize("policy", ["bill", "carry", "refuse"])
def test_hours_that_a_block_just_covers_leave_nothing_over(policy: Any) -> None:
    answer = rated(terms(blocks=(block("A", "6-1", "7-1"),), overdraw=policy), ("6-2", "10"))
    assert fates(answer) == [[("block", "A", 10)]]
    assert answer.carried == 0


def test_work_that_costs_nothing_takes_nothing_from_a_block_of_money() -> None:
    money = block("M", "6-1", "7-1", None, amount=D(100))
    answer = rated(terms("0", blocks=(money,)), ("6-2", "5"))
    assert fates(answer) == [[("block", "M", 5)]]
    assert answer.balances[0].left == 100


def test_part_of_an_hour_rolls_over() -> None:
    agreed = terms(blocks=(block("A", "1-1", "6-1", "5", roll_over_cap=D("0.5")), block("B", "6-1", "9-1")))
    answer = rated(agreed, ("6-2", "1"))
    assert fates(answer) == [[("block", "A", D("0.5")), ("block", "B", D("0.5"))]]
    first = answer.balances[0]
    assert (first.rolled_over, first.expired) == (D("0.5"), D("4.5"))


def test_with_no_block_after_it_nothing_rolls_over() -> None:
    answer = rated(terms(blocks=(block("A", "1-1", "6-1", "5", roll_over_cap=D(4)),)), ("6-2", "1"))
    (balance,) = answer.balances
    assert (balance.rolled_over, balance.expired, balance.left) == (0, 5, 0)


def test_nothing_rolls_over_into_a_block_that_ends_with_it() -> None:
    twins = (block("A", "1-1", "6-1", "5", roll_over_cap=D(4)), block("A2", "1-1", "6-1", "5"))
    answer = rated(terms(blocks=(*twins, block("B", "6-1", "9-1"))), ("6-2", "5"))
    assert fates(answer) == [[("block", "A", 4), ("block", "B", 1)]]


def test_caps_in_hours_and_in_money_count_apart() -> None:
    agreed = terms(cap_hours=D(6), cap_amount=D(600))
    assert fates(rated(agreed, ("6-2", "4"), ("6-3", "3"))) == [
        [("billed", None, 4)],
        [("over_cap", None, 1), ("over_cap", None, 1), ("billed", None, 1)],
    ]


def test_a_cap_counts_every_entry_and_one_that_is_reached_leaves_nothing_to_bill() -> None:
    for cap in ({"cap_hours": D(5)}, {"cap_amount": D(600)}):
        answer = rated(terms(**cap), ("6-2", "2"), ("6-3", "2"), ("6-4", "2"), ("6-5", "0.5"))
        assert fates(answer)[2:] == [[("over_cap", None, 1), ("billed", None, 1)], [("over_cap", None, D("0.5"))]]


def test_a_cap_in_money_holds_at_any_rate_and_never_for_work_that_costs_nothing() -> None:
    assert fates(rated(terms("1", cap_amount=D(3)), ("6-2", "4"))) == [[("over_cap", None, 1), ("billed", None, 3)]]
    assert fates(rated(terms("0", cap_amount=D(3)), ("6-2", "4"))) == [[("billed", None, 4)]]


def test_a_cap_of_a_part_of_a_period_is_its_share_where_allowances_are_prorated() -> None:
    half = Part(day("6-1"), day("6-16"), day("6-1"), day("7-1"))
    works = (("6-2", "4"), ("6-3", "3"))
    prorated = terms(cap_hours=D(10), more={"prorate_allowances": True})
    assert fates(rated(prorated, *works, part=half))[1] == [("over_cap", None, 2), ("billed", None, 1)]
    assert fates(rated(terms(cap_hours=D(10)), *works, part=half))[1] == [("billed", None, 3)]


def test_each_period_has_its_cap_though_a_block_spans_them() -> None:
    long = block("A", "1-1", "9-1", "100")
    works = (("5-20", "6"), ("6-1", "6"), ("6-30", "1"), ("7-1", "6"), ("7-31", "1"))
    for allowances in (False, True):
        agreed = terms(blocks=(long,), cap_hours=D(5), more={"prorate_allowances": allowances})
        answer = rated(agreed, *works, part=JULY, earlier=[JUNE])
        assert fates(answer) == [[("over_cap", None, 1), ("block", "A", 5)], [("over_cap", None, 1)]]
        held, drawn = answer.balances[0].held, answer.balances[0].drawn
        assert (held, drawn) == (100, 15)  # five each of the time before, of June and of July


def held(agreed: Terms, *, start: str = "1-1", end: str | None = None, second: str | None = None) -> list[D]:
    """What blocks hold for a service that starts and ends, and maybe has a second version of its terms."""
    last = None if end is None else day(end)
    versions = [Version(agreed, day(start), last)]
    if second is not None:
        versions = [Version(agreed, day(start), day(second)), Version(agreed, day(second), last)]
    answer = labour(Service(tuple(versions), "EUR"), [], JUNE)
    return [D(balance.held) for balance in answer.balances]


def test_blocks_are_whole_unless_allowances_are_prorated() -> None:
    ten_days = block("A", "6-1", "6-11")
    whole, prorated = terms(blocks=(ten_days,)), terms(blocks=(ten_days,), more={"prorate_allowances": True})
    for dates, share in (
        ({"start": "6-6"}, 5),
        ({"end": "6-4"}, 3),
        ({"start": "6-3", "end": "6-9"}, 6),
        ({"start": "6-3", "end": "6-9", "second": "6-5"}, 6),
        ({"start": "5-1", "end": "7-1"}, 10),
        ({"start": "6-11"}, 0),
        ({}, 10),
    ):
        assert held(whole, **dates) == [10]  # type: ignore[arg-type]
        assert held(prorated, **dates) == [share]  # type: ignore[arg-type]
    money = block("M", "6-1", "6-11", None, amount=D(300))
    assert held(terms(blocks=(money,), more={"prorate_allowances": True}), start="6-6") == [300]


def test_a_block_is_as_its_last_version_has_it() -> None:
    first, last = terms(blocks=(block("A", "6-1", "7-1", "5"),)), terms(blocks=(block("A", "6-1", "7-1", "8"),))
    versions = (Version(first, day("1-1"), day("6-10")), Version(last, day("6-10")))
    (balance,) = labour(Service(versions, "EUR"), [], JUNE).balances
    assert (balance.held, balance.unit) == (8, "hours")


def test_a_lot_that_rolled_over_is_left_until_its_block_ends_and_then_expired() -> None:
    agreed = terms(blocks=(block("A", "1-1", "6-10", roll_over_cap=D(4)), block("B", "6-10", "7-1")))
    for part, expired, left in ((JUNE, 0, 4), (JULY, 4, 0)):
        (lot,) = [balance for balance in rated(agreed, part=part).balances if balance.rolled_from]
        assert (lot.block, lot.held, lot.expired, lot.left) == ("B", 4, expired, left)
    open_ended = terms(blocks=(block("A", "1-1", "6-10", roll_over_cap=D(4)), block("B", "6-10", "9-1")))
    for part in (JUNE, JULY):
        (lot,) = [balance for balance in rated(open_ended, part=part).balances if balance.rolled_from]
        assert (lot.expired, lot.left) == (0, 4)


def test_what_begins_after_the_part_is_not_among_its_balances() -> None:
    agreed = terms(blocks=(block("A", "1-1", "6-20", roll_over_cap=D(4)), block("B", "7-1", "9-1")))
    (a,) = rated(agreed).balances
    assert (a.block, a.rolled_over, a.expired) == ("A", 4, 6)


def test_the_last_half_hour_of_a_block_rolls_over_too() -> None:
    agreed = terms(blocks=(block("A", "1-1", "6-10", roll_over_cap=D(4)), block("B", "6-10", "9-1")))
    assert fates(rated(agreed, ("6-2", "9.5"), ("6-11", "1")))[1] == [
        ("block", "A", D("0.5")),
        ("block", "B", D("0.5")),
    ]


def test_half_an_hour_that_a_block_cannot_pay_stays_owed() -> None:
    blocks = (block("A", "6-1", "6-5", "1"), block("B", "6-5", "6-8", "1"), block("C", "6-8", "7-1", "1"))
    answer = rated(terms(blocks=blocks, overdraw="carry"), ("6-2", "2.5"))
    assert fates(answer) == [
        [("block", "A", 1), ("carried", None, D("1.5")), ("block", "B", 1), ("block", "C", D("0.5"))]
    ]
    assert answer.carried == 0
    assert rated(terms(blocks=blocks[:2], overdraw="carry"), ("6-2", "2.5")).carried == D("0.5")


def test_a_block_expires_on_its_day_though_an_older_one_goes_on() -> None:
    agreed = terms(blocks=(block("A", "1-1", "8-1"), block("B", "3-1", "6-10", "5")))
    found = {balance.block: (balance.left, balance.expired) for balance in rated(agreed).balances}
    assert found == {"A": (10, 0), "B": (0, 5)}
