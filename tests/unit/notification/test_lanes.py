"""How many messages may be on their way, and to whom."""

from __future__ import annotations

from random import Random

from services.notification.domain.lanes import Lanes, Limits

LIMITS = Limits(per_tenant=4, healthy=8, suspect=2, rest_base_s=1.0, rest_max_s=10.0)


def _lanes() -> Lanes:
    return Lanes(LIMITS, Random(7))


def _fail(lanes: Lanes, tenant: str, now: float) -> None:
    lanes.started([tenant])
    lanes.finished(tenant, False, now)


def test_a_tenant_has_its_share_less_what_is_on_its_way() -> None:
    lanes = _lanes()
    assert lanes.room(0.0) == (8, {})
    lanes.started(["a", "a", "a", "b"])
    assert lanes.room(0.0) == (4, {"a": 1, "b": 3})
    for tenant in ("a", "a", "a", "b"):
        lanes.finished(tenant, True, 0.0)
    assert lanes.room(0.0) == (8, {})


def test_a_receiver_that_failed_rests_and_is_then_asked_one_at_a_time() -> None:
    lanes = _lanes()
    _fail(lanes, "a", 100.0)
    assert lanes.room(100.0) == (8, {"a": 0})
    assert lanes.room(100.0 + 2.0) == (9, {"a": 1})  # beside the room of those that answer
    lanes.started(["a"])
    assert lanes.room(102.0) == (8, {"a": 0})
    lanes.finished("a", True, 102.0)
    assert lanes.room(102.0) == (8, {})


def test_rests_grow_with_each_failure_up_to_a_bound() -> None:
    lanes = _lanes()
    for _ in range(50):
        _fail(lanes, "a", 0.0)
    assert lanes.room(10.0)[1] == {"a": 1}
    rests = []
    for seed in range(200):
        lanes = Lanes(LIMITS, Random(seed))
        for _ in range(3):
            _fail(lanes, "a", 0.0)
        rests.append(next(t / 10 for t in range(101) if lanes.room(t / 10)[1]["a"]))
    assert 7 < max(rests) <= 8.1  # 1 s doubled three times, and spread over all of it
    assert min(rests) < 1


def test_failing_receivers_never_take_the_room_of_those_that_answer() -> None:
    lanes = _lanes()
    dead = [f"dead{n}" for n in range(50)]
    for tenant in dead:
        _fail(lanes, tenant, 0.0)
    total, room = lanes.room(100.0)
    asked = [tenant for tenant in dead if room[tenant]]
    assert (total, len(asked)) == (8 + LIMITS.suspect, LIMITS.suspect)
    lanes.started(asked)  # and they hang
    assert lanes.room(100.0) == (8, dict.fromkeys(dead, 0))
    assert lanes.failing == 50


def test_nothing_starts_when_everything_is_taken() -> None:
    lanes = _lanes()
    lanes.started(["a"] * 4 + ["b"] * 4)
    assert lanes.room(0.0) == (0, {"a": 0, "b": 0})
