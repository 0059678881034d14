"""Adjustments inside an effective unit price (rating.md section 8)."""

from __future__ import annotations

from decimal import Decimal as D

from shared.reconciliation.rating.microsoft import Consumed, effective_unit_price, effective_unit_prices


def test_other_adjustments_of_all_days_lower_the_cost_before_it_is_divided() -> None:
    rows = [Consumed("M", D(24), D("1.37"), D(0), D("0.50")), Consumed("M", D(24), D("1.37"), D(0), D("0.26"))]
    assert effective_unit_prices(rows) == {("M", D("1.37"), D(0)): effective_unit_price(D("65.00"), D(48))}
