"""When dead letters are no longer the exception: the bound at which a consumer stops instead of setting all aside."""

from __future__ import annotations

from collections import deque

SHARE_OF = 10_000
SHARE_MAX = 100
MINUTE_S = 60.0
MINUTE_MAX = 100


class DeadLetterLimit:
    """More than 100 dead letters among the last 10,000 records (1 %), or 100 within a minute.

    The share is always of 10,000, however few have been seen: one bad record in the first five is no reason to stop.
    Records that merely wait *behind* a dead letter do not count. It begins anew with the process: a person who starts
    a stopped consumer again has decided to go on.
    """

    def __init__(self) -> None:
        self._seen = 0
        self._numbers: deque[int] = deque()
        self._instants: deque[float] = deque()

    def count(self, records: int, dead: int, now_s: float) -> str | None:
        """Count a batch; returns why the consumer must stop, or ``None``."""
        self._seen += records
        self._numbers.extend([self._seen] * dead)
        self._instants.extend([now_s] * dead)
        while self._numbers and self._numbers[0] <= self._seen - SHARE_OF:
            self._numbers.popleft()
        while self._instants and self._instants[0] <= now_s - MINUTE_S:
            self._instants.popleft()
        if len(self._numbers) > SHARE_MAX:
            return f"{len(self._numbers)} of the last {min(self._seen, SHARE_OF):,} records became dead letters"
        if len(self._instants) >= MINUTE_MAX:
            return f"{len(self._instants)} records became dead letters within a minute"
        return None
