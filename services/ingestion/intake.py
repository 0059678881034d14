"""The one path by which facts enter, whatever door they came through.

A batch is cut into units (one topic, one source, at most :data:`PIECE` items); concurrent units of a topic are
committed as a group, each with its receipt in the same transaction. A batch that comes again is answered from its
receipts: what was accepted stays as it was answered, what was not (the process died in between) is accepted now.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any, Self
from uuid import UUID

import asyncpg
import orjson

from services.ingestion import store
from services.ingestion.domain.facts import CONFLICT, Fact, Receipt, Rejected, Result, Sender, quarantine_id
from services.ingestion.sealing import seal
from services.ingestion.store import UnitOfFacts, UnitOfRejects
from shared.eventlog.groupcommit import GroupCommit
from shared.eventlog.model import Place
from shared.events.catalogue import WRITERS
from shared.runtime.clock import Clock
from shared.runtime.database import tenant_transaction
from shared.vault.keys import Master, Random

PIECE = 1_000
"""Items of a unit at most, and so what one bulk batch puts into a group: an alert never waits behind more."""
PIECE_BYTES = 4 * 1024 * 1024
"""Bytes of a unit at most; a group of the log holds twice as many."""
_ROUNDS_MAX = 5
_OUTCOMES = {"s": "stored", "d": "duplicate", "c": "quarantined", "q": "quarantined"}


class BatchIdReused(Exception):
    """The batch id was used for another batch before."""


class Intake:
    """Accepts batches of facts and rejects. Holds the ``_api`` pool only. Use it as an async context manager.

    ``on_append`` is told the topic after each commit; ``may_accept`` raises
    :class:`~shared.eventlog.model.LogFull` when nothing more can be taken.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        master: Master,
        *,
        clock: Clock,
        on_append: Callable[[str], None] = lambda topic: None,
        may_accept: Callable[[], None] = lambda: None,
        random: Random = secrets.token_bytes,
    ) -> None:
        self._pool = pool
        self._master = master
        self._random = random
        self._on_append = on_append
        self._may_accept = may_accept
        topics = [topic for topic, writer in WRITERS.items() if writer == "ingestion"]
        self._facts = {
            topic: GroupCommit[UnitOfFacts, list[store.Answer]](
                self._appending(topic), name=f"accept-{topic}", clock=clock
            )
            for topic in topics
        }
        self._rejects = GroupCommit[UnitOfRejects, list[store.Answer]](self._keep, name="reject", clock=clock)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for commits in self._facts.values():
            await self._stack.enter_async_context(commits)
        await self._stack.enter_async_context(self._rejects)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def check_room(self) -> None:
        """Raise :class:`~shared.eventlog.model.LogFull` when nothing more can be taken; for a door that keeps something
        (a document) before it has a batch to accept."""
        self._may_accept()

    async def accept(
        self,
        sender: Sender,
        batch: str,
        items: Sequence[Fact | Rejected],
        *,
        digest: bytes,
        received_at: datetime,
        may_repeat: bool = True,
    ) -> Receipt:
        """Accept a batch; the answer is the same however often and from wherever it is asked for again.

        ``batch``: the sender's id of it, at most 200 characters. ``digest``: SHA-256 of what was sent, which tells a
        repetition from another batch under the same id. ``received_at``: the time at the edge. ``may_repeat``: False
        saves a look for receipts when the id was made just now.

        Raises :class:`BatchIdReused`, :class:`~shared.eventlog.model.LogFull`,
        :class:`~shared.eventlog.model.LogUnavailable`; after the latter two, send the batch again.
        """
        self.check_room()
        work = _Batch(sender, batch, UUID(bytes=digest[:16]), received_at, items)
        known = may_repeat
        for _ in range(_ROUNDS_MAX):
            if known:
                await self._recall(work)
            if await self._commit(work):
                return work.receipt()
            # Somebody accepted a part of this batch at the same moment: their receipt holds, ask it.
            known = True
        raise AssertionError(f"batch {batch!r} found neither its receipts nor room for them")

    async def _recall(self, work: _Batch) -> None:
        """Take from stored receipts what they say."""
        sender = work.sender
        async with tenant_transaction(self._pool, sender.tenant) as connection:
            rows = await store.receipts(connection, sender.tenant, sender.scope, work.id)
            if any(row.digest != work.digest for row in rows):
                raise BatchIdReused(work.id)
            for row in rows:
                work.taken.setdefault((row.topic, row.source), set()).add(row.piece)
                places = await store.places(connection, row.topic, work.ids(row.indexes)) if row.topic else {}
                for index, letter in zip(row.indexes, row.outcomes, strict=True):
                    item = work.items[index]
                    work.settle(index, letter, places.get(item.draft.id_hash) if isinstance(item, Fact) else None)

    async def _commit(self, work: _Batch) -> bool:
        """Accept what has no result yet; False if a receipt turned up meanwhile (then some are still missing)."""
        units = [
            (topic, self._unit(work, topic, source, piece, part)) for topic, source, piece, part in work.unsettled()
        ]
        # Each by itself, and all of them waited for: afterwards every piece is ours or somebody else's, none under way.
        answers = await asyncio.gather(
            *(self._commits(topic).commit([unit]) for topic, unit in units), return_exceptions=True
        )
        complete = True
        for (_, unit), answer in zip(units, answers, strict=True):
            if isinstance(answer, asyncpg.UniqueViolationError) and answer.constraint_name == "receipt_pkey":
                complete = False
            elif isinstance(answer, BaseException):
                raise answer
            else:
                for index, (letter, place) in zip(unit.indexes, answer[0], strict=True):
                    work.settle(index, letter, place)
        return complete

    def _commits(self, topic: str) -> Any:
        return self._facts[topic] if topic else self._rejects

    def _unit(self, work: _Batch, topic: str, source: str, piece: int, indexes: Sequence[int]) -> Any:
        chosen: list[Any] = [work.items[n] for n in indexes]
        if topic:
            return UnitOfFacts(work.sender, work.id, work.digest, source, piece, indexes, chosen)
        tenant = work.sender.tenant
        sealed = [
            seal(self._master, tenant, work.quarantine_id(index), reject.item, self._random)
            for index, reject in zip(indexes, chosen, strict=True)
        ]
        faults = [orjson.dumps([tuple(fault) for fault in reject.faults]) for reject in chosen]
        return UnitOfRejects(
            work.sender, work.id, work.digest, source, piece, work.received_at, indexes, chosen, sealed, faults
        )

    def _appending(self, topic: str) -> Any:
        async def execute(units: Sequence[UnitOfFacts]) -> list[list[store.Answer]]:
            answers = await store.accept(self._pool, topic, units)
            self._on_append(topic)
            return answers

        return execute

    async def _keep(self, units: Sequence[UnitOfRejects]) -> list[list[store.Answer]]:
        await store.reject(self._pool, units)
        return [[("q", None)] * unit.records for unit in units]


