"""The log in memory, for pure tests and simulation. It answers as PostgreSQL does: one behaviour suite runs on both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import orjson

from shared.eventlog.model import (
    SETTLED_AFTER,
    CutTooRecent,
    Outcome,
    Place,
    Stored,
    Verdict,
    command_stream,
    first_of_each_id,
)
from shared.events.catalogue import PARTITIONS, WRITERS
from shared.events.record import Draft, content_of
from shared.runtime.clock import Clock

_STAMP_BYTES = 27


class _Identity(NamedTuple):
    content: UUID
    place: Place


@dataclass
class _Topic:
    partitions: list[list[Stored]] = field(default_factory=lambda: [[] for _ in range(PARTITIONS)])
    identities: dict[UUID, _Identity] = field(default_factory=dict)
    streams: dict[UUID | None, list[Place]] = field(default_factory=dict)
    recorded_at: datetime | None = None


class MemoryLog:
    """Writer of every topic, and reader over all tenants; :meth:`only` gives the reader of one tenant."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._topics: dict[str, _Topic] = {topic: _Topic() for topic in WRITERS}
        self._tenant: str | None = None

    def only(self, tenant: str) -> MemoryLog:
        """The same log, seen by one tenant."""
        view = MemoryLog(self._clock)
        view._topics, view._tenant = self._topics, tenant
        return view

    async def append(self, unit: Sequence[Draft], *, floor: datetime | None = None) -> list[Outcome]:
        """See :class:`~shared.eventlog.model.LogWriter`."""
        command_stream(unit)
        return self.append_in(unit, floor)

    def append_in(self, drafts: Sequence[Draft], floor: datetime | None) -> list[Outcome]:
        """What :func:`shared.eventlog.postgres.append_in` does: facts, and one command a stream, of one topic."""
        if not drafts:
            return []
        first_of_each_id(drafts)
        stamp = self._stamp(drafts[0].topic, floor)
        streams = dict.fromkeys(draft.stream for draft in drafts if draft.stream is not None)
        refused = {stream: self._refused([d for d in drafts if d.stream == stream]) for stream in streams}
        outcomes = []
        for draft in drafts:
            command = None if draft.stream is None else refused[draft.stream]
            if command is not None:
                outcomes.append(command[draft.id_hash])
            else:
                outcomes.append(self._known(draft) or self._store(draft, stamp))
        return outcomes

    def _stamp(self, topic: str, floor: datetime | None) -> datetime:
        now = self._clock.now()
        stamp = max(filter(None, (now, self._topics[topic].recorded_at, floor)))
        if stamp > now + timedelta(seconds=60):
            raise ValueError(f"clock went back or a cause lies in the future: topic {topic}, stamp {stamp}")
        return stamp

    def _known(self, draft: Draft) -> Outcome | None:
        identity = self._topics[draft.topic].identities.get(draft.id_hash)
        if identity is None:
            return None
        said = draft.content_hash
        same = said == identity.content or said == content_of(self._at(identity.place).body)
        return Outcome(Verdict.DUPLICATE if same else Verdict.CONFLICT, identity.place, None)

    def _refused(self, command: Sequence[Draft]) -> dict[UUID, Outcome] | None:
        """The outcomes of a command by id, or ``None`` if it is to be stored."""
        known = {draft.id_hash: self._known(draft) for draft in command}
        if any(known.values()):
            again = all(outcome is not None and outcome.verdict is Verdict.DUPLICATE for outcome in known.values())
            verdict = Verdict.DUPLICATE if again else Verdict.CONFLICT
            return {key: Outcome(verdict, outcome.place if outcome else None, None) for key, outcome in known.items()}
        expected = min((draft.expected for draft in command if draft.expected is not None), default=None)
        if expected != len(self._topics[command[0].topic].streams.get(command[0].stream, ())):
            return dict.fromkeys(known, Outcome(Verdict.VERSION_MOVED, None, None))
        return None

    def _store(self, draft: Draft, stamp: datetime) -> Outcome:
        topic = self._topics[draft.topic]
        records = topic.partitions[draft.partition]
        place = Place(draft.topic, draft.partition, len(records) + 1)
        start = draft.stamp_offset - 1
        text = stamp.strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()
        body = draft.body[:start] + text + draft.body[start + _STAMP_BYTES :]
        records.append(Stored(place, draft.tenant, stamp, body))
        topic.identities[draft.id_hash] = _Identity(draft.content_hash, place)
        if draft.stream is not None:
            topic.streams.setdefault(draft.stream, []).append(place)
        topic.recorded_at = stamp
        return Outcome(Verdict.STORED, place, stamp)

    def _at(self, place: Place) -> Stored:
        return self._topics[place.topic].partitions[place.partition][place.position - 1]

    def _visible(self, record: Stored) -> bool:
        return self._tenant is None or record.tenant == self._tenant

    async def page(
        self, topic: str, partition: int, after: int, limit: int, *, upto: int | None = None
    ) -> list[Stored]:
        return [r for r in self._topics[topic].partitions[partition][after:upto] if self._visible(r)][:limit]

    async def heads(self) -> dict[str, list[int]]:
        return {name: [len(records) for records in topic.partitions] for name, topic in sorted(self._topics.items())}

    async def by_identity(self, topic: str, identity: UUID) -> Stored | None:
        found = self._topics[topic].identities.get(identity)
        return None if found is None else await self.at(found.place)

    async def at(self, place: Place) -> Stored | None:
        records = self._topics[place.topic].partitions[place.partition]
        if not 1 <= place.position <= len(records) or not self._visible(records[place.position - 1]):
            return None
        return records[place.position - 1]

    async def stream(self, topic: str, stream: UUID) -> list[Stored]:
        records = [self._at(place) for place in self._topics[topic].streams.get(stream, ())]
        return [record for record in records if self._visible(record)]

    async def correlated(self, tenant: str, correlation_id: str) -> AsyncIterator[Stored]:
        for record in sorted(self._all(), key=lambda record: (record.recorded_at, record.place)):
            if record.tenant == tenant and orjson.loads(record.body).get("correlationid") == correlation_id:
                yield record

    def _all(self) -> list[Stored]:
        return [r for topic in self._topics.values() for part in topic.partitions for r in part if self._visible(r)]

    async def cut_at(self, instant: datetime) -> dict[str, list[int]]:
        """See :meth:`shared.eventlog.postgres.PostgresLog.cut_at`."""
        if instant > self._clock.now() - SETTLED_AFTER:
            raise CutTooRecent(instant)
        return {
            name: [sum(record.recorded_at <= instant for record in records) for records in topic.partitions]
            for name, topic in sorted(self._topics.items())
        }

    async def tail(self, topic: str, after: Sequence[int], limit: int) -> tuple[list[Stored], list[int]]:
        """See :meth:`shared.eventlog.postgres.TenantLog.tail`."""
        fresh = [
            record
            for partition, position in enumerate(after)
            for record in self._topics[topic].partitions[partition][position:]
            if self._visible(record)
        ]
        records = sorted(fresh, key=lambda record: (record.recorded_at, record.place))[:limit]
        positions = list(after)
        for record in records:
            positions[record.place.partition] = record.place.position
        return records, positions
