"""Other people's formats, by small samples of their shape: each quirk, and that what is read is a record."""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingestion.domain.profiles import profile, profiles
from services.ingestion.domain.rows import Made, plain
from shared.events.catalogue import CATALOGUE
from shared.kernel.canonical import canonical
from tests.unit.ingestion_files.reading import Read, read

SAMPLES = Path(__file__).parent / "samples"


def sample(file: str, *, zone: str = "UTC", run: int = 1) -> Read:
    name = {"focus-1.2": "focus", "microsoft-daily-usage-restated": "microsoft-daily-usage"}.get(file, file)
    name = "focus" if file.startswith("focus") else name
    return read(name, (SAMPLES / f"{file}.csv").read_text(), zone=zone, run=run)


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.csv")), ids=lambda path: path.stem)
def test_what_is_read_is_valid_when_it_is_read_back(path: Path) -> None:
    found = sample(path.stem)
    assert found.made
    for record in found.made:
        said = record.data.model_dump(mode="json", exclude_defaults=True)
        assert CATALOGUE[record.type].model.model_validate(said) == record.data
    assert path.stem == "harvest" or found.spoilt == []


# Microsoft, new commerce


def test_charge_types_are_called_what_they_mean() -> None:
    lines = sample("microsoft-nce").of("vendor_bill.line.v1")
    assert [record.data.category for record in lines] == [
        "Purchase",
        "Change",
        "Change",
        "Conversion",
        "Cancel",
        "Usage",
        "Usage",
        "Adjustment",
        "a type of tomorrow",
    ]


def test_a_charge_ends_after_its_last_day_however_the_date_is_written() -> None:
    lines = [record.data for record in sample("microsoft-nce", zone="Europe/Berlin").of("vendor_bill.line.v1")]
    assert (lines[0].charge_from, lines[0].charge_to) == (
        datetime(2026, 5, 14, tzinfo=UTC),
        datetime(2026, 6, 14, tzinfo=UTC),
    )
    assert lines[7].charge_to == datetime(2026, 6, 1, tzinfo=UTC)


def test_a_price_is_in_the_billing_currency_and_the_quantity_is_the_billable_one() -> None:
    lines = [record.data for record in sample("microsoft-nce").of("vendor_bill.line.v1")]
    usage, euro, last = lines[5], lines[0], lines[8]
    assert (plain(usage.quantity), plain(usage.unit_price), plain(usage.billed_cost)) == (
        "1217.5",
        "0.04343086",  # 0.0473 x 0.9182
        "52.86",
    )
    assert plain(euro.unit_price) == "9.6"  # no exchange rate: the price is in the billing currency
    assert plain(last.quantity) == "2"  # no billable quantity: the quantity


def test_a_sku_is_product_and_sku_and_the_account_is_the_customer() -> None:
    line = sample("microsoft-nce").made[0].data
    assert (line.account, line.account_name) == ("cust-northwind", "Northwind Dental")
    assert (line.sku, line.sku_name, line.issuer) == ("CFQ7TTC0LH18/0001", "Business Basic", "Microsoft")


def test_an_invoice_reaches_from_its_first_charge_to_its_last() -> None:
    found = sample("microsoft-nce")
    (header,) = (record.data for record in found.of("vendor_bill.received.v1"))
    assert (header.bill, header.lines, plain(header.total)) == ("G000000002", 9, "109.52")
    assert header.period_from == datetime(2026, 5, 1, tzinfo=UTC)
    assert header.period_to == datetime(2026, 6, 14, tzinfo=UTC)
    assert found.of("vendor_bill.received.v1")[0].time == header.period_from


def test_both_halves_of_a_change_and_both_rows_of_a_meter_are_charges_of_their_own() -> None:
    lines = [record.data.line for record in sample("microsoft-nce").of("vendor_bill.line.v1")]
    assert len(set(lines)) == 9


# Microsoft, by day


