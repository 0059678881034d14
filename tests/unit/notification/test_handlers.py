"""From a record to its intent: the id is a function of the record, pinned, since it is a webhook-id for ever."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import orjson
import pytest

from services.notification.handlers import intent_of
from shared.eventlog.model import Place
from shared.events.catalogue import CATALOGUE
from shared.events.discrepancies import DiscrepancyDetected
from shared.events.record import Context, draft_derived
from shared.kernel.identity import derived_id
from shared.messaging.consumer import BadRecord, Received
from tests.unit.notification.verdicts import BASIS, BODY

STREAM = UUID("7f3a19c2000040008000000000000001")
AT = datetime(2026, 10, 1, 9, 14, 22, 418000, tzinfo=UTC)


def _received() -> Received:
    draft = draft_derived(
        CATALOGUE["discrepancy.detected.v1"],
        tenant="harbor-msp",
        source="plumbline.matching",
        record_id=derived_id(STREAM, 1),
        time=AT,
        data=DiscrepancyDetected(body=BODY, basis=BASIS),
        stream=STREAM,
        expected=0,
        context=Context(actor="service:matching", correlation_id="cor-1"),
    )
    fields = orjson.loads(draft.body)
    return Received(Place("discrepancies", 3, 1181), "harbor-msp", AT, fields["type"], fields, draft.body)


def test_the_id_of_a_message_is_pinned() -> None:
    intent = intent_of(_received())
    assert intent.intent == "msg_caf464143e88e5a32d6ef84217c42334"
    assert intent_of(_received()) == intent


def test_an_intent_holds_what_an_attempt_needs() -> None:
    intent = intent_of(_received())
    assert (intent.tenant, intent.stream, intent.version) == ("harbor-msp", STREAM, 1)
    assert (intent.place, intent.recorded_at) == ("discrepancies/3/1181", AT)
    assert (intent.record_id, intent.correlation_id) == (derived_id(STREAM, 1), "cor-1")
    message = orjson.loads(intent.payload)
    assert (message["timestamp"], message["data"]["record"]) == ("2026-10-01T09:14:22.418Z", "discrepancies/3/1181")


def test_a_record_that_is_not_what_its_type_says_is_refused_by_its_place() -> None:
    record = _received()
    del record.fields["data"]["body"]["code"]
    with pytest.raises(BadRecord, match="discrepancies/3/1181"):
        intent_of(record)
