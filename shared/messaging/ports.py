"""What relays and consumers need of the world, as small protocols: PostgreSQL and Kafka in a service, memory and faults
in a simulation. Time comes from :class:`shared.runtime.clock.Clock` and, for waiting, from the event loop."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from shared.eventlog.model import Place, Stored
from shared.events.record import Draft


class Partition(NamedTuple):
    """One partition of one topic."""

    topic: str
    number: int


class Message(NamedTuple):
    """A message whose headers could be read. Its value is the record's bytes, not decoded yet."""

    partition: Partition
    position: int
    epoch: int
    body: bytes


class Outgoing(NamedTuple):
    """A message to produce."""

    timestamp_ms: int
    headers: list[tuple[str, bytes]]
    body: bytes


class Broker(Protocol):
    """Where the relay produces to."""

    async def produce(self, partition: Partition, messages: Iterable[Outgoing]) -> None:
        """Produce in this order; returns once every replica that must have all of them does.

        Raises anything if that is not certain: some of them may then be there, and the caller produces them again.
        """
        ...


class News(NamedTuple):
    """A partition whose relay mark is behind its head."""

    partition: int
    mark: int
    head: int


class RelayMarks(Protocol):
    """Leases and relay marks, and the records in between."""

    async def take_lease(self, topic: str, owner: str, seconds: float) -> int | None:
        """Take or renew; the token, or ``None`` while another owner holds the lease."""
        ...

    async def release_lease(self, topic: str, owner: str) -> None:
        """Give it back, if it is the owner's."""
        ...

    async def news(self, topic: str) -> list[News]:
        """The partitions that have something to relay."""
        ...

    async def with_news(self, topics: Sequence[str]) -> list[str]:
        """Those of the topics that have something to relay."""
        ...

    async def pages(
        self, topic: str, news: Sequence[News], records_max: int, bytes_max: int
    ) -> dict[int, list[Stored]]:
        """For each partition the records after its mark, in order, within the two bounds (one record at least)."""
        ...

    async def move(self, topic: str, token: int, moves: Mapping[int, tuple[int, int]]) -> int:
        """Move marks (partition -> from, to) while ``token`` is the lease's. Returns how many moved."""
        ...


class Standing(NamedTuple):
    """How far a consumer has come in one partition."""

    partition: Partition
    mark: int
    head: int
    waiting_since: datetime | None
    """``recorded_at`` of the first record after the mark."""


class DeadLetter(NamedTuple):
    """A record set aside."""

    place: Place
    tenant: str
    stream: UUID | None
    reason: str
    """``unreadable`` (its bytes), ``newer`` (a type of a later release), ``refused`` (by the handler or the database),
    ``behind`` (an earlier record of its stream is a dead letter)."""
    detail: str
    attempts: int


class Marks(NamedTuple):
    """A mark, locked, and the head that it can at most move to."""

    mark: int
    head: int


class Transaction(Protocol):
    """One transaction of a consumer, with the marks that it locked first."""

    @property
    def handle(self) -> Any:
        """What the handler works on."""
        ...

    @property
    def marks(self) -> Mapping[Partition, Marks]:
        """The locked marks."""
        ...

    async def page(self, partition: Partition, after: int, upto: int) -> list[bytes]:
        """The bodies at positions ``(after, upto]``, from the log, in order. Raises :class:`Gap` if one is missing."""
        ...

    async def blocked(self, streams: Collection[UUID]) -> set[UUID]:
        """Those of the streams that have an open dead letter; nobody replays one meanwhile."""
        ...

    async def advance(self, marks: Mapping[Partition, int]) -> None:
        """Move marks."""
        ...

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Set records aside."""
        ...

    async def append(self, drafts: Mapping[str, Sequence[Draft]], floor: datetime) -> None:
        """Append, topics in name order. Raises :class:`VersionMoved`, or ``BadRecord`` for a conflict."""
        ...

    def savepoint(self) -> AbstractAsyncContextManager[Any]:
        """What fails inside it is undone, and the transaction goes on."""
        ...


class Store(Protocol):
    """The marks, dead letters and transactions of one consumer."""

    def transaction(self, partitions: Sequence[Partition]) -> AbstractAsyncContextManager[Transaction]:
        """Begin, and lock these marks (in order) as the first statement. Leaving commits, or rolls back on an error."""
        ...

    async def standing(self) -> list[Standing]:
        """Every partition of the consumer, from one snapshot."""
        ...

    async def open_dead_letters(self) -> int:
        """How many are open."""
        ...

    def blames_record(self, error: Exception) -> bool:
        """Whether ``error`` is about the records rather than about the infrastructure."""
        ...


class VersionMoved(Exception):
    """Somebody appended to a stream after the handler had read it: decide again."""


class Gap(Exception):
    """A position below the head is not in the log: it is damaged, or this role does not see all of it."""
