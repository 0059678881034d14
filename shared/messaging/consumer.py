"""What a service writes to consume: a :class:`Handler`, and a :class:`Consumer` that names it (example: README.md).

The loop that keeps the promises (each record's effects exactly once, in order within a partition) is in ``loop.py``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from shared.eventlog.model import Place
from shared.events.catalogue import WRITERS
from shared.events.record import Draft

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")
_SCHEMA = re.compile(r"[a-z][a-z0-9_]*")


class Received(NamedTuple):
    """A record as a handler gets it: decoded once, in the newest version of its type."""

    place: Place
    tenant: str
    recorded_at: datetime
    type: str
    """The newest version of the wire type."""
    fields: dict[str, Any]
    """The whole record; ``data`` is that of the newest version. Decimals and instants are strings, as on the wire."""
    body: bytes
    """The stored bytes."""

    @property
    def stream(self) -> UUID | None:
        """The stream of a decision or a derived record."""
        stream = self.fields.get("stream")
        return None if stream is None else UUID(hex=stream)


class BadRecord(Exception):
    """Raised by a handler about the record it was handed: it cannot be processed, now or later, as the code is.

    Raised about a batch of several, the batch is handed over again in smaller pieces until one record is alone with it;
    that one becomes a dead letter. The message is shown to a person: say what is wrong and what would mend it.
    """


class Handler(Protocol):
    """The effects of records, in one transaction with the consumer's marks."""

    async def handle(self, tx: Any, batch: Sequence[Received]) -> Mapping[str, Sequence[Draft]]:
        """Fold ``batch`` over ``tx`` (an ``asyncpg.Connection`` in a transaction: neither commit nor roll back).

        Within a partition records come in order of position, each once; between partitions there is no order. Returns
        the drafts to append, per topic (one that this service writes); they commit with everything else or not at all.
        A batch may be handed over again after a rollback, cut differently: keep nothing outside of ``tx``.

        Raise :class:`BadRecord` for a record that cannot be processed; errors of connection and locking pass through.
        Whatever else is raised counts against the record too. More than 100 ms of CPU at a time belongs in a thread.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """A consumer, as its service declares it. Its migration calls ``messaging.add_consumer(schema, name, topics)``.

    Raises ``ValueError`` for a name, a schema or a topic that cannot be.
    """

    name: str
    """``<service>.<what it does>``, such as ``matching.fold``: the key of its marks and its group in Kafka."""
    schema: str
    """Where its marks and dead letters live: the service's own schema."""
    topics: tuple[str, ...]
    handler: Handler
    ordered: bool = False
    """True if a later record of a stream must wait while an earlier one is a dead letter."""
    batch_records_max: int = 2_000
    """Records in one transaction. Fewer where one record costs milliseconds: a transaction may take 30 s at most."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"consumer name {self.name!r}: expected <service>.<what it does>, such as matching.fold")
        if not _SCHEMA.fullmatch(self.schema):
            raise ValueError(f"schema {self.schema!r} of consumer {self.name}: expected a plain lower-case name")
        unknown = set(self.topics) - WRITERS.keys()
        if unknown or not self.topics:
            raise ValueError(f"topics of consumer {self.name}: {', '.join(sorted(unknown)) or 'none'} in the catalogue")
