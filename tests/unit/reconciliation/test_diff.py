"""What of a new verdict becomes a record."""

from __future__ import annotations

import pytest

from shared.events.discrepancies import DiscrepancyBody
from shared.kernel.identity import stream_id
from shared.reconciliation.diff import StoredVerdict, StreamKey, diff, discrepancy_stream
from shared.reconciliation.verdict import Break, State
from tests.unit.reconciliation.given import D, at, drawn, gauge, only_break, posted, unit_line


def _break(level: str, **given: object) -> Break:
    (one,) = drawn(lines=(unit_line(),), used=(gauge((at(1), level)),), invoice=(posted("40", "4.20"),), **given).breaks
    return one


FIRST, MORE = _break("53"), _break("54")
KEY: StreamKey = ("QTY", "northwind", "2026-10-01/2026-11-01", "edr")


def stored(
    version: int, open: bool, body: DiscrepancyBody = FIRST.body, reopened: int = 0
) -> dict[StreamKey, StoredVerdict]:
    return {KEY: StoredVerdict(version, open, body, reopened)}


def test_a_new_break_is_detected() -> None:
    (change,) = diff({}, [FIRST], State.BREAK)
    assert (change.kind, change.stream_key, change.expected, change.reopened) == ("detected", KEY, 0, 0)
    assert change.after == StoredVerdict(1, True, FIRST.body, 0)


def test_a_material_difference_is_a_change() -> None:
    (change,) = diff(stored(3, True), [MORE], State.BREAK)
    assert (change.kind, change.expected, change.previous_amount) == ("changed", 3, D("54.60"))
    assert change.body.amount == D("58.80")


def test_evidence_that_changes_nothing_material_is_no_record() -> None:
    later = _break("53", as_of=None)
    assert later.body != FIRST.body  # another deadline
    assert diff(stored(3, True), [later], State.BREAK) == []


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        (State.MATCHED, "matched"),
        (State.BREAK, "matched"),
        (State.NOT_COMPARABLE, "not_comparable"),
        (None, "matched"),
    ],
)
def test_a_break_that_is_gone_is_cleared_with_the_last_open_body(state: State | None, verdict: str) -> None:
    (change,) = diff(stored(3, True, MORE.body), [], state)
    assert (change.kind, change.expected, change.body, change.verdict) == ("cleared", 3, MORE.body, verdict)
    assert change.after.open is False


def test_a_cleared_break_that_comes_back_is_detected_again() -> None:
    (change,) = diff(stored(4, False, reopened=1), [FIRST], State.BREAK)
    assert (change.kind, change.expected, change.reopened) == ("detected", 4, 2)
    assert diff(stored(4, False), [], State.MATCHED) == []


def test_changes_come_in_order_of_their_streams_and_once_each() -> None:
    both = drawn(lines=(unit_line(),), used=(gauge((at(1), "53")),), invoice=(posted("40", "5.00"),)).breaks
    assert [change.body.code for change in diff({}, both[::-1], State.BREAK)] == ["PRICE_MISMATCH", "QTY_UNDER"]
    with pytest.raises(ValueError, match="share the stream"):
        diff({}, [FIRST, MORE], State.BREAK)


def test_a_life_of_a_discrepancy_by_its_records() -> None:
    held: dict[StreamKey, StoredVerdict] = {}
    kinds = []
    for breaks in ([FIRST], [FIRST], [MORE], [], [], [FIRST]):
        for change in diff(held, breaks, State.BREAK if breaks else State.MATCHED):
            held[change.stream_key] = change.after
            kinds.append(change.kind)
    assert kinds == ["detected", "changed", "cleared", "detected"]
    assert (held[KEY].version, held[KEY].open, held[KEY].reopened) == (4, True, 1)


def test_the_stream_is_of_the_tenant_and_the_key() -> None:
    assert discrepancy_stream("t", KEY) == stream_id("discrepancies", "t", "discrepancy", *KEY)
    assert only_break(drawn(lines=(unit_line(),), used=(gauge((at(1), "53")),), invoice=())).family == "UNBILLED"
