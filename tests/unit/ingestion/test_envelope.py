from __future__ import annotations

import contextlib
import dataclasses
import json
from datetime import timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingestion.domain.envelope import (
    EVENTS,
    MAX_DEPTH,
    MAX_RECORDS,
    Batch,
    ItemTooLarge,
    NotEvents,
    NotJson,
    TooDeep,
    TooMany,
    deeper_than,
    read,
)
from services.ingestion.domain.facts import Fact, Rejected, Sender
from shared.events.base import utc_text
from shared.events.catalogue import CATALOGUE, Kind
from shared.events.record import Assertion, Context, Draft, draft_fact
from tests.unit.ingestion.events import DATA, NOW, OPERATOR, SENDER, event


def read_one(value: Any, sender: Sender = OPERATOR) -> Fact | Rejected:
    [item] = read(json.dumps(value).encode(), sender, NOW)
    return item


def fault(value: Any, sender: Sender = SENDER) -> tuple[str, str, str]:
    item = read_one(value, sender)
    assert isinstance(item, Rejected), item
    return tuple(item.faults[0])


def fields(item: Fact | Rejected) -> dict[str, Any]:
    assert isinstance(item, Fact), item
    decoded: dict[str, Any] = orjson.loads(item.draft.body)
    return decoded


def test_every_fact_but_our_own_can_be_sent() -> None:
    facts = {name for name, row in CATALOGUE.items() if row.kind is Kind.FACT}
    assert set(EVENTS) == set(DATA) == facts - {"calendar.advanced.v1"}


@pytest.mark.parametrize("type_", sorted(DATA))
def test_a_valid_event_of_each_type_becomes_the_draft_that_its_model_makes(type_: str) -> None:
    sent = event(type_)
    item = read_one(sent)
    assert isinstance(item, Fact)
    row = CATALOGUE[type_]
    model = EVENTS[type_].model_validate_json(json.dumps(sent))
    assert item.draft == draft_fact(
        row,
        tenant=OPERATOR.tenant,
        source="huntress",
        record_id="1",
        time=model.time,
        data=model.data,  # type: ignore[attr-defined]
        assertion=Assertion(NOW),
        context=Context(OPERATOR.actor, OPERATOR.correlation_id),
    )
    assert item.draft.topic == row.topic


def test_a_record_says_who_sent_it_when_and_what_it_belongs_to() -> None:
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    got = fields(read_one(event(), dataclasses.replace(SENDER, trace_parent=trace)))
    assert got["tenant"] == "harbor-msp"
    assert got["actor"] == "key:abcdefghij"
    assert got["correlationid"] == "corr-1"
    assert got["traceparent"] == trace
    assert (got["assertedat"], got["run"]) == (utc_text(NOW), 0)
    assert got["subject"] == "a-1/edr/quantity"


def test_what_the_sender_asserts_outranks_the_time_of_arrival() -> None:
    got = fields(read_one(event(assertedat="2026-09-02T00:00:00+02:00", run=4, subject="mine")))
    assert (got["assertedat"], got["run"], got["subject"]) == ("2026-09-01T22:00:00Z", 4, "mine")


def test_the_same_content_on_another_day_by_another_run_is_the_same_record() -> None:
    first = read_one(event())
    [again] = read(
        json.dumps(event(assertedat="2026-09-03T00:00:00Z", run=9, data__quantity=7)).encode(),
        dataclasses.replace(OPERATOR, correlation_id="other"),
        NOW + timedelta(days=2),
    )
    assert isinstance(first, Fact)
    assert isinstance(again, Fact)
    assert (first.draft.id_hash, first.draft.content_hash) == (again.draft.id_hash, again.draft.content_hash)
    assert first.draft.body != again.draft.body


