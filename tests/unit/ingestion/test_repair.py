from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingestion.domain.envelope import read
from services.ingestion.domain.facts import Fact, quarantine_id
from services.ingestion.domain.repair import BadCorrection, as_sent, corrected, value_at
from tests.unit.ingestion.events import NOW, OPERATOR, event

ITEM = b'{"id":"1","data":{"quantity":12.50,"tags":["a","b"],"terms":{"x":1}}}'


def test_without_corrections_the_item_stays_as_it_was_sent() -> None:
    assert corrected(ITEM, {}) is ITEM


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("data.quantity", "12.50", {"quantity": "12.50"}),
        ("data.tags.1", "c", {"tags": ["a", "c"]}),
        ("data.tags.0", None, {"tags": ["b"]}),
        ("data.terms.x", None, {"terms": {}}),
        ("data.new.deep", 1, {"new": {"deep": 1}}),
        ("data.absent", None, {}),
    ],
)
def test_a_value_is_put_at_its_path_and_null_takes_the_field_out(
    path: str, value: Any, expected: dict[str, Any]
) -> None:
    before = json.loads(ITEM)
    after = json.loads(corrected(ITEM, {path: value}))
    assert after["data"] == before["data"] | expected
    assert after["id"] == "1"


@pytest.mark.parametrize(
    "path", ["", ".", "data..x", "data.tags.2", "data.tags.x", "id.x", "data.quantity.x", "a." * 40 + "a"]
)
def test_a_path_that_leads_nowhere_is_refused(path: str) -> None:
    with pytest.raises(BadCorrection):
        corrected(ITEM, {path: "x"})


def test_an_item_that_is_no_json_cannot_be_corrected() -> None:
    with pytest.raises(BadCorrection):
        corrected(b"a;b;c", {"data.x": 1})


def test_the_value_at_fault_is_shown_cut() -> None:
    assert value_at(ITEM, "data.quantity") == "12.5"
    assert value_at(ITEM, "data.tags.1") == "b"
    assert value_at(ITEM, "data.nothing") is None
    assert value_at(json.dumps({"x": "y" * 500}).encode(), "x") == "y" * 200
    assert value_at(b"no json", "x") is None


def test_what_met_a_conflict_can_be_sent_again_as_the_same_record() -> None:
    [first] = read(json.dumps(event(assertedat="2026-09-02T00:00:00Z", run=3)).encode(), OPERATOR, NOW)
    assert isinstance(first, Fact)
    [again] = read(as_sent(first.draft.body), OPERATOR, NOW)
    assert isinstance(again, Fact)
    assert (again.draft.id_hash, again.draft.content_hash) == (first.draft.id_hash, first.draft.content_hash)
    assert b'"assertedat":"2026-09-02T00:00:00Z"' in again.draft.body


@given(
    st.dictionaries(st.text(max_size=6), st.integers() | st.text(max_size=5), max_size=4),
    st.text(max_size=12),
    st.none() | st.text(),
)
def test_a_correction_either_fits_or_is_refused(item: dict[str, Any], path: str, value: str | None) -> None:
    try:
        after = corrected(json.dumps(item).encode(), {path: value})
    except (BadCorrection, UnicodeEncodeError):
        return
    assert value is None or value_at(after, path) == value[:200]


def test_the_id_of_a_reject_is_a_function_of_where_it_stood() -> None:
    assert quarantine_id("t", "", "b", 1) == quarantine_id("t", "", "b", 1)
    assert (
        len(
            {
                quarantine_id(*place)
                for place in (("t", "", "b", 1), ("t", "b", "", 1), ("t", "", "b", 11), ("u", "", "b", 1))
            }
        )
        == 4
    )
    # Pinned: the same function runs in the database.
    assert quarantine_id("harbor-msp", "huntress", "batch-1", 7).hex == "2085dbcbf8bb355f8d31c300b08e981b"
