"""Bad input over HTTP: what a record may not say, told by its field, the reason and the fix."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from services.ingestion.domain.envelope import read
from services.ingestion.domain.facts import Fact, Rejected
from tests.unit.ingestion.events import NOW, OPERATOR, event

BIG = "over 1,000,000,000,000,000,000"
FIGURE = "Correct the figure, or its unit."


def tiers(*given: dict[str, str]) -> dict[str, Any]:
    return {"terms": {"price": {"kind": "graduated", "tiers": list(given)}}}


def terms(**given: Any) -> dict[str, Any]:
    return {"terms": {"price": {"kind": "unit", "unit_amount": "1"}, **given}}


def bytes_to(unit: str, **factor: str) -> dict[str, Any]:
    return terms(convert={"from_unit": "byte", "to_unit": unit, **factor})


@pytest.mark.parametrize(
    ("type_", "data", "field", "reason", "fix"),
    [
        (
            "contract.agreed.v1",
            tiers({"up_to": "8", "unit_amount": "4"}, {"up_to": "8", "unit_amount": "3"}),
            "data.terms.price.tiers.1.up_to",
            "tier 2 ends at 8, and the one before it at 8",
            "Send tiers in order of up_to.",
        ),
        (
            "contract.agreed.v1",
            tiers({"up_to": "8", "unit_amount": "4"}, {"up_to": "-1"}),
            "data.terms.price.tiers.1.up_to",
            "is not above 0",
            "Send more than 0.",
        ),
        (
            "contract.agreed.v1",
            tiers({"up_to": "8", "unit_amount": "4"}, {"unit_amount": "-3"}),
            "data.terms.price.tiers.1.unit_amount",
            "is below 0",
            "Send 0 or more.",
        ),
        (
            "contract.agreed.v1",
            terms(minimum_quantity="7", maximum_quantity="5"),
            "data.terms.maximum_quantity",
            "is 5, below minimum_quantity of 7",
            "Send one that is not.",
        ),
        (
            "contract.agreed.v1",
            terms(period={"unit": "day"}, proration="thirty_day"),
            "data.terms.proration",
            "thirty_day counts months, and the period is counted by the day",
            "Send daily.",
        ),
        (
            "contract.agreed.v1",
            terms(minimum_amount="9e18"),
            "data.terms.minimum_amount",
            f"is beyond any sense: {BIG}",
            FIGURE,
        ),
        (
            "contract.agreed.v1",
            bytes_to("GiB", divide="1000000000"),
            "data.terms.convert.divide",
            "is not what makes GiB of byte",
            "Divide by 1073741824.",
        ),
        (
            "contract.agreed.v1",
            bytes_to("hours", multiply="2"),
            "data.terms.convert.to_unit",
            "cannot be converted from byte",
            "Send units of one kind, such as bytes and GiB, or seconds and hours.",
        ),
        (
            "contract.agreed.v1",
            {"recurring": {"quantity": "1e19", "unit_price": "1"}},
            "data.recurring.quantity",
            f"is beyond any sense: {BIG}",
            FIGURE,
        ),
        ("usage.metered.v1", {"quantity": "2e18"}, "data.quantity", f"is beyond any sense: {BIG}", FIGURE),
        (
            "usage.metered.v1",
            {"kind": "counter", "until": "2026-08-31T00:00:00Z"},
            "data.until",
            "is not after the start",
            "Write the end, exclusive: after the record's time.",
        ),
        ("invoice.line.v1", {"quantity": "-2e18"}, "data.quantity", f"is beyond any sense: {BIG}", FIGURE),
        (
            "invoice.line.v1",
            {"amount": "2e15"},
            "data.amount",
            "is beyond any sense: over 1,000,000,000,000,000",
            FIGURE,
        ),
        (
            "invoice.issued.v1",
            {"currency": "EUX"},
            "data.currency",
            "is no currency that there is",
            'Send a code of ISO 4217, such as "EUR".',
        ),
        (
            "invoice.issued.v1",
            {"exchange_rate": "1.1"},
            "data.exchange_from",
            "is missing",
            "Give exchange_rate and exchange_from together, or neither.",
        ),
        (
            "invoice.issued.v1",
            {"exchange_rate": "1.1", "exchange_from": "EUR"},
            "data.exchange_from",
            "is the invoice's own currency",
            "Send the contract's currency, or neither.",
        ),
        (
            "invoice.issued.v1",
            {"period_to": "2026-08-01"},
            "data.period_to",
            "is exclusive and must lie after period_from",
            "Send a later one.",
        ),
        (
            "vendor_bill.line.v1",
            {"charge_to": "2026-07-01T00:00:00Z"},
            "data.charge_to",
            "lies before charge_from",
            "Write the end of the charge, exclusive.",
        ),
        (
            "vendor_bill.line.v1",
            {"currency": "US$"},
            "data.currency",
            "is not a currency",
            'Send an ISO 4217 code, such as "EUR".',
        ),
        (
            "product.recorded.v1",
            {"unit_cost": "2.10"},
            "data.cost_currency",
            "is missing",
            "Send the currency of unit_cost.",
        ),
        (
            "product.recorded.v1",
            {"components": ["mail", "edr"]},
            "data.components",
            "names the product itself",
            "Name the products that it is a bundle of.",
        ),
        (
            "time_entry.logged.v1",
            {"minutes": "44641"},
            "data.minutes",
            "is beyond any sense: more than 31 days",
            "Send the minutes of one piece of work.",
        ),
        (
            "time_entry.logged.v1",
            {"started_at": "2026-09-01T10:00:00Z", "ended_at": "2026-09-01T09:00:00Z"},
            "data.ended_at",
            "lies before started_at",
            "Correct the start or the end.",
        ),
    ],
)
def test_what_makes_no_sense_is_kept_with_its_field_and_the_fix(
    type_: str, data: dict[str, Any], field: str, reason: str, fix: str
) -> None:
    sent = event(type_, **{f"data__{name}": value for name, value in data.items()})
    (item,) = read(orjson.dumps(sent), OPERATOR, NOW)
    assert isinstance(item, Rejected)
    assert [tuple(fault) for fault in item.faults] == [(field, reason, fix)]


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        ("invoice.line.v1", {"quantity": "3", "unit_price": "4.20", "amount": "99"}),
        ("invoice.line.v1", {"quantity": "-1", "amount": "-4.20", "tax": "-0.80", "tax_pct": "19"}),
        ("usage.metered.v1", {"quantity": "-3"}),
        ("contract.agreed.v1", bytes_to("GiB", divide="1073741824")),
        ("contract.agreed.v1", bytes_to("GB", multiply="0.000000001")),
        ("contract.agreed.v1", bytes_to("floppy", divide="1474560")),
        ("contract.agreed.v1", terms(maximum_amount="0")),
        ("time_entry.logged.v1", {"minutes": "44640"}),
        ("product.recorded.v1", {"unit_cost": "2.10", "cost_currency": "JPY"}),
    ],
)
def test_what_only_a_comparison_can_judge_enters(type_: str, data: dict[str, Any]) -> None:
    sent = event(type_, **{f"data__{name}": value for name, value in data.items()})
    (item,) = read(orjson.dumps(sent), OPERATOR, NOW)
    assert isinstance(item, Fact), item


def test_a_figure_is_looked_for_wherever_terms_have_one() -> None:
    deep = terms(labour={"blocks": [{"block": "B", "start": "2026-01-01", "end": "2026-02-01", "hours": "9e18"}]})
    (item,) = read(orjson.dumps(event("contract.agreed.v1", data__terms=deep["terms"])), OPERATOR, NOW)
    assert isinstance(item, Rejected)
    assert item.faults[0].field == "data.terms.labour.blocks.0.hours"
    factors = {"B": "1", "C": "9e18"}
    deep["terms"]["labour"]["blocks"][0] |= {"hours": "1", "role_factors": factors}
    (item,) = read(orjson.dumps(event("contract.agreed.v1", data__terms=deep["terms"])), OPERATOR, NOW)
    assert isinstance(item, Rejected)
    assert item.faults[0].field == "data.terms.labour.blocks.0.role_factors.C"
