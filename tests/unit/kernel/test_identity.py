"""Golden vectors: a value that moves gives old records a second identity, or another place."""

from __future__ import annotations

import hashlib
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.kernel.identity import (
    content_hash,
    decision_id,
    derived_id,
    effect_id,
    id_hash,
    join_key,
    partition_of,
    stream_id,
)

text = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)


@pytest.mark.parametrize(
    ("tenant", "source", "record_id", "expected"),
    [
        ("harbor-msp", "vendor.sentinel", "evt-77", "49213952-3cf1-1253-18f4-3fa5f9d55507"),
        ("harbor-msp", "vendor.sentinel", "evt-77@17", "7aabc2e1-b09f-a0da-e0e0-929ab60c54f6"),
        ("harbor-msp", "psa", "Rechnung Nr. 5 – Größe", "b1ca8a6c-c82f-870d-199a-388e49de69b2"),
        ("", "", "", "96a296d2-24f2-85c6-7bee-93c30f8a3091"),
    ],
)
def test_id_hash(tenant: str, source: str, record_id: str, expected: str) -> None:
    assert id_hash(tenant, source, record_id) == UUID(expected)


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b'{"a":1}', "015abd7f-5cc5-7a2d-d94b-7590f04ad808"), (b"", "e3b0c442-98fc-1c14-9afb-f4c8996fb924")],
)
def test_content_hash(content: bytes, expected: str) -> None:
    assert content_hash(content) == UUID(expected)


@pytest.mark.parametrize(
    ("tenant", "key", "expected"),
    [
        ("harbor-msp", join_key("vendor.sentinel", "acc-7", "edr-std", "agents"), 10),
        ("harbor-msp", join_key("psa", "C-1042"), 0),
        ("harbor-msp", "calendar", 0),
        ("another", join_key("psa", "C-1042"), 7),
        ("another", "9f" * 16, 0),
    ],
)
def test_partition_of(tenant: str, key: str, expected: int) -> None:
    assert partition_of(tenant, key, 12) == expected


def test_ids_of_decisions_derived_records_and_effects() -> None:
    stream = stream_id("discrepancies", "harbor-msp", "discrepancy", "QTY", "C-100")
    assert stream == UUID("4883cd33-5164-adc0-14a1-7b43073ad2f3")
    assert derived_id(stream, 1) == "2b8c73f955eba93f1ec9903677dbe634"
    assert decision_id("idem-1", 1) == "28cb321c7a705a86be307cad0524d58f"
    assert effect_id("matching.fold", "cause", 1) == "1a1c543708b23bb260868d3e2560ca33"


@given(text, text, text)
def test_id_hash_is_what_the_protocol_says(tenant: str, source: str, record_id: str) -> None:
    data = tenant.encode() + b"\0" + source.encode() + b"\0" + record_id.encode()
    assert id_hash(tenant, source, record_id).bytes == hashlib.sha256(data).digest()[:16]


@given(st.lists(text, min_size=3, max_size=3), st.lists(text, min_size=3, max_size=3))
def test_different_identities_never_meet(one: list[str], other: list[str]) -> None:
    assert (id_hash(*one) == id_hash(*other)) == (one == other)


@given(text, text, st.integers(1, 64))
def test_a_partition_exists(tenant: str, key: str, partitions: int) -> None:
    assert 0 <= partition_of(tenant, key, partitions) < partitions
