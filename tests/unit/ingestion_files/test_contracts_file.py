"""Contracts as a CSV: every term that fits a cell, JSON for the rest; what is refused names its column and the fix."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingestion.domain import compound
from services.ingestion.domain.badcell import BadCell
from services.ingestion.domain.facts import Fault
from services.ingestion.domain.rows import Made
from shared.kernel.canonical import canonical
from tests.unit.ingestion_files.reading import Read, read

FIELDS = (
    "price", "kind", "amount", "tiers", "up_to", "period", "unit", "count", "labour", "rates", "role_factors", "0", "1",
    "scope", "discounts", "refund", "within", "rounding", "line", "mode", "scale", "convert", "included", "none",
)  # fmt: skip
LINE = {
    "contract": "C-1",
    "line": "1",
    "client": "acme",
    "product": "edr",
    "effective from": "2026-01-01",
    "currency": "EUR",
}


def rows(*cells: dict[str, str]) -> Read:
    wide = [LINE | one for one in cells]
    names = list(dict.fromkeys(name for one in wide for name in one))
    quoted = ['"' + text.replace('"', '""') + '"' for one in wide for text in (one.get(name, "") for name in names)]
    lines = [",".join(quoted[n : n + len(names)]) for n in range(0, len(quoted), len(names))]
    return read("contracts", "\n".join([",".join(names), *lines]))


def terms(**cells: str) -> dict[str, Any]:
    found = rows({name.replace("_", " "): text for name, text in cells.items()})
    assert found.spoilt == [], found.spoilt[0].faults
    said: dict[str, Any] = found.made[0].data.model_dump(mode="json", exclude_defaults=True)["terms"]
    return said


def refused(*cells: dict[str, str]) -> Fault:
    (spoilt,) = rows(*cells).spoilt
    (fault,) = spoilt.faults
    return fault


@pytest.mark.parametrize(
    ("cells", "price"),
    [
        ({"price": "4.20"}, {"kind": "unit", "unit_amount": "4.2"}),
        ({"price_model": "flat", "price": "150"}, {"kind": "flat", "amount": "150"}),
        (
            {"price_model": "package", "price": "6", "package_size": "25"},
            {"kind": "package", "size": "25", "amount": "6"},
        ),
        (
            {"price_model": "Graduated", "tiers": "8@4.00+9; 20@3.25; *@2.50+15"},
            {
                "kind": "graduated",
                "tiers": [
                    {"up_to": "8", "unit_amount": "4", "flat_amount": "9"},
                    {"up_to": "20", "unit_amount": "3.25"},
                    {"unit_amount": "2.5", "flat_amount": "15"},
                ],
            },
        ),
        (
            {"price_model": "volume", "tiers": "200@3.00/50;*@4.50/100"},
            {
                "kind": "volume",
                "tiers": [{"up_to": "200", "unit_amount": "3", "size": "50"}, {"unit_amount": "4.5", "size": "100"}],
            },
        ),
        (
            {
                "price_model": "percentage",
                "percentage": "2.5",
                "fixed_fee": "0.30",
                "free_events": "2",
                "event_minimum": "1",
            },
            {"kind": "percentage", "rate_pct": "2.5", "fixed": "0.3", "free_events": 2, "per_event_min": "1"},
        ),
        ({"price_model": "cost_plus", "cost_factor": "1.25"}, {"kind": "cost_plus", "factor": "1.25"}),
        ({"excluded": "yes"}, {"kind": "unit", "unit_amount": "0"}),
    ],
)
def test_each_price_model_fits_its_cells(cells: dict[str, str], price: dict[str, Any]) -> None:
    assert terms(**cells)["price"] == price


def test_periods_allowances_and_commitments_fit_cells() -> None:
    said = terms(
        price="4.20", billing="advance", period="quarter", period_count="2", bill_cycle_day="20", anchor="2026-01-20",
        proration="thirty_day", prorate_first="no", last_day_billed="yes", statistic="max", included="5", free="2",
        minimum_quantity="1", maximum_quantity="100", minimum_amount="50", maximum_amount="900", scope_contract="yes",
        scope_products="edr; mail", discount_percent="10", discount_amount="20", tax_percent="19", cost="2.10",
        margin_floor="15", line_rounding="half_even 2", unit_price_rounding="4", time_zone="Europe/Berlin",
    )  # fmt: skip
    assert said == {
        "price": {"kind": "unit", "unit_amount": "4.2"},
        "billing": "advance",
        "period": {"unit": "quarter", "count": 2, "day": 20, "anchor": "2026-01-20"},
        "proration": "thirty_day",
        "prorate_first": False,
        "last_day_billed": True,
        "statistic": "max",
        "included": "5",
        "free": "2",
        "minimum_quantity": "1",
        "maximum_quantity": "100",
        "minimum_amount": "50",
        "maximum_amount": "900",
        "scope": {"contract": True, "products": ["edr", "mail"]},
        "discount_pct": "10",
        "discount_amount": "20",
        "tax_pct": "19",
        "cost": "2.1",
        "margin_floor_pct": "15",
        "rounding": {"line": {"mode": "half_even", "scale": 2}, "unit_price": {"scale": 4}},
        "time_zone": "Europe/Berlin",
    }


def test_labour_and_conversion_fit_cells() -> None:
    said = terms(
        hourly_rate="120", increment="15", minimum_minutes="30", cap_hours="40", block="B-1", block_from="2026-01-01",
        block_to="2026-07-01", block_hours="10", overage_rate="140",
        rates="Engineer@120; Engineer/On-site@150; */Night@9.5",
        work_types="Travel excluded; Night x1.5; On-site +25; Audit =140", measured_unit="byte", priced_unit="GiB",
        convert_divide="1073741824", convert_rounding="up 0",
    )  # fmt: skip
    assert said["price"] == {"kind": "unit", "unit_amount": "120"}
    assert said["labour"] == {
        "rate": "120",
        "increment_minutes": "15",
        "minimum_minutes": "30",
        "cap_hours": "40",
        "rates": [
            {"role": "Engineer", "rate": "120"},
            {"role": "Engineer", "work_type": "On-site", "rate": "150"},
            {"work_type": "Night", "rate": "9.5"},
        ],
        "work_types": [
            {"work_type": "Travel", "effect": "excluded"},
            {"work_type": "Night", "effect": "multiply", "value": "1.5"},
            {"work_type": "On-site", "effect": "add", "value": "25"},
            {"work_type": "Audit", "effect": "custom", "value": "140"},
        ],
        "blocks": [{"block": "B-1", "start": "2026-01-01", "end": "2026-07-01", "hours": "10", "overage_rate": "140"}],
    }
    assert said["convert"] == {
        "from_unit": "byte",
        "to_unit": "GiB",
        "divide": "1073741824",
        "rounding": {"mode": "up", "scale": 0},
    }


def test_what_fits_no_cell_is_json_and_joins_the_cells() -> None:
    said = terms(
        price="4.20",
        billing="advance",
        terms='{"refund": [{"within": 7, "credit": "unused"}, {"credit": "none"}], "period": {"count": 3},'
        ' "discounts": [{"pct": 2.5}], "labour": {"blocks": []}}',
        period="month",
    )
    assert said["refund"] == [{"within": 7, "credit": "unused"}, {"credit": "none"}]
    assert said["period"] == {"count": 3}
    assert said["discounts"] == [{"pct": "2.5"}]
    assert said["billing"] == "advance"


def test_json_may_name_the_price_that_the_row_leaves_to_its_default() -> None:
    assert terms(terms='{"price": {"kind": "flat", "amount": "10"}}')["price"] == {"kind": "flat", "amount": "10"}


def test_an_amendment_has_the_same_columns() -> None:
    found = rows({"change": "amended", "price model": "volume", "tiers": "8@4;*@3", "terms": '{"lines": "segment"}'})
    assert [record.type for record in found.made] == ["contract.amended.v1"]
    assert len(found.made[0].data.terms.price.tiers) == 2
    assert found.made[0].data.terms.lines == "segment"


@pytest.mark.parametrize(
    ("cells", "field", "reason", "fix"),
    [
        (
            {"price model": "graduated", "tiers": "20@3.25;8@4.00;*@2"},
            "data.terms.price.tiers.1.up_to",
            "column tiers (1.up_to): tier 2 ends at 8, and the one before it at 20",
            "Send tiers in order of up_to.",
        ),
        (
            {"price model": "graduated", "tiers": "8@4;*@2;20@3"},
            "data.terms.price.tiers.1.up_to",
            "column tiers (1.up_to): tier 2 has no up_to and is not the last",
            "Send its last unit, or send it last.",
        ),
        (
            {"price model": "graduated", "tiers": "0@4;*@2"},
            "data.terms.price.tiers.0.up_to",
            "column tiers (0.up_to) is not above 0",
            "Send more than 0.",
        ),
        (
            {"price model": "graduated", "tiers": "8 at 4.00"},
            "data.terms.price.tiers",
            "column tiers is not a list of tiers",
            "Write each as `up to@price`, such as 8@4.00+9;20@3.25;*@2.50.",
        ),
        ({"price": "-4.20"}, "data.terms.price.unit_amount", "column price is below 0", "Send 0 or more."),
        ({"price": ""}, "data.terms.price.unit_amount", "column price is empty", "Add it."),
        (
            {"price": "4.20", "price model": "graduated", "tiers": "*@2"},
            "data.terms.price.unit_amount",
            "column price does not go with the row's other columns",
            "Remove it.",
        ),
        (
            {"price": "4.20", "tiers": "*@2"},
            "data.terms.price.tiers",
            "column tiers does not go with the row's other columns",
            "Remove it.",
        ),
        (
            {"price": "1", "effective to": "2026-01-01"},
            "data.effective_to",
            "column effective to is exclusive and must lie after effective_from",
            "Send a later one.",
        ),
        (
            {"price": "1", "currency": "EUX"},
            "data.currency",
            "column currency is no currency that there is",
            "Write a code that ISO 4217 has, such as EUR.",
        ),
        (
            {"price": "1", "discount percent": "120"},
            "data.terms.discount_pct",
            "column discount percent is above 100",
            "Send 100 or less.",
        ),
        (
            {"price": "1", "measured unit": "byte", "priced unit": "hour", "convert divide": "3"},
            "data.terms.convert.to_unit",
            "column priced unit cannot be converted from byte",
            "Send units of one kind, such as bytes and GiB, or seconds and hours.",
        ),
        (
            {"price": "1", "measured unit": "byte", "priced unit": "GiB", "convert divide": "1000000000"},
            "data.terms.convert.divide",
            "column convert divide is not what makes GiB of byte",
            "Divide by 1073741824.",
        ),
        (
            {"price": "1", "recurring quantity": "9e18"},
            "data.recurring.quantity",
            "column recurring quantity is beyond any sense: over 1,000,000,000,000,000,000",
            "Correct the figure, or its unit.",
        ),
        (
            {"price": "1", "terms": "{prorate: no}"},
            "data.terms",
            "column terms is not JSON",
            'Write an object in {braces}, such as {"prorate_first": false}.',
        ),
        (
            {"price": "1", "included": "5", "terms": '{"included": "6"}'},
            "data.terms.included",
            "column terms says included too, and something else",
            "Say it in one of the two places.",
        ),
        (
            {"price": "1", "terms": '{"refund": [{"within": 0, "credit": "unused"}]}'},
            "data.terms.refund.0.within",
            "column terms (refund.0.within) is below 1",
            "Send 1 or more.",
        ),
        (
            {"price": "1", "terms": '{"prorated": true}'},
            "data.terms.prorated",
            "column terms (prorated) does not go with the row's other columns",
            "Remove it.",
        ),
    ],
)
def test_a_wrong_term_names_its_column_the_field_and_the_fix(
    cells: dict[str, str], field: str, reason: str, fix: str
) -> None:
    assert refused(cells) == Fault(field, reason, fix)


def test_two_versions_of_a_line_from_one_day_are_refused() -> None:
    found = rows({"price": "4.20"}, {"price": "4.20"}, {"price": "4.50"}, {"price": "4.50", "line": "2"})
    assert [type(record) is Made for record in found.records] == [True, True, False, True]
    assert found.spoilt[0].faults == [
        Fault(
            "",
            "the row has the same contract, line and effective from as row 2, and says something else",
            "Keep one of the two rows, or correct the column effective from of one, and send the file again.",
        )
    ]


def test_a_later_day_is_no_contradiction() -> None:
    assert rows({"price": "4.20"}, {"price": "4.50", "effective from": "2026-07-01"}).spoilt == []


@settings(max_examples=60)
@given(st.text(alphabet="0123456789@+/*;.= %xEngineer", max_size=30))
def test_any_text_in_a_cell_of_many_values_gives_them_or_a_reason(text: str) -> None:
    for read_cell in (compound.tiers, compound.shares, compound.rates, compound.works, compound.rounding, compound.obj):
        bad = refusal(read_cell, text)
        assert bad is None or (bad.reason and bad.fix)


def refusal(read_cell: Callable[[str], object], text: str) -> BadCell | None:
    try:
        read_cell(text)
    except BadCell as bad:
        return bad
    return None


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("northwind", [{"id": "northwind"}]),
        ("northwind=0.6; aster=.4", [{"id": "northwind", "share": "0.6"}, {"id": "aster", "share": ".4"}]),
        ("northwind=62.5%;aster = 37.5 %", [{"id": "northwind", "share": "0.625"}, {"id": "aster", "share": "0.375"}]),
        ("a=5%;b=95%", [{"id": "a", "share": "0.05"}, {"id": "b", "share": "0.95"}]),
        ("plan=3", [{"id": "plan=3"}]),
    ],
)
def test_shares_are_read_as_fractions_or_percent(text: str, wanted: list[dict[str, str]]) -> None:
    assert compound.shares(text) == wanted


def test_mappings_of_several_targets_and_what_is_wrong_with_them() -> None:
    head = "kind,source,key,target,exclude\n"
    (made,) = read("mappings", f"{head}account,huntress,org-1,northwind=0.6;aster=40%,").made
    assert [(one.id, one.share) for one in made.data.targets] == [
        ("northwind", Decimal("0.6")),
        ("aster", Decimal("0.4")),
    ]
    reasons = [
        read("mappings", f"{head}account,huntress,org-1,{target},").spoilt[0].faults[0].reason
        for target in ("northwind;aster", "northwind=0.6;aster=0.6", "northwind=0.6;northwind=0.4")
    ]
    assert reasons == [
        "column target names several without their shares",
        "the row: the shares of the targets come to more than 1",
        "the row: a target is named twice",
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150)
@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4))
def test_any_json_gives_a_contract_or_a_reject_that_can_be_kept(given_terms: dict[str, Any]) -> None:
    for record in rows({"price": "1", "period": "month", "terms": json.dumps(given_terms)}).records:
        if isinstance(record, Made):
            canonical(record.data.model_dump(mode="json", exclude_defaults=True))
        else:
            assert record.faults
            assert all(fault.reason and fault.fix for fault in record.faults)
            canonical(record.data)


@pytest.mark.parametrize(
    "text", ['{"meter": "\\ud800"}', '{"included": 123456789012345678901}', "[1]", "{" * 3000, '{"a":1,"a":2}']
)
def test_json_that_cannot_be_kept_or_read_is_refused_by_its_column(text: str) -> None:
    assert refused({"price": "1", "terms": text}).reason.startswith("column terms ")
