"""The one path by which facts enter, whatever door they came through.

A batch is cut into units (one topic, one source, at most :data:`PIECE` items); concurrent units of a topic are
committed as a group, each with its receipt in the same transaction. A batch that comes again is answered from its
receipts: what was accepted stays as it was answered, what was not (the process died in between) is accepted now.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any, Self
from uuid import UUID

import asyncpg
import orjson

from services.ingestion import store
from services.ingestion.domain.facts import CONFLICT, Fact, Receipt, Rejected, Result, Sender, quarantine_id
from services.ingestion.sealing import seal
from services.ingestion.store import ReceiptRow, UnitOfFacts, UnitOfRejects
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
        self._may_accept()
        told = UUID(bytes=digest[:16])
        results: list[Result | None] = [None] * len(items)
        known = may_repeat
        for _ in range(_ROUNDS_MAX):
            pieces: dict[tuple[str, str], int] = {}
            if known:
                await self._recall(sender, batch, told, items, results, pieces)
            left = [n for n, result in enumerate(results) if result is None]
            if await self._commit(sender, batch, told, items, left, received_at, results, pieces):
                return _receipt(batch, results)
            # Somebody accepted a part of this batch at the same moment: their receipt holds, ask it.
            known = True
        raise AssertionError(f"batch {batch!r} found neither its receipts nor room for them")

    async def _recall(
        self,
        sender: Sender,
        batch: str,
        told: UUID,
        items: Sequence[Fact | Rejected],
        results: list[Result | None],
        pieces: dict[tuple[str, str], int],
    ) -> None:
        """Fill in what stored receipts say, and count the pieces that are taken."""
        async with tenant_transaction(self._pool, sender.tenant) as connection:
            rows = await store.receipts(connection, sender.tenant, sender.scope, batch)
            if any(row.digest != told for row in rows):
                raise BatchIdReused(batch)
            for row in rows:
                pieces[row.topic, row.source] = max(pieces.get((row.topic, row.source), 0), row.piece + 1)
                found = await store.places(connection, row.topic, _ids(row, items)) if row.topic else {}
                for index, letter in zip(row.indexes, row.outcomes, strict=True):
                    item = items[index]
                    place = found.get(item.draft.id_hash) if isinstance(item, Fact) else None
                    results[index] = _result(letter, place, sender, batch, index, item)

    async def _commit(
        self,
        sender: Sender,
        batch: str,
        told: UUID,
        items: Sequence[Fact | Rejected],
        left: Sequence[int],
        received_at: datetime,
        results: list[Result | None],
        pieces: dict[tuple[str, str], int],
    ) -> bool:
        """Accept the items ``left``; False if a receipt turned up meanwhile (then some results may be missing)."""
        units: list[tuple[str, Any]] = []
        for (topic, source), indexes in _grouped(items, left).items():
            for piece, part in enumerate(_pieces(items, indexes), pieces.get((topic, source), 0)):
                chosen: list[Any] = [items[n] for n in part]
                unit = (
                    UnitOfFacts(sender, batch, told, source, piece, part, chosen)
                    if topic
                    else self._unit_of_rejects(sender, batch, told, source, piece, part, chosen, received_at)
                )
                units.append((topic, unit))
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
                    results[index] = _result(letter, place, sender, batch, index, items[index])
        return complete

    def _commits(self, topic: str) -> Any:
        return self._facts[topic] if topic else self._rejects

    def _unit_of_rejects(
        self,
        sender: Sender,
        batch: str,
        told: UUID,
        source: str,
        piece: int,
        indexes: Sequence[int],
        rejects: Sequence[Rejected],
        received_at: datetime,
    ) -> UnitOfRejects:
        sealed = [
            seal(
                self._master,
                sender.tenant,
                quarantine_id(sender.tenant, sender.scope, batch, index),
                reject.item,
                self._random,
            )
            for index, reject in zip(indexes, rejects, strict=True)
        ]
        faults = [orjson.dumps([tuple(fault) for fault in reject.faults]) for reject in rejects]
        return UnitOfRejects(sender, batch, told, source, piece, received_at, indexes, rejects, sealed, faults)

    def _appending(self, topic: str) -> Any:
        async def execute(units: Sequence[UnitOfFacts]) -> list[list[store.Answer]]:
            answers = await store.accept(self._pool, topic, units)
            self._on_append(topic)
            return answers

        return execute

    async def _keep(self, units: Sequence[UnitOfRejects]) -> list[list[store.Answer]]:
        await store.reject(self._pool, units)
        return [[("q", None)] * unit.records for unit in units]


def _grouped(items: Sequence[Fact | Rejected], indexes: Iterable[int]) -> dict[tuple[str, str], list[int]]:
    """Which items go together: by topic (none for rejects) and source."""
    grouped: dict[tuple[str, str], list[int]] = {}
    for n in indexes:
        item = items[n]
        grouped.setdefault((item.draft.topic if isinstance(item, Fact) else "", item.source), []).append(n)
    return grouped


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


def _ids(row: ReceiptRow, items: Sequence[Fact | Rejected]) -> list[UUID]:
    return [item.draft.id_hash for item in (items[n] for n in row.indexes) if isinstance(item, Fact)]


def _result(letter: str, place: Place | None, sender: Sender, batch: str, index: int, item: Fact | Rejected) -> Result:
    if letter in "sd":
        return Result(_OUTCOMES[letter], place)
    faults = item.faults if isinstance(item, Rejected) else (CONFLICT,)
    return Result(_OUTCOMES[letter], place, quarantine_id(sender.tenant, sender.scope, batch, index), faults)


def _receipt(batch: str, results: Sequence[Result | None]) -> Receipt:
    assert all(results), "every item of a batch has a result"
    whole = [result for result in results if result is not None]
    outcomes = [result.outcome for result in whole]
    return Receipt(
        batch,
        stored=outcomes.count("stored"),
        duplicate=outcomes.count("duplicate"),
        quarantined=outcomes.count("quarantined"),
        results=whole,
    )


def digest_of(body: bytes) -> bytes:
    """The digest of a batch that is told by its bytes."""
    return hashlib.sha256(body).digest()
