"""Sending a rejected item again, as it is or corrected."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from services.ingestion import store
from services.ingestion.domain.envelope import read
from services.ingestion.domain.facts import CONFLICT, Fault, Rejected, Result, Sender
from services.ingestion.domain.repair import as_sent, corrected
from services.ingestion.intake import Intake
from services.ingestion.sealing import unseal
from services.ingestion.store import Sealed
from shared.eventlog.model import Place
from shared.runtime.database import tenant_transaction
from shared.vault.keys import Master


@dataclass(frozen=True, slots=True)
class Item:
    """A reject, opened."""

    id: UUID
    number: int
    kind: str
    source: str
    type: str | None
    record_id: str | None
    batch: str
    index: int
    item: bytes
    """The event as it was sent (of a conflict: as it was understood); empty in a list, if it is large."""
    faults: Sequence[Fault]
    origin_document: str | None
    origin_locator: str | None
    actor: str
    correlation: str | None
    received_at: datetime
    first: Place | None
    resolved_at: datetime | None
    resolved: Place | None

    @property
    def state(self) -> str:
        return "open" if self.resolved is None else "resolved"


class Ambiguous(LookupError):
    """More than one reject begins with this id."""


class Quarantine:
    """Reads and repairs the rejects of one tenant at a time."""

    def __init__(self, pool: asyncpg.Pool, master: Master, intake: Intake) -> None:
        self._pool = pool
        self._master = master
        self._intake = intake

    async def page(self, tenant: str, state: str, before: int, limit: int) -> list[Item]:
        """Rejects, newest first. Raises :class:`~shared.vault.keys.VaultError` if they cannot be opened."""
        async with tenant_transaction(self._pool, tenant) as connection:
            rows = await store.quarantined(connection, tenant, state, before, limit)
        return [self._open(tenant, row) for row in rows]

    async def find(self, tenant: str, short: str) -> Item:
        """The reject whose id begins with ``short`` (8 to 32 hex digits). Raises ``LookupError``."""
        low, high = UUID(hex=short.ljust(32, "0")), UUID(hex=short.ljust(32, "f"))
        async with tenant_transaction(self._pool, tenant) as connection:
            rows = await store.reject_by_id(connection, tenant, low, high)
        if len(rows) > 1:
            raise Ambiguous(short)
        if not rows:
            raise LookupError(short)
        return self._open(tenant, rows[0])

    async def resubmit(self, sender: Sender, item: Item, corrections: Mapping[str, Any], now: datetime) -> Result:
        """Send the item again. Stored or duplicate: the item is resolved by that record, which names it as its cause.
        Quarantined: it still is not valid (nothing was accepted, the item stays as it is), or it met a conflict (which
        is a reject of its own). However often the same is sent again, it is stored once.

        Raises :class:`~services.ingestion.domain.repair.BadCorrection`, and what :meth:`Intake.accept` raises.
        """
        if item.resolved is not None:
            return Result("duplicate", item.resolved)
        content = corrected(item.item, corrections)
        if item.kind == "conflict" and not corrections:
            # It would meet the same record again, and leave a second reject that nobody can resolve.
            return Result("quarantined", item.first, item.id, item.faults)
        try:
            # Asserted when it first arrived: what the source has said since outranks it.
            [again] = read(
                content,
                sender,
                now,
                asserted_at=item.received_at,
                causation_id=f"quarantine/{item.id.hex}",
                origin=(item.origin_document, item.origin_locator),
            )
        except ValueError as error:
            return Result("quarantined", None, item.id, [Fault("", f"is no event: {error}", "Send the item anew.")])
        if isinstance(again, Rejected):
            return Result("quarantined", None, item.id, again.faults)
        digest = hashlib.sha256(content).digest()
        receipt = await self._intake.accept(
            sender, f"resubmit/{item.id.hex}/{digest.hex()[:32]}", [again], digest=digest, received_at=item.received_at
        )
        [result] = receipt.results
        if result.place is not None and result.outcome != "quarantined":
            async with tenant_transaction(self._pool, sender.tenant) as connection:
                await store.resolve(connection, sender.tenant, item.id, result.place, now)
        return result

    def _open(self, tenant: str, row: Any) -> Item:
        faults: Sequence[Fault] = (CONFLICT,)
        content = b""
        if row["kind"] == "conflict":
            content = as_sent(row["item"])
        else:
            faults = [Fault(*fault) for fault in orjson.loads(row["faults"])]
            if row["item"] is not None:
                sealed = Sealed(row["item"], row["wrapped"], row["master"])
                content = unseal(self._master, tenant, row["id"], sealed)
        return Item(
            id=row["id"],
            number=row["n"],
            kind=row["kind"],
            source=row["source"],
            type=row["type"],
            record_id=row["record_id"],
            batch=row["batch"],
            index=row["index"],
            item=content,
            faults=faults,
            origin_document=row["origin_document"],
            origin_locator=row["origin_locator"],
            actor=row["actor"],
            correlation=row["correlation"],
            received_at=row["received_at"],
            first=_place(row, "first"),
            resolved_at=row["resolved_at"],
            resolved=_place(row, "resolved"),
        )


def _place(row: Any, name: str) -> Place | None:
    topic = row[f"{name}_topic"]
    return None if topic is None else Place(topic, row[f"{name}_partition"], row[f"{name}_position"])
