"""Minimum, maximum and discounts at their edges (rating.md section 4)."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from shared.events.contracts import Rounding
from shared.reconciliation.rating import apply_commitment, due, total
from shared.reconciliation.rating.model import Component, Part
from tests.unit.reconciliation.rating.lines import (
    JUNE,
    D,
    counter,
    day,
    figures,
    flat,
    seats,
    service,
    step,
    terms,
    tiers,
    unit,
    used,
    versions,
)

HALF = Part(day("6-10"), day("7-1"), day("6-1"), day("7-1"))  # 21 of 30 days
DOWN = {"rounding": {"line": step(2, "down")}}


def test_a_minimum_that_is_missed_by_cents_is_due_and_one_that_is_met_is_not() -> None:
    for q, missing in (("96", [D("9.60"), D("0.40")]), ("100", [D("10.00")]), ("99.96", [D("10.00")])):
        found = due(service(unit("0.10", minimum_amount="10")), counter(q), JUNE, True)
        assert [line.total for line in found] == missing


def test_a_minimum_is_rounded_as_the_lines_are() -> None:
    for more, least in (({}, "233.34"), (DOWN, "233.33")):
        (line,) = due(service(unit("1", minimum_amount="333.337", **more)), counter(), HALF, True)
        assert (line.component, line.charges, line.amount, line.quantity) == ("minimum", D(least), 0, 0)
        assert (line.category, line.unit_price, line.start, line.end) == ("commitment", None, HALF.start, HALF.end)
        (step_,) = line.steps
        assert (step_.label, step_.result) == ("minimum", D(least))
        assert step_.formula == f"{least} - 0.00 = {least}"
        assert step_.rounding == f"{'down' if more else 'half_up'} 2"


def test_a_minimum_of_later_terms_counts_what_lies_in_them() -> None:
    """From the 11th on 100.00 x 20/30 is the least, and two thirds of the line are in it: 6.66 rounded down."""
    of = versions(("6-1", unit("10", **DOWN)), ("6-11", unit("10", minimum_amount="100", **DOWN)))
    assert figures(due(of, seats(("6-1", "1")), JUNE, True)) == [("usage", D("10.00")), ("minimum", D("60.00"))]


def test_minimums_of_several_versions_add_up_by_their_days() -> None:
    of = versions(("6-1", unit("1", minimum_amount="300")), ("6-16", unit("1", minimum_amount="500")))
    assert total(due(of, seats(("6-1", "1")), JUNE, True)) == D("400.00")
    without = versions(
        ("6-1", unit("1", minimum_amount="300")), ("6-16", unit("1", minimum_amount="500", excluded=True))
    )
    assert total(due(without, seats(("6-1", "1")), JUNE, True)) == D("150.00")
    then_flat = versions(("6-1", unit("1", minimum_amount="300")), ("6-16", flat("10", minimum_amount="500")))
    assert total(due(then_flat, seats(("6-1", "1")), JUNE, True)) == D("150.00") + D("5.00")


def test_a_maximum_is_rounded_as_the_lines_are() -> None:
    for more, most in (({}, "56.01"), (DOWN, "56.00")):
        found = due(service(unit("1", maximum_amount="80.008", **more)), counter("90"), HALF, True)
        assert (found[0].amount, found[0].total) == (D("90.00"), D(most))
        assert found[0].steps[-1].label == "maximum"
        assert found[0].steps[-1].result == D("90.00") - D(most)


def test_a_maximum_of_later_terms_counts_what_lies_in_them() -> None:
    of = versions(("6-1", unit("10")), ("6-11", unit("10", maximum_amount="3")))
    (line,) = due(of, used(("6-5", "4"), ("6-20", "1")), JUNE, True)
    assert (line.amount, line.discounts) == (D("50.00"), D("8.00"))  # 10.00 lie in it, 3.00 x 20/30 is the most


def test_what_counts_below_a_maximum_is_rounded_as_the_lines_are() -> None:
    """Two thirds of the line lie in the later terms, and 3.00 x 20/30 is the most of them."""
    for more, excess in (({}, "4.67"), (DOWN, "4.66")):
        of = versions(("6-1", unit("10", **more)), ("6-11", unit("10", maximum_amount="3", **more)))
        (line,) = due(of, seats(("6-1", "1")), JUNE, True)
        assert line.discounts == D(excess)


def test_cents_above_a_maximum_are_a_discount_too() -> None:
    (line,) = due(service(unit("0.10", maximum_amount="10")), counter("103"), JUNE, True)
    assert (line.amount, line.discounts) == (D("10.30"), D("0.30"))


def component(name: str, amount: str, **more: Any) -> Component:
    return Component(name, D(1), D(amount), D(amount), JUNE.start, JUNE.end, **more)


def test_a_credit_makes_room_below_a_maximum_and_counts_against_a_minimum() -> None:
    lines = [component("a", "-10"), component("b", "95")]
    capped = apply_commitment(None, D(80), lines, Decimal(1), "EUR", True, JUNE)
    assert [(line.total, line.discounts) for line in capped] == [(-10, 0), (90, 5)]
    raised = apply_commitment(D(100), None, lines, Decimal(1), "EUR", True, JUNE)
    assert [line.total for line in raised] == [-10, 95, 15]


def test_a_scopes_commitment_is_explained_and_rounded_as_asked() -> None:
    lines = [component("a", "60"), component("b", "60")]
    for rounding, most in ((None, "73.34"), (Rounding.model_validate({"line": step(2, "down")}), "73.33")):
        capped = apply_commitment(None, D("110.003"), lines, D(2) / 3, "EUR", True, JUNE, rounding)
        assert total(capped) == D(most)
        assert [s.label for s in capped[1].steps] == ["maximum"]
        assert not capped[0].steps
    raised = apply_commitment(D(130), None, lines, D(1), "EUR", True, JUNE)
    assert [s.label for s in raised[2].steps] == ["minimum"]
    assert (raised[2].start, raised[2].end) == (JUNE.start, JUNE.end)
    assert len(apply_commitment(D(130), None, lines, D(1), "EUR", False, JUNE)) == 2
    assert len(apply_commitment(None, None, [*lines, component("c", "0")], D(1), "EUR", True, JUNE)) == 2


def test_figures_are_the_same_without_their_explanation() -> None:
    price = {"price": tiers(("8", "4.00", "9"), (None, "3.00"))}
    of = service(
        terms("graduated", **price, discount_pct="10", discount_amount="3", minimum_amount="90", maximum_amount="95")
    )
    for q in ("3", "20", "40"):
        told, untold = (due(of, counter(q), JUNE, True, explain=explain) for explain in (True, False))
        assert [(c.component, c.amount, c.discounts, c.charges) for c in told] == [
            (c.component, c.amount, c.discounts, c.charges) for c in untold
        ]
        assert all(c.steps for c in told)
        assert not any(c.steps for c in untold)


def test_a_discount_in_percent_is_rounded_in_its_own_mode_and_shown_by_name() -> None:
    more = {"discounts": [{"pct": "5", "name": "loyalty"}], "rounding": {"discount": step(2, "down")}}
    (line,) = due(service(unit("0.19", **more)), counter("1"), JUNE, True)
    assert line.discounts == D("0.00")
    (line,) = due(service(unit("0.39", **more)), counter("1"), JUNE, True)
    assert line.discounts == D("0.01")
    assert [(s.label, s.result, s.rounding) for s in line.steps][-1] == ("loyalty", D("0.01"), "down 2")


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        ({}, ["1.43", "5.71", "2.86"]),
        ({"split": "remainder_to_last"}, ["1.42", "5.71", "2.87"]),
        ({"split": "remainder_to_last", "order": "largest_first"}, ["1.44", "5.71", "2.85"]),
    ],
)
def test_an_amount_off_is_split_as_the_terms_say(more: dict[str, Any], parts: list[str]) -> None:
    price = tiers(("5", "10"), ("15", "20"), (None, "100"))
    of = service(terms("graduated", price=price, discount_amount="10", **more))
    found = due(of, counter("16"), JUNE, True)
    assert [(c.amount, c.discounts) for c in found] == list(zip((50, 200, 100), map(D, parts), strict=True))
    assert [s.label for s in found[0].steps][-1] == "discount"


def test_an_amount_off_never_exceeds_what_lies_in_its_days() -> None:
    only = {"discounts": [{"amount": "500", "effective_from": "2025-06-21"}]}
    (line,) = due(service(unit("10", **only)), seats(("6-1", "1")), JUNE, True)
    assert line.discounts == D("3.33")
    for mode, off in (("half_up", "3.34"), ("down", "3.33")):
        of = unit("10.02", **only, rounding={"discount": step(2, mode)})
        (line,) = due(service(of), seats(("6-1", "1")), JUNE, True)
        assert line.discounts == D("3.34")
        finer = unit("10.01", **only, rounding={"discount": step(2, mode)})
        (line,) = due(service(finer), seats(("6-1", "1")), JUNE, True)
        assert line.discounts == D(off)


def test_a_discount_holds_from_its_first_day_up_to_its_last_exclusive() -> None:
    of = unit("30", discounts=[{"pct": "50", "effective_from": "2025-06-11", "effective_to": "2025-06-21"}])
    (line,) = due(service(of), seats(("6-1", "1")), JUNE, True)
    assert line.discounts == D("5.00")
    for on, off in (("6-10", "0"), ("6-11", "15"), ("6-20", "15"), ("6-21", "0")):
        (line,) = due(service(of), used((on, "1")), JUNE, True)
        assert line.discounts == D(off)


def test_a_flat_fee_names_no_records_of_usage() -> None:
    (line,) = due(service(flat("150")), None, JUNE, True)
    assert (line.category, line.sources, line.records, line.quantity, line.unit_price) == ("flat", (), 0, 1, 150)
    assert (line.start, line.end) == (JUNE.start, JUNE.end)


def test_lines_by_segment_stand_on_their_own_days() -> None:
    found = due(service(unit("30", lines="segment")), seats(("6-1", "3"), ("6-11", "5")), JUNE, True)
    assert [(c.start, c.end, c.quantity, c.amount) for c in found] == [
        (day("6-1"), day("6-11"), 3, D("30.00")),
        (day("6-11"), day("7-1"), 5, D("100.00")),
    ]
    (together,) = due(service(unit("30")), seats(("6-1", "3"), ("6-11", "6")), JUNE, True)
    assert (together.start, together.end, together.quantity) == (JUNE.start, JUNE.end, 5)


def test_an_amount_off_is_rounded_in_its_own_mode_and_says_so() -> None:
    for mode, off in (("half_up", "1.01"), ("down", "1.00")):
        of = unit("10", discount_amount="1.005", rounding={"discount": step(2, mode)})
        (line,) = due(service(of), counter("1"), JUNE, True)
        assert line.discounts == D(off)
        assert (line.steps[-1].result, line.steps[-1].rounding) == (D(off), f"{mode} 2")


def test_a_discount_on_days_whose_rest_other_days_give_back_takes_no_more() -> None:
    """10.00 less 5.00 off are left on the first days, and -5.00 on the last: the line has nothing for another 2.00."""
    first_days = [{"amount": amount, "effective_to": "2025-06-11"} for amount in ("5", "2")]
    (line,) = due(service(unit("1", discounts=first_days)), used(("6-5", "10"), ("6-20", "-5")), JUNE, True)
    assert (line.amount, line.discounts) == (D("5.00"), D("5.00"))
