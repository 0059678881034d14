from __future__ import annotations

import csv
import io
import random
from datetime import UTC, datetime
from decimal import Decimal, localcontext

import pytest

from services.ingestion.domain import rows as reading
from services.ingestion.domain.profiles import template
from services.ingestion.domain.rows import plain
from services.ingestion.domain.table import BadTable
from shared.events.invoices import InvoiceIssued, VendorBillReceived, lines_digest
from shared.events.usage import UsageMetered
from shared.kernel.canonical import canonical, sha256_hex
from tests.unit.ingestion_files.reading import NOW, read

USAGE = "account,sku,kind,quantity,at,until,event\n"
INVOICES = "invoice,client,issued on,period from,period to,currency,line,product,quantity,unit price,amount\n"
FOCUS = list(csv.DictReader(io.StringIO(template("focus"))))


def invoice(
    number: str = "INV-1", line: str = "1", amount: str = "4.20", client: str = "acme", product: str = "edr"
) -> str:
    return f"{number},{client},2026-10-01,2026-09-01,2026-10-01,EUR,{line},{product},1,{amount},{amount}\n"


def focus(*rows: dict[str, str]) -> str:
    """A FOCUS file: each row is the first one of the template, but for what it says itself."""
    out = io.StringIO()
    writer = csv.DictWriter(out, FOCUS[0])
    writer.writeheader()
    writer.writerows([FOCUS[0] | row for row in rows])
    return out.getvalue()


# What is wrong with a row


@pytest.mark.parametrize(
    ("row", "column", "field", "reason"),
    [
        (",edr,gauge,1,2026-09-01,,", "account", "data.account", "is empty"),
        ("a,edr,gauge,,2026-09-01,,", "quantity", "data.quantity", "is empty"),
        ("a,edr,gauge,1.2.3,2026-09-01,,", "quantity", "data.quantity", "is not a decimal"),
        ("a,edr,gauge,1.1234567890123456789,2026-09-01,,", "quantity", "data.quantity", "has too many decimals"),
        ("a,edr,guage,1,2026-09-01,,", "kind", "data.kind", "is none of the words that it can be"),
        ("a,edr,gauge,1,yesterday,,", "at", "time", "is not a time"),
        ("a,edr,gauge,1,2027-11-24,,", "at", "time", "lies more than a day ahead"),
        ("a,edr,counter,1,2026-09-02,2026-09-01,", "until", "data.until", "is not after the start"),
        ("a" * 201 + ",edr,gauge,1,2026-09-01,,", "account", "data.account", "has more than 200 characters"),
    ],
)
def test_a_wrong_cell_names_its_column_and_what_to_write(row: str, column: str, field: str, reason: str) -> None:
    found = read("usage", USAGE + "b,edr,gauge,1,2026-09-01,,\n" + row)
    assert len(found.made) == 1
    (spoilt,) = found.spoilt
    assert spoilt.row == 3
    (fault,) = spoilt.faults
    assert (fault.field, fault.reason) == (field, f"column {column} {reason}")
    assert fault.fix.endswith(".")


def test_a_reject_holds_what_could_be_read_and_the_wrong_cell_as_it_was_written() -> None:
    (spoilt,) = read("usage", USAGE + "a,edr,gauge,7 agents,2026-09-01,,").spoilt
    assert spoilt.data == {"account": "a", "sku": "edr", "kind": "gauge", "quantity": "7 agents"}
    assert spoilt.record_id == "usage/a/edr////2026-09-01T00:00:00Z/@1"
    assert spoilt.time == datetime(2026, 9, 1, tzinfo=UTC)


def test_a_reject_whose_key_is_wrong_is_named_by_its_place() -> None:
    (spoilt,) = read("usage", USAGE + "a,edr,gauge,1,soon,,", run=4).spoilt
    assert (spoilt.record_id, spoilt.time) == ("usage/row-2@4", "soon")


