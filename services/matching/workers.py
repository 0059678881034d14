"""What runs in the background beside the fold: resolvers, comparers, and a look at how far behind everything is.

All of them poll: a claim that finds nothing costs a fraction of a millisecond, and nothing depends on a signal that
could be lost. Whoever has work goes on at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from random import Random
from typing import Any, Self

import asyncpg
import structlog

from services.matching.compare import CannotDraw, Comparer
from services.matching.fold import CONSUMER
from services.matching.resolver import Resolver
from shared.messaging.pause import Backoff, pause
from shared.runtime.clock import Clock

IDLE_S = 0.02
"""Between two looks for work, while there was some within the last second; ten times as long otherwise."""
WAKE_EVERY_S = 0.25
"""Between two looks for dates that have come."""
RENAME_EVERY_S = 2.0
"""Between two looks for identifiers that are shown by an old name."""
ANALYZE_EVERY_S = 2.0
"""Between two looks for tables that have tripled since they were analyzed."""
LOOK_EVERY_S = 0.5
"""Between two looks at how much is due."""
ALIVE_S = 15.0
"""Longer than a transaction may take: who has not come round since is not working."""
BEHIND_RECORDS = 5_000
"""While a partition of the fold is further behind, a bulk load is coming in: draws wait, and are made once."""
PATIENCE = timedelta(seconds=2)
STOP_S = 10.0
_DUE_MAX = 100_000
_AWAY = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""What a connection that is lost, refused or held up raises: it passes."""

_log = structlog.get_logger(__name__)

# Plans are made by statistics and kept: while a table grows from nothing, once in a minute (autovacuum) is too seldom.
# The queues are empty more often than not, and always read by an index.
_GROWN = """
SELECT s.relname FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
 WHERE s.schemaname = 'matching' AND s.relname NOT IN ('due', 'due_key')
   AND s.n_mod_since_analyze > 500 + 2 * greatest(c.reltuples, 0)"""
_LOOK = """
SELECT (SELECT count(*) FROM (SELECT FROM matching.due LIMIT $2) d),
       (SELECT count(*) FROM (SELECT FROM matching.due_key LIMIT $2) k),
       (SELECT extract(epoch FROM clock_timestamp() - min(k.ready_at))::float FROM matching.due_key k),
       (SELECT max(h.position - c.position) FROM matching.consumed c JOIN log.head h USING (topic, partition)
         WHERE c.consumer = $1)"""


class Workers:
    """Resolvers and comparers in this process and event loop. Use it as an async context manager."""

    def __init__(
        self,
        pool: Any,
        *,
        resolvers: int,
        comparers: int,
        clock: Clock,
        random: Random,
        appended: Callable[[], None] = lambda: None,
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._random = random
        self._resolver = Resolver(pool)
        self._comparer = Comparer(pool, appended)
        self._counts = {
            "resolver": resolvers,
            "comparer": comparers,
            "waker": 1,
            "renamer": 1,
            "analyst": 1,
            "lookout": 1,
        }
        self._ending = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._alive_at: dict[str, float] = {}
        self._faults: dict[str, str] = {}
        self._busy_at = clock.monotonic()
        self._patience = timedelta()
        self._due: dict[str, Any] = {"raw": 0, "groups": 0, "late_s": 0.0}
        self.drawn = 0
        """Groups drawn since the start."""

    async def __aenter__(self) -> Self:
        steps: dict[str, Callable[[], Awaitable[float | None]]] = {
            "resolver": self._resolve,
            "comparer": self._compare,
            "waker": self._wake,
            "renamer": self._rename,
            "analyst": self._analyze,
            "lookout": self._look,
        }
        for kind, count in self._counts.items():
            for n in range(count):
                name = f"{kind} {n}"
                self._alive_at[name] = self._clock.monotonic()
                self._tasks.append(asyncio.create_task(self._run(name, steps[kind]), name=name))
        return self

    async def __aexit__(self, *details: object) -> None:
        self._ending.set()
        _, late = await asyncio.wait(self._tasks, timeout=STOP_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _run(self, name: str, step: Callable[[], Awaitable[float | None]]) -> None:
        """``step`` for ever: at once again, or after the seconds that it answers; after a fault with backoff."""
        backoff = Backoff(self._random)
        while not self._ending.is_set():
            try:
                wait_s = await step()
            except Exception as error:
                self._note(name, error)
                await pause(self._ending, backoff.next_s())
                continue
            self._faults.pop(name, None)
            self._alive_at[name] = self._clock.monotonic()
            backoff.reset()
            if wait_s is not None:
                await pause(self._ending, wait_s)

    def _note(self, name: str, error: Exception) -> None:
        self._faults[name] = f"{type(error).__name__}: {error}"
        if isinstance(error, _AWAY):
            _log.warning("worker waits", worker=name, fault=self._faults[name])
        elif not isinstance(error, CannotDraw):
            _log.exception("worker failed", worker=name)

    # --- the steps -----------------------------------------------------------------------------------------------
    async def _resolve(self) -> float | None:
        return self._after(await self._resolver.step())

    async def _compare(self) -> float | None:
        count = await self._comparer.step(self._patience)
        self.drawn += count
        return self._after(count)

    async def _wake(self) -> float | None:
        return None if await self._resolver.wake() else WAKE_EVERY_S

    async def _rename(self) -> float | None:
        return None if await self._resolver.rename() else RENAME_EVERY_S

    async def _analyze(self) -> float:
        for (table,) in await self._pool.fetch(_GROWN):
            await self._pool.execute(f"ANALYZE matching.{table}")
        return ANALYZE_EVERY_S

    async def _look(self) -> float:
        raw, groups, late_s, behind = await self._pool.fetchrow(_LOOK, CONSUMER, _DUE_MAX)
        self._due = {"raw": raw, "groups": groups, "late_s": round(max(late_s or 0.0, 0.0), 3)}
        self._patience = PATIENCE if (behind or 0) > BEHIND_RECORDS else timedelta()
        return LOOK_EVERY_S

    def _after(self, count: int) -> float | None:
        now = self._clock.monotonic()
        if count:
            self._busy_at = now
            return None
        return IDLE_S if now - self._busy_at < 1 else 10 * IDLE_S

    # --- what is told about them -----------------------------------------------------------------------------------
    @property
    def ready(self) -> bool:
        """Whether every worker has come round lately."""
        now = self._clock.monotonic()
        return all(now - at < ALIVE_S for at in self._alive_at.values())

    @property
    def due(self) -> int:
        """Raw rows and groups that are due, as of half a second ago."""
        return int(self._due["raw"] + self._due["groups"])

    def state(self) -> dict[str, Any]:
        """For ``/health/ready``: JSON values only."""
        return {"ready": self.ready, "due": self._due, "drawn": self.drawn, "faults": self._faults}