@pytest.mark.parametrize(
    ("changes", "field", "reason", "fix"),
    [
        ({"data__quantity": 12.5}, "data.quantity", "binary float", "string"),
        ({"data__quantity": "NaN"}, "data.quantity", "not a decimal", "12.40"),
        ({"data__quantity": "Infinity"}, "data.quantity", "not a decimal", "12.40"),
        ({"data__quantity": "1e400"}, "data.quantity", "too many digits", "38"),
        ({"data__quantity": "1.204,5"}, "data.quantity", "not a decimal", "12.40"),
        ({"data__quantity": True}, "data.quantity", "decimal", "12.40"),
        ({"data__quantity": None}, "data.quantity", "not a decimal", "12.40"),
        ({"data__quantity": ...}, "data.quantity", "missing", "level (gauge)"),
        ({"data__acount": "x"}, "data.acount", "not known", "account"),
        ({"data__account": "a\x00b"}, "data.account", "NUL", "emove"),
        ({"data__account": "x" * 201}, "data.account", "more than 200", "horten"),
        ({"data__account": ""}, "data.account", "fewer than 1", "at least 1"),
        ({"data__kind": "level"}, "data.kind", "allowed", "gauge"),
        ({"data__until": "2026-09-02T00:00:00"}, "data.until", "offset", "Z"),
        ({"data__until": 1788220800}, "data.until", "text", "quotes"),
        ({"data": [1]}, "data", "not an object", "braces"),
        ({"data": ...}, "data", "missing", "dd it"),
        ({"time": "2027-09-16T12:00:00Z"}, "time", "ahead", "clock"),
        ({"time": "2026-09-16T12:00:01Z"}, "time", "ahead", "clock"),
        ({"assertedat": "2027-01-01T00:00:00Z"}, "assertedat", "ahead", "clock"),
        ({"time": "20260901"}, "time", "begin with a date", "2026-09-01"),
        ({"time": 20260901}, "time", "text", "quotes"),
        ({"time": "2026-09-01T00:00:00"}, "time", "offset", "Z"),
        ({"time": "0001-01-01T00:00:00+14:00"}, "time", "range", "years"),
        ({"time": ...}, "time", "missing", "dd it"),
        ({"id": ...}, "id", "missing", "dd it"),
        ({"id": 7}, "id", "text", "quotes"),
        ({"id": "x\x00"}, "id", "NUL", "emove"),
        ({"specversion": "0.3"}, "specversion", "allowed", "1.0"),
        ({"type": "usage.metred.v1"}, "type", "no record type", "usage.metered.v1"),
        ({"type": "something.else.v1"}, "type", "no record type", "usage.metered.v1"),
        ({"type": ...}, "type", "missing", "usage.metered.v1"),
        ({"type": 1}, "type", "missing or not text", "usage.metered.v1"),
        ({"type": "mapping.confirmed.v1"}, "type", "decision", "POST /v1/mappings"),
        ({"type": "setting.changed.v1"}, "type", "decision", "/v1/settings"),
        ({"type": "notification.sent.v1"}, "type", "decision", "emove"),
        ({"type": "discrepancy.detected.v1"}, "type", "computed", "emove"),
        ({"type": "calendar.advanced.v1"}, "type", "service itself", "emove"),
        ({"source": "datto"}, "source", "does not belong", "huntress"),
        ({"tenant": "other-msp"}, "tenant", "another tenant", "eave it out"),
        ({"recordedat": "2026-09-01T00:00:00Z"}, "recordedat", "not known", "emove"),
        ({"data_base64": "AAAA"}, "data_base64", "not known", "emove"),
        ({"run": -1}, "run", "below 0", "0 or more"),
        ({"datacontenttype": "text/xml"}, "datacontenttype", "allowed", "application/json"),
    ],
)
def test_a_bad_field_is_named_with_reason_and_fix(changes: dict[str, Any], field: str, reason: str, fix: str) -> None:
    got = fault(event(**changes))
    assert got[0] == field
    assert reason in got[1]
    assert fix in got[2]


def test_a_time_just_within_a_day_is_taken() -> None:
    assert isinstance(read_one(event(time="2026-09-16T12:00:00Z")), Fact)


def test_the_path_of_a_fault_is_the_senders_own_json() -> None:
    # pydantic puts the name of the union's member between; the sender never wrote it.
    sent = event("contract.agreed.v1")
    sent["data"]["terms"] = {"price": {"kind": "unit", "unit_amount": "-1"}}
    assert fault(sent, OPERATOR)[0] == "data.terms.price.unit_amount"
    sent["data"]["terms"] = {"price": {"kind": "unit"}}
    assert fault(sent, OPERATOR)[0] == "data.terms.price.unit_amount"
    tagged = event("client.recorded.v1", data__tags=["ok", 3])
    assert fault(tagged, OPERATOR)[0] == "data.tags.1"


