"""The lines of hours: their names, order, discounts and commitments (rating.md sections 4, 5 and 7)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal as D
from typing import Any

import pytest

from shared.events.contracts import Labour, PrepaidBlock, RateRow, Scope, Terms, UnitPrice
from shared.events.discrepancies import Source
from shared.reconciliation.rating.labour import Entry, Rated, labour, labour_difference
from shared.reconciliation.rating.model import Component, Part, Service, Version
from tests.unit.reconciliation.rating.lines import step

JUNE = Part(date(2026, 6, 1), date(2026, 7, 1), date(2026, 6, 1), date(2026, 7, 1))
ABC = tuple(RateRow(role=role, rate=D(rate)) for role, rate in (("a", 50), ("b", 200), ("c", 100)))


def day(of: int, month: int = 6) -> date:
    return date(2026, month, of)


def terms(rate: str = "120", *, more: Any = None, **rules: Any) -> Terms:
    price = UnitPrice(kind="unit", unit_amount=D(rate))
    return Terms.model_validate({"price": price, "labour": Labour(**rules), **(more or {})})


def work(number: int, on: date, hours: str = "1", **more: Any) -> Entry:
    record = Source(type="time-entry.logged.v1", source="psa", id=f"T-{number}")
    return Entry(f"T-{number}", on, D(hours) * 60, record=record, **more)


def rated(agreed: Terms, *entries: Entry, part: Part = JUNE, **more: Any) -> Rated:
    return labour(Service((Version(agreed, date(2026, 1, 1)),), "EUR"), entries, part, **more)


def names(answer: Rated) -> list[tuple[str, D, D]]:
    return [(c.component, D(c.quantity), c.total) for c in answer.components]


def three(agreed: Terms) -> list[D]:
    """The discounts of an hour each of roles a, b and c, at 50, 200 and 100."""
    return [
        c.discounts for c in rated(agreed, *(work(n, day(3), role=role) for n, role in enumerate("abc"))).components
    ]


def test_a_line_names_its_rate_its_records_and_its_arithmetic() -> None:
    (line,) = rated(terms(), work(1, day(3)), work(2, day(4), "2")).components
    assert (line.unit_price, line.quantity, line.amount, line.records) == (120, 3, D("360.00"), 2)
    assert [source.id for source in line.sources] == ["T-1", "T-2"]
    assert [(s.label, s.formula, s.result, s.rounding, s.records) for s in line.steps] == [
        ("hours", "T-1 1 + T-2 2 = 3", 3, None, 2),
        ("amount", "3 x 120.00", D("360.00"), "half_up 2", 0),
    ]
    (weekend,) = rated(terms(weekend_factor=D(2)), work(1, day(6), when=frozenset(("weekend",)))).components
    assert [(s.label, s.result) for s in weekend.steps] == [("hours", 1), ("rate", 240), ("amount", D("240.00"))]


def test_many_entries_are_shown_as_the_first_and_how_many_more() -> None:
    (line,) = rated(terms(), *(work(n, day(3), "0.5") for n in range(10, 40))).components
    shown = line.steps[0].formula
    named = shown.count("T-")
    assert shown.startswith("T-10 0.5 + T-11 0.5 + ")
    assert shown.endswith(f" + {30 - named} more = 15")


def test_hours_of_one_role_and_work_type_are_one_line() -> None:
    answer = rated(terms(), work(1, day(3), role="engineer", work_type="onsite"), work(2, day(4), role="engineer"))
    assert names(answer) == [("hours engineer", 1, D("120.00")), ("hours engineer, onsite", 1, D("120.00"))]


def test_lines_come_by_kind_and_name_and_not_by_rate() -> None:
    assert [
        name for name, _, _ in names(rated(terms(rates=ABC), *(work(n, day(3), role=r) for n, r in enumerate("cba"))))
    ] == [
        "hours a",
        "hours b",
        "hours c",
    ]
    block = PrepaidBlock(block="A", start=day(1), end=day(1, 7), hours=D(1))
    agreed = terms(blocks=(block,), overdraw="refuse", cap_hours=D(3))
    assert names(rated(agreed, work(1, day(3), "2"), work(2, day(4), "2"))) == [
        ("block A", 1, 0),
        ("refused", 2, 0),
        ("over cap", 1, 0),
    ]


def test_a_line_an_entry_names_the_entry_whatever_became_of_its_hours() -> None:
    block = PrepaidBlock(block="A", start=day(1), end=day(1, 7), hours=D(1))
    agreed = terms(blocks=(block,), overdraw="refuse", cap_hours=D(3), lines="entry")
    assert names(rated(agreed, work(1, day(3), "2"), work(2, day(4), "2"))) == [
        ("block A T-1", 1, 0),
        ("refused T-1", 1, 0),
        ("refused T-2", 1, 0),
        ("over cap T-2", 1, 0),
    ]


def test_an_amount_of_hours_is_rounded_in_the_mode_of_the_terms() -> None:
    third = Entry("T-1", day(3), D(20))
    for mode, amount in (("down", "33.33"), ("up", "33.34")):
        (line,) = rated(terms("100", more={"rounding": {"line": step(2, mode)}}), third).components
        assert line.amount == D(amount)


def test_an_outcome_names_the_rate() -> None:
    (outcome,) = rated(terms(), work(1, day(3))).outcomes
    assert outcome.rate == 120


def test_below_a_cap_in_money_lines_are_themselves() -> None:
    answer = rated(terms(rates=ABC, cap_amount=D(1000)), *(work(n, day(3), role=role) for n, role in enumerate("abc")))
    assert [(c.total, c.discounts) for c in answer.components] == [(D(50), 0), (D(200), 0), (D(100), 0)]


def test_cents_beyond_a_cap_are_given_back_and_shown() -> None:
    agreed = terms("0.5", cap_amount=D("0.02"), lines="entry")
    found = rated(agreed, *(Entry(f"T-{n}", day(2), D("0.6")) for n in range(4))).components
    assert [(c.amount, c.discounts) for c in found] == [(D("0.01"), 0)] * 2 + [(D("0.01"), D("0.01"))] * 2
    assert [(s.label, s.result) for s in found[-1].steps][-1] == ("cap", 0)
    assert "cap" not in [s.label for s in found[0].steps]


def test_cents_beyond_a_cap_are_those_beyond_what_earlier_lines_left() -> None:
    """33.34 + 33.34 + 33.33 for hours of exactly 100.00."""
    agreed = terms("100", cap_amount=D(100), lines="entry")
    entries = [Entry(f"T-{n}", day(2), D(minutes)) for n, minutes in enumerate(("20.001", "20.001", "19.998"))]
    assert [(c.amount, c.discounts) for c in rated(agreed, *entries).components] == [
        (D("33.34"), 0),
        (D("33.34"), 0),
        (D("33.33"), D("0.01")),
    ]
    (just,) = rated(terms("100", cap_amount=D(100)), work(1, day(2))).components
    assert [s.label for s in just.steps] == ["hours", "amount"]


def test_a_line_on_which_a_discount_takes_nothing_shows_none() -> None:
    agreed = terms(rates=ABC, more={"discounts": [{"pct": D(10), "effective_to": "2026-06-04"}]})
    first, second = rated(agreed, work(1, day(3), role="a"), work(2, day(4), role="b")).components
    assert [s.label for s in first.steps] == ["hours", "amount", "discount"]
    assert [s.label for s in second.steps] == ["hours", "amount"]


def test_refused_hours_are_one_line_whoever_worked_them() -> None:
    block = PrepaidBlock(block="A", start=day(1), end=day(1, 7), hours=D(1))
    agreed = terms(rates=ABC, blocks=(block,), overdraw="refuse")
    answer = rated(agreed, work(1, day(3), "2", role="a"), work(2, day(4), role="b"))
    assert names(answer) == [("block A", 1, 0), ("refused", 2, 0)]


def test_hours_of_the_day_after_the_part_draw_nothing_before_it() -> None:
    agreed = terms(blocks=(PrepaidBlock(block="A", start=day(1), end=day(1, 8), hours=D(10)),))
    answer = rated(agreed, work(1, day(3), "2"), work(2, day(1, 7), "3"))
    assert (answer.balances[0].drawn, answer.balances[0].left) == (2, 8)


def test_a_discount_in_money_is_split_as_the_terms_say() -> None:
    ten = {"discount_amount": D(10)}
    assert three(terms(rates=ABC, more=ten)) == [D("1.43"), D("5.71"), D("2.86")]
    to_last = {**ten, "split": "remainder_to_last"}
    assert three(terms(rates=ABC, more=to_last)) == [D("1.42"), D("5.71"), D("2.87")]
    assert three(terms(rates=ABC, more={**to_last, "order": "largest_first"})) == [D("1.44"), D("5.71"), D("2.85")]


def test_a_discount_in_money_is_rounded_as_the_terms_say() -> None:
    finer = {"discounts": [{"amount": D("10.005")}]}
    for mode, whole in (("half_up", "10.01"), ("down", "10.00")):
        assert sum(three(terms(rates=ABC, more={**finer, "rounding": {"discount": step(2, mode)}}))) == D(whole)
    first_day = {"discounts": [{"amount": D(500), "effective_to": "2026-06-04"}]}
    for mode, half in (("half_up", "5.01"), ("down", "5.00")):
        agreed = terms("5.005", more={**first_day, "rounding": {"discount": step(2, mode)}})
        (line,) = rated(agreed, work(1, day(3)), work(2, day(4))).components
        assert (line.amount, line.discounts) == (D("10.01"), D(half))


def test_a_discount_holds_up_to_its_last_day_exclusive() -> None:
    agreed = terms(more={"discounts": [{"pct": D(10), "effective_from": "2026-06-10", "effective_to": "2026-06-16"}]})
    for of, off in ((9, "0"), (10, "12"), (15, "12"), (16, "0")):
        assert rated(agreed, work(1, day(of))).components[0].discounts == D(off)


def test_the_same_discount_twice_is_given_twice_and_named() -> None:
    twice = {"discounts": [{"pct": D(10), "name": "loyalty"}, {"pct": D(10), "name": "loyalty"}, {"amount": D(5)}]}
    (line,) = rated(terms(more=twice), work(1, day(3)), work(2, day(4))).components
    assert line.discounts == D("24.00") + D("21.60") + D("5.00")
    assert [(s.label, s.result, s.rounding) for s in line.steps[2:]] == [
        ("loyalty", D("24.00"), "half_up 2"),
        ("loyalty", D("21.60"), "half_up 2"),
        ("discount", D("5.00"), "half_up 2"),
    ]
    (plain,) = rated(
        terms(more={"discounts": [{"pct": D(10), "effective_to": "2026-06-02"}]}), work(1, day(3))
    ).components
    assert [s.label for s in plain.steps] == ["hours", "amount"]


def test_a_minimum_of_a_scope_is_left_to_the_caller() -> None:
    own = {"minimum_amount": D(500)}
    assert names(rated(terms(more=own), work(1, day(3))))[-1] == ("minimum", 0, D("380.00"))
    scoped = {**own, "scope": Scope(contract=True)}
    assert names(rated(terms(more=scoped), work(1, day(3)))) == [("hours", 1, D("120.00"))]


def test_the_minimum_is_that_of_the_terms_in_force_at_the_parts_end() -> None:
    versions = tuple(
        Version(terms(more={"minimum_amount": D(least)}), start, end)
        for least, start, end in ((300, day(1, 1), day(16)), (500, day(16), day(1, 7)), (900, day(1, 7), None))
    )
    answer = labour(Service(versions, "EUR"), [work(1, day(3))], JUNE)
    assert names(answer)[-1] == ("minimum", 0, D("380.00"))


def test_a_line_that_begins_after_the_part_bills_nothing() -> None:
    answer = labour(Service((Version(terms(), day(1, 7)),), "EUR"), [work(1, day(3))], JUNE)
    assert answer.components == ()
    assert [outcome.state for outcome in answer.outcomes] == ["outside"]


def free(quantity: str, component: str = "block A", **more: Any) -> Component:
    return replace(Component(component, D(0), D(quantity), D(0), JUNE.start, JUNE.end), **more)


@pytest.mark.parametrize(
    ("billed", "shown"),
    [((), [10]), (("6",), [4]), (("6", "2"), [2]), (("6", "4"), []), (("12",), [-2])],
)
def test_hours_that_cost_nothing_are_shown_as_far_as_they_were_not(billed: tuple[str, ...], shown: list[int]) -> None:
    found = labour_difference([free("10")], [free(quantity) for quantity in billed], "EUR")
    assert [line.quantity for line in found] == shown


def test_a_line_that_costs_is_no_free_one() -> None:
    for money in ({"discounts": D(5)}, {"charges": D(5)}, {"amount": D(5)}):
        assert len(labour_difference([free("10", **money)], [], "EUR")) == 1


def test_a_minimum_of_hours_is_rounded_in_the_mode_of_the_terms() -> None:
    half = Part(day(1), day(11), day(1), day(1, 7))
    for mode, least in (("half_up", "66.67"), ("down", "66.66")):
        more = {"minimum_amount": D(200), "rounding": {"line": step(2, mode)}}
        assert names(rated(terms(more=more), part=half)) == [("minimum", 0, D(least))]
