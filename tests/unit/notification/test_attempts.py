"""What follows from an attempt, and the record that tells of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import orjson

from services.notification.domain.attempts import UNKNOWN, Answer, Sending, settle, settle_unknown
from services.notification.domain.retry import RetryPolicy
from shared.events.catalogue import notification_stream

NOW = datetime(2026, 10, 1, 9, 14, 23, tzinfo=UTC)
POLICY = RetryPolicy()


def _sending(**changes: Any) -> Sending:
    values: dict[str, Any] = {
        "tenant": "harbor-msp",
        "intent": "msg_1",
        "discrepancy": UUID(int=7),
        "version": 3,
        "attempt": 2,
        "started_at": NOW - timedelta(milliseconds=40),
        "recorded_at": NOW - timedelta(seconds=5),
        "record_id": "the-record",
        "correlation_id": "cor-1",
        "payload": '{"secret sauce":1}',
        "url": "https://example.org/?token=hunter2",
        "secrets": ("ab" * 32,),
    }
    return Sending(**(values | changes))


def _record(draft: Any) -> dict[str, Any]:
    record: dict[str, Any] = orjson.loads(draft.body)
    return record


def test_taken_is_sent_and_its_record_stands_in_the_stream_of_the_message() -> None:
    settled = settle(_sending(), Answer(None, 204, duration_ms=38), NOW, POLICY, Random(7))
    assert settled.state == "sent"
    assert settled.draft.stream == notification_stream("harbor-msp", "msg_1")
    assert settled.draft.expected == 1
    record = _record(settled.draft)
    assert (record["type"], record["streamversion"]) == ("notification.sent.v1", 2)
    assert (record["correlationid"], record["causationid"]) == ("cor-1", "the-record")
    assert record["data"] == {
        "intent": "msg_1",
        "channel": "webhook",
        "discrepancy": UUID(int=7).hex,
        "version": 3,
        "attempt": 2,
        "attempted_at": "2026-10-01T09:14:22.96Z",
        "duration_ms": 38,
        "status_code": 204,
    }


def test_refused_is_planned_again_and_says_when() -> None:
    settled = settle(_sending(), Answer("HTTP 503", 503), NOW, POLICY, Random(7))
    assert settled.state == "planned"
    assert NOW <= settled.due_at <= NOW + timedelta(seconds=2)
    data = _record(settled.draft)["data"]
    assert (data["reason"], data["final"]) == ("HTTP 503", False)
    assert datetime.fromisoformat(data["next_attempt_at"]) == settled.due_at


def test_a_wish_of_the_receiver_delays_the_next_attempt_within_bounds() -> None:
    for wish_s, wait_s in ((900.0, 900.0), (10**9, POLICY.wait_max_s)):
        settled = settle(_sending(), Answer("HTTP 429", 429, wish_s), NOW, POLICY, Random(7))
        assert settled.due_at == NOW + timedelta(seconds=wait_s)


def test_the_last_refusal_is_final() -> None:
    for sending, answer in (
        (_sending(attempt=POLICY.attempts_max), Answer("HTTP 500", 500)),
        (_sending(recorded_at=NOW - POLICY.age_max), Answer("timeout")),
        (_sending(), Answer("HTTP 410", 410)),
    ):
        settled = settle(sending, answer, NOW, POLICY, Random(7))
        assert settled.state == "failed"
        data = _record(settled.draft)["data"]
        assert data["final"] is True
        assert "next_attempt_at" not in data


def test_an_unknown_outcome_is_said_to_be_unknown_and_sent_again_at_once() -> None:
    settled = settle_unknown(_sending(), NOW, POLICY)
    assert (settled.state, settled.due_at) == ("planned", NOW)
    assert _record(settled.draft)["data"]["reason"] == UNKNOWN
    assert settle_unknown(_sending(attempt=POLICY.attempts_max), NOW, POLICY).state == "failed"


def test_one_attempt_is_one_record_however_it_is_told_and_two_attempts_are_two() -> None:
    sent = settle(_sending(), Answer(None, 200), NOW, POLICY, Random(7)).draft
    unknown = settle_unknown(_sending(), NOW, POLICY).draft
    assert (sent.id_hash, sent.content_hash) == (unknown.id_hash, unknown.content_hash)
    assert settle(_sending(attempt=3), Answer(None, 200), NOW, POLICY, Random(7)).draft.id_hash != sent.id_hash


def test_neither_address_nor_payload_nor_secret_shows_in_a_repr_or_a_record() -> None:
    settled = settle(_sending(), Answer("HTTP 503", 503), NOW, POLICY, Random(7))
    for hidden in ("hunter2", "secret sauce", "ab" * 32):
        assert hidden not in repr(settled)
        assert hidden.encode() not in settled.draft.body
