"""The relay: the log is the outbox, and a relay per topic produces what is committed to Kafka, in order.

It may repeat, never skip: a mark moves only past what Kafka acknowledged, and only while the lease is ours. A relay
that was paused and wakes after another has taken over can but produce committed records again (consumers skip them);
its mark matches nothing, and it starts over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any

import orjson
import structlog

from shared.eventlog.model import Stored
from shared.messaging.pause import Backoff, pause
from shared.messaging.ports import Broker, News, Outgoing, Partition, RelayMarks
from shared.runtime.clock import Clock

LEASE_S = 10.0
RENEW_AFTER_S = 3.0
STANDBY_S = 1.0
"""Between two looks at a lease that another owner holds."""
POLL_FIRST_S, POLL_MAX_S = 0.005, 0.025
IDLE_S = 1.0
"""A relay that has polled in vain up to the longest poll waits to be woken, by the appender or the :class:`Watch`."""
RECORDS_MAX = 2_000
BYTES_MAX = 4 * 1024 * 1024
"""Per partition and turn."""

_log = structlog.get_logger(__name__)


class NotContiguous(Exception):
    """The log has no record at a position below its head: nothing may be relayed past it."""


def check_contiguous(news: News, page: Sequence[Stored]) -> None:
    """Raise :class:`NotContiguous` unless ``page`` continues the mark without a gap."""
    if not page:
        raise NotContiguous(
            f"partition {news.partition}: no record after {news.mark}, although the head is {news.head}"
        )
    for expected, stored in enumerate(page, news.mark + 1):
        if stored.place.position != expected:
            raise NotContiguous(f"partition {news.partition}: expected {expected}, found {stored.place.position}")


def outgoing(page: Sequence[Stored], epoch: int) -> Iterator[Outgoing]:
    """The messages of a page: the record's bytes as value, its place and what it is as headers (names as in
    CloudEvents' binding to Kafka)."""
    epoch_text = b"%d" % epoch
    for stored in page:
        fields = orjson.loads(stored.body)
        headers = [
            ("pl-epoch", epoch_text),
            ("pl-position", b"%d" % stored.place.position),
            ("ce_id", fields["id"].encode()),
            ("ce_type", fields["type"].encode()),
            ("ce_source", fields["source"].encode()),
            ("ce_tenant", stored.tenant.encode()),
        ]
        yield Outgoing(int(stored.recorded_at.timestamp() * 1000), headers, stored.body)