def test_two_wrong_cells_are_both_named() -> None:
    (spoilt,) = read("usage", USAGE + "a,edr,gauge,x,y,,").spoilt
    assert [fault.reason for fault in spoilt.faults] == ["column quantity is not a decimal", "column at is not a time"]


def test_a_word_that_decides_the_record_is_rejected_once() -> None:
    text = "change,contract,line,client,product,effective from\nagred,C-1,1,acme,edr,2026-01-01\n"
    (spoilt,) = read("contracts", text).spoilt
    assert spoilt.faults[0].reason == "column change is none of the words that it can be"
    assert spoilt.faults[0].fix == "Write agreed, amended or ended."


def test_a_ragged_row_is_rejected_without_its_cells() -> None:
    (spoilt,) = read("usage", USAGE + "Ada Example,a,edr,gauge,1,2026-09-01,,").spoilt
    assert spoilt.data == {}
    assert "8 cells where the header has 7" in spoilt.faults[0].reason


# Ids, ranks, times


def test_a_source_that_may_change_its_mind_gets_an_id_for_each_run() -> None:
    text = "client,name\nacme,Acme\n"
    assert read("clients", text, run=1).made[0].record_id == "client/acme@1"
    assert read("clients", text, run=2).made[0].record_id == "client/acme@2"
    assert read("clients", text).made[0].time == NOW


def test_no_two_keys_meet_in_one_id() -> None:
    ids = [
        record.record_id
        for record in read("usage", USAGE + "a/b,c,gauge,1,2026-09-01,,\na,b/c,gauge,1,2026-09-01,,").made
    ]
    assert ids == ["usage/a%2Fb/c////2026-09-01T00:00:00Z/@1", "usage/a/b%2Fc////2026-09-01T00:00:00Z/@1"]


def test_a_long_key_gives_a_short_id_that_is_still_its_own() -> None:
    long = "x" * 180
    ids = [
        record.record_id
        for record in read("usage", USAGE + f"{long},a,gauge,1,2026-09-01,,\n{long},b,gauge,1,2026-09-01,,").made
    ]
    assert len(set(ids)) == 2
    assert all(len(text) < 60 and text.startswith("usage/") and text.endswith("@1") for text in ids)


def test_a_time_without_an_offset_belongs_to_the_tenants_zone() -> None:
    (record,) = read("usage", USAGE + "a,edr,gauge,1,2026-09-01,,", zone="America/New_York").made
    assert record.time == datetime(2026, 9, 1, 4, tzinfo=UTC)


def test_a_client_without_a_zone_has_the_tenants() -> None:
    assert read("clients", "client,name\nacme,Acme\n", zone="Europe/Berlin").made[0].data.time_zone == "Europe/Berlin"


# Contracts


def test_a_contract_line_is_priced_by_unit_or_flat() -> None:
    text = (
        "contract,line,client,product,effective from,currency,price model,price,recurring quantity,recurring price\n"
        "C-1,1,acme,edr,2026-01-01,eur,,4.20,40,\n"
        "C-1,2,acme,backup,2026-01-01,EUR,flat,150,,\n"
        "C-1,3,acme,mail,2026-01-01,EUR,unit,2,10,1.90\n"
    )
    unit, flat, own = (record.data for record in read("contracts", text).made)
    assert (plain(unit.terms.price.unit_amount), unit.currency) == ("4.2", "EUR")
    assert (plain(unit.recurring.quantity), plain(unit.recurring.unit_price)) == ("40", "4.2")
    assert plain(flat.terms.price.amount) == "150"
    assert flat.recurring is None
    assert plain(own.recurring.unit_price) == "1.9"


def test_a_line_without_a_price_is_rejected_by_the_column() -> None:
    text = "contract,line,client,product,effective from,currency,price\nC-1,1,acme,edr,2026-01-01,EUR,\n"
    (spoilt,) = read("contracts", text).spoilt
    assert (spoilt.faults[0].field, spoilt.faults[0].reason) == (
        "data.terms.price.unit_amount",
        "column price is empty",
    )


# Documents