def test_a_row_of_daily_usage_is_a_counter_of_its_day() -> None:
    first, second, without_credit, elsewhere = (r for r in sample("microsoft-daily-usage", zone="Asia/Tokyo").made)
    assert (first.time, first.data.until) == (datetime(2026, 9, 3, tzinfo=UTC), datetime(2026, 9, 4, tzinfo=UTC))
    assert (first.data.kind, first.data.meter, plain(first.data.quantity)) == ("counter", "meter-1", "1217.5")
    assert len({record.data.event for record in (first, second, without_credit, elsewhere)}) == 4


def test_a_restated_day_keeps_its_slot_and_ranks_by_the_run() -> None:
    before = sample("microsoft-daily-usage").made[0]
    after = sample("microsoft-daily-usage-restated", run=2).made[0]
    assert before.data.event == after.data.event
    assert plain(after.data.quantity) == "1300"
    assert (before.record_id[-2:], after.record_id[-2:]) == ("@1", "@2")


def test_what_the_usage_costs_is_read_only_when_asked_for() -> None:
    assert {record.type for record in sample("microsoft-daily-usage").made} == {"usage.metered.v1"}
    text = (SAMPLES / "microsoft-daily-usage.csv").read_text()
    found = read("microsoft-daily-cost", text)
    bills = [(r.data.issuer, r.data.bill, r.data.lines) for r in found.of("vendor_bill.received.v1")]
    assert bills == [
        ("Microsoft (daily-rated)", "G000000001:EUR", 3),
        ("Microsoft (daily-rated)", "unbilled:EUR", 1),
    ]
    assert plain(found.made[0].data.billed_cost) == "52.87"


# FOCUS 1.2


@pytest.mark.parametrize("form", ["ledger", "delta", "replacement"])
def test_three_forms_of_a_correction_come_to_the_same_usage(form: str) -> None:
    slots: dict[str, Decimal] = {}
    for run, file in enumerate(("focus-1.2", f"focus-1.2-{form}"), start=1):
        usage = sample(file, run=run).of("usage.metered.v1")
        assert {(record.time, record.data.until) for record in usage} == {
            (datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC))
        }
        slots |= {record.data.event: record.data.quantity for record in usage}
    assert sum(slots.values()) == 240
    assert Decimal(90) in slots.values()


def test_an_adjustment_has_a_cost_and_no_quantity() -> None:
    found = sample("focus-1.2-ledger")
    adjustment = found.of("vendor_bill.line.v1")[3].data
    assert (adjustment.category, adjustment.correction) == ("Adjustment", True)
    assert (adjustment.quantity, plain(adjustment.billed_cost)) == (None, "-12.345678901")
    assert len(found.of("usage.metered.v1")) == 3


# Time trackers


def test_toggl_counts_seconds_and_lets_work_reach_over_midnight() -> None:
    first, second, late = (record.data for record in sample("toggl", zone="Europe/Berlin").made)
    assert (plain(first.minutes), first.work_type, first.ticket) == ("75.5", "Remote", "Support")
    assert first.started_at == datetime(2026, 9, 14, 7, tzinfo=UTC)
    assert (second.billable, second.approved) == (False, True)
    assert (late.worked_on, late.ended_at) == (date(2026, 9, 14), datetime(2026, 9, 14, 22, 10, tzinfo=UTC))


def test_clockify_reads_the_clock_and_not_the_decimal() -> None:
    first, second, third = (record.data for record in sample("clockify").made)
    assert plain(first.minutes) == "60.016666666666666666"  # 01:00:01, where the decimal column says 0.00
    assert (first.started_at, first.ended_at) == (
        datetime(2026, 9, 14, 9, tzinfo=UTC),
        datetime(2026, 9, 14, 10, 0, 1, tzinfo=UTC),
    )
    assert (first.role, first.worked_on) == ("Engineer", date(2026, 9, 14))
    assert second.ended_at == datetime(2026, 9, 15, 12, tzinfo=UTC)  # 12:00 PM
    assert third.started_at == datetime(2026, 9, 16, 13, 5, tzinfo=UTC)  # of 24 hours, beside one of 12


