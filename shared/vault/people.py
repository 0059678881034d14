"""Persons, as ``person:<uuid>``: their names and addresses are ciphertext, and go when they are erased."""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from uuid import UUID

import orjson
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.vault.documents import transaction
from shared.vault.keys import KEY_BYTES, NONCE_BYTES, Db, Erased, Master, NotInVault, Random, aad, opened

_PREFIX = "person:"


@dataclass(frozen=True, slots=True)
class Person:
    """Who someone is. Never logged, never in a record: hence no repr of its fields."""

    name: str
    email: str | None = None
    phone: str | None = None

    def __repr__(self) -> str:
        return "Person(...)"

    @property
    def known_by(self) -> bytes:
        """What tells that two mentions are one person of a tenant: the e-mail, else the name. A file that is read again
        must give the same ids, so even a name alone has to lead to one."""
        kind, text = ("email", self.email) if self.email else ("name", self.name)
        return f"{kind}\x00{' '.join(unicodedata.normalize('NFKC', text).casefold().split())}".encode()


class People:
    """Gives persons their ids, and tells who is behind an id."""

    def __init__(self, master: Master, random: Random = secrets.token_bytes) -> None:
        self._master = master
        self._random = random

    async def ids(self, db: Db, tenant: str, people: Sequence[Person]) -> list[str]:
        """The id of each, in order; who is new to this tenant is entered. Details first heard are the ones kept."""
        macs = [self._master.mac(tenant, "person", person.known_by) for person in people]
        new = dict(zip(reversed(macs), reversed(people), strict=True))  # of two mentions the first is kept
        async with transaction(db, tenant) as connection:
            known = await self._known(connection, tenant, macs)
            for mac in sorted(new.keys() - known.keys()):  # sorted: two callers with the same people cannot deadlock
                known[mac] = await self._enter(connection, tenant, mac, new[mac])
        return [f"{_PREFIX}{known[mac]}" for mac in macs]

    async def get(self, db: Db, tenant: str, person_id: str) -> Person:
        """Who ``person:<uuid>`` is.

        Raises :class:`NotInVault`, :class:`Erased`, :class:`Damaged`, :class:`WrongMasterKey`.
        """
        person = _uuid(person_id)
        async with transaction(db, tenant) as connection:
            row = await connection.fetchrow(
                "SELECT p.ciphertext, p.erased_at, k.master, k.wrapped FROM vault.person p"
                " LEFT JOIN vault.key k ON k.tenant = p.tenant AND k.object = p.person"
                " WHERE p.tenant = $1 AND p.person = $2",
                tenant,
                person,
            )
        if row is None:
            raise NotInVault(f"no {person_id}")
        if row["erased_at"] is not None or row["wrapped"] is None:
            raise Erased(f"{person_id} was erased")
        key = self._master.unwrap(tenant, person, row["master"], row["wrapped"])
        nonce, sealed = row["ciphertext"][:NONCE_BYTES], row["ciphertext"][NONCE_BYTES:]
        return Person(**orjson.loads(opened(AESGCM(key), nonce, sealed, aad(tenant, person, "person"))))

    async def erase(self, db: Db, tenant: str, person_id: str) -> None:
        """Delete who this is, for ever; the id stays known as erased. Repeating it is harmless.

        Raises :class:`NotInVault`.
        """
        person = _uuid(person_id)
        async with transaction(db, tenant) as connection:
            found = await connection.fetchval(
                "UPDATE vault.person SET mac = NULL, ciphertext = NULL, erased_at = coalesce(erased_at, now())"
                " WHERE tenant = $1 AND person = $2 RETURNING true",
                tenant,
                person,
            )
            if not found:
                raise NotInVault(f"no {person_id}")
            await connection.execute("DELETE FROM vault.key WHERE tenant = $1 AND object = $2", tenant, person)

    async def _known(self, connection: Db, tenant: str, macs: list[bytes]) -> dict[bytes, UUID]:
        rows = await connection.fetch(
            "SELECT mac, person FROM vault.person WHERE tenant = $1 AND mac = ANY($2::bytea[])", tenant, macs
        )
        return {row["mac"]: row["person"] for row in rows}

    async def _enter(self, connection: Db, tenant: str, mac: bytes, who: Person) -> UUID:
        person, key, nonce = UUID(bytes=self._random(16), version=4), self._random(KEY_BYTES), self._random(NONCE_BYTES)
        sealed = nonce + AESGCM(key).encrypt(nonce, orjson.dumps(asdict(who)), aad(tenant, person, "person"))
        entered = await connection.fetchval(
            "INSERT INTO vault.person (tenant, person, mac, ciphertext) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (tenant, mac) DO NOTHING RETURNING person",
            tenant,
            person,
            mac,
            sealed,
        )
        if entered is None:  # another transaction entered the same person just now
            return (await self._known(connection, tenant, [mac]))[mac]
        await connection.execute(
            "INSERT INTO vault.key VALUES ($1, $2, $3, $4)",
            tenant,
            person,
            self._master.version,
            self._master.wrap(tenant, person, key, self._random),
        )
        return person


def _uuid(person_id: str) -> UUID:
    try:
        return UUID(person_id.removeprefix(_PREFIX))
    except ValueError as error:
        raise NotInVault(f"no {person_id!r}: a person is {_PREFIX}<uuid>") from error