def digest_by_hand(records: list) -> str:
    """As a consumer takes it: from the stored ``data`` of each line."""
    return lines_digest(
        sha256_hex(canonical(record.data.model_dump(mode="json", exclude_defaults=True))) for record in records
    )


def test_a_header_counts_and_digests_its_lines() -> None:
    text = INVOICES + invoice(line="1") + invoice("INV-2") + invoice(line="2", product="backup")
    found = read("invoices", text, version=3)
    first, second = (record.data for record in found.of("invoice.issued.v1"))
    assert isinstance(first, InvoiceIssued)
    assert (first.invoice, first.version, first.lines, second.lines) == ("INV-1", 3, 2, 1)
    lines = [record for record in found.of("invoice.line.v1") if record.data.invoice == "INV-1"]
    assert first.lines_digest == digest_by_hand(lines)
    assert [record.record_id for record in lines] == ["invoice/INV-1/v3/1", "invoice/INV-1/v3/2"]


def test_a_document_with_a_rejected_line_counts_it_and_stays_incomplete() -> None:
    found = read("invoices", INVOICES + invoice(line="1") + invoice(line="2", amount="free"))
    (header,) = found.of("invoice.issued.v1")
    assert (header.data.lines, header.data.lines_digest) == (2, None)
    assert len(found.of("invoice.line.v1")) == 1
    assert found.rows.amounts == {"EUR": Decimal("4.2")}


def test_a_ragged_line_is_counted_too() -> None:
    found = read("invoices", INVOICES + invoice(line="1") + invoice(line="2").strip() + ",surplus\n")
    (header,) = found.of("invoice.issued.v1")
    assert (header.data.lines, header.data.lines_digest) == (2, None)


def test_a_row_that_cannot_be_told_apart_refuses_a_file_of_documents() -> None:
    with pytest.raises(BadTable, match="row 3"):
        read("invoices", INVOICES + invoice() + '"INV-2"x,acme\n')


def test_a_file_of_too_many_documents_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "DOCUMENTS_MAX", 2)
    assert read("invoices", INVOICES + invoice("INV-1") + invoice("INV-2") + invoice("INV-1", line="2")).spoilt == []
    with pytest.raises(reading.TooManyDocuments):
        read("invoices", INVOICES + invoice("INV-1") + invoice("INV-2") + invoice("INV-3"))


def test_a_line_number_that_comes_twice_counts_once() -> None:
    found = read("invoices", INVOICES + invoice(line="1") + invoice(line="1", product="backup"))
    (header,) = found.of("invoice.issued.v1")
    assert (header.data.lines, header.data.lines_digest) == (1, None)


def test_lines_without_a_number_have_their_place() -> None:
    found = read("invoices", INVOICES + invoice(line="") + invoice("INV-2", line="") + invoice(line=""))
    assert [record.data.line for record in found.of("invoice.line.v1")] == ["1", "1", "2"]


def test_a_line_whose_header_says_something_else_is_a_persons_to_judge() -> None:
    found = read("invoices", INVOICES + invoice(line="1") + invoice(line="2", client="other"))
    (spoilt,) = found.spoilt
    assert spoilt.faults[0].reason == "column client differs from row 2 of the same document"
    assert spoilt.data["line"] == "2"


def test_headers_are_compared_by_value() -> None:
    found = read("invoices", INVOICES + invoice(line="1") + invoice(line="2").replace("EUR", "eur"))
    assert found.spoilt == []


def test_a_wrong_header_is_one_reject_and_its_lines_enter() -> None:
    text = (INVOICES + invoice(line="1") + invoice(line="2")).replace("2026-10-01,EUR", "2026-10-32,EUR")
    found = read("invoices", text)
    (spoilt,) = found.spoilt
    assert (spoilt.type, spoilt.row) == ("invoice.issued.v1", 2)
    assert spoilt.faults[0].reason == "column period to is no day of the calendar"
    assert spoilt.data["lines"] == 2
    assert len(found.made) == 2


