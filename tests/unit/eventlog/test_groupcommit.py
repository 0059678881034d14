"""Group commit, with an executor that a test holds in its hand."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg
import pytest

from shared.eventlog.groupcommit import GroupCommit
from shared.eventlog.model import LogFull, LogUnavailable


@dataclass(frozen=True)
class Unit:
    name: str
    records: int = 1
    size: int = 100
    keys: Collection[str] = ()


class NoClock:
    """Sleeps at once, and remembers how long."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


class Executor:
    """Executes a group when it is let go; fails as told."""

    def __init__(self, fail: Callable[[list[str]], Exception | None] = lambda names: None) -> None:
        self.groups: list[list[str]] = []
        self.go = asyncio.Event()
        self.go.set()
        self._fail = fail
        self.running = 0
        self.called = asyncio.Event()

    async def __call__(self, units: Sequence[Unit]) -> list[str]:
        self.running += 1
        assert self.running == 1, "two groups in flight"
        try:
            names = [unit.name for unit in units]
            self.groups.append(names)
            self.called.set()
            await self.go.wait()
            if error := self._fail(names):
                raise error
            return [f"done {name}" for name in names]
        finally:
            self.running -= 1


@asynccontextmanager
async def commits(executor: Executor, clock: NoClock | None = None) -> AsyncIterator[GroupCommit[Unit, str]]:
    async with GroupCommit[Unit, str](
        executor, name="test", clock=clock or NoClock(), rng=random.Random(1)
    ) as group_commit:
        yield group_commit


async def held(executor: Executor, group_commit: GroupCommit[Unit, str]) -> asyncio.Task[list[str]]:
    """A first group is in flight and stays there."""
    executor.go.clear()
    task = asyncio.create_task(group_commit.commit([Unit("first")]))
    await executor.called.wait()
    return task


async def queued(group_commit: GroupCommit[Unit, str], *units: Unit) -> list[asyncio.Task[list[str]]]:
    tasks = [asyncio.create_task(group_commit.commit([unit])) for unit in units]
    await asyncio.sleep(0)
    return tasks


async def test_what_waits_while_a_group_is_in_flight_is_the_next_group() -> None:
    executor = Executor()
    async with commits(executor) as group_commit:
        first = await held(executor, group_commit)
        tasks = await queued(group_commit, *(Unit(str(n)) for n in range(5)))
        executor.go.set()
        assert await asyncio.gather(*tasks) == [[f"done {n}"] for n in range(5)]
        assert await first == ["done first"]
    assert executor.groups == [["first"], ["0", "1", "2", "3", "4"]]


async def test_a_group_holds_two_thousand_records_or_eight_mebibytes() -> None:
    executor = Executor()
    async with commits(executor) as group_commit:
        await held(executor, group_commit)
        tasks = await queued(
            group_commit,
            Unit("a", records=1_500),
            Unit("b", records=500),
            Unit("c", size=5 << 20),
            Unit("d", size=3 << 20),
            Unit("e"),
        )
        executor.go.set()
        await asyncio.gather(*tasks)
    assert executor.groups == [["first"], ["a", "b"], ["c", "d"], ["e"]]


async def test_units_with_a_key_in_common_go_in_different_groups_in_order() -> None:
    executor = Executor()
    async with commits(executor) as group_commit:
        await held(executor, group_commit)
        tasks = await queued(
            group_commit,
            Unit("a1", keys="a"),
            Unit("a2", keys="a"),
            Unit("b1", keys="b"),
            Unit("ab", keys="ab"),
            Unit("b2", keys="b"),
            Unit("c1", keys="c"),
        )
        executor.go.set()
        await asyncio.gather(*tasks)
    assert executor.groups == [["first"], ["a1", "b1", "c1"], ["a2"], ["ab"], ["b2"]]


