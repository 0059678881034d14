"""The consumer's loop: each record's effects exactly once, whatever Kafka repeats, reorders, loses or never had.

Two things feed it. Kafka's messages come through :meth:`ConsumerLoop.deliver`. :meth:`ConsumerLoop.run` compares the
marks with the log's heads every second and reads from the log what Kafka did not bring: after a start, a long absence,
a lost tail, or without any broker. Both end in the same step: lock the marks, take what follows them without a gap (at
hand, or from the log), handle it, move the marks, append, commit. So the mark decides, and nothing else needs to be
right. docs/decisions/0030 to 0032 say why it is built like this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

import structlog

from shared.eventlog.model import Place
from shared.events.catalogue import PARTITIONS
from shared.events.record import Draft
from shared.messaging.batch import BEHIND, Wanted, decode, missing, refused, set_aside, wanted
from shared.messaging.consumer import Consumer, Received
from shared.messaging.deadletters import DeadLetterLimit
from shared.messaging.pause import Backoff, pause
from shared.messaging.ports import DeadLetter, Gap, Message, Partition, Standing, Store, Transaction
from shared.runtime.clock import Clock

CHECK_EVERY_S = 1.0
CHECK_SOON_S = 0.25
"""Between two looks at the heads while the log is what feeds us."""
PATIENCE_S = 2.0
"""How long a partition of ours may stand still behind its head before the log is read instead of waiting for Kafka."""
PATIENCE_OTHERS_S = 10.0
"""The same for a partition that another member of the group has: if nobody moves it, somebody must."""
JUMP_MAX = 20_000
"""Records missing before a message; beyond it the partition is fed from the log until it has caught up."""
ATTEMPTS_MAX = 8
"""Of one batch in a row, over some ten seconds; then it is left to the log."""
ALIVE_S = 5.0
"""Without a look at the heads or a step for so long the consumer is not ready."""

_log = structlog.get_logger(__name__)


class _Refused(Exception):
    """The handler or the database refused something in a piece of ``records`` records."""

    def __init__(self, records: int) -> None:
        super().__init__(records)
        self.records = records


@dataclass
class Counters:
    """What happened since the start of the process."""

    applied: int = 0
    repeated: int = 0
    """Messages at or below the mark."""
    from_log: int = 0
    """Records that were read from the log because no message had brought them."""
    old_epoch: int = 0
    unreadable: int = 0
    """Messages whose headers do not parse. The log has the record."""
    beyond_head: int = 0
    """Messages at positions that the log does not have: forged, or the database was rolled back."""
    dead_letters: int = 0


@dataclass
class _Piece:
    """What one step took: contiguous records of some partitions, and where the marks stand after them."""

    records: list[tuple[Place, bytes]] = field(default_factory=list)
    marks: dict[Partition, int] = field(default_factory=dict)
    finished: list[Partition] = field(default_factory=list)
    from_log: int = 0


class ConsumerLoop:
    """Runs one :class:`Consumer` over a store.

    ``assigned`` answers the partitions that Kafka gave to this process, ``None`` while it has not joined the group.
    ``appended`` is told each topic that a committed batch appended to: it wakes the relay of the same process.
    """

    def __init__(
        self,
        consumer: Consumer,
        store: Store,
        *,
        epoch: int,
        clock: Clock,
        random: Random,
        assigned: Callable[[], Collection[Partition] | None] = lambda: None,
        appended: Callable[[str], None] = lambda _topic: None,
    ) -> None:
        self._consumer = consumer
        self._store = store
        self._epoch = epoch
        self._clock = clock
        self._random = random
        self._assigned = assigned
        self._appended = appended
        self._topics = frozenset(consumer.topics)
        self._busy = asyncio.Lock()
        self._nudge = asyncio.Event()
        self._ending = asyncio.Event()
        self._limit = DeadLetterLimit()
        self._log_fed: set[Partition] = set()
        self._still: dict[Partition, tuple[int, float]] = {}
        # Partitions that the log fed last: nothing has come from Kafka for them since.
        self._quiet = {Partition(topic, number) for topic in consumer.topics for number in range(PARTITIONS)}
        self._standing: list[Standing] = []
        self._open_dead_letters = 0
        self._alive_at: float | None = None
        self._step_fault: str | None = None
        self._check_fault: str | None = None
        self.stopped_because: str | None = None
        self.counters = Counters()

    # --- fed by Kafka ---

    async def deliver(self, messages: Sequence[Message], unreadable: int = 0) -> bool:
        """Take a batch of messages; returns once their effects are committed (true: acknowledge), or when they are
        left to the log (false: it will be read instead, so nothing is lost by going on)."""
        self.counters.unreadable += unreadable
        current = [m for m in messages if m.epoch == self._epoch and m.partition.topic in self._topics]
        self.counters.old_epoch += len(messages) - len(current)
        if self._ended:
            return False
        fresh = wanted(current)
        self.counters.repeated += len(current) - sum(len(want.bodies) for want in fresh.values())
        self._quiet -= fresh.keys()
        for partition in self._log_fed & fresh.keys():
            del fresh[partition]
        if not await self._apply(fresh):
            self._log_fed |= fresh.keys()
            self._nudge.set()
            return False
        return True

    # --- fed by the log ---

    async def run(self) -> None:
        """Compare marks with heads and catch up from the log, until stopped or until the dead letters are too many."""
        backoff = Backoff(self._random)
        while not self._ended:
            self._nudge.clear()
            try:
                worked = await self._check()
                self._check_fault = None
                backoff.reset()
            except Exception as error:
                self._check_fault = self._fault(error, self._check_fault)
                await pause(self._ending, backoff.next_s())
                continue
            if not worked:
                await pause(self._nudge, CHECK_SOON_S if self._assigned() is None else CHECK_EVERY_S)

    def stop(self) -> None:
        """Finish the step in hand and return from :meth:`run` and :meth:`deliver`."""
        self._ending.set()
        self._nudge.set()

    async def _check(self) -> bool:
        """One look at marks and heads; returns whether something was read from the log."""
        self._standing = await self._store.standing()
        self._open_dead_letters = await self._store.open_dead_letters()
        now = self._clock.monotonic()
        self._alive_at = now
        piece = self._consumer.batch_records_max
        due = {}
        for partition, mark, head, _ in (standing for standing in self._standing if self._is_due(standing, now)):
            due[partition] = Wanted(min(head, mark + piece))
            # Kafka takes over with the last piece: what arrives from now on is handled, what came before is in the log.
            if head - mark > piece:
                self._log_fed.add(partition)
            else:
                self._log_fed.discard(partition)
        self._quiet |= due.keys()
        return bool(due) and await self._apply(due)

    def _is_due(self, standing: Standing, now: float) -> bool:
        partition = standing.partition
        if standing.mark >= standing.head:
            self._still.pop(partition, None)
            self._log_fed.discard(partition)
            return False
        mark, since = self._still.get(partition, (-1, now))
        if mark != standing.mark:
            since = now
        self._still[partition] = (standing.mark, since)
        return partition in self._log_fed or now - since >= self._patience_s(partition)

    def _patience_s(self, partition: Partition) -> float:
        assigned = self._assigned()
        if assigned is not None and partition not in assigned:
            return PATIENCE_OTHERS_S
        return 0.0 if partition in self._quiet else PATIENCE_S

    # --- applying ---

    async def _apply(self, todo: dict[Partition, Wanted]) -> bool:
        """Bring every partition to where it is wanted; false if that was given up after bounded attempts.

        A step that fails is tried again at half its size. So a bad record is soon alone, and a batch that is too heavy
        for one transaction becomes several; each success doubles the size again.
        """
        size_max = self._consumer.batch_records_max
        size, isolate, attempts = size_max, False, 0
        backoff = Backoff(self._random)
        while todo and not self._ended:
            try:
                async with self._busy:
                    await self._step(todo, size, isolate)
            except _Refused as refusal:
                isolate = refusal.records == 1
                size = max(1, refusal.records // 2)
                continue
            except Gap as gap:
                self._halt(f"the log has a gap: {gap}")
                return False
            except Exception as error:
                self._step_fault = self._fault(error, self._step_fault)
                attempts += 1
                if attempts == ATTEMPTS_MAX:
                    return False
                size = max(1, size // 2)
                await pause(self._ending, backoff.next_s())
                continue
            self._step_fault = None
            self._alive_at = self._clock.monotonic()
            backoff.reset()
            size, isolate, attempts = min(2 * size, size_max), False, 0
        return not todo

    async def _step(self, todo: dict[Partition, Wanted], size: int, isolate: bool) -> None:
        """One transaction of at most ``size`` records. What has come as far as it is wanted leaves ``todo``.

        ``isolate``: there is one record, it was refused before, and it is now set aside if it is refused again.
        """
        async with self._store.transaction(sorted(todo)) as tx:
            piece = await self._take(tx, todo, size)
            items = await self._readable(tx, [decode(place, body) for place, body in piece.records])
            if piece.marks:
                await tx.advance(piece.marks)
            records = [item for item in items if isinstance(item, Received)]
            letters = [item for item in items if isinstance(item, DeadLetter)]
            drafts: Mapping[str, Sequence[Draft]] = {}
            if records and isolate:
                drafts, refusal = await self._handle_alone(tx, records[0])
                letters += refusal
            elif records:
                drafts = await self._handle(tx, records)
            if letters:
                await tx.bury(letters)
        for partition in piece.finished:
            del todo[partition]
        self._count(piece, letters)
        for topic in drafts:
            self._appended(topic)

    async def _take(self, tx: Transaction, todo: dict[Partition, Wanted], size: int) -> _Piece:
        """What follows the marks without a gap, at most ``size`` records: at hand, or else from the log."""
        piece = _Piece()
        for partition in sorted(todo):
            mark, head = tx.marks[partition]
            want = todo[partition]
            if not want.trimmed:
                repeated, beyond = want.trim(mark, head)
                self.counters.repeated += repeated
                self.counters.beyond_head += beyond
            upto = min(want.upto, head)
            if want.bodies and upto - mark - len(want.bodies) > JUMP_MAX:
                self._log_fed.add(partition)
                self._nudge.set()
                piece.finished.append(partition)
                continue
            end = min(upto, mark + size - len(piece.records))
            if end > mark:
                piece.from_log += await self._fill(tx, partition, mark, end, want.bodies)
                topic, number = partition
                piece.records += [(Place(topic, number, n), want.bodies[n]) for n in range(mark + 1, end + 1)]
                piece.marks[partition] = end
            if end >= upto:
                piece.finished.append(partition)
        return piece

    async def _fill(self, tx: Transaction, partition: Partition, mark: int, end: int, bodies: dict[int, bytes]) -> int:
        count = 0
        for after, upto in missing(mark, end, bodies):
            page = await tx.page(partition, after, upto)
            bodies.update(enumerate(page, after + 1))
            count += len(page)
        return count

    async def _readable(self, tx: Transaction, items: list[Received | DeadLetter]) -> list[Received | DeadLetter]:
        """Before a record counts as unreadable its bytes are taken from the log, in case the message was damaged; for
        an ordered consumer, what is behind a dead letter joins it."""
        for n, item in enumerate(items):
            if isinstance(item, DeadLetter) and item.reason == "unreadable":
                topic, number, position = item.place
                items[n] = decode(item.place, (await tx.page(Partition(topic, number), position - 1, position))[0])
        if not self._consumer.ordered:
            return items
        streams = {item.stream for item in items if isinstance(item, Received)} - {None}
        blocked = await tx.blocked([stream for stream in streams if stream is not None])
        return set_aside(items, blocked)

    async def _handle(self, tx: Transaction, records: Sequence[Received]) -> Mapping[str, Sequence[Draft]]:
        """Effects and appends; what is about the records becomes a :class:`_Refused`."""
        try:
            drafts = await self._consumer.handler.handle(tx.handle, records)
            if drafts:
                await tx.append(drafts, max(record.recorded_at for record in records))
            return drafts
        except Exception as error:
            if self._store.blames_record(error):
                raise _Refused(len(records)) from error
            raise

    async def _handle_alone(
        self, tx: Transaction, record: Received
    ) -> tuple[Mapping[str, Sequence[Draft]], list[DeadLetter]]:
        try:
            async with tx.savepoint():
                return await self._handle(tx, [record]), []
        except _Refused as refusal:
            cause = refusal.__cause__
            assert isinstance(cause, Exception)
            _log.warning("dead letter", consumer=self._consumer.name, place=str(record.place), cause=repr(cause))
            return {}, [refused(record, cause, attempts=2)]

    # --- what is told about it ---

    def _count(self, piece: _Piece, letters: Sequence[DeadLetter]) -> None:
        counters = self.counters
        counters.applied += len(piece.records) - len(letters)
        counters.from_log += piece.from_log
        counters.dead_letters += len(letters)
        dead = sum(letter.reason != BEHIND for letter in letters)
        reason = self._limit.count(len(piece.records), dead, self._clock.monotonic())
        if reason:
            self._halt(reason)

    def _halt(self, reason: str) -> None:
        self.stopped_because = reason
        self._nudge.set()
        _log.error("consumer stopped", consumer=self._consumer.name, reason=reason)

    def _fault(self, error: Exception, before: str | None) -> str:
        """The fault in words; it is logged when it is another than before, not at every attempt."""
        fault = f"{type(error).__name__}: {error}"
        if fault != before:
            _log.warning("consumer waits", consumer=self._consumer.name, fault=fault)
        return fault

    @property
    def _ended(self) -> bool:
        return self._ending.is_set() or self.stopped_because is not None

    @property
    def ready(self) -> bool:
        """Whether the comparison of marks and heads works, and the consumer has not stopped."""
        alive = self._alive_at is not None and self._clock.monotonic() - self._alive_at < ALIVE_S
        return alive and self.stopped_because is None

    def state(self) -> dict[str, Any]:
        """For people and for health: lag per topic in records and seconds, dead letters, faults, counters."""
        now = self._clock.now()
        lag: dict[str, dict[str, float]] = {topic: {"records": 0, "seconds": 0.0} for topic in self._consumer.topics}
        for partition, mark, head, since in self._standing:
            entry = lag[partition.topic]
            entry["records"] += head - mark
            if since is not None:
                entry["seconds"] = max(entry["seconds"], round((now - since).total_seconds(), 3))
        return {
            "consumer": self._consumer.name,
            "ready": self.ready,
            "stopped": self.stopped_because,
            "fault": self._step_fault or self._check_fault,
            "fed_by": "log" if self._assigned() is None else "kafka",
            "lag": lag,
            "dead_letters": self._open_dead_letters,
            "counters": asdict(self.counters),
        }