def test_a_whole_models_rule_is_told_at_the_field_that_it_names_or_at_its_object() -> None:
    got = fault(event("contract.agreed.v1", data__effective_to="2025-01-01"), OPERATOR)
    assert got == ("data.effective_to", "is exclusive and must lie after effective_from", "Send a later one.")
    assert fault(event("invoice.line.v1", data__period_from="2026-09-01"), OPERATOR)[0] == "data"


def test_an_operator_speaks_for_any_source_but_ours() -> None:
    assert isinstance(read_one(event(source="datto")), Fact)
    assert fault(event(source="plumbline.matching"), OPERATOR)[0] == "source"


def test_our_own_tenant_may_be_named() -> None:
    assert isinstance(read_one(event(tenant="harbor-msp")), Fact)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"data__covers_to": "2026-09-03T00:00:00Z"}, "data.covers_to"),
        ({"data__covers_from": "2026-09-01T00:00:01Z"}, "data.covers_to"),
        ({"data__asserted_at": "2027-09-02T00:00:00Z"}, "data.asserted_at"),
    ],
)
def test_a_run_covers_only_what_was_over_when_it_began(changes: dict[str, Any], field: str) -> None:
    assert fault(event("feed.observed.v1", **changes))[0] == field


def test_a_reject_keeps_the_senders_own_bytes() -> None:
    good = json.dumps(event(id="good"))
    bad = '{ "specversion":"1.0",\n "id" : "b\\u00e4d", "source":"huntress","type":"usage.metered.v1", "x": 1.10 }'
    items = read(f" [ {good} ,{bad}\t, 7 ] ".encode(), SENDER, NOW)
    assert isinstance(items[0], Fact)
    assert isinstance(items[1], Rejected)
    assert items[1].item == bad.encode()
    assert (items[1].record_id, items[1].type, items[1].source) == ("bäd", "usage.metered.v1", "huntress")
    assert isinstance(items[2], Rejected)
    assert items[2].item == b"7"


def test_a_reject_counts_for_the_key_that_sent_it_never_for_whom_it_claims_to_be() -> None:
    claimed = event(source="datto", id=...)
    item, for_operator = read_one(claimed, SENDER), read_one(claimed, OPERATOR)
    assert isinstance(item, Rejected)
    assert isinstance(for_operator, Rejected)
    assert item.source == "huntress"
    assert for_operator.source == "datto"
    ours, broken = read_one(event(source="plumbline.x"), OPERATOR), read_one(event(source="d\x00"), OPERATOR)
    assert isinstance(ours, Rejected)
    assert isinstance(broken, Rejected)
    assert ours.source == broken.source == ""


def test_a_fault_never_holds_the_value() -> None:
    item = read_one(event(data__quantity="Jane Doe", time="Jane Doe", data__account=["Jane Doe"]))
    assert isinstance(item, Rejected)
    assert len(item.faults) == 3
    assert "Jane" not in repr(item.faults)


def test_at_most_ten_faults_of_an_item_are_told() -> None:
    item = read_one(event() | {f"x{n}": 1 for n in range(50)})
    assert isinstance(item, Rejected)
    assert len(item.faults) == 10


def test_an_item_of_thousands_of_faults_says_how_many() -> None:
    reason = fault(event() | {f"x{n}": 1 for n in range(2_000)})[1]
    assert reason == "has 2,000 faults"


def test_a_record_too_large_for_the_log_is_a_reject() -> None:
    assert isinstance(read_one(event("client.recorded.v1", data__tags=["\u20ac" * 300] * 50)), Fact)
    # Six bytes each in JSON, whoever writes it.
    item = read_one(event("client.recorded.v1", data__tags=["\x01" * 300] * 50))
    assert isinstance(item, Rejected)
    assert "65,535" in item.faults[0].fix