async def test_a_full_queue_refuses_and_keeps_nothing_of_what_it_refused() -> None:
    executor = Executor()
    async with commits(executor) as group_commit:
        await held(executor, group_commit)
        tasks = [await queued(group_commit, Unit(str(n), records=2_000)) for n in range(4)]
        with pytest.raises(LogFull):
            await group_commit.commit([Unit("over", records=1_001), Unit("over too", records=1_000)])
        tasks.append(await queued(group_commit, Unit("fits", records=2_000)))
        with pytest.raises(LogFull):
            await group_commit.commit([Unit("one more")])
        executor.go.set()
        for task in tasks:
            await asyncio.gather(*task)
        assert await group_commit.commit([Unit("later")]) == ["done later"]
    assert "over" not in {name for group in executor.groups for name in group}


async def test_a_queue_of_thirty_two_mebibytes_is_full_too() -> None:
    executor = Executor()
    async with commits(executor) as group_commit:
        await held(executor, group_commit)
        tasks = await queued(group_commit, *(Unit(str(n), size=8 << 20) for n in range(4)))
        with pytest.raises(LogFull):
            await group_commit.commit([Unit("over")])
        executor.go.set()
        await asyncio.gather(*tasks)


async def test_a_unit_that_no_group_can_hold_is_refused() -> None:
    async with commits(Executor()) as group_commit:
        for unit in (Unit("long", records=2_001), Unit("large", size=(8 << 20) + 1)):
            with pytest.raises(ValueError, match="fits no group"):
                await group_commit.commit([unit])


@pytest.mark.parametrize("error", [asyncpg.DataError, asyncpg.CheckViolationError, asyncpg.RaiseError])
async def test_a_bad_unit_fails_alone(error: type[asyncpg.PostgresError]) -> None:
    executor = Executor(lambda names: error("bad") if "bad" in names else None)
    async with commits(executor) as group_commit:
        await held(executor, group_commit)
        good, bad, other = await queued(group_commit, Unit("good"), Unit("bad"), Unit("other"))
        executor.go.set()
        assert await good == ["done good"]
        assert await other == ["done other"]
        with pytest.raises(error):
            await bad
    assert executor.groups == [["first"], ["good", "bad", "other"], ["good"], ["bad"], ["other"]]


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(),
        TimeoutError(),
        asyncpg.ConnectionDoesNotExistError("gone"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
        asyncpg.AdminShutdownError("terminating"),
        asyncpg.CannotConnectNowError("starting up"),
        asyncpg.LockNotAvailableError("lock timeout"),
        asyncpg.DiskFullError("no space"),
        asyncpg.DeadlockDetectedError("deadlock"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_unknown_outcome_is_asked_again_with_the_same_units(error: Exception) -> None:
    failures = iter([error, error])
    executor, clock = Executor(lambda names: next(failures, None)), NoClock()
    async with commits(executor, clock) as group_commit:
        assert await group_commit.commit([Unit("a"), Unit("b")]) == ["done a", "done b"]
    assert executor.groups == [["a", "b"]] * 3
    assert len(clock.slept) == 2


async def test_retries_are_bounded_with_growing_pauses_and_the_next_unit_goes_on() -> None:
    executor, clock = Executor(lambda names: ConnectionResetError() if "a" in names else None), NoClock()
    async with commits(executor, clock) as group_commit:
        with pytest.raises(LogUnavailable):
            await group_commit.commit([Unit("a")])
        assert await group_commit.commit([Unit("b")]) == ["done b"]
    assert len(clock.slept) == 7
    assert clock.slept[-1] > 10 * clock.slept[0]
    assert sum(clock.slept) < 15


async def test_leaving_waits_for_what_was_accepted_and_takes_no_more() -> None:
    executor = Executor()
    async with commits(executor) as group_commit:
        await held(executor, group_commit)
        tasks = await queued(group_commit, Unit("a"), Unit("b"))
        executor.go.set()
    assert executor.groups == [["first"], ["a", "b"]]
    assert await asyncio.gather(*tasks) == [["done a"], ["done b"]]
    with pytest.raises(RuntimeError, match="not running"):
        await group_commit.commit([Unit("late")])


async def test_a_caller_that_goes_away_harms_nobody() -> None:
    executor = Executor()
    async with commits(executor) as group_commit:
        await held(executor, group_commit)
        gone, stays = await queued(group_commit, Unit("gone"), Unit("stays"))
        gone.cancel()
        executor.go.set()
        assert await stays == ["done stays"]
