"""Group commit: whatever waits while one group is being executed becomes the next group.

The machinery knows nothing of the log: it is given *units* and an *executor*. The appender hands it units of drafts and
an executor that calls ``log.append``; a room that needs more than an append under the same lock (ingestion's receipts)
hands it its own units and an executor that calls its own SQL function. Both keep these rules (protocols.md section 2):

- an executor runs one group in one transaction and answers one result per unit, in order; it is all or nothing;
- executing a unit again with the same content is harmless (the ids make it a duplicate), since after a lost connection
  the outcome is unknown and the same units are sent again;
- a unit names the ``keys`` (ids, streams) of which a group must hold each at most once; the second one waits for the
  next group, and whatever shares a key with a waiting unit waits behind it.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Hashable, Sequence
from typing import Generic, Protocol, Self, TypeVar

import asyncpg

from shared.eventlog.model import LogFull, LogUnavailable
from shared.runtime.clock import Clock, SystemClock

GROUP_RECORDS_MAX = 2_000
GROUP_BYTES_MAX = 8 * 1024 * 1024
QUEUE_RECORDS_MAX = 10_000
QUEUE_BYTES_MAX = 32 * 1024 * 1024
_ATTEMPTS_MAX = 8
_BACKOFF_FIRST_S, _BACKOFF_MAX_S = 0.05, 2.0

# SQLSTATE classes and codes after which the same call may succeed: connection, resources, operator, locks and timeouts.
_TRANSIENT_CLASSES = ("08", "53", "57", "58")
_TRANSIENT_CODES = ("25P03", "25P04", "40001", "40P01", "55P03")


class Unit(Protocol):
    """What one caller hands in; it is executed whole, in one group."""

    @property
    def records(self) -> int:
        """How many records it holds, at most :data:`GROUP_RECORDS_MAX`."""
        ...

    @property
    def size(self) -> int:
        """Its bytes, at most :data:`GROUP_BYTES_MAX`."""
        ...

    @property
    def keys(self) -> Collection[Hashable]:
        """Ids and streams that no other unit of the same group may hold."""
        ...


U = TypeVar("U", bound=Unit)
R = TypeVar("R")
Executor = Callable[[Sequence[U]], Awaitable[Sequence[R]]]
"""Executes one group of units in one transaction: one result per unit, in order."""


def is_transient(error: BaseException) -> bool:
    """Whether the same call may succeed later, its outcome being unknown until then."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return state.startswith(_TRANSIENT_CLASSES) or state in _TRANSIENT_CODES
    # InternalClientError: the server said goodbye to an idle connection, and it was used before it was seen to close.
    return isinstance(error, (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError))


class _Waiting(Generic[U, R]):
    """A unit in the queue, and the caller that waits for its result."""

    __slots__ = ("result", "unit")

    def __init__(self, unit: U, result: asyncio.Future[R]) -> None:
        self.unit, self.result = unit, result


class GroupCommit(Generic[U, R]):
    """One group in flight; what arrives meanwhile is the next one. Use it as an async context manager.

    Leaving it waits for everything that was accepted. A caller that is cancelled does not withdraw its unit.
    """

    def __init__(
        self, execute: Executor[U, R], *, name: str, clock: Clock | None = None, rng: random.Random | None = None
    ) -> None:
        self._execute = execute
        self._name = name
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()
        self._queue: deque[_Waiting[U, R]] = deque()
        self._records = 0
        self._bytes = 0
        self._news = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._closing = False
        self._task = asyncio.create_task(self._run(), name=f"group-commit-{self._name}")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        self._news.set()
        if self._task is not None:
            await self._task

    async def commit(self, units: Sequence[U]) -> list[R]:
        """The result of each unit, in order, once it is committed; the units of one call may go in several groups.

        Raises :class:`LogFull` when the queue would hold more than 10,000 records or 32 MiB (nothing is queued then),
        ``ValueError`` for a unit that no group can hold, :class:`LogUnavailable`, or the error that PostgreSQL raised
        for one of these units; the others may be committed nevertheless.
        """
        if self._closing or self._task is None or self._task.done():
            raise RuntimeError(f"the group commit of {self._name} is not running")
        for unit in units:
            if unit.records > GROUP_RECORDS_MAX or unit.size > GROUP_BYTES_MAX:
                raise ValueError(f"a unit of {unit.records:,} records, {unit.size:,} bytes fits no group")
        records, size = sum(unit.records for unit in units), sum(unit.size for unit in units)
        if self._records + records > QUEUE_RECORDS_MAX or self._bytes + size > QUEUE_BYTES_MAX:
            raise LogFull(f"{self._records:,} records wait for {self._name}")
        self._records += records
        self._bytes += size
        loop = asyncio.get_running_loop()
        results: list[asyncio.Future[R]] = [loop.create_future() for _ in units]
        self._queue.extend(map(_Waiting, units, results))
        self._news.set()
        return await asyncio.gather(*results) if len(results) != 1 else [await results[0]]

    async def _run(self) -> None:
        while True:
            while not self._queue:
                if self._closing:
                    return
                self._news.clear()
                await self._news.wait()
            group = self._next_group()
            await self._settle(group)

    def _next_group(self) -> list[_Waiting[U, R]]:
        """Units in order of arrival, up to a group's bounds; none shares a key with another or with one passed over."""
        group: list[_Waiting[U, R]] = []
        passed_over: list[_Waiting[U, R]] = []
        taken: set[Hashable] = set()
        records = size = 0
        while self._queue:
            unit = self._queue[0].unit
            if records + unit.records > GROUP_RECORDS_MAX or size + unit.size > GROUP_BYTES_MAX:
                break
            waiting = self._queue.popleft()
            if taken.isdisjoint(unit.keys):
                group.append(waiting)
                records += unit.records
                size += unit.size
            else:
                passed_over.append(waiting)
            taken.update(unit.keys)
        self._queue.extendleft(reversed(passed_over))
        self._records -= records
        self._bytes -= size
        return group

    async def _settle(self, group: list[_Waiting[U, R]]) -> None:
        try:
            results = await self._attempt([waiting.unit for waiting in group])
        except asyncpg.PostgresError as error:
            if len(group) == 1:
                _fail(group, error)
            else:
                # One bad unit must not fail its neighbours: each alone.
                for waiting in group:
                    await self._settle([waiting])
        except BaseException as error:
            _fail(group, error)
            if not isinstance(error, Exception):
                raise
        else:
            for waiting, result in zip(group, results, strict=True):
                if not waiting.result.done():
                    waiting.result.set_result(result)

    async def _attempt(self, units: list[U]) -> Sequence[R]:
        """Execute, and again with the same units while the outcome is unknown. Bounded, with backoff and jitter."""
        backoff_s = _BACKOFF_FIRST_S
        for attempt in range(1, _ATTEMPTS_MAX + 1):
            try:
                return await self._execute(units)
            except Exception as error:
                if not is_transient(error):
                    raise
                if attempt == _ATTEMPTS_MAX:
                    raise LogUnavailable(f"{self._name}: {type(error).__name__}: {error}") from error
            await self._clock.sleep(backoff_s * self._rng.uniform(0.5, 1.5))
            backoff_s = min(2 * backoff_s, _BACKOFF_MAX_S)
        raise AssertionError("unreachable")


def _fail(group: Sequence[_Waiting[U, R]], error: BaseException) -> None:
    for waiting in group:
        if not waiting.result.done():
            waiting.result.set_exception(error)
