"""What matching does beside folding: resolve what is due, and draw it. A few tasks of one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from random import Random
from typing import Any

import structlog

from services.matching.compare import CannotDraw, Comparer
from services.matching.resolver import Resolver
from shared.runtime.clock import Clock

COMPARERS = 3
"""Draws at a time; each holds two connections."""
_IDLE_S, _IDLE_MAX_S = 0.005, 0.025
_FAULT_S, _FAULT_MAX_S = 0.1, 5.0
_LOOK_S = 1.0
_BEHIND_MAX = 5_000
_PATIENCE = timedelta(seconds=2)
"""While the fold is far behind, a group waits for the rest: a bulk load is drawn once, not once a batch."""
_WAITING = """
SELECT (SELECT count(*) FROM (SELECT 1 FROM matching.due LIMIT 10000) d)
     + (SELECT count(*) FROM (SELECT 1 FROM matching.due_key LIMIT 10000) k)"""

_log = structlog.get_logger(__name__)


class Worker:
    """Runs the resolver and the comparers until stopped. ``behind()``: records that the fold has yet to take."""

    def __init__(
        self,
        pool: Any,
        *,
        clock: Clock,
        random: Random,
        behind: Callable[[], int],
        appended: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._random = random
        self._behind = behind
        self._resolver = Resolver(pool)
        self._comparers = [Comparer(pool, clock, appended) for _ in range(COMPARERS)]
        self._stopping = False
        self._faults: dict[str, str] = {}
        self._due = 0
        self._looked_at = float("-inf")

    def stop(self) -> None:
        """Let each task end after the step that it is in."""
        self._stopping = True

    def state(self) -> dict[str, Any]:
        """For readiness: rows that are due, as of the last look, and what went wrong last."""
        fresh = self._clock.monotonic() - self._looked_at < 5 * _LOOK_S
        return {"ok": fresh, "due": self._due, "faults": dict(self._faults)}

    async def run(self) -> None:
        """Until stopped. Nothing that a step raises ends it: the step is done again, later and later."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._repeat("resolver", self._resolve))
            group.create_task(self._repeat("look", self._look))
            for number, comparer in enumerate(self._comparers):
                group.create_task(self._repeat(f"comparer {number}", self._drawing(comparer)))

    async def _repeat(self, name: str, step: Callable[[], Awaitable[int]]) -> None:
        idle_s, fault_s = _IDLE_S, _FAULT_S
        while not self._stopping:
            try:
                done = await step()
            except CannotDraw:
                done = 1
            except Exception as error:
                # The database is away, or a lock was waited for too long: nothing is lost, the rows are due again.
                self._faults[name] = repr(error)
                _log.warning("matching step failed", step=name, error=repr(error))
                await self._clock.sleep(fault_s * self._random.uniform(0.5, 1.0))
                fault_s = min(2 * fault_s, _FAULT_MAX_S)
                continue
            self._faults.pop(name, None)
            fault_s = _FAULT_S
            idle_s = _IDLE_S if done else min(2 * idle_s, _IDLE_MAX_S)
            if not done:
                await self._clock.sleep(idle_s)

    async def _resolve(self) -> int:
        return await self._resolver.step() or await self._resolver.wake()

    def _drawing(self, comparer: Comparer) -> Callable[[], Awaitable[int]]:
        async def draw() -> int:
            return await comparer.step(_PATIENCE if self._behind() > _BEHIND_MAX else timedelta())

        return draw

    async def _look(self) -> int:
        self._due = await self._pool.fetchval(_WAITING)
        self._looked_at = self._clock.monotonic()
        await self._clock.sleep(_LOOK_S)
        return 1