class Relay:
    """Relays one topic, in the service that writes it. ``owner`` is new at each start of a process."""

    def __init__(
        self,
        topic: str,
        marks: RelayMarks,
        broker: Broker,
        *,
        owner: str,
        epoch: int,
        clock: Clock,
        random: Random,
    ) -> None:
        self.topic = topic
        self._marks = marks
        self._broker = broker
        self._owner = owner
        self._epoch = epoch
        self._clock = clock
        self._random = random
        self._news = asyncio.Event()
        self._ending = asyncio.Event()
        self._token: int | None = None
        self._renewed_at = 0.0
        self._behind = 0
        self._fault: str | None = None
        self.relayed = 0
        self.stopped_because: str | None = None

    def wake(self) -> None:
        """Something was appended in this process: look at once instead of at the next poll."""
        self._news.set()

    def stop(self) -> None:
        """Finish the turn in hand and return from :meth:`run`."""
        self._ending.set()
        self._news.set()

    async def run(self) -> None:
        """Relay until stopped; or until the log has a gap, which is an alarm."""
        backoff, idle_s = Backoff(self._random), POLL_FIRST_S
        while not self._ending.is_set():
            self._news.clear()
            try:
                if not await self._hold_lease():
                    await pause(self._ending, STANDBY_S * self._random.uniform(0.8, 1.2))
                    continue
                worked = await self._turn()
            except NotContiguous as gap:
                self.stopped_because = str(gap)
                _log.critical("relay stopped: the log has a gap", topic=self.topic, gap=str(gap))
                return
            except Exception as error:
                self._note_fault(error)
                await pause(self._ending, backoff.next_s())
                continue
            self._fault = None
            backoff.reset()
            idle_s = POLL_FIRST_S if worked else 2 * idle_s
            await pause(self._news, idle_s if idle_s <= POLL_MAX_S else IDLE_S)
        await self._release()

    def _note_fault(self, error: Exception) -> None:
        fault = f"{type(error).__name__}: {error}"
        if fault != self._fault:
            _log.warning("relay waits", topic=self.topic, fault=fault)
        self._fault = fault

    async def _hold_lease(self) -> bool:
        now = self._clock.monotonic()
        if self._token is None or now - self._renewed_at >= RENEW_AFTER_S:
            self._token = await self._marks.take_lease(self.topic, self._owner, LEASE_S)
            self._renewed_at = now
        return self._token is not None

    async def _turn(self) -> bool:
        """Produce one page of every partition that has news, then move the marks of those that Kafka acknowledged."""
        news = await self._marks.news(self.topic)
        self._behind = sum(head - mark for _, mark, head in news)
        if not news:
            return False
        pages = await self._marks.pages(self.topic, news, RECORDS_MAX, BYTES_MAX)
        for entry in news:
            check_contiguous(entry, pages.get(entry.partition, ()))
        results = await asyncio.gather(
            *(self._produce(partition, page) for partition, page in pages.items()), return_exceptions=True
        )
        failures = [result for result in results if isinstance(result, BaseException)]
        moves = {
            entry.partition: (entry.mark, pages[entry.partition][-1].place.position)
            for entry, result in zip(news, results, strict=True)
            if result is None
        }
        if moves:
            await self._move(moves)
        if failures:
            raise failures[0]
        return True

    async def _produce(self, partition: int, page: Sequence[Stored]) -> None:
        await self._broker.produce(Partition(self.topic, partition), outgoing(page, self._epoch))

    async def _move(self, moves: dict[int, tuple[int, int]]) -> None:
        assert self._token is not None
        moved = await self._marks.move(self.topic, self._token, moves)
        self.relayed += sum(new - old for old, new in moves.values())
        if moved < len(moves):
            _log.warning("relay lost its lease", topic=self.topic, owner=self._owner)
            self._token = None

    async def _release(self) -> None:
        """Let the next process begin at once; if that fails it waits for the lease to end."""
        try:
            await self._marks.release_lease(self.topic, self._owner)
        except Exception as error:
            _log.info("lease not released", topic=self.topic, cause=repr(error))

    def state(self) -> dict[str, Any]:
        """For people and for health."""
        return {
            "topic": self.topic,
            "lease": self._token is not None,
            "behind": self._behind,
            "relayed": self.relayed,
            "fault": self._fault,
            "stopped": self.stopped_because,
        }


class Watch:
    """Looks for news of all topics of a process in one query, and wakes the relays that have some.

    Appends of this process wake their relay themselves; this finds those of other processes. One query for all: with
    one per topic and poll, the relays of nine topics with nothing to do kept 15 % of a core busy.
    """

    def __init__(self, relays: Mapping[str, Relay], marks: RelayMarks, *, random: Random) -> None:
        self._relays = relays
        self._marks = marks
        self._random = random
        self._ending = asyncio.Event()

    def stop(self) -> None:
        """Return from :meth:`run`."""
        self._ending.set()

    async def run(self) -> None:
        """Watch until stopped."""
        backoff = Backoff(self._random)
        while not self._ending.is_set():
            try:
                for topic in await self._marks.with_news(list(self._relays)):
                    self._relays[topic].wake()
                backoff.reset()
                await pause(self._ending, POLL_MAX_S)
            except Exception as error:
                _log.warning("no look at the log's heads", cause=repr(error))
                await pause(self._ending, backoff.next_s())
