"""Planning a batch against the marks, decoding it, and setting aside what must wait."""

from __future__ import annotations

from uuid import UUID

import orjson
import pytest

from shared.eventlog.model import Place
from shared.events.upcasters import Upcaster, upcast
from shared.messaging.batch import decode, missing, set_aside, wanted
from shared.messaging.consumer import Consumer, Received
from shared.messaging.deadletters import DeadLetterLimit
from shared.messaging.kafka import read_position
from shared.messaging.ports import DeadLetter, Message, Partition
from tests.unit.messaging.world import BEGIN, fact

P = Partition("usage", 3)
STREAM, OTHER = UUID(int=1), UUID(int=2)


def messages(*positions: int) -> list[Message]:
    return [Message(P, position, 1, b"%d" % position) for position in positions]


def body(**changes: object) -> bytes:
    fields = orjson.loads(fact(1, time=BEGIN).body)
    fields["recordedat"] = "2026-01-01T00:00:00.000000Z"
    return orjson.dumps({**fields, **changes})


def received(position: int, stream: UUID | None) -> Received:
    fields = {"stream": stream.hex} if stream else {}
    return Received(Place("settings", 0, position), "t", BEGIN, "setting.changed.v1", fields, b"{}")


def dead(position: int, stream: UUID | None) -> DeadLetter:
    return DeadLetter(Place("settings", 0, position), "t", stream, "newer", "", 1)


def test_what_is_at_hand_is_kept_once_in_any_order() -> None:
    [want] = wanted(messages(5, 4, 5, 7)).values()
    assert want.upto == 7
    assert sorted(want.bodies) == [4, 5, 7]


def test_a_contiguous_batch_needs_nothing_from_the_log() -> None:
    assert missing(3, 6, {4: b"", 5: b"", 6: b""}) == []


def test_jumps_are_filled_before_between_and_after() -> None:
    assert missing(3, 12, {6: b"", 7: b"", 10: b""}) == [(3, 5), (7, 9), (10, 12)]


def test_without_any_message_everything_is_the_logs() -> None:
    assert missing(0, 4, {}) == [(0, 4)]


def test_backward_jumps_and_positions_beyond_the_head_are_dropped_and_counted() -> None:
    [want] = wanted(messages(1, 2, 3, 4, 5, 900)).values()
    assert want.trim(3, 5) == (3, 1)
    assert sorted(want.bodies) == [4, 5]


def test_a_record_is_decoded_once_with_what_handlers_need() -> None:
    record = decode(Place("usage", 3, 8), body())
    assert isinstance(record, Received)
    assert record.type == "usage.metered.v1"
    assert record.tenant == "tenant"
    assert record.recorded_at == BEGIN
    assert record.fields["data"]["quantity"] == "1"


@pytest.mark.parametrize("broken", [b"{", b"[]", b"{}", b"\xff\xfe", body(recordedat="yesterday"), body(type=7)[:-1]])
def test_what_cannot_be_read_becomes_a_dead_letter_and_raises_nothing(broken: bytes) -> None:
    letter = decode(Place("usage", 3, 8), broken)
    assert isinstance(letter, DeadLetter)
    assert letter.reason == "unreadable"


def test_a_type_of_a_later_release_is_set_aside_and_never_skipped() -> None:
    letter = decode(Place("usage", 3, 8), body(type="usage.metered.v9", stream=STREAM.hex))
    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.stream, letter.tenant) == ("newer", STREAM, "tenant")


def test_upcasters_chain_to_the_newest_version() -> None:
    steps = {
        "x.made.v1": Upcaster("x.made.v2", lambda data: {**data, "unit": "GiB"}),
        "x.made.v2": Upcaster("x.made.v3", lambda data: {"amounts": [data]}),
    }
    old = {"type": "x.made.v1", "data": {"n": 1}, "id": "a"}
    assert upcast(old, steps) == {"type": "x.made.v3", "data": {"amounts": [{"n": 1, "unit": "GiB"}]}, "id": "a"}
    assert old["type"] == "x.made.v1", "the stored fields are not touched"


def test_an_ordered_consumer_sets_aside_what_follows_a_dead_letter_of_the_same_stream() -> None:
    items = [received(1, STREAM), dead(2, STREAM), received(3, OTHER), received(4, STREAM), received(5, None)]
    result = set_aside(items, blocked=())
    assert [item.reason if isinstance(item, DeadLetter) else "handled" for item in result] == [
        "handled",
        "newer",
        "handled",
        "behind",
        "handled",
    ]


def test_an_ordered_consumer_sets_aside_what_follows_an_earlier_batchs_dead_letter() -> None:
    [item] = set_aside([received(9, STREAM)], blocked={STREAM})
    assert isinstance(item, DeadLetter)
    assert item.reason == "behind"


def test_one_bad_record_in_five_stops_nothing() -> None:
    limit = DeadLetterLimit()
    assert limit.count(5, 1, now_s=0.0) is None


def test_more_than_one_percent_of_the_last_ten_thousand_stops() -> None:
    limit = DeadLetterLimit()
    verdicts = [limit.count(90, 1, now_s=n * 60.0) for n in range(101)]
    assert verdicts[:100] == [None] * 100
    assert verdicts[100] == "101 of the last 9,090 records became dead letters"


def test_one_percent_for_ever_does_not_stop() -> None:
    limit = DeadLetterLimit()
    assert all(limit.count(100, 1, now_s=n * 1.0) is None for n in range(1_000))


def test_a_hundred_within_a_minute_stop() -> None:
    limit = DeadLetterLimit()
    assert limit.count(1_000_000, 99, now_s=0.0) is None
    assert limit.count(1_000_000, 1, now_s=59.0) == "100 records became dead letters within a minute"


def test_epoch_and_position_are_read_whatever_the_other_headers_hold() -> None:
    headers = [("x", None), ("pl-position", b"12"), ("y", b"\xff\xfe"), ("pl-epoch", b"3")]
    assert read_position(headers) == (3, 12)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("pl-position", b"12")],
        [("pl-position", None), ("pl-epoch", b"3")],
        [("pl-position", b"-1"), ("pl-epoch", b"3")],
        [("pl-position", b"\xff"), ("pl-epoch", b"3")],
        [("pl-position", b" 1"), ("pl-epoch", b"3")],
        [("pl-position", b"9" * 30), ("pl-epoch", b"3")],
    ],
)
def test_headers_without_a_place_are_no_place(headers: list[tuple[str, bytes | None]]) -> None:
    assert read_position(headers) is None


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"name": "fold"}, "consumer name"),
        ({"schema": "Matching; DROP"}, "schema"),
        ({"topics": ("usages",)}, "usages"),
        ({"topics": ()}, "none"),
    ],
)
def test_a_consumer_that_cannot_be_is_refused_where_it_is_declared(change: dict[str, object], complaint: str) -> None:
    declared = {"name": "matching.fold", "schema": "matching", "topics": ("usage",), "handler": None, **change}
    with pytest.raises(ValueError, match=complaint):
        Consumer(**declared)  # type: ignore[arg-type]
