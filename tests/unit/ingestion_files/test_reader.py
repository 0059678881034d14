"""The reader without a server makes what the service would store, and takes persons and notes out."""

from __future__ import annotations

import json

import pytest

from services.ingestion.domain.profiles import profiles, template
from services.ingestion.domain.reader import Made, Spoilt, fields_of, read
from services.ingestion.domain.table import BadTable
from shared.kernel.canonical import canonical
from tests.unit.ingestion_files.reading import NOW
from tests.unit.ingestion_files.reading import read as careful

VAULT_ALONE = {"person", "note"}


def shown(record: Made, leave_out: set[str]) -> dict:
    data = record.data.model_dump(mode="json", exclude_defaults=True)
    return {
        "row": record.row,
        "type": record.type,
        "id": record.record_id,
        "time": record.time,
        "data": {name: value for name, value in data.items() if name not in leave_out},
    }


@pytest.mark.parametrize("name", profiles())
def test_it_makes_the_records_that_the_service_stores(name: str) -> None:
    lines = template(name).encode("utf-8-sig").splitlines(keepends=True)
    found = [record for _, record in read(name, lines, asserted_at=NOW, zone="Europe/Berlin")]
    wanted = careful(name, template(name), zone="Europe/Berlin").records
    assert found
    assert [shown(record, {"lines_digest"}) for record in found] == [
        shown(record, {"lines_digest"} | VAULT_ALONE) for record in wanted
    ]


def test_a_wrong_row_is_a_problem_with_its_number_and_the_rest_is_read() -> None:
    text = "client,name\nacme,Acme\n,Nobody\nborealis,Borealis\n"
    found = list(read("clients", text.splitlines(keepends=True), asserted_at=NOW))
    assert [(row, type(record)) for row, record in found] == [(2, Made), (3, Spoilt), (4, Made)]
    assert found[1][1].faults[0].reason == "column client is empty"


def test_persons_and_notes_are_nowhere() -> None:
    rows = template("time-entries").strip() + "\nT-3,northwind,Ada Example,ada@msp.example,soon,1,,,,,,,,Secret\n"
    found = [record for _, record in read("time-entries", rows.splitlines(keepends=True), asserted_at=NOW)]
    assert [type(record) for record in found] == [Made, Made, Spoilt]
    for word in ("Ada", "ada@", "disk", "Secret", "person:"):
        assert word not in repr(found)


def test_a_record_comes_as_a_consumer_decodes_it() -> None:
    (_, made), *_ = read("clients", template("clients").splitlines(keepends=True), asserted_at=NOW)
    fields = fields_of(made, tenant="local", source="psa", asserted_at=NOW)
    assert json.loads(canonical(fields))["data"]["client"] == "northwind"
    assert (fields["id"], fields["assertedat"]) == ("client/northwind@1", "2026-11-24T12:00:00Z")


def test_lines_that_are_no_utf8_refuse_the_file_by_their_number() -> None:
    with pytest.raises(BadTable, match="not UTF-8 in line 2"):
        list(read("clients", [b"client,name\n", b"acme,\xe9\n"], asserted_at=NOW))


def test_headers_follow_the_lines_with_their_number_and_no_digest() -> None:
    found = [record for _, record in read("invoices", template("invoices").splitlines(keepends=True), asserted_at=NOW)]
    headers = [record.data for record in found if record.type == "invoice.issued.v1"]
    assert [(one.invoice, one.version, one.lines, one.lines_digest) for one in headers] == [
        ("INV-20931", 1, 2, None),
        ("INV-20990", 1, 1, None),
    ]
