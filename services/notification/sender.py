"""Delivery: claims what is due, calls, writes what came of it.

``sending`` is committed before the call, and the answer after it. Whoever dies in between leaves an attempt whose
outcome nobody knows, and the message is sent again under the same id. Receivers that hang or fail have room of their
own (:mod:`~services.notification.domain.lanes`), so they hold up nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any, Protocol, TypeVar

import structlog

from services.notification.domain.attempts import Answer, Sending, Settled, settle, settle_unknown
from services.notification.domain.lanes import Lanes, Limits
from services.notification.domain.retry import RetryPolicy
from shared.runtime.clock import Clock

EAGER_S = (0.002, 0.004, 0.008, 0.016, 0.032, 0.064)
"""Pauses after a wake: it is heard just before the transaction commits that plans the messages."""
IDLE_S = 0.25
"""Pause when there is nothing to do: retries become due, another process plans."""
LOST_AFTER_S = 60.0
"""An attempt under way for so long belongs to a process that died: every call is bounded far below."""
LOST_CHECK_S = 5.0
DRAIN_S = 5.0
_STALE_S = 10.0
_BACKOFF_FIRST_S, _BACKOFF_MAX_S = 0.05, 2.0

T = TypeVar("T")
_log = structlog.get_logger(__name__)


class OutboxPort(Protocol):
    """What the sender needs of the database (:class:`services.notification.store.Outbox`)."""

    async def claim(self, now: datetime, limit: int, per_tenant: int, room: Mapping[str, int]) -> list[Sending]: ...

    async def started(self, before: datetime, now: datetime) -> list[Sending]: ...

    async def settle(self, results: Sequence[Settled]) -> None: ...


class CallerPort(Protocol):
    """Makes one call and never raises (:class:`services.notification.webhook.Caller`)."""

    async def call(self, sending: Sending) -> Answer: ...


class Sender:
    """Delivers until it is stopped. ``on_settled`` is called after records were appended: it wakes the relay."""

    def __init__(
        self,
        outbox: OutboxPort,
        caller: CallerPort,
        *,
        clock: Clock,
        rng: Random,
        on_settled: Callable[[], None] = lambda: None,
        policy: RetryPolicy = RetryPolicy(),
        limits: Limits = Limits(),
    ) -> None:
        self._outbox = outbox
        self._caller = caller
        self._clock = clock
        self._rng = rng
        self._on_settled = on_settled
        self._policy = policy
        self._limits = limits
        self._lanes = Lanes(limits, rng)
        self._wake = asyncio.Event()
        self._eager = 0
        self._over: asyncio.Queue[Settled] = asyncio.Queue()
        """Bounded by what may be on its way at once."""
        self._calls: set[asyncio.Task[None]] = set()
        self._mine: set[tuple[str, str]] = set()
        """Intents claimed here and not settled yet, however long the database has been away."""
        self._stopping = False
        self._worked_at: dict[str, float] = {}

    def wake(self) -> None:
        """Something is about to be planned."""
        self._eager = 0
        self._wake.set()

    async def run(self) -> None:
        """Deliver. Database trouble is waited out; returns after :meth:`stop`, when what was on its way is settled."""
        await self._persist("recover", lambda: self._give_up_lost(self._clock.now()))
        lost = asyncio.create_task(self._watch_lost())
        writing = asyncio.create_task(self._write())
        try:
            await self._claim_until_stopped()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DRAIN_S):
                    while self._calls:
                        await asyncio.wait(self._calls)
                    await self._over.join()
        finally:
            for task in (lost, writing, *self._calls):
                task.cancel()
            await asyncio.gather(lost, writing, *self._calls, return_exceptions=True)

    def stop(self) -> None:
        """Claim nothing more; :meth:`run` returns within a few seconds."""
        self._stopping = True
        self._wake.set()

    def state(self) -> dict[str, Any]:
        """For readiness: whether both halves are at work, and what is on its way."""
        now = self._clock.monotonic()
        stuck = [name for name in ("claim", "write") if now - self._worked_at.get(name, float("-inf")) > _STALE_S]
        return {
            "ok": not stuck,
            "stuck": stuck,
            "on_the_way": len(self._calls),
            "failing_receivers": self._lanes.failing,
        }

    # --- claim and call ---

    async def _claim_until_stopped(self) -> None:
        while not self._stopping:
            self._wake.clear()
            if not await self._persist("claim", self._claim):
                await self._pause()

    async def _claim(self) -> bool:
        """Start what may start now; whether there was anything."""
        limit, room = self._lanes.room(self._clock.monotonic())
        if limit == 0:
            return False
        claimed = await self._outbox.claim(self._clock.now(), limit, self._limits.per_tenant, room)
        self._lanes.started(sending.tenant for sending in claimed)
        for sending in claimed:
            task = asyncio.create_task(self._deliver(sending))
            self._calls.add(task)
            task.add_done_callback(self._calls.discard)
            self._mine.add((sending.tenant, sending.intent))
        return bool(claimed)

    async def _pause(self) -> None:
        seconds = EAGER_S[self._eager] if self._eager < len(EAGER_S) else IDLE_S
        self._eager += 1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _deliver(self, sending: Sending) -> None:
        answer = await self._caller.call(sending)
        self._lanes.finished(sending.tenant, answer.reason is None, self._clock.monotonic())
        if answer.reason is not None:
            _log.info(
                "message not taken",
                tenant=sending.tenant,
                intent=sending.intent,
                attempt=sending.attempt,
                reason=answer.reason,
            )
        self._over.put_nowait(settle(sending, answer, self._clock.now(), self._policy, self._rng))

    # --- write what came of it ---

    async def _write(self) -> None:
        """Whatever ends while one transaction commits is written by the next one."""
        while True:
            self._worked_at["write"] = self._clock.monotonic()
            try:
                async with asyncio.timeout(_STALE_S / 2):
                    results = [await self._over.get()]
            except TimeoutError:
                continue
            while not self._over.empty():
                results.append(self._over.get_nowait())
            await self._settle(results)
            for _ in results:
                self._over.task_done()

    async def _settle(self, results: Sequence[Settled]) -> None:
        await self._persist("write", lambda: self._outbox.settle(results))
        self._mine.difference_update((result.sending.tenant, result.sending.intent) for result in results)
        self._on_settled()
        self._wake.set()  # the next message of each of these discrepancies may go now

    # --- attempts that nobody will answer for ---

    async def _watch_lost(self) -> None:
        while True:
            await self._clock.sleep(LOST_CHECK_S)
            before = self._clock.now() - timedelta(seconds=LOST_AFTER_S)
            await self._persist("recover", lambda: self._give_up_lost(before))  # noqa: B023 - awaited right here

    async def _give_up_lost(self, before: datetime) -> None:
        now = self._clock.now()
        while lost := [s for s in await self._outbox.started(before, now) if (s.tenant, s.intent) not in self._mine]:
            _log.warning("outcome unknown, sending again", messages=len(lost))
            await self._outbox.settle([settle_unknown(sending, now, self._policy) for sending in lost])
            self._on_settled()
        self._wake.set()

    async def _persist(self, name: str, work: Callable[[], Awaitable[T]]) -> T | None:
        """Do ``work`` until it succeeds, backing off with jitter while the database is away; ``None`` once stopped."""
        wait_s = _BACKOFF_FIRST_S
        while True:
            try:
                result = await work()
            except Exception as error:
                _log.warning("sender waits", step=name, error=f"{type(error).__name__}: {error}")
                if self._stopping and name == "claim":
                    return None
                await self._clock.sleep(self._rng.uniform(0, wait_s))
                wait_s = min(2 * wait_s, _BACKOFF_MAX_S)
            else:
                self._worked_at[name] = self._clock.monotonic()
                return result