def test_the_content_of_a_document_does_not_depend_on_the_order_of_its_rows() -> None:
    rows = [invoice(line=str(n), amount=str(n)) for n in range(1, 9)]
    shuffled = rows[:]
    random.Random(7).shuffle(shuffled)
    documents = [read("invoices", INVOICES + "".join(order)).survey.documents for order in (rows, shuffled, rows[1:])]
    digests = [next(iter(found.values())).digest() for found in documents]
    assert digests[0] == digests[1] != digests[2]


def test_a_version_that_the_file_states_is_taken() -> None:
    text = "version," + INVOICES + "2," + invoice() + "3," + invoice()
    found = read("invoices", text)
    assert [record.data.version for record in found.of("invoice.issued.v1")] == [2, 3]


# FOCUS


def test_a_focus_row_is_a_charge_and_if_it_is_usage_a_counter() -> None:
    found = read("focus", focus({}, {"ChargeCategory": "Credit", "ConsumedQuantity": "NULL", "BilledCost": "-1"}))
    assert len(found.of("vendor_bill.line.v1")) == 2
    (usage,) = (record.data for record in found.of("usage.metered.v1"))
    assert isinstance(usage, UsageMetered)
    assert (usage.account, usage.account_name) == ("7001", "Northwind Dental")
    assert (usage.sku, usage.sku_name) == ("Example Cloud/Object Storage", "Object Storage")
    assert (usage.meter, usage.unit, usage.kind, plain(usage.quantity)) == ("GB-Months", "GB-Months", "counter", "1")
    assert usage.until == datetime(2026, 9, 4, tzinfo=UTC)


def test_a_quantity_that_is_empty_is_not_zero() -> None:
    found = read("focus", focus({"ConsumedQuantity": ""}, {"ConsumedQuantity": "0", "ResourceId": "other"}))
    assert [plain(record.data.quantity) for record in found.of("usage.metered.v1")] == ["0"]


def test_rows_alike_are_told_apart_and_add_up() -> None:
    found = read("focus", focus({}, {}, {"SkuPriceId": "ST1.2"}))
    events = [record.data.event for record in found.of("usage.metered.v1")]
    assert len(set(events)) == 3
    assert events[1] == f"{events[0]}-2"


def test_a_restated_charge_keeps_its_slot_and_ranks_by_the_run() -> None:
    before = read("focus", focus({}), run=1).of("usage.metered.v1")[0]
    after = read("focus", focus({"ConsumedQuantity": "2", "BilledCost": "9", "SubAccountName": "Renamed"}), run=2)
    restated = after.of("usage.metered.v1")[0]
    assert restated.data.event == before.data.event
    assert (before.record_id[-2:], restated.record_id[-2:]) == ("@1", "@2")


def test_each_issuer_account_period_and_currency_is_a_bill() -> None:
    found = read(
        "focus",
        focus(
            {},
            {"ResourceId": "second"},
            {"InvoiceIssuerName": "NULL"},
            {"BillingAccountId": "2"},
            {"BillingCurrency": "EUR"},
            {"BillingPeriodStart": "2026-08-01", "BillingPeriodEnd": "2026-09-01"},
        ),
    )
    headers = [record.data for record in found.of("vendor_bill.received.v1")]
    assert [(header.issuer, header.bill, header.lines) for header in headers] == [
        ("Example Cloud Ltd", "90210:2026-09-01:USD", 2),
        ("Example Cloud", "90210:2026-09-01:USD", 1),
        ("Example Cloud Ltd", "2:2026-09-01:USD", 1),
        ("Example Cloud Ltd", "90210:2026-09-01:EUR", 1),
        ("Example Cloud Ltd", "90210:2026-08-01:USD", 1),
    ]
    lines = [
        r
        for r in found.of("vendor_bill.line.v1")
        if (r.data.issuer, r.data.bill) == (headers[0].issuer, headers[0].bill)
    ]
    assert isinstance(headers[0], VendorBillReceived)
    assert headers[0].lines_digest == digest_by_hand(lines)
    assert headers[0].total == Decimal("0.046")