def test_an_item_larger_than_any_record_is_refused_with_its_batch() -> None:
    with pytest.raises(ItemTooLarge, match="bytes"):
        read_one(event(data__account="x" * 600_000))


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (b"", NotJson, "empty"),
        (b"{", NotJson, "."),
        (b"not json", NotJson, "."),
        (b"\xff[]", NotJson, "not UTF-8 at byte 0"),
        (b'[{"id":"\xe4"}]', NotJson, "not UTF-8 at byte 8"),
        (b'[{"id":"\x00"}]', NotJson, "control"),
        (b"[NaN]", NotJson, "."),
        (b"[Infinity]", NotJson, "."),
        (b'[{"id":"\\ud800"}]', NotJson, "surrogate"),
        (b"\xef\xbb\xbf[]", NotJson, "BOM"),
        (b"{},{}", NotJson, "two JSON values"),
        (b"{}{}", NotJson, "."),
        (b"[" * 1000 + b"]" * 1000, TooDeep, "32"),
        (b'{"data":' * 500 + b"1" + b"}" * 500, TooDeep, "32"),
        (b"[" * 100_000, NotJson, "."),
        (b"7", NotEvents, "neither"),
        (b'"text"', NotEvents, "neither"),
        (b"null", NotEvents, "neither"),
        (b"[" + b"1," * MAX_RECORDS + b"1]", TooMany, "5,001"),
    ],
)
def test_what_is_no_list_of_events_is_refused_whole(body: bytes, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        read(body, SENDER, NOW)


def test_two_valid_events_side_by_side_are_no_json() -> None:
    one = json.dumps(event()).encode()
    with pytest.raises(NotJson, match="two JSON values"):
        read(one + b"," + one, SENDER, NOW)


def test_an_empty_list_holds_nothing() -> None:
    assert read(b"[]", SENDER, NOW) == []


def test_depth_is_counted_in_containers() -> None:
    nested: Any = 1
    for _ in range(MAX_DEPTH):
        nested = [nested]
    assert not deeper_than(nested, MAX_DEPTH)
    assert deeper_than([nested], MAX_DEPTH)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_DAMAGE = st.one_of(
    st.tuples(st.just("top"), st.sampled_from([*event(), "tenant", "run", "assertedat", "x"]), _JSON),
    st.tuples(
        st.just("data"), st.sampled_from([*DATA["contract.agreed.v1"], "quantity", "account", "until", "y"]), _JSON
    ),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(DATA)), st.lists(_DAMAGE, max_size=3)), max_size=4), st.booleans())
def test_whatever_parses_is_sorted_into_facts_and_rejects(drawn: list[Any], own: bool) -> None:
    events = []
    for type_, damages in drawn:
        made = event(type_)
        for where, name, value in damages:
            target = made if where == "top" or not isinstance(made.get("data"), dict) else made["data"]
            target[name] = value
        events.append(made)
    sender = SENDER if own else OPERATOR
    try:
        items = read(json.dumps(events).encode(), sender, NOW)
    except (NotJson, TooDeep):
        return  # NaN and lone surrogates are no JSON
    assert len(items) == len(events)
    for item, sent in zip(items, events, strict=True):
        if isinstance(item, Fact):
            _check_draft(item.draft, sender)
            assert item.source == sent["source"]
        else:
            assert item.faults
            assert all(fault.reason and fault.fix for fault in item.faults)
            assert "\x00" not in f"{item.source}{item.record_id}{item.type}"


def _check_draft(draft: Draft, sender: Sender) -> None:
    decoded = orjson.loads(draft.body)
    assert decoded["tenant"] == sender.tenant
    assert draft.body == orjson.dumps(decoded, option=orjson.OPT_SORT_KEYS)
    at = draft.stamp_offset - 1
    assert draft.body[at : at + 27] == b"0000-00-00T00:00:00.000000Z"
    assert draft.body[at - 14 : at] == b'"recordedat":"'


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=200) | st.text(alphabet='[]{},:"0123456789.eE-+ \\utrfalsn\x00ä', max_size=80).map(str.encode)
)
def test_whatever_bytes_come_the_answer_is_a_list_or_a_clear_refusal(body: bytes) -> None:
    items: list[Any] = []
    with contextlib.suppress(NotJson, NotEvents, TooDeep, TooMany):
        items = read(body, SENDER, NOW)
    assert all(isinstance(item, Rejected) for item in items)


@settings(max_examples=200, deadline=None)
@given(st.lists(_JSON.filter(lambda value: value == value), max_size=5), st.sampled_from(["", " ", "\n\t "]))
def test_the_slices_of_a_list_are_its_items(values: list[Any], blank: str) -> None:
    body = (blank + "[" + f"{blank},{blank}".join(json.dumps(value) for value in values) + blank + "]").encode()
    try:
        batch = Batch(body)
        raw = batch.raw
    except NotJson:
        return
    assert [json.loads(part) for part in raw] == json.loads(body)
