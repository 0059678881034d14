"""When a message is tried again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

from services.notification.domain.retry import RetryPolicy

NOW = datetime(2026, 10, 1, 9, 0, tzinfo=UTC)
POLICY = RetryPolicy()


def test_waits_grow_exponentially_up_to_a_bound_and_are_spread_over_all_of_it() -> None:
    rng = Random(7)
    for failures, bound in ((1, 1), (2, 2), (5, 16), (15, 16384), (16, 21600), (1000, 21600)):
        waits = [POLICY.wait_s(failures, rng) for _ in range(2000)]
        assert 0 <= min(waits) < 0.01 * bound
        assert 0.99 * bound < max(waits) <= bound


def test_it_is_tried_again_until_the_last_attempt() -> None:
    rng = Random(7)
    assert POLICY.next_attempt(1, NOW, NOW, 503, rng) is not None
    assert POLICY.next_attempt(POLICY.attempts_max - 1, NOW, NOW, None, rng) is not None
    assert POLICY.next_attempt(POLICY.attempts_max, NOW, NOW, None, rng) is None


def test_it_is_not_tried_again_when_it_would_be_too_old() -> None:
    rng = Random(7)
    assert POLICY.next_attempt(1, NOW - POLICY.age_max, NOW, 500, rng) is None
    assert POLICY.next_attempt(1, NOW - POLICY.age_max + timedelta(seconds=2), NOW, 500, rng) is not None


def test_gone_is_final_at_once() -> None:
    assert POLICY.next_attempt(1, NOW, NOW, 410, Random(7)) is None


def test_other_refusals_are_tried_again_because_receivers_get_repaired() -> None:
    for status in (301, 400, 401, 404, 429, 500, 503, None):
        assert POLICY.next_attempt(1, NOW, NOW, status, Random(7)) is not None