@dataclass
class _Batch:
    """A batch that is being accepted: what is known of each item, and which pieces have their receipt."""

    sender: Sender
    id: str
    digest: UUID
    received_at: datetime
    items: Sequence[Fact | Rejected]
    results: list[Result | None] = field(init=False)
    taken: dict[tuple[str, str], set[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.results = [None] * len(self.items)

    def ids(self, indexes: Sequence[int]) -> list[UUID]:
        """The identities of those items that are facts."""
        return [item.draft.id_hash for item in (self.items[n] for n in indexes) if isinstance(item, Fact)]

    def quarantine_id(self, index: int) -> UUID:
        return quarantine_id(self.sender.tenant, self.sender.scope, self.id, index)

    def settle(self, index: int, letter: str, place: Place | None) -> None:
        """Note what became of an item."""
        item = self.items[index]
        if letter in "sd":
            self.results[index] = Result(_OUTCOMES[letter], place)
        else:
            faults = item.faults if isinstance(item, Rejected) else (CONFLICT,)
            self.results[index] = Result(_OUTCOMES[letter], place, self.quarantine_id(index), faults)

    def unsettled(self) -> Iterator[tuple[str, str, int, list[int]]]:
        """What is to be handed in: topic (none for rejects), source, piece, indexes.

        A piece is a function of the whole batch, not of what is left of it, so that whoever hands in the same items
        meets the same receipt. Only where a release or a day later an item is judged otherwise than its neighbours
        were does a piece have a part left over; that part gets a number of its own.
        """
        groups: dict[tuple[str, str], list[int]] = {}
        for n, item in enumerate(self.items):
            groups.setdefault((item.draft.topic if isinstance(item, Fact) else "", item.source), []).append(n)
        for key, indexes in groups.items():
            taken, parts = self.taken.get(key, set()), list(_pieces(self.items, indexes))
            spare = count(max([len(parts), *(piece + 1 for piece in taken)]))
            for piece, part in enumerate(parts):
                left = [n for n in part if self.results[n] is None]
                if left:
                    whole = len(left) == len(part) and piece not in taken
                    yield *key, piece if whole else next(spare), left

    def receipt(self) -> Receipt:
        whole = [result for result in self.results if result is not None]
        assert len(whole) == len(self.items), "every item of a batch has a result"
        outcomes = [result.outcome for result in whole]
        return Receipt(
            self.id,
            stored=outcomes.count("stored"),
            duplicate=outcomes.count("duplicate"),
            quarantined=outcomes.count("quarantined"),
            results=whole,
        )


def _pieces(items: Sequence[Fact | Rejected], indexes: Sequence[int]) -> Iterator[list[int]]:
    """``indexes`` in order, cut so that no unit is larger than a group of the log can be."""
    part: list[int] = []
    size = 0
    for n in indexes:
        item = items[n]
        more = len(item.draft.body) if isinstance(item, Fact) else len(item.item)
        if part and (len(part) == PIECE or size + more > PIECE_BYTES):
            yield part
            part, size = [], 0
        part.append(n)
        size += more
    if part:
        yield part


def digest_of(body: bytes) -> bytes:
    """The digest of a batch that is told by its bytes."""
    return hashlib.sha256(body).digest()
