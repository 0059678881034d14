"""Runs of files: each distinct content is one, with a number; the same content again is the same run.

The number ends the ids of what a file says (``client/acme@7``), and ranks it behind ``asserted_at``. Documents get
their versions here too, under the same lock.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from services.ingestion import store
from services.ingestion.domain.rows import Document, DocumentKey
from shared.events.base import utc_text
from shared.kernel.canonical import canonical
from shared.runtime.database import tenant_transaction

_NAMED_MAX = 5


@dataclass(frozen=True, slots=True)
class FileFeed:
    """Whose runs are counted."""

    tenant: str
    source: str
    feed: str


@dataclass(frozen=True, slots=True)
class Run:
    """One distinct content of a feed of files."""

    number: int
    asserted_at: datetime
    known: bool
    """True when the content was ingested before, whole or in part."""
    superseded_by: datetime | None
    """A later word of the same feed, which counts wherever both speak of one thing."""
    versions: Mapping[DocumentKey, int] = field(default_factory=dict)


class OutOfOrder(Exception):
    """The file says something else of documents of which a later word is already known; the message names some."""


async def assign(
    pool: asyncpg.Pool,
    of: FileFeed,
    content: str,
    *,
    stated: datetime | None,
    now: datetime,
    documents: Mapping[DocumentKey, Document],
) -> Run:
    """The run of ``content`` (the document's name, and what else decides which records it makes).

    ``stated``: the sender's word of when the file was true; the same content under another such word is another run.
    Raises :class:`OutOfOrder`.
    """
    command = f"file:{content}"
    async with tenant_transaction(pool, of.tenant) as tx:
        before = await _known(tx, of, command, stated)
        if before is None:
            full = f"{command}:{utc_text(stated)}" if stated else command
            taken = await store.take_run(tx, *_args(of), full, stated or now)  # locks the feed to the transaction's end
        else:
            taken = before
        versions = await _kept(tx, of, taken.run, documents)
        if len(versions) < len(_ids(documents)):
            versions = await _versions(tx, of, documents, taken.asserted_at)
            await _keep(tx, of, taken.run, documents, versions)
        later = await tx.fetchval(
            "SELECT max(asserted_at) FROM ingestion.feed_run"
            " WHERE tenant = $1 AND source = $2 AND feed = $3 AND (asserted_at, run) > ($4, $5)",
            *_args(of),
            taken.asserted_at,
            taken.run,
        )
    return Run(taken.run, taken.asserted_at, before is not None, later, versions)


def _args(of: FileFeed) -> tuple[str, str, str]:
    return of.tenant, of.source, of.feed


def _ids(documents: Mapping[DocumentKey, Document]) -> dict[UUID, DocumentKey]:
    """The documents that do not state their own version, by the hash of their key."""
    return {
        UUID(bytes=hashlib.sha256(canonical(list(key))).digest()[:16]): (key, stated)
        for key, stated in documents
        if stated is None
    }


async def _known(tx: Any, of: FileFeed, command: str, stated: datetime | None) -> store.Run | None:
    """Without a word of the sender's own, the content's latest run; with one, the run that said the same."""
    row = await tx.fetchrow(
        "SELECT run, asserted_at FROM ingestion.feed_run WHERE tenant = $1 AND source = $2 AND feed = $3"
        " AND (command = $4 OR starts_with(command, $4 || ':')) AND ($5::timestamptz IS NULL OR asserted_at = $5)"
        " ORDER BY asserted_at DESC, run DESC LIMIT 1",
        *_args(of),
        command,
        stated,
    )
    return row and store.Run(*row)


async def _versions(
    tx: Any, of: FileFeed, documents: Mapping[DocumentKey, Document], asserted_at: datetime
) -> dict[DocumentKey, int]:
    ids = _ids(documents)
    newest = {
        row["document"]: row
        for row in await tx.fetch(
            "SELECT DISTINCT ON (d.document) d.document, d.version, d.digest, r.asserted_at"
            " FROM ingestion.document_run d JOIN ingestion.feed_run r USING (tenant, source, feed, run)"
            " WHERE d.tenant = $1 AND d.source = $2 AND d.feed = $3 AND d.document = ANY($4)"
            " ORDER BY d.document, d.version DESC, r.asserted_at DESC",
            *_args(of),
            list(ids),
        )
    }
    versions, outdated = {}, []
    for identity, key in ids.items():
        row = newest.get(identity)
        if row is None:
            versions[key] = 1
        elif row["digest"] == documents[key].digest():
            versions[key] = row["version"]
        else:
            versions[key] = row["version"] + 1
            if row["asserted_at"] > asserted_at:
                outdated.append(key)
    if outdated:
        raise OutOfOrder(_named(outdated))
    return versions


def _named(keys: Sequence[DocumentKey]) -> str:
    names = ", ".join(" ".join(key) for key, _ in keys[:_NAMED_MAX])
    return names if len(keys) <= _NAMED_MAX else f"{names} and {len(keys) - _NAMED_MAX:,} more"


async def _keep(
    tx: Any,
    of: FileFeed,
    number: int,
    documents: Mapping[DocumentKey, Document],
    versions: Mapping[DocumentKey, int],
) -> None:
    ids = _ids(documents)
    await tx.execute(
        "INSERT INTO ingestion.document_run SELECT $1, $2, $3, $4, d.document, d.version, d.digest"
        " FROM unnest($5::uuid[], $6::int[], $7::bytea[]) AS d(document, version, digest)",
        *_args(of),
        number,
        list(ids),
        [versions[key] for key in ids.values()],
        [documents[key].digest() for key in ids.values()],
    )


async def _kept(
    tx: Any, of: FileFeed, number: int, documents: Mapping[DocumentKey, Document]
) -> dict[DocumentKey, int]:
    rows = await tx.fetch(
        "SELECT document, version FROM ingestion.document_run"
        " WHERE tenant = $1 AND source = $2 AND feed = $3 AND run = $4",
        *_args(of),
        number,
    )
    version = {row["document"]: row["version"] for row in rows}
    return {key: version[identity] for identity, key in _ids(documents).items() if identity in version}
