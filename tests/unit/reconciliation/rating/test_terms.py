"""What is refused when a contract is agreed: the field, the reason and the fix (rating.md section 0)."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from shared.events.contracts import ContractAgreed, Terms

UNIT = {"kind": "unit", "unit_amount": "1"}


def tiers(*bounds: str | None) -> dict[str, Any]:
    return {"kind": "graduated", "tiers": [{"unit_amount": "1", "up_to": bound} for bound in bounds]}


def labour(**more: Any) -> dict[str, Any]:
    return {"price": UNIT, "labour": more}


def block(**more: Any) -> dict[str, Any]:
    return {"block": "A", "start": "2025-01-01", "end": "2025-07-01", "hours": "10", **more}


@pytest.mark.parametrize(
    ("given", "field", "says"),
    [
        ({"price": tiers("10", "5", None)}, "price.graduated.tiers", "tier 2 ends at 5"),
        ({"price": tiers("10", "10")}, "price.graduated.tiers", "in order of up_to"),
        ({"price": tiers(None, "10")}, "price.graduated.tiers", "tier 1 has no up_to and is not the last"),
        ({"price": {**tiers("10", None, None), "kind": "volume"}}, "price.volume.tiers", "tier 2 has no up_to"),
        ({"price": tiers()}, "price.graduated.tiers", "at least 1"),
        (
            {"price": {"kind": "graduated", "tiers": [{"unit_amount": "1", "size": "0"}]}},
            "price.graduated.tiers.0.size",
            "greater than 0",
        ),
        ({"price": {"kind": "percentage", "rate_pct": "101"}}, "price.percentage.rate_pct", "100"),
        (
            {"price": {"kind": "percentage", "rate_pct": "1", "per_event_min": "2", "per_event_max": "1"}},
            "price.percentage.per_event_max",
            "below per_event_min of 2",
        ),
        ({"price": {"kind": "cost_plus", "factor": "-1"}}, "price.cost_plus.factor", "0"),
        (
            {"price": UNIT, "minimum_quantity": "5", "maximum_quantity": "4"},
            "maximum_quantity",
            "below minimum_quantity",
        ),
        ({"price": UNIT, "minimum_amount": "5", "maximum_amount": "4"}, "maximum_amount", "below minimum_amount of 5"),
        ({"price": UNIT, "period": {"unit": "week"}, "proration": "thirty_day"}, "proration", "send daily"),
        ({"price": UNIT, "period": {"unit": "day"}, "proration": "thirty_day"}, "proration", "counts months"),
        ({"price": UNIT, "period": {"unit": "week", "day": 3}}, "period.day", "send an anchor"),
        ({"price": UNIT, "discounts": [{}]}, "discounts.0.amount", "is missing, and so is pct"),
        (
            {"price": UNIT, "discounts": [{"pct": "1", "amount": "1"}]},
            "discounts.0.amount",
            "send one of pct and amount",
        ),
        (
            {"price": UNIT, "discounts": [{"pct": "1", "effective_from": "2025-06-01", "effective_to": "2025-06-01"}]},
            "discounts.0.effective_to",
            "must lie after effective_from",
        ),
        ({"price": UNIT, "convert": {"from_unit": "byte", "to_unit": "GB"}}, "convert.divide", "multiply and divide"),
        (
            {"price": UNIT, "convert": {"from_unit": "byte", "to_unit": "GB", "divide": "2", "multiply": "2"}},
            "convert.divide",
            "is there beside multiply",
        ),
        (labour(blocks=[block(amount="5")]), "labour.blocks.0.amount", "is there beside hours"),
        (labour(blocks=[block(hours=None)]), "labour.blocks.0.amount", "send one of hours and amount"),
        (labour(blocks=[block(end="2025-01-01")]), "labour.blocks.0.end", "must lie after start"),
        (labour(blocks=[block(role_factors={"senior": "0"})]), "labour.blocks.0.role_factors", "a factor above 0"),
        (labour(blocks=[block(), block()]), "labour.blocks", "name A twice"),
        (labour(increment_minutes="-1"), "labour.increment_minutes", "0"),
        (labour(minimum_minutes="30", maximum_minutes="15"), "labour.maximum_minutes", "below minimum_minutes"),
        (labour(work_types=[{"work_type": "onsite", "effect": "add"}]), "labour.work_types.0.value", "is missing"),
        (
            labour(rates=[{"rate": "1", "effective_from": "2025-06-02", "effective_to": "2025-06-01"}]),
            "labour.rates.0.effective_to",
            "must lie after effective_from",
        ),
    ],
)
def test_terms_that_cannot_be_rated_are_refused_at_their_field(given: dict[str, Any], field: str, says: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Terms.model_validate(given)
    error, *_ = refused.value.errors()
    assert ".".join(map(str, error["loc"])) == field
    assert says in error["msg"]


@pytest.mark.parametrize(
    "given",
    [
        {"price": tiers("10", "20")},
        {"price": tiers(None)},
        {"price": UNIT, "minimum_quantity": "5", "maximum_quantity": "5", "minimum_amount": "0", "maximum_amount": "0"},
        {"price": UNIT, "period": {"unit": "year"}, "proration": "thirty_day"},
        {"price": UNIT, "discounts": [{"pct": "0"}, {"amount": "0"}]},
        labour(blocks=[block(), block(block="B", hours=None, amount="5")]),
        labour(work_types=[{"work_type": "travel", "effect": "excluded"}]),
    ],
)
def test_bounds_that_meet_are_agreed(given: dict[str, Any]) -> None:
    assert Terms.model_validate(given)


@pytest.mark.parametrize("currency", ["XXX", "EUX", "DEM"])
def test_a_currency_without_a_known_minor_unit_is_refused(currency: str) -> None:
    line = {"contract": "C", "line": "1", "client": "K", "product": "P", "effective_from": "2025-01-01"}
    assert ContractAgreed.model_validate({**line, "currency": "EUR", "terms": {"price": UNIT}})
    with pytest.raises(ValidationError, match="is no currency of ISO 4217") as refused:
        ContractAgreed.model_validate({**line, "currency": currency, "terms": {"price": UNIT}})
    assert [error["loc"] for error in refused.value.errors()] == [("currency",)]
