"""Ledger, delta and replacement end in one state (rating.md section 10)."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.reconciliation.rating.corrections import (
    Costs,
    Row,
    allocated,
    by_billing_period,
    by_charge_period,
    delta,
    fold,
    ledger,
)

D = Decimal
SEPTEMBER, OCTOBER = date(2026, 9, 1), date(2026, 10, 1)
SPAN = (datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC))


def row(resource: str | None, quantity: str | None, cost: str, **more: Any) -> Row:
    amount = None if quantity is None else D(quantity)
    costs = Costs(D(cost), D(cost), None, None)
    return Row(f"{resource}-{quantity}", SEPTEMBER, *SPAN, resource, "vm", amount, costs)._replace(**more)


BOOKED = [row("A", "240", "180.00")]
RIGHT = [row("A", "150", "112.50"), row("B", "90", "67.50")]


def figures(rows: list[Row]) -> list[tuple[str, Decimal | None, Decimal | None]]:
    return [(key.resource, state.quantity, state.costs.billed) for key, state in fold(rows).items()]


def test_all_three_forms_end_in_one_state() -> None:
    as_ledger = [*BOOKED, *ledger(BOOKED, RIGHT, OCTOBER)]
    as_delta = [*BOOKED, *delta(BOOKED, RIGHT, OCTOBER)]
    stamp = datetime(2026, 10, 2, tzinfo=UTC)
    as_replacement = [
        *(r._replace(exported_at=stamp.replace(day=1)) for r in BOOKED),
        *(r._replace(exported_at=stamp) for r in RIGHT),
    ]
    for rows in (as_ledger, as_delta, as_replacement):
        assert figures(rows) == [("A", D(150), D("112.50")), ("B", D(90), D("67.50"))]
        assert [state.costs.billed for state in by_charge_period(rows).values()] == [D("180.00")]
    for rows in (as_ledger, as_delta):
        assert [state.costs.billed for state in by_billing_period(rows).values()] == [D("180.00"), D("0.00")]
    assert [(r.quantity, r.costs.billed) for r in ledger(BOOKED, RIGHT, OCTOBER)] == [
        (D(-240), D("-180.00")),
        (D(150), D("112.50")),
        (D(90), D("67.50")),
    ]
    assert [(r.quantity, r.costs.billed, r.correction) for r in delta(BOOKED, RIGHT, OCTOBER)] == [
        (D(-90), D("-67.50"), True),
        (D(90), D("67.50"), True),
    ]


def test_an_adjustment_moves_cost_and_no_usage() -> None:
    adjustment = row("A", None, "-1.50", category="Adjustment", correction=True)
    states = fold([*BOOKED, adjustment])
    assert [(key.adjustment, state.quantity, state.costs.billed, state.late) for key, state in states.items()] == [
        (False, D(240), D("180.00"), False),
        (True, None, D("-1.50"), True),
    ]


def test_usage_that_came_late_has_no_original() -> None:
    late = row("C", "4", "3.00", billing_period=OCTOBER, correction=True)
    assert [state.late for state in fold([*BOOKED, late]).values()] == [False, True]


def test_a_replacement_replaces_its_billing_period_and_scope_alone() -> None:
    first, second = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 10, 2, tzinfo=UTC)
    rows = [
        row("A", "1", "1", scope="eu", exported_at=first),
        row("A", "2", "2", scope="us", exported_at=first),
        row("A", "4", "4", scope="eu", exported_at=second),
        row("A", "8", "8", scope="eu", exported_at=first, billing_period=OCTOBER),
        row("A", "16", "16"),
    ]
    assert figures(rows) == [("A", D(30), D(30))]


def test_costs_keep_all_their_decimals_and_fold_apart() -> None:
    rows = [row("A", "1", "0.000000000001")] * 1 + [row("A", "2", "123456789012345678.123456789012")]
    (state,) = fold(rows).values()
    assert state.costs == Costs(D("123456789012345678.123456789013"), D("123456789012345678.123456789013"), None, None)


def test_a_bulk_adjustment_is_allocated_for_reports() -> None:
    assert allocated(D("-10.00"), {"c": D(5), "a": D(10), "b": D(20)}, 2) == {
        "a": D("-2.86"),
        "b": D("-5.71"),
        "c": D("-1.43"),
    }


charges = st.lists(
    st.tuples(
        st.sampled_from(["A", "B", "C"]),
        st.decimals("-50", "50", places=3, allow_nan=False),
        st.decimals("-50", "50", places=6, allow_nan=False),
    ),
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(charges, charges, st.randoms(use_true_random=False))
def test_delta_is_ledger_is_replacement(old: list[Any], new: list[Any], chance: Any) -> None:
    def rows(drawn: list[Any], name: str, day: int | None) -> list[Row]:
        stamp = None if day is None else datetime(2026, 10, day, tzinfo=UTC)
        return [row(r, str(q), str(c), id=f"{name}{n}", exported_at=stamp) for n, (r, q, c) in enumerate(drawn)]

    was, now = rows(old, "old", None), rows(new, "new", None)

    def state(rows: list[Row]) -> dict[Any, Any]:
        chance.shuffle(rows)
        return {key: (s.quantity, s.costs) for key, s in fold(rows).items() if s.quantity or any(s.costs)}

    marker = row("Z", None, "0", id="run", exported_at=datetime(2026, 10, 2, tzinfo=UTC), category="Adjustment")
    after = state(list(now))
    assert state([*was, *ledger(was, now, OCTOBER)]) == after
    assert state([*was, *delta(was, now, OCTOBER)]) == after
    assert state([*rows(old, "old", 1), *rows(new, "new", 2), marker]) == after
