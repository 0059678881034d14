"""What the log gives and takes, as small protocols: PostgreSQL implements them, memory implements them, and whoever
uses the log is handed one of the two."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple, Protocol
from uuid import UUID

from shared.events.record import Draft


class Place(NamedTuple):
    """Where a record stands. Positions count from 1, without a gap."""

    topic: str
    partition: int
    position: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.position}"

    @classmethod
    def parse(cls, text: str) -> Place:
        """The inverse of ``str``; raises ``ValueError`` for anything else."""
        topic, partition, position = text.split("/")
        return cls(topic, int(partition), int(position))


class Verdict(StrEnum):
    """What became of one record of an append."""

    STORED = "s"
    DUPLICATE = "d"
    CONFLICT = "c"
    VERSION_MOVED = "v"


class Outcome(NamedTuple):
    """``place`` is the record's own (stored), the first one's (duplicate, conflict), or none (version moved)."""

    verdict: Verdict
    place: Place | None
    recorded_at: datetime | None


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as it stands in the log."""

    place: Place
    tenant: str
    recorded_at: datetime
    body: bytes


Cut = Mapping[str, Sequence[int]]
"""For each topic the last position of each partition."""


SETTLED_AFTER = timedelta(minutes=1)
"""Nothing lands at an instant any more after it: a transaction ends within 30 s of its stamp."""


class LogFull(Exception):
    """The appender's queue is full: try again later (HTTP 503 with Retry-After)."""


class LogUnavailable(Exception):
    """The database did not answer within the bounded retries. The outcome is unknown: send the same drafts again."""


class CutTooRecent(ValueError):
    """A cut was asked for at an instant less than a minute ago, at which records may still land."""

    def __init__(self, instant: datetime) -> None:
        super().__init__(f"{instant.isoformat()} is less than a minute ago; name a record, or the head")


def command_stream(unit: Sequence[Draft]) -> UUID | None:
    """The stream of a unit that is a command; ``None`` for facts. Raises ``ValueError`` for a unit that is neither."""
    if len({draft.topic for draft in unit}) > 1:
        raise ValueError("the drafts of one append belong to one topic")
    streams = {draft.stream for draft in unit}
    if len(streams) > 1:
        raise ValueError("the drafts of a command belong to one stream")
    stream = next(iter(streams), None)
    if stream is not None and len({draft.id_hash for draft in unit}) < len(unit):
        raise ValueError("the drafts of a command have an id each")
    return stream


def first_of_each_id(drafts: Sequence[Draft]) -> dict[UUID, int]:
    """Where each id occurs first in one call. Raises ``ValueError`` for drafts of two topics, and for a command that
    gives one id to two contents."""
    if len({draft.topic for draft in drafts}) > 1:
        raise ValueError("the drafts of one append belong to one topic")
    first: dict[UUID, int] = {}
    for n, draft in enumerate(drafts):
        sent = drafts[first.setdefault(draft.id_hash, n)]
        if draft.stream is not None and (draft.stream, draft.content_hash) != (sent.stream, sent.content_hash):
            raise ValueError("a command gives one id to two contents")
    return first


class LogWriter(Protocol):
    """Appends to topics that the caller's service owns."""

    async def append(self, unit: Sequence[Draft], *, floor: datetime | None = None) -> list[Outcome]:
        """Append one unit: all drafts of one topic; facts are independent of each other, the drafts of one command
        (those with a stream) are all or nothing. ``floor``: the greatest ``recorded_at`` among the causes.

        Returns one outcome per draft, in order, once what is stored is committed. Raises :class:`LogFull`.
        A retry of an unknown outcome sends the same drafts.
        """
        ...


class LogReader(Protocol):
    """Reads committed records. Over one tenant (request handlers) or over all (consumers), by construction."""

    async def page(
        self, topic: str, partition: int, after: int, limit: int, *, upto: int | None = None
    ) -> list[Stored]:
        """Records with position in ``(after, upto]``, in order, at most ``limit``. Over all tenants, contiguous."""
        ...

    async def heads(self) -> dict[str, list[int]]:
        """The head of every partition of every topic, from one snapshot."""
        ...

    async def by_identity(self, topic: str, identity: UUID) -> Stored | None:
        """The record with this identity (:func:`shared.kernel.identity.id_hash`)."""
        ...

    async def at(self, place: Place) -> Stored | None:
        """The record at a place."""
        ...

    async def stream(self, topic: str, stream: UUID) -> list[Stored]:
        """A stream's records, in version order (with its length as the version)."""
        ...

    def correlated(self, tenant: str, correlation_id: str) -> AsyncIterator[Stored]:
        """Records of a tenant that carry this correlation id, by recorded_at. A scan: for people, not for hot paths."""
        ...


class Epoch(NamedTuple):
    """The epoch fences Kafka messages of a time before a restore; the generation names the tree."""

    epoch: int
    generation: int
