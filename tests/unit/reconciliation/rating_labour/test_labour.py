"""What hours cost: minutes, rates, prepaid blocks, caps (rating.md section 7)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any
from unittest.mock import ANY

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.events.contracts import Labour, PrepaidBlock, RateRow, Terms, UnitPrice, WorkTypeRule
from shared.events.discrepancies import Source
from shared.reconciliation.rating.labour import (
    Entry,
    Rated,
    billable_minutes,
    labour,
    labour_difference,
    rate_of,
    worked_minutes,
)
from shared.reconciliation.rating.model import Part, Service, Version

D = Decimal
H2 = Part(date(2026, 6, 1), date(2026, 8, 1), date(2026, 6, 1), date(2026, 8, 1))
JUNE = Part(date(2026, 6, 1), date(2026, 7, 1), date(2026, 6, 1), date(2026, 7, 1))
JULY = Part(date(2026, 7, 1), date(2026, 8, 1), date(2026, 7, 1), date(2026, 8, 1))


def terms(rate: str = "120", *, more: Any = None, **rules: Any) -> Terms:
    return Terms(price=UnitPrice(kind="unit", unit_amount=D(rate)), labour=Labour(**rules), **(more or {}))


def work(id: str, day: date, hours: str, **more: Any) -> Entry:
    return Entry(id, day, D(hours) * 60, record=Source(type="time-entry.logged.v1", source="psa", id=id), **more)


def rated(agreed: Terms, *entries: Entry, part: Part = H2, currency: str = "EUR", **more: Any) -> Rated:
    return labour(Service((Version(agreed, date(2026, 1, 1)),), currency), entries, part, **more)


def lines(answer: Rated) -> list[tuple[str, Decimal, Decimal]]:
    return [(c.component, c.quantity, c.total) for c in answer.components]  # type: ignore[misc]


def total(answer: Rated) -> Decimal:
    return sum((c.total for c in answer.components), D(0))


@pytest.mark.parametrize(
    ("minutes", "mode", "billable"),
    [
        ("7", "up", "30"),
        ("31", "up", "45"),
        ("46", "up", "60"),
        ("45", "up", "45"),
        ("0", "up", "0"),
        ("-5", "up", "0"),
        ("37", "nearest", "30"),
        ("37.5", "nearest", "45"),
        ("44", "down", "30"),
    ],
)
def test_minutes_are_rounded_to_the_increment_then_raised_to_the_minimum(
    minutes: str, mode: Any, billable: str
) -> None:
    rules = Labour(increment_minutes=D(15), increment_mode=mode, minimum_minutes=D(30))
    assert billable_minutes(D(minutes), rules) == D(billable)


def test_a_maximum_cuts_after_rounding() -> None:
    assert billable_minutes(D(61), Labour(increment_minutes=D(60), maximum_minutes=D(90))) == 90


def test_time_worked_is_counted_by_instants_less_breaks() -> None:
    berlin_summer, berlin_winter = timezone(timedelta(hours=2)), timezone(timedelta(hours=1))
    entry = Entry(
        "T-1",
        date(2026, 10, 25),
        start=datetime(2026, 10, 25, 1, 30, tzinfo=berlin_summer),
        end=datetime(2026, 10, 25, 3, 30, tzinfo=berlin_winter),
        breaks=(
            (datetime(2026, 10, 25, 0, 0, tzinfo=UTC), datetime(2026, 10, 25, 0, 20, tzinfo=UTC)),
            (datetime(2026, 10, 25, 0, 10, tzinfo=UTC), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        ),
    )
    assert worked_minutes(entry) == 150  # three hours on the clock of instants, less half an hour counted once
    assert worked_minutes(Entry("T-2", entry.worked_on, start=entry.end, end=entry.start)) == 0
    with pytest.raises(ValueError, match="neither minutes nor start and end"):
        Entry("T-3", entry.worked_on)


def test_minutes_of_a_ticket_and_day_are_rounded_together() -> None:
    agreed = terms(increment_minutes=D(15), group="ticket_day", lines="entry")
    day = date(2026, 6, 3)
    answer = rated(
        agreed,
        *(Entry(f"T-{n}", day, D(6), ticket="S-1") for n in (1, 2, 3)),
        Entry("T-4", day, D(6)),
    )
    assert [outcome.billable for outcome in answer.outcomes] == [6, 6, 18, 15]
    assert answer.outcomes[2].why == ("18 min on S-1 that day become 30",)


def test_a_maximum_of_a_ticket_and_day_comes_off_the_last_entries() -> None:
    agreed = terms(maximum_minutes=D(30), group="ticket_day")
    entries = [Entry(f"T-{n}", date(2026, 6, 3), D(20), ticket="S-1") for n in (1, 2, 3)]
    assert [outcome.billable for outcome in rated(agreed, *entries).outcomes] == [20, 10, 0]


def test_the_work_type_multiplies_the_rate() -> None:
    agreed = terms(work_types=(WorkTypeRule(work_type="onsite", effect="multiply", value=D("1.5")),))
    answer = rated(agreed, work("T-1", date(2026, 6, 3), "0.75", work_type="onsite"))
    assert lines(answer) == [("hours onsite", D("0.75"), D("135.00"))]
    assert [step.formula for step in answer.components[0].steps] == [
        "T-1 0.75",
        "120.00 x 1.5 for onsite",
        "0.75 x 180.00",
    ]
    assert answer.components[0].steps[-1].rounding == "half_up 2"
    assert [source.id for source in answer.components[0].sources] == ["T-1"]


ROWS = (
    RateRow(role="engineer", work_type="onsite", rate=D(150)),
    RateRow(role="engineer", rate=D(130)),
    RateRow(work_type="onsite", rate=D(110)),
    RateRow(role="engineer", work_type="lab", rate=D(1), effective_to=date(2026, 6, 1)),
    RateRow(role="engineer", work_type="lab", rate=D(2), effective_from=date(2026, 6, 1)),
)


@pytest.mark.parametrize(
    ("role", "work_type", "rate"),
    [
        ("engineer", "onsite", "150"),
        ("engineer", "remote", "130"),
        ("junior", "onsite", "110"),
        ("junior", "remote", "120"),
        ("engineer", "lab", "2"),
    ],
)
def test_the_first_rate_that_exists_holds(role: str, work_type: str, rate: str) -> None:
    entry = work("T-1", date(2026, 6, 1), "1", role=role, work_type=work_type)
    found = rate_of(terms(rates=ROWS), "EUR", entry)
    assert found is not None
    assert found.value == D(rate)


def test_a_tenants_rates_hold_where_the_contract_has_none() -> None:
    agreed = Terms(price={"kind": "flat", "amount": "0"}, labour=Labour())  # type: ignore[arg-type]
    tenant = [RateRow(role="engineer", rate=D(90)), RateRow(rate=D(80))]
    day = date(2026, 6, 1)
    answer = rated(agreed, work("T-1", day, "1", role="engineer"), work("T-2", day, "1", role="x"), tenant_rates=tenant)
    assert total(answer) == D("170.00")
    (without,) = rated(agreed, work("T-1", day, "1")).outcomes
    assert (without.state, without.amount) == ("no_rate", 0)


@pytest.mark.parametrize(("effect", "rate"), [("custom", "40.00"), ("add", "160.00"), ("multiply", "4800.00")])
def test_what_a_work_type_does(effect: Any, rate: str) -> None:
    agreed = terms(work_types=(WorkTypeRule(work_type="onsite", effect=effect, value=D(40)),))
    assert total(rated(agreed, work("T-1", date(2026, 6, 3), "1", work_type="onsite"))) == D(rate)


def test_of_several_factors_the_largest_alone_holds() -> None:
    agreed = terms(out_of_hours_factor=D("1.5"), weekend_factor=D(2), holiday_factor=D(3))
    entry = work("T-1", date(2026, 6, 6), "1", when=frozenset(("out_of_hours", "weekend")))
    answer = rated(agreed, entry)
    assert total(answer) == D("240.00")
    assert answer.components[0].steps[1].formula == "120.00 x 2 weekend"


def test_a_rate_version_holds_by_the_works_date() -> None:
    versions = (
        Version(terms("100"), date(2026, 1, 1), date(2026, 6, 15)),
        Version(terms("110"), date(2026, 6, 15), date(2026, 7, 1)),
    )
    entries = [work(f"T-{n}", date(2026, 6, n), "1") for n in (14, 15)] + [work("T-31", date(2026, 7, 3), "1")]
    answer = labour(Service(versions, "EUR"), entries, H2)
    assert lines(answer) == [("hours", D(1), D("100.00")), ("hours", D(1), D("110.00"))]
    assert answer.outcomes[-1].state == "outside"


def test_hours_of_a_line_are_summed_before_it_is_rounded() -> None:
    entries = [Entry(f"T-{n}", date(2026, 6, 3), D(20)) for n in range(3)]
    assert lines(rated(terms("100"), *entries)) == [("hours", D(1), D("100.00"))]
    single = rated(terms("100", lines="entry"), *entries)
    assert [line[2] for line in lines(single)] == [D("33.33")] * 3
    assert single.components[0].quantity == Fraction(1, 3)


def test_what_is_not_billed_says_why() -> None:
    agreed = terms(work_types=(WorkTypeRule(work_type="travel", effect="excluded"),))
    day = date(2026, 6, 3)
    answer = rated(
        agreed,
        work("T-1", day, "1", billable=False),
        work("T-2", day, "1", approved=False),
        work("T-3", day, "1", work_type="travel"),
    )
    assert [outcome.state for outcome in answer.outcomes] == ["not_billable", "pending", "excluded"]
    assert answer.components == ()


def test_an_id_stands_for_one_entry() -> None:
    with pytest.raises(ValueError, match="two time entries have the id T-1"):
        rated(terms(), work("T-1", date(2026, 6, 3), "1"), work("T-1", date(2026, 6, 3), "2"))


A = PrepaidBlock(block="A", start=date(2026, 1, 1), end=date(2026, 7, 1), hours=D(10), overage_rate=D(140))
B = PrepaidBlock(block="B", start=date(2026, 6, 15), end=date(2026, 12, 1), hours=D(20), overage_rate=D(140))
WORKED = (
    work("T-1", date(2026, 6, 10), "6"),
    work("T-2", date(2026, 6, 20), "9"),
    work("T-3", date(2026, 7, 5), "18"),
)
LATE = work("T-4", date(2026, 6, 12), "2.5")


def drawn(answer: Rated) -> dict[str, list[tuple[str, str | None, Decimal]]]:
    return {
        outcome.entry.id: [(piece.kind, piece.block, piece.hours) for piece in outcome.pieces]  # type: ignore[misc]
        for outcome in answer.outcomes
    }


def test_blocks_are_drawn_earliest_end_first_and_entries_are_split() -> None:
    answer = rated(terms(blocks=(B, A)), *WORKED)
    assert drawn(answer) == {
        "T-1": [("block", "A", 6)],
        "T-2": [("block", "A", 4), ("block", "B", 5)],
        "T-3": [("block", "B", 15), ("billed", "B", 3)],
    }
    assert lines(answer) == [("overage B", D(3), D("420.00")), ("block A", D(10), D(0)), ("block B", D(20), D(0))]


def test_a_late_entry_moves_whatever_was_drawn_after_it() -> None:
    before, after = (rated(terms(blocks=(A, B)), *entries) for entries in (WORKED, (*WORKED, LATE)))
    assert drawn(after) == {
        "T-1": [("block", "A", 6)],
        "T-4": [("block", "A", D("2.5"))],
        "T-2": [("block", "A", D("1.5")), ("block", "B", D("7.5"))],
        "T-3": [("block", "B", D("12.5")), ("billed", "B", D("5.5"))],
    }
    assert total(after) - total(before) == D("350.00")


def test_a_block_spans_periods_and_each_answers_for_its_own() -> None:
    agreed = terms(blocks=(A, B))
    june, july = (rated(agreed, *WORKED, LATE, part=part) for part in (JUNE, JULY))
    assert lines(june) == [("block A", D(10), D(0)), ("block B", D("7.5"), D(0))]
    assert lines(july) == [("overage B", D("5.5"), D("770.00")), ("block B", D("12.5"), D(0))]
    assert [(b.block, b.drawn, b.left) for b in june.balances] == [("A", 10, 0), ("B", D("7.5"), D("12.5"))]


def test_beyond_a_block_without_an_overage_rate_the_entrys_rate_holds() -> None:
    block = A.model_copy(update={"overage_rate": None})
    answer = rated(terms(blocks=(block,)), work("T-1", date(2026, 6, 10), "11", role="engineer"))
    assert lines(answer)[0] == ("hours engineer", D(1), D("120.00"))


def test_a_roles_factor_multiplies_the_hours_drawn() -> None:
    block = A.model_copy(update={"role_factors": {"senior": D("1.5")}})
    answer = rated(terms(blocks=(block,)), work("T-1", date(2026, 6, 10), "7", role="senior"))
    assert lines(answer) == [
        ("overage A", Fraction(1, 3), D("46.67")),
        ("block A", D(10), D(0)),
    ]


def test_a_block_of_money_is_drawn_at_the_entrys_rate() -> None:
    block = PrepaidBlock(block="M", start=A.start, end=A.end, amount=D(300))
    answer = rated(terms(blocks=(block,)), work("T-1", date(2026, 6, 10), "3"))
    assert lines(answer) == [("hours", D("0.5"), D("60.00")), ("block M", D(300), D(0))]
    assert (answer.balances[0].unit, answer.balances[0].left) == ("money", 0)


def test_refused_hours_are_worth_nothing_and_say_so() -> None:
    answer = rated(terms(blocks=(A,), overdraw="refuse"), work("T-1", date(2026, 6, 10), "12"))
    assert lines(answer) == [("block A", D(10), D(0)), ("refused", D(2), D(0))]
    assert answer.components[1].flags == ("BLOCK_OVERDRAWN",)


def test_carried_hours_are_paid_first_by_the_next_block() -> None:
    late_b = B.model_copy(update={"start": date(2026, 7, 1)})
    agreed = terms(blocks=(A, late_b), overdraw="carry")
    entries = (work("T-1", date(2026, 6, 10), "13"), work("T-2", date(2026, 7, 2), "18"))
    june, july = (rated(agreed, *entries, part=part) for part in (JUNE, JULY))
    assert lines(june) == [("block A", D(10), D(0)), ("carried", D(3), D(0))]
    assert june.carried == 3
    assert drawn(july) == {
        "T-1": [("block", "A", 10), ("carried", None, 3), ("block", "B", 3)],
        "T-2": [("block", "B", 17), ("carried", None, 1)],
    }
    assert july.carried == 1


def test_what_rolls_over_is_a_lot_of_its_own_drawn_first() -> None:
    first = A.model_copy(update={"roll_over_cap": D(4)})
    agreed = terms(blocks=(first, B))
    answer = rated(agreed, work("T-1", date(2026, 6, 10), "3"), work("T-2", date(2026, 7, 5), "5"))
    assert drawn(answer)["T-2"] == [("block", "A", 4), ("block", "B", 1)]
    assert [(b.block, b.rolled_from, b.drawn, b.rolled_over, b.expired, b.left) for b in answer.balances] == [
        ("A", None, 3, 4, 3, 0),
        ("B", None, 1, 0, 0, 19),
        ("B", "A", 4, 0, 0, 0),
    ]


def test_a_rolled_over_lot_ends_with_its_block_and_moves_no_further() -> None:
    days = [date(2026, 1, 1), date(2026, 2, 1), date(2026, 3, 1), date(2026, 9, 1)]
    blocks = tuple(
        PrepaidBlock(block=f"B{n}", start=days[n], end=days[n + 1], hours=D(5), roll_over_cap=D(5)) for n in range(3)
    )
    answer = rated(terms(blocks=blocks), work("T-1", date(2026, 6, 10), "11"))
    # Five of February's own hours moved on; January's, which had moved into February already, did not.
    assert drawn(answer)["T-1"] == [("block", "B1", 5), ("block", "B2", 5), ("billed", None, 1)]


def block(name: str, start: date, end: date, **more: Any) -> PrepaidBlock:
    return PrepaidBlock(block=name, start=start, end=end, **{"hours": D(5), **more})


def test_the_earliest_end_is_drawn_first_whatever_began_before() -> None:
    early = block("Z", date(2026, 1, 1), date(2026, 12, 1))
    soon = block("A", date(2026, 6, 1), date(2026, 7, 1))
    answer = rated(terms(blocks=(early, soon)), work("T-1", date(2026, 6, 10), "6"))
    assert drawn(answer)["T-1"] == [("block", "A", 5), ("block", "Z", 1)]


def test_what_is_left_moves_into_the_block_that_starts_next() -> None:
    blocks = (
        block("A", date(2026, 1, 1), date(2026, 6, 1), roll_over_cap=D(5)),
        block("long", date(2026, 5, 1), date(2026, 12, 1)),
        block("short", date(2026, 6, 1), date(2026, 7, 1)),
    )
    answer = rated(terms(blocks=blocks))
    assert [(b.block, b.rolled_from, b.end) for b in answer.balances if b.rolled_from] == [
        ("long", "A", date(2026, 12, 1))
    ]


def test_a_rolled_over_lot_is_gone_on_the_day_its_block_ends() -> None:
    blocks = (
        block("A", date(2026, 1, 1), date(2026, 6, 1), roll_over_cap=D(5)),
        block("B", date(2026, 6, 1), date(2026, 6, 15)),
    )
    for day, billed in ((14, 0), (15, 8)):
        answer = rated(terms(blocks=blocks), work("T-1", date(2026, 6, day), "8"))
        assert sum(c.quantity for c in answer.components if c.total) == billed
    assert [(b.rolled_from, b.expired) for b in answer.balances] == [(None, 0), ("A", 5), (None, 5)]


def test_the_overage_rate_is_that_of_the_last_block_drawn() -> None:
    blocks = (
        block("A", date(2026, 1, 1), date(2026, 7, 1), overage_rate=D(100)),
        block("B", date(2026, 1, 1), date(2026, 8, 1), overage_rate=D(200)),
        block("C", date(2026, 1, 1), date(2026, 9, 1)),
    )
    answer = rated(terms(blocks=blocks), work("T-1", date(2026, 6, 10), "16"))
    assert lines(answer)[0] == ("overage B", D(1), D("200.00"))


@pytest.mark.parametrize("policy", ["refuse", "carry"])
def test_without_blocks_there_is_nothing_to_overdraw(policy: Any) -> None:
    assert total(rated(terms(overdraw=policy), work("T-1", date(2026, 6, 10), "1"))) == D("120.00")


@pytest.mark.parametrize(("mode", "total_"), [("down", "0.19"), ("up", "0.18")])
def test_a_discount_is_rounded_as_agreed(mode: Any, total_: str) -> None:
    more = {"discount_pct": D(5), "rounding": {"discount": {"mode": mode, "scale": 2}}}
    assert total(rated(terms("0.19", more=more), work("T-1", date(2026, 6, 10), "1"))) == D(total_)


@pytest.mark.parametrize(
    ("cap", "billed", "over"),
    [({"cap_hours": D(5)}, "600.00", 2), ({"cap_amount": D(660)}, "660.00", D("1.5")), ({}, "840.00", 0)],
)
def test_hours_beyond_a_cap_are_worth_nothing(cap: dict[str, Decimal], billed: str, over: Decimal) -> None:
    answer = rated(terms(**cap), work("T-1", date(2026, 6, 2), "4"), work("T-2", date(2026, 6, 3), "3"))
    assert total(answer) == D(billed)
    assert sum(c.quantity for c in answer.components if "OVER_CAP" in c.flags) == over
    assert sum(outcome.amount for outcome in answer.outcomes) == D(billed)


def test_a_cap_is_a_periods_own() -> None:
    entries = (work("T-1", date(2026, 6, 2), "4"), work("T-2", date(2026, 7, 3), "4"))
    answer = rated(terms(cap_hours=D(5)), *entries, part=JULY, earlier=[JUNE])
    assert lines(answer) == [("hours", D(4), D("480.00"))]


def test_rounded_lines_never_exceed_a_cap_in_money() -> None:
    agreed = terms("0.5", cap_amount=D("0.02"), lines="entry")
    answer = rated(agreed, *(Entry(f"T-{n}", date(2026, 6, 2), D("0.6")) for n in range(4)))
    assert total(answer) == D("0.02")


def test_discounts_and_the_least_amount_come_after_the_hours() -> None:
    more = {"discount_pct": D(10), "discount_amount": D("8.00"), "minimum_amount": D(500)}
    entries = (work("T-1", date(2026, 6, 2), "2", role="a"), work("T-2", date(2026, 6, 3), "1", role="b"))
    assert lines(rated(terms(more=more), *entries, final=False)) == [
        ("hours a", D(2), D("210.67")),
        ("hours b", D(1), D("105.33")),
    ]
    answer = rated(terms(more=more), *entries)
    assert lines(answer)[2] == ("minimum", D(0), D("184.00"))
    assert [outcome.amount for outcome in answer.outcomes] == [D("210.67"), D("105.33")]
    most = rated(terms(more={"maximum_amount": D(300)}), *entries)
    assert [outcome.amount for outcome in most.outcomes] == [D("240.00"), D("60.00")]


def test_a_discount_takes_from_the_hours_of_its_own_days() -> None:
    in_turn = [{"pct": D(10), "effective_to": "2026-06-16"}, {"pct": D(20), "effective_from": "2026-06-16"}]
    entries = (work("T-1", date(2026, 6, 10), "1"), work("T-2", date(2026, 6, 20), "2"))
    agreed = Terms.model_validate(terms(more={"discounts": in_turn}))
    answer = rated(agreed, *entries, part=JUNE)
    (line,) = answer.components
    assert line.discounts == D("60.00")  # 10 % of 120.00 and 20 % of 240.00
    assert [outcome.amount for outcome in answer.outcomes] == [D("108.00"), D("192.00")]
    later = Version(terms("150", more={"discount_amount": D(500)}), date(2026, 6, 16))
    raised = Service((Version(terms(), date(2026, 1, 1), date(2026, 6, 16)), later), "EUR")
    assert total(labour(raised, entries, JUNE)) == D("120.00")


def test_what_was_billed_is_taken_away_and_hours_that_cost_nothing_stay_shown() -> None:
    agreed = terms(blocks=(A, B))
    before, after = (rated(agreed, *entries).components for entries in (WORKED, (*WORKED, LATE)))
    assert labour_difference(after, before, "EUR") == (
        replace(after[0], quantity=D("2.5"), amount=D("350.00"), steps=ANY),
    )
    assert labour_difference(after, after, "EUR") == ()
    assert labour_difference(after, (), "EUR") == after


def test_a_currency_without_decimals_has_none() -> None:
    assert total(rated(terms("15000"), Entry("T-1", date(2026, 6, 2), D(7)), currency="JPY")) == D(1750)
    assert total(rated(terms("10.5"), Entry("T-1", date(2026, 6, 2), D(7)), currency="KWD")) == D("1.225")


hours = st.integers(1, 40).map(lambda quarters: D(quarters) * 15)
histories = st.lists(
    st.tuples(st.integers(0, 60), hours, st.sampled_from(["senior", "junior", None])), min_size=1, max_size=8
)
policies = st.sampled_from(["bill", "carry", "refuse"])


@settings(max_examples=150, deadline=None)
@given(histories, policies, st.randoms(use_true_random=False))
def test_order_does_not_matter_and_no_block_gives_more_than_it_holds(
    history: list[tuple[int, Decimal, str | None]], policy: Any, chance: Any
) -> None:
    factors = {"senior": D("1.5")}
    blocks = (
        A.model_copy(update={"roll_over_cap": D(3), "role_factors": factors}),
        B.model_copy(update={"role_factors": factors}),
    )
    agreed = terms(blocks=blocks, overdraw=policy, cap_hours=D(60))
    entries = [
        Entry(f"T-{n}", date(2026, 6, 1) + timedelta(days), minutes, role=role)
        for n, (days, minutes, role) in enumerate(history)
    ]
    answer = rated(agreed, *entries)
    shuffled = list(entries)
    chance.shuffle(shuffled)
    assert rated(agreed, *shuffled) == answer

    for balance in answer.balances:
        assert balance.held == Fraction(balance.drawn) + Fraction(balance.rolled_over) + Fraction(
            balance.expired
        ) + Fraction(balance.left)
        assert min(balance.drawn, balance.left, balance.expired) >= 0
    assert sum(Fraction(b.drawn) for b in answer.balances) <= 30
    for outcome in answer.outcomes:
        # Carried hours stand twice once they are paid: owed, then drawn.
        owed = [p for p in outcome.pieces if p.kind == "carried"]
        fates = sum(Fraction(p.hours) for p in outcome.pieces) - sum(Fraction(p.hours) for p in owed)
        assert fates <= Fraction(outcome.billable) / 60
        if not owed:
            assert fates == Fraction(outcome.billable) / 60
    assert sum(outcome.amount for outcome in answer.outcomes) == total(answer)


@settings(max_examples=60, deadline=None)
@given(histories)
def test_months_sum_to_the_whole(history: list[tuple[int, Decimal, str | None]]) -> None:
    agreed = terms(blocks=(A, B))
    entries = [Entry(f"T-{n}", date(2026, 6, 1) + timedelta(d), m, role=r) for n, (d, m, r) in enumerate(history)]
    whole = rated(agreed, *entries)
    months = [rated(agreed, *entries, part=part) for part in (JUNE, JULY)]
    assert sum((total(month) for month in months), D(0)) == total(whole)  # quarter hours at whole rates: no rounding
