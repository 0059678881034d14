"""Waiting: for an event or a while, and longer after each failure."""

from __future__ import annotations

import asyncio
from random import Random

FIRST_S = 0.05
LONGEST_S = 5.0


async def pause(event: asyncio.Event, seconds: float) -> None:
    """Return when ``event`` is set, or after ``seconds``. Clear it before looking at what it announces, not after."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass


class Backoff:
    """Doubling pauses from 50 ms to 5 s, each shortened at random by up to half, so that many do not return at once."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._next_s = FIRST_S

    def next_s(self) -> float:
        """The next pause."""
        pause_s = self._next_s * self._random.uniform(0.5, 1.0)
        self._next_s = min(2 * self._next_s, LONGEST_S)
        return pause_s

    def reset(self) -> None:
        """After a success: begin short again."""
        self._next_s = FIRST_S
