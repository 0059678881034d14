"""Whole files, free texts and secrets, encrypted, named by the SHA-256 of their ciphertext."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.runtime.database import tenant_transaction
from shared.vault.keys import KEY_BYTES, Damaged, Db, Erased, Master, NotInVault, Random, VaultError, aad, opened

MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
PIECE_BYTES = 1024 * 1024
"""A document is sealed in pieces of this size: a large one neither makes a huge row nor holds up the event loop."""


class TooLarge(VaultError):
    """The document is over :data:`MAX_DOCUMENT_BYTES`."""


@asynccontextmanager
async def transaction(db: Db, tenant: str) -> AsyncIterator[Any]:
    """A transaction of ``tenant`` from a pool, or a part of the one that ``db`` already is in."""
    if isinstance(db, asyncpg.Pool):
        async with tenant_transaction(db, tenant) as connection:
            yield connection
    else:
        async with db.transaction():
            yield db


class Documents:
    """Seals documents into the vault and opens them again; one tenant's never meet another's."""

    def __init__(self, master: Master, random: Random = secrets.token_bytes) -> None:
        self._master = master
        self._random = random

    async def put(self, db: Db, tenant: str, plaintext: bytes, media_type: str) -> str:
        """Keep ``plaintext``; returns the SHA-256 of its ciphertext, in hex. The same plaintext gives the same name.

        Raises :class:`TooLarge`.
        """
        [name] = await self.put_all(db, tenant, [plaintext], media_type)
        return name

    async def put_all(self, db: Db, tenant: str, plaintexts: Sequence[bytes], media_type: str) -> list[str]:
        """:meth:`put` of many texts (the notes of a file) in a few calls; their names in order."""
        for plaintext in plaintexts:
            if len(plaintext) > MAX_DOCUMENT_BYTES:
                raise TooLarge(f"the document has {len(plaintext):,} bytes; at most {MAX_DOCUMENT_BYTES:,} are kept")
        macs = [await self._mac(tenant, plaintext) for plaintext in plaintexts]
        by_mac = dict(zip(macs, plaintexts, strict=True))
        async with transaction(db, tenant) as connection:
            names = await self._named(connection, tenant, macs)
            # Sorted: two callers with the same texts cannot deadlock.
            new = [await self._seal(tenant, by_mac[mac], mac) for mac in sorted(by_mac.keys() - names.keys())]
            names |= await self._store(connection, tenant, new, media_type)
        return [names[mac].hex() for mac in macs]

    async def find_same(self, db: Db, tenant: str, plaintext: bytes) -> str | None:
        """The name under which this tenant already keeps the same plaintext."""
        mac = await self._mac(tenant, plaintext)
        async with transaction(db, tenant) as connection:
            names = await self._named(connection, tenant, [mac])
        return names[mac].hex() if names else None

    async def get(self, db: Db, tenant: str, sha256: str) -> bytes:
        """The plaintext of the document with this name (hex).

        Raises :class:`NotInVault`, :class:`Erased`, :class:`Damaged`, :class:`WrongMasterKey`.
        """
        async with transaction(db, tenant) as connection:
            row = await connection.fetchrow(
                "SELECT d.object, d.erased_at, k.master, k.wrapped FROM vault.document d"
                " LEFT JOIN vault.key k USING (tenant, object) WHERE d.tenant = $1 AND d.sha256 = $2",
                tenant,
                _name(sha256),
            )
            if row is None:
                raise NotInVault(f"no document {sha256}")
            if row["erased_at"] is not None or row["wrapped"] is None:
                raise Erased(f"document {sha256} was erased")
            key = self._master.unwrap(tenant, row["object"], row["master"], row["wrapped"])
            pieces = await connection.fetch(
                "SELECT ciphertext FROM vault.piece WHERE tenant = $1 AND object = $2 ORDER BY n", tenant, row["object"]
            )
        return await _unseal(key, tenant, row["object"], [piece["ciphertext"] for piece in pieces])

    async def erase(self, db: Db, tenant: str, sha256: str) -> None:
        """Delete the document's key and ciphertext for ever; its name stays known as erased. Repeating it is harmless.

        Raises :class:`NotInVault`.
        """
        async with transaction(db, tenant) as connection:
            obj = await connection.fetchval(
                "UPDATE vault.document SET mac = NULL, erased_at = coalesce(erased_at, now())"
                " WHERE tenant = $1 AND sha256 = $2 RETURNING object",
                tenant,
                _name(sha256),
            )
            if obj is None:
                raise NotInVault(f"no document {sha256}")
            await connection.execute("DELETE FROM vault.key WHERE tenant = $1 AND object = $2", tenant, obj)
            await connection.execute("DELETE FROM vault.piece WHERE tenant = $1 AND object = $2", tenant, obj)

    async def _mac(self, tenant: str, plaintext: bytes) -> bytes:
        return await _aside(plaintext, self._master.mac, tenant, "document", plaintext)

    async def _named(self, connection: Any, tenant: str, macs: Sequence[bytes]) -> dict[bytes, bytes]:
        rows = await connection.fetch(
            "SELECT mac, sha256 FROM vault.document WHERE tenant = $1 AND mac = ANY($2::bytea[])", tenant, macs
        )
        return {row["mac"]: row["sha256"] for row in rows}

    async def _seal(self, tenant: str, plaintext: bytes, mac: bytes) -> _Sealed:
        obj, key = UUID(bytes=self._random(16), version=4), self._random(KEY_BYTES)
        name = await _aside(plaintext, _digest, key, tenant, obj, plaintext)
        return _Sealed(tenant, obj, key, plaintext, mac, name)

    async def _store(self, connection: Any, tenant: str, new: list[_Sealed], media_type: str) -> dict[bytes, bytes]:
        """Stores what nobody else has stored by now; the names of all."""
        if not new:
            return {}
        stored = await connection.fetch(
            "INSERT INTO vault.document (tenant, media_type, mac, sha256, object, size)"
            " SELECT $1, $2, * FROM unnest($3::bytea[], $4::bytea[], $5::uuid[], $6::bigint[])"
            " ON CONFLICT (tenant, mac) DO NOTHING RETURNING mac",
            tenant,
            media_type,
            [sealed.mac for sealed in new],
            [sealed.name for sealed in new],
            [sealed.obj for sealed in new],
            [len(sealed.plaintext) for sealed in new],
        )
        ours = {row["mac"] for row in stored}
        mine = [sealed for sealed in new if sealed.mac in ours]
        await connection.executemany(
            "INSERT INTO vault.key (tenant, object, master, wrapped) VALUES ($1, $2, $3, $4)",
            [
                (tenant, s.obj, self._master.version, self._master.wrap(tenant, s.obj, s.key, self._random))
                for s in mine
            ],
        )
        await connection.executemany(
            "INSERT INTO vault.piece (tenant, object, n, ciphertext) VALUES ($1, $2, $3, $4)",
            ((tenant, s.obj, n, piece) for s in mine for n, piece in enumerate(s.pieces())),
        )
        return await self._named(connection, tenant, [sealed.mac for sealed in new])


@dataclass(frozen=True, slots=True, repr=False)
class _Sealed:
    """A document about to be stored. Its pieces are sealed when they are written, so a large one is in memory once;
    key and counter make the same ciphertext each time, so its name is known before."""

    tenant: str
    obj: UUID
    key: bytes
    plaintext: bytes
    mac: bytes
    name: bytes

    def pieces(self) -> Iterator[bytes]:
        return _pieces(self.key, self.tenant, self.obj, self.plaintext)


async def _aside(plaintext: bytes, work: Callable[..., bytes], *args: object) -> bytes:
    """Work over a large document runs in a thread: it would hold up the event loop for a tenth of a second."""
    return work(*args) if len(plaintext) <= PIECE_BYTES else await asyncio.to_thread(work, *args)


def _name(sha256: str) -> bytes:
    try:
        return bytes.fromhex(sha256)
    except ValueError as error:
        raise NotInVault(f"no document {sha256!r}: a name is 64 hex digits") from error


def _seal_of(n: int, last: bool) -> tuple[bytes, str]:
    """Nonce and label of piece ``n``. The key serves one object alone, so a counter is a nonce that never repeats; the
    label says which piece is the last, so that a document cut short does not open."""
    return n.to_bytes(12, "big"), f"piece {n}{' last' if last else ''}"


def _pieces(key: bytes, tenant: str, obj: UUID, plaintext: bytes) -> Iterator[bytes]:
    cipher, view = AESGCM(key), memoryview(plaintext)
    count = max(1, -(-len(plaintext) // PIECE_BYTES))
    for n in range(count):
        nonce, part = _seal_of(n, n == count - 1)
        yield cipher.encrypt(nonce, view[n * PIECE_BYTES : (n + 1) * PIECE_BYTES], aad(tenant, obj, part))


def _digest(key: bytes, tenant: str, obj: UUID, plaintext: bytes) -> bytes:
    digest = hashlib.sha256()
    for piece in _pieces(key, tenant, obj, plaintext):
        digest.update(piece)
    return digest.digest()


async def _unseal(key: bytes, tenant: str, obj: UUID, pieces: list[bytes]) -> bytes:
    if not pieces:
        raise Damaged("the document has no ciphertext left, although it was never erased")
    cipher, plaintext = AESGCM(key), bytearray()
    for n, ciphertext in enumerate(pieces):
        nonce, part = _seal_of(n, n == len(pieces) - 1)
        plaintext += opened(cipher, nonce, ciphertext, aad(tenant, obj, part))
        await asyncio.sleep(0)  # a large document gives way between its pieces
    return bytes(plaintext)
