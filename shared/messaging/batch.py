"""What becomes of a batch, decided purely: what is new against a mark, what the log must add, what can be read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from shared.eventlog.model import Place
from shared.events.catalogue import CATALOGUE
from shared.events.upcasters import upcast
from shared.messaging.consumer import Received
from shared.messaging.ports import DeadLetter, Message, Partition

BEHIND = "behind"
_KNOWN = frozenset(CATALOGUE)


@dataclass(slots=True)
class Wanted:
    """How far a partition should come, and the bodies that are at hand for it; the others are the log's."""

    upto: int
    bodies: dict[int, bytes] = field(default_factory=dict)
    trimmed: bool = False

    def trim(self, mark: int, head: int) -> tuple[int, int]:
        """Drop what is at or below the mark, or beyond the head; returns how many of each."""
        total = len(self.bodies)
        self.bodies = {position: body for position, body in self.bodies.items() if position > mark}
        above = len(self.bodies)
        self.bodies = {position: body for position, body in self.bodies.items() if position <= head}
        self.trimmed = True
        return total - above, above - len(self.bodies)


def wanted(messages: Iterable[Message]) -> dict[Partition, Wanted]:
    """Messages in any order and repetition, by partition and position."""
    found: dict[Partition, Wanted] = {}
    for partition, position, _, body in messages:
        entry = found.get(partition)
        if entry is None:
            found[partition] = Wanted(position, {position: body})
        else:
            entry.bodies[position] = body
            if position > entry.upto:
                entry.upto = position
    return found


def missing(mark: int, upto: int, bodies: Mapping[int, bytes]) -> list[tuple[int, int]]:
    """The stretches ``(after, upto]`` of ``(mark, upto]`` that are not at hand, in order.

    >>> missing(3, 9, {4: b"", 7: b"", 2: b""})
    [(4, 6), (7, 9)]
    """
    stretches = []
    start = None
    for position in range(mark + 1, upto + 1):
        if position in bodies:
            if start is not None:
                stretches.append((start, position - 1))
                start = None
        elif start is None:
            start = position - 1
    if start is not None:
        stretches.append((start, upto))
    return stretches


def decode(place: Place, body: bytes) -> Received | DeadLetter:
    """A record in the newest version of its type, or why it cannot be had."""
    fields: Any = None
    try:
        fields = orjson.loads(body)
        record = Received(
            place, fields["tenant"], datetime.fromisoformat(fields["recordedat"]), fields["type"], fields, body
        )
        if record.type not in _KNOWN:
            fields = upcast(fields)
            record = record._replace(type=fields["type"], fields=fields)
    except Exception as error:
        # Whatever an upcaster or a field of the wrong shape raises: one record's fault is never its neighbours'.
        return DeadLetter(place, _tenant(fields), None, "unreadable", f"{type(error).__name__}: {error}", 1)
    if record.type not in _KNOWN:
        detail = f"type {record.type} is not known to this release; a newer one wrote it"
        return DeadLetter(place, record.tenant, _stream(record), "newer", detail, 1)
    return record


def _tenant(fields: Any) -> str:
    tenant = fields.get("tenant") if isinstance(fields, dict) else None
    return tenant if isinstance(tenant, str) else ""


def _stream(record: Received) -> UUID | None:
    try:
        return record.stream
    except (ValueError, TypeError, AttributeError):
        return None


def refused(record: Received, error: Exception, attempts: int) -> DeadLetter:
    """The dead letter of a record that its handler, or the database, refused."""
    return DeadLetter(
        record.place, record.tenant, _stream(record), "refused", f"{type(error).__name__}: {error}", attempts
    )


def set_aside(items: Sequence[Received | DeadLetter], blocked: Iterable[UUID]) -> list[Received | DeadLetter]:
    """For an ordered consumer: a record whose stream has an earlier dead letter waits behind it."""
    closed: dict[UUID, str] = dict.fromkeys(blocked, "an earlier record of its stream is a dead letter")
    result: list[Received | DeadLetter] = []
    for item in items:
        if isinstance(item, Received) and (stream := item.stream) in closed and stream is not None:
            item = DeadLetter(item.place, item.tenant, stream, BEHIND, closed[stream], 0)
        elif isinstance(item, DeadLetter) and item.stream is not None:
            closed.setdefault(item.stream, f"{item.place} of its stream is a dead letter")
        result.append(item)
    return result