def test_the_sum_of_the_billed_cost_is_exact_to_the_last_digit() -> None:
    random_digits = random.Random(3)
    costs = [f"{random_digits.randrange(10**9)}.{random_digits.randrange(10**18):018}" for _ in range(500)] + [
        "0.000000000000000001"
    ]
    found = read("focus", focus(*({"BilledCost": cost, "ResourceId": str(n)} for n, cost in enumerate(costs))))
    with localcontext(prec=100):
        by_hand = sum((Decimal(cost) for cost in costs), Decimal(0))
        assert found.rows.amounts == {"USD": by_hand}
        assert sum((record.data.billed_cost for record in found.of("vendor_bill.line.v1")), Decimal(0)) == by_hand


def test_a_charge_whose_usage_is_wrong_still_counts_on_its_bill() -> None:
    found = read("focus", focus({}, {"ConsumedQuantity": "many", "ResourceId": "other"}))
    assert [spoilt.type for spoilt in found.spoilt] == ["usage.metered.v1"]
    (header,) = (record.data for record in found.of("vendor_bill.received.v1"))
    assert (header.lines, header.total, header.lines_digest is None) == (2, Decimal("0.046"), False)


def test_a_correction_is_marked() -> None:
    found = read("focus", focus({"ChargeClass": "Correction"}, {}))
    assert [record.data.correction for record in found.of("vendor_bill.line.v1")] == [True, False]


def test_a_focus_time_without_an_offset_is_utc_whatever_the_tenants_zone() -> None:
    (usage,) = read("focus", focus({}), zone="Europe/Berlin").of("usage.metered.v1")
    assert usage.time == datetime(2026, 9, 3, tzinfo=UTC)


# Complete


def test_complete_usage_covers_the_whole_months_of_the_tenant() -> None:
    text = USAGE + "a,edr,gauge,1,2026-09-14,,\na,edr,counter,1,2026-10-30,2026-11-01,\n"
    assert read("usage", text, zone="Europe/Berlin").rows.covers() == (
        datetime(2026, 8, 31, 22, tzinfo=UTC),
        datetime(2026, 10, 31, 23, tzinfo=UTC),
    )


def test_complete_never_covers_what_lies_after_the_files_own_word() -> None:
    at = datetime(2026, 9, 20, tzinfo=UTC)
    assert read("usage", USAGE + "a,edr,gauge,1,2026-09-14,,\n", asserted_at=at).rows.covers() == (
        datetime(2026, 9, 1, tzinfo=UTC),
        at,
    )


def test_a_complete_export_covers_its_billing_periods_and_not_the_tenants_months() -> None:
    assert read("focus", focus({}), zone="America/New_York").rows.covers() == (
        datetime(2026, 9, 1, tzinfo=UTC),
        datetime(2026, 10, 1, tzinfo=UTC),
    )


def test_what_a_rejected_row_says_is_not_covered() -> None:
    assert read("usage", USAGE + "a,edr,gauge,x,2026-09-14,,\n").rows.covers() is None
    assert read("clients", template("clients")).rows.covers() is None


# Persons and free text


def test_persons_and_notes_are_handed_over_for_the_vault_and_stand_in_no_record() -> None:
    found = read("time-entries", template("time-entries"))
    first = found.made[0]
    assert first.private.people == {"person": ("Ada Example", "ada@msp.example")}
    assert first.private.notes == {"note": "Replaced the failed disk"}
    said = canonical(first.data.model_dump(mode="json"))
    assert b"Ada" not in said
    assert b"ada@" not in said
    assert b"disk" not in said


def test_a_rejected_entry_shows_neither() -> None:
    text = (
        "entry,client,technician,email,worked on,hours,note\nT-1,acme,Ada Example,ada@msp.example,soon,1,Secret words\n"
    )
    (spoilt,) = read("time-entries", text).spoilt
    assert b"Ada" not in canonical(spoilt.data) + str(spoilt.faults).encode()
    assert b"Secret" not in canonical(spoilt.data) + str(spoilt.faults).encode()
    assert spoilt.private.notes == {"note": "Secret words"}


