"""When a message is sent again, and when no more: exponential backoff with full jitter, within bounds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random

GONE = 410
"""The receiver says that it will never take anything at this address again."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How persistent delivery is. The defaults give up after about two days of trying, within three."""

    base_s: float = 1.0  # float: seconds
    """Upper bound of the first wait; each further one doubles it."""
    wait_max_s: float = 6 * 3600.0  # float: seconds
    attempts_max: int = 30
    age_max: timedelta = timedelta(days=3)
    """Older than this, counted from the record, a message is not tried again."""

    def wait_s(self, failures: int, rng: Random) -> float:  # float: seconds
        """How long to wait after so many failures (from 1). Full jitter: who failed together returns apart."""
        return rng.uniform(0, min(self.wait_max_s, self.base_s * 2 ** min(failures - 1, 40)))

    def next_attempt(
        self, attempt: int, recorded_at: datetime, now: datetime, status: int | None, rng: Random
    ) -> datetime | None:
        """When attempt ``attempt`` (from 1), which failed with ``status``, is followed by another; ``None``: never."""
        if status == GONE or attempt >= self.attempts_max:
            return None
        due = now + timedelta(seconds=self.wait_s(attempt, rng))
        return due if due - recorded_at <= self.age_max else None
