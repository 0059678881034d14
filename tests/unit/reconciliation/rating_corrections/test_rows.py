"""Which rows of exports stand, and how corrections are named (rating.md section 10)."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal as D
from typing import Any

from shared.reconciliation.rating.corrections import Costs, Row, fold, key_of, ledger, standing

SEPTEMBER, OCTOBER = date(2026, 9, 1), date(2026, 10, 1)
SPAN = (datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC))


def row(id: str, resource: str | None = "A", quantity: str = "1", **more: Any) -> Row:
    return Row(id, SEPTEMBER, *SPAN, resource, "vm", D(quantity), Costs(D(quantity)))._replace(**more)


def test_a_row_that_is_corrected_under_its_own_id_is_reversed_and_corrected() -> None:
    rows = ledger([row("r1", quantity="5")], [row("r1", quantity="3")], OCTOBER)
    assert [(r.id, r.quantity, r.billing_period, r.correction) for r in rows] == [
        ("r1:reversed", D(-5), OCTOBER, True),
        ("r1:corrected", D(3), OCTOBER, True),
    ]
    (state,) = fold([row("r1", quantity="5"), *rows]).values()
    assert (state.quantity, state.costs.billed, state.late) == (3, 3, False)
    assert state.rows == ("r1", "r1:corrected", "r1:reversed")


def test_rows_stand_by_billing_period_scope_and_id() -> None:
    rows = [
        row("a", billing_period=OCTOBER),
        row("z"),
        row("b", scope="two", resource=None),
        row("b", scope="one"),
        row("b", scope="one", resource="A"),
    ]
    expected = [(SEPTEMBER, "", "z"), (SEPTEMBER, "one", "b"), (SEPTEMBER, "two", "b"), (OCTOBER, "", "a")]
    for given in (rows, rows[::-1]):
        assert [(r.billing_period, r.scope, r.id) for r in standing(given)] == expected


def test_of_two_rows_of_one_id_the_same_stands_whatever_their_order() -> None:
    two = [row("r1", None), row("r1", "A")]
    assert len(standing(two)) == 1
    assert standing(two) == standing(two[::-1])


def test_a_bulk_row_is_about_no_resource_and_no_sku() -> None:
    key = key_of(row("r1", None, category="ADJUSTMENT", sku=None))
    assert (key.adjustment, key.resource, key.sku) == (True, "", "")