def test_harvest_reads_each_figure_by_its_own_marks_and_refuses_what_can_be_read_both_ways() -> None:
    found = sample("harvest")
    assert [plain(record.data.minutes) for record in found.made] == ["75", "30", "450"]
    assert [record.data.approved for record in found.made] == [True, False, True]
    assert [(one.row, one.faults[0].reason) for one in found.spoilt] == [
        (4, "column Hours is beyond any sense: more than 31 days"),  # "2.000,0" is two thousand
        (6, "column Hours may be a fraction or thousands, nobody can tell"),
        (7, "column Date is not a date"),  # 09/18/2026
    ]


def test_people_of_trackers_go_to_the_vault() -> None:
    for name, person in (("toggl", "Ada Example"), ("clockify", "Ada Example"), ("harvest", "Ada Example")):
        first = sample(name).made[0]
        assert first.private.people["person"][0] == person
        assert first.private.notes == {"note": "Replaced the failed disk"}
        assert "Ada" not in str(first.data)
        assert "disk" not in str(first.data)
    alone = sample("harvest").made[2]
    assert alone.private.people["person"] == ("Ada", None)


def test_a_client_is_the_id_if_there_is_one_and_else_the_name() -> None:
    text = (SAMPLES / "toggl.csv").read_text()
    assert read("toggl", text.replace("northwind", "Northwind Dental")).made[0].data.client == "Northwind Dental"
    header, *rows = text.splitlines()
    with_id = "\n".join([f"{header},Client ID", *(f"{row},c-7" for row in rows)])
    assert {record.data.client for record in read("toggl", with_id).made} == {"c-7"}


def test_an_entry_without_a_client_is_a_persons_to_judge() -> None:
    (spoilt,) = read("toggl", (SAMPLES / "toggl.csv").read_text().replace("northwind", "", 1)).spoilt
    assert spoilt.faults[0].reason == "column Client is empty"


def test_the_same_export_again_has_the_same_ids_but_for_the_run() -> None:
    once = [record.record_id for record in sample("harvest").records if isinstance(record, Made)]
    again = [record.record_id for record in sample("harvest", run=2).records if isinstance(record, Made)]
    assert [text.partition("@")[0] for text in once] == [text.partition("@")[0] for text in again]
    assert len(set(once)) == len(once)


_WORDS = (
    "|a|1|-1|0.5|1,5|1.250|9e18|1e30|EUR|XXX|yes|no|2026-09-01|9/30/2026|31.12.2026|09:00|12:00 PM|01:00:01|unit|agreed"
    "|graduated|8@4;*@2|x=0.5;y=0.5|{}|[1]|Usage|Credit|Correction|account|sku|gauge|counter|NULL|@|{x}|%|/"
)
PIECES = st.sampled_from(_WORDS.split("|"))


@settings(max_examples=200)
@given(st.sampled_from(sorted(profiles())), st.data())
def test_any_cells_make_records_or_rejects_that_can_be_kept(name: str, data: st.DataObject) -> None:
    names = [column.name for column in profile(name).columns]
    cells = data.draw(st.lists(st.lists(PIECES, min_size=len(names), max_size=len(names)), min_size=1, max_size=3))
    out = io.StringIO()
    csv.writer(out).writerows([names, *cells])
    found = read(name, out.getvalue(), zone="Europe/Berlin")
    assert len({record.row for record in found.records}) == found.survey.rows
    for record in found.records:
        if isinstance(record, Made):
            assert CATALOGUE[record.type].model.model_validate(
                record.data.model_dump(mode="json", exclude_defaults=True)
            )
        else:
            assert all(fault.reason and fault.fix for fault in record.faults)
            canonical(record.data)