# What the plain files may say besides


def test_a_product_has_a_cost_and_is_a_bundle() -> None:
    text = (
        "product,name,currency,unit cost,cost currency,components\ncare,Care,EUR,9.10,USD,edr; mail\nedr,EDR,EUR,2,,\n"
    )
    care, edr = (record.data for record in read("products", text).made)
    assert (plain(care.unit_cost), care.cost_currency, care.components) == ("9.1", "USD", ("edr", "mail"))
    assert edr.cost_currency == "EUR"
    (spoilt,) = read("products", "product,name,components\ncare,Care,care\n").spoilt
    assert spoilt.faults[0].reason == "column components names the product itself"


def test_an_invoice_has_tax_totals_an_exchange_rate_and_discount_lines() -> None:
    head = (
        INVOICES.strip() + ",tax,tax percent,discount,tax total,gross total,exchange rate,exchange from,exchange on\n"
    )
    more = ",0.80,19,{},1.60,10.00,1.0875,USD,2026-09-30\n"
    text = head + "".join(invoice(line=str(n)).strip() + more.format(word) for n, word in enumerate(("", "yes"), 1))
    found = read("invoices", text)
    (header,) = (record.data for record in found.of("invoice.issued.v1"))
    lines = [record.data for record in found.of("invoice.line.v1")]
    assert (plain(header.tax_total), plain(header.gross_total)) == ("1.6", "10")
    assert (plain(header.exchange_rate), header.exchange_from, str(header.exchange_on)) == (
        "1.0875",
        "USD",
        "2026-09-30",
    )
    assert [(plain(line.tax), plain(line.tax_pct), line.discount) for line in lines] == [
        ("0.8", "19", False),
        ("0.8", "19", True),
    ]


def test_an_invoice_line_that_is_not_quantity_times_price_is_for_the_comparison_to_judge() -> None:
    assert read("invoices", INVOICES + invoice(amount="4.20").replace("4.20,4.20", "4.20,99.00")).spoilt == []


def test_an_invoice_whose_exchange_is_half_told_is_rejected_by_the_column() -> None:
    text = INVOICES.strip() + ",exchange rate,exchange from\n" + invoice().strip() + ",1.1,\n"
    (spoilt,) = read("invoices", text).spoilt
    assert spoilt.faults[0].reason == "column exchange from is empty"


def test_a_time_entry_has_a_start_an_end_and_what_its_time_adds() -> None:
    text = (
        "entry,client,worked on,hours,start,end,when,invoice\n"
        "T-1,acme,2026-09-14,1:00,2026-09-14 22:00,2026-09-14 23:00,out_of_hours; weekend,INV-7\n"
        "T-2,acme,2026-09-14,1:00,2026-09-14 22:00,2026-09-14 21:00,,\n"
        "T-3,acme,2026-09-14,1:00,,,sometimes,\n"
    )
    found = read("time-entries", text, zone="Europe/Berlin")
    (made,) = (record.data for record in found.made)
    assert (made.started_at, made.ended_at) == (
        datetime(2026, 9, 14, 20, tzinfo=UTC),
        datetime(2026, 9, 14, 21, tzinfo=UTC),
    )
    assert (made.when, made.invoice) == (("out_of_hours", "weekend"), "INV-7")
    assert [spoilt.faults[0].reason for spoilt in found.spoilt] == [
        "column end lies before started_at",
        "column when (0) is not one of the allowed values",
    ]


def test_a_charge_that_ends_before_it_starts_is_rejected_by_the_column() -> None:
    text = template("vendor-bills").strip().splitlines()
    header, first = f"{text[0]},charge from,charge to", f"{text[1]},2026-09-14,2026-09-01"
    (spoilt,) = read("vendor-bills", f"{header}\n{first}\n").spoilt
    assert spoilt.faults[0] == ("data.charge_to", "column charge to lies before charge_from", spoilt.faults[0].fix)
