"""Whole files, free texts and secrets, encrypted, named by the SHA-256 of their ciphertext."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
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
        if len(plaintext) > MAX_DOCUMENT_BYTES:
            raise TooLarge(f"the document has {len(plaintext):,} bytes; at most {MAX_DOCUMENT_BYTES:,} are kept")
        mac = await self._mac(tenant, plaintext)
        async with transaction(db, tenant) as connection:
            found = await self._named(connection, tenant, mac)
            return found or await self._store(connection, tenant, plaintext, media_type, mac)

    async def find_same(self, db: Db, tenant: str, plaintext: bytes) -> str | None:
        """The name under which this tenant already keeps the same plaintext."""
        mac = await self._mac(tenant, plaintext)
        async with transaction(db, tenant) as connection:
            return await self._named(connection, tenant, mac)

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
            await _forget(connection, tenant, obj)

    async def _mac(self, tenant: str, plaintext: bytes) -> bytes:
        if len(plaintext) <= PIECE_BYTES:
            return self._master.mac(tenant, "document", plaintext)
        return await asyncio.to_thread(self._master.mac, tenant, "document", plaintext)

    async def _named(self, connection: Any, tenant: str, mac: bytes) -> str | None:
        name = await connection.fetchval(
            "SELECT sha256 FROM vault.document WHERE tenant = $1 AND mac = $2", tenant, mac
        )
        return None if name is None else name.hex()

    async def _store(self, connection: Any, tenant: str, plaintext: bytes, media_type: str, mac: bytes) -> str:
        obj, key, digest = UUID(bytes=self._random(16), version=4), self._random(KEY_BYTES), hashlib.sha256()
        for n, ciphertext in enumerate(_sealed(key, tenant, obj, plaintext)):
            digest.update(ciphertext)
            await connection.execute("INSERT INTO vault.piece VALUES ($1, $2, $3, $4)", tenant, obj, n, ciphertext)
        await connection.execute(
            "INSERT INTO vault.key VALUES ($1, $2, $3, $4)",
            tenant,
            obj,
            self._master.version,
            self._master.wrap(tenant, obj, key, self._random),
        )
        name = await connection.fetchval(
            "INSERT INTO vault.document (tenant, sha256, object, media_type, size, mac) VALUES ($1, $2, $3, $4, $5, $6)"
            " ON CONFLICT (tenant, mac) DO NOTHING RETURNING sha256",
            tenant,
            digest.digest(),
            obj,
            media_type,
            len(plaintext),
            mac,
        )
        if name is None:  # another transaction stored the same plaintext while this one sealed it: theirs has the name
            await _forget(connection, tenant, obj)
            return str(await self._named(connection, tenant, mac))
        return digest.hexdigest()


def _name(sha256: str) -> bytes:
    try:
        return bytes.fromhex(sha256)
    except ValueError as error:
        raise NotInVault(f"no document {sha256!r}: a name is 64 hex digits") from error


async def _forget(connection: Any, tenant: str, obj: UUID) -> None:
    await connection.execute("DELETE FROM vault.key WHERE tenant = $1 AND object = $2", tenant, obj)
    await connection.execute("DELETE FROM vault.piece WHERE tenant = $1 AND object = $2", tenant, obj)


def _seal_of(n: int, last: bool) -> tuple[bytes, str]:
    """Nonce and label of piece ``n``. The key serves one object alone, so a counter is a nonce that never repeats; the
    label says which piece is the last, so that a document cut short does not open."""
    return n.to_bytes(12, "big"), f"piece {n}{' last' if last else ''}"


def _sealed(key: bytes, tenant: str, obj: UUID, plaintext: bytes) -> Iterator[bytes]:
    cipher, view = AESGCM(key), memoryview(plaintext)
    count = max(1, -(-len(plaintext) // PIECE_BYTES))
    for n in range(count):
        nonce, part = _seal_of(n, n == count - 1)
        yield cipher.encrypt(nonce, view[n * PIECE_BYTES : (n + 1) * PIECE_BYTES], aad(tenant, obj, part))


async def _unseal(key: bytes, tenant: str, obj: UUID, pieces: list[bytes]) -> bytes:
    if not pieces:
        raise Damaged("the document has no ciphertext left, although it was never erased")
    cipher, plaintext = AESGCM(key), bytearray()
    for n, ciphertext in enumerate(pieces):
        nonce, part = _seal_of(n, n == len(pieces) - 1)
        plaintext += opened(cipher, nonce, ciphertext, aad(tenant, obj, part))
        await asyncio.sleep(0)  # a large document gives way between its pieces
    return bytes(plaintext)
