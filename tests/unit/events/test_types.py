"""Shapes of records: exported schemas, examples that stay readable for ever, and bytes that never move."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import jsonschema
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.events import export
from shared.events.catalogue import CATALOGUE, PARTITIONS, WRITERS, Kind, RecordType
from shared.events.record import (
    MAX_BYTES,
    Assertion,
    Context,
    Draft,
    FactDrafter,
    RecordTooLarge,
    content_of,
    draft_fact,
)
from shared.events.upcasters import UPCASTERS, Upcaster, upcast
from shared.events.usage import UsageMetered
from shared.kernel.canonical import canonical
from shared.kernel.identity import content_hash, id_hash, partition_of
from tests.integration.eventlog.records import derived, fact

EXAMPLES = Path(__file__).parent / "v1"
PINS: dict[str, dict[str, Any]] = orjson.loads((EXAMPLES / "pins.json").read_bytes())
STAMP = b"2026-09-14T08:30:00.654321Z"

every_example = pytest.mark.parametrize("name", sorted(PINS))
every_type = pytest.mark.parametrize("row", CATALOGUE.values(), ids=CATALOGUE)


def example(name: str) -> bytes:
    return (EXAMPLES / f"{name}.json").read_bytes().removesuffix(b"\n")


def stamped(draft: Draft) -> bytes:
    start = draft.stamp_offset - 1
    return draft.body[:start] + STAMP + draft.body[start + len(STAMP) :]


# Schemas


def test_the_exported_schemas_are_those_of_the_models() -> None:
    """If this fails, the shape of a record changed. Was that meant? Then: a new version, or an optional field, and
    `make schemas`."""
    found = {path.name: path.read_bytes() for path in export.FOLDER.iterdir()}
    assert found == export.files()


def test_export_makes_the_folder_hold_its_files_and_no_stale_schema(tmp_path: Path) -> None:
    (tmp_path / "gone.happened.v1.json").write_text("{}")
    export.export(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*(f"{name}.json" for name in CATALOGUE), "README.md"}


def test_the_table_names_every_type_with_its_topic_and_writer() -> None:
    table = export.table()
    for name, row in CATALOGUE.items():
        assert f"| [{name}]({name}.json) | {row.topic} | {row.writer} | {row.kind} | " in table


@every_type
def test_every_field_of_a_record_is_explained(row: RecordType) -> None:
    schema = export.schema(row)
    for owner in [schema, schema["properties"]["data"], *schema.get("$defs", {}).values()]:
        for field, description in owner.get("properties", {}).items():
            if owner is schema and field in ("type", "data"):
                continue
            shared = schema.get("$defs", {}).get(description.get("$ref", "").rpartition("/")[2], {})
            assert description.get("description") or shared.get("description"), f"{row.name}: {field} has no docstring"


# Examples


def test_every_type_has_an_example_kept() -> None:
    assert set(CATALOGUE) <= set(PINS)


@every_example
def test_a_stored_record_is_read_by_the_newest_model(name: str) -> None:
    fields = upcast(orjson.loads(example(name)))
    CATALOGUE[fields["type"]].model.model_validate(fields["data"])


@every_example
def test_the_content_of_a_stored_record_has_not_moved(name: str) -> None:
    assert content_of(example(name)) == UUID(PINS[name]["content_hash"])


@every_example
def test_the_identity_of_a_stored_record_has_not_moved(name: str) -> None:
    fields = orjson.loads(example(name))
    assert id_hash(fields["tenant"], fields["source"], fields["id"]) == UUID(PINS[name]["id_hash"])


@every_example
def test_the_partition_of_a_stored_record_has_not_moved(name: str) -> None:
    fields = upcast(orjson.loads(example(name)))
    row = CATALOGUE[fields["type"]]
    data = row.model.model_validate(fields["data"])
    key = fields["stream"] if row.key is None else row.key(fields["source"], data)
    assert partition_of(fields["tenant"], key, PARTITIONS) == PINS[name]["partition"]


@every_type
def test_an_example_is_canonical_and_fits_the_exported_schema(row: RecordType) -> None:
    body = example(row.name)
    fields = orjson.loads(body)
    assert canonical(fields) == body
    jsonschema.Draft202012Validator(export.schema(row)).validate(fields)
    data = row.model.model_validate(fields["data"])
    assert canonical(data.model_dump(mode="json", exclude_defaults=True)) == canonical(fields["data"])


@every_type
def test_an_example_tells_every_field_of_its_data_that_the_type_has_at_its_first_level(row: RecordType) -> None:
    """An example that leaves fields out would not notice when they change. Exclusive choices are named here."""
    exclusive = {"mapping.confirmed.v1": {"excluded"}, "setting.changed.v1": {"secret"}}
    optional_of_an_end = {"contract.amended.v1": {"effective_to"}}
    # Fields that came after the example, which stays as it is.
    later = {
        "product.recorded.v1": {"components", "cost_currency", "unit_cost"},
        "invoice.issued.v1": {"exchange_from", "exchange_on", "exchange_rate", "gross_total", "tax_total"},
        "invoice.line.v1": {"discount", "tax_pct"},
        "time_entry.logged.v1": {"ended_at", "invoice", "started_at", "when"},
    }
    left_out = exclusive.get(row.name, set()) | optional_of_an_end.get(row.name, set()) | later.get(row.name, set())
    assert set(orjson.loads(example(row.name))["data"]) == set(row.model.model_fields) - left_out


# The catalogue


@every_type
def test_a_type_is_named_and_placed_by_the_rules(row: RecordType) -> None:
    assert re.fullmatch(r"[a-z_]+\.[a-z_]+\.v\d+", row.name)
    assert row.topic in WRITERS
    assert (row.key is None) == (row.kind is not Kind.FACT)


@every_type
def test_unknown_fields_are_refused_never_dropped(row: RecordType) -> None:
    data = orjson.loads(example(row.name))["data"]
    with pytest.raises(ValidationError):
        row.model.model_validate({**data, "surprise": 1})


# Drafts


def test_the_content_of_a_fact_is_not_its_bytes() -> None:
    """Another day, trace, document, run and actor: the same fact."""
    again = fact(1, correlation="other", asserted_at=datetime(2030, 1, 1, tzinfo=UTC), document="d" * 64)
    assert again.body != fact(1).body
    assert again.content_hash == fact(1).content_hash == content_of(stamped(again))


def test_the_content_of_a_derived_record_is_its_body_without_the_basis() -> None:
    draft = derived("client", 0)
    fields = orjson.loads(draft.body)
    assert draft.content_hash == content_hash(canonical(fields["data"]["body"])) == content_of(stamped(draft))


def test_a_record_over_the_size_of_a_log_entry_is_refused() -> None:
    with pytest.raises(RecordTooLarge):
        fact(1, document="d" * MAX_BYTES)


text = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(
    tenant=text,
    source=text,
    name=text,
    account=text,
    unit=st.none() | text,
    quantity=st.decimals(-(10**15), 10**15, places=6),
    run=st.integers(0, 2**31),
    correlation=st.none() | text,
    causation=st.none() | text,
    trace=st.none() | text,
    document=st.none() | text,
    locator=st.none() | text,
    time=st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),
)
def test_a_fact_put_together_from_pieces_has_the_bytes_of_the_plain_way(
    tenant: str,
    source: str,
    name: str,
    account: str,
    unit: str | None,
    quantity: Decimal,
    run: int,
    correlation: str | None,
    causation: str | None,
    trace: str | None,
    document: str | None,
    locator: str | None,
    time: datetime,
) -> None:
    row = CATALOGUE["usage.metered.v1"]
    data = UsageMetered(account=account, sku="s", kind="counter", quantity=quantity, unit=unit, event="e")
    draft = draft_fact(
        row,
        tenant=tenant,
        source=source,
        record_id=name,
        time=time,
        data=data,
        assertion=Assertion(time, run),
        context=Context("key:a", correlation, causation, trace),
        origin_document=document,
        origin_locator=locator,
    )
    body = stamped(draft)
    fields = orjson.loads(body)
    assert canonical(fields) == body
    assert fields["recordedat"] == STAMP.decode()
    assert content_of(body) == draft.content_hash
    assert fields["run"] == run
    assert {key: fields.get(key) for key in ("correlationid", "causationid", "traceparent")} == {
        "correlationid": correlation,
        "causationid": causation,
        "traceparent": trace,
    }
    assert row.model.model_validate(fields["data"]) == data


def test_a_drafter_of_many_makes_the_drafts_of_one() -> None:
    drafter = FactDrafter("acme", Context("service:ingestion"), Assertion(datetime(2026, 3, 1, tzinfo=UTC)))
    one = fact(1)
    many = drafter.draft(
        CATALOGUE["usage.metered.v1"],
        source="vendor",
        record_id="1",
        time=datetime(2026, 3, 1, tzinfo=UTC),
        data=UsageMetered(account="account-1", sku="backup", kind="gauge", quantity=Decimal(1), event="1"),
    )
    assert many == one


# Upcasters


def test_old_versions_are_read_as_the_newest_through_every_step() -> None:
    steps = {
        "a.b.v1": Upcaster("a.b.v2", lambda data: {**data, "two": True}),
        "a.b.v2": Upcaster("a.b.v3", lambda data: {**data, "three": True}),
    }
    assert upcast({"type": "a.b.v1", "data": {}, "id": "1"}, steps) == {
        "type": "a.b.v3",
        "data": {"two": True, "three": True},
        "id": "1",
    }


def test_every_upcaster_ends_at_a_type_of_the_catalogue() -> None:
    for old in UPCASTERS:
        fields = {"type": old, "data": orjson.loads(example(old))["data"]}
        assert upcast(fields)["type"] in CATALOGUE


def test_no_product_is_called_as_the_level_above_all_of_them() -> None:
    from shared.events.catalog import ProductRecorded
    from shared.events.mappings import MappingConfirmed, MappingTarget

    with pytest.raises(ValidationError, match="send the id of one"):
        ProductRecorded(product="*", name="All")
    with pytest.raises(ValidationError, match="give the id of one"):
        MappingConfirmed(kind="sku", source="huntress", key="s", targets=(MappingTarget(id="*"),))
