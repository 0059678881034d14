"""The vault on a real PostgreSQL, through the roles that services use."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from shared.runtime.database import open_pool, tenant_transaction
from shared.vault.documents import MAX_DOCUMENT_BYTES, PIECE_BYTES, Documents, TooLarge
from shared.vault.keys import Damaged, Erased, Master, MasterKeyRefused, NotInVault, WrongMasterKey
from shared.vault.people import People, Person
from tests.conftest import Database

TENANT, OTHER = "harbor-msp", "other-msp"
MASTER = Master(bytes(range(32)))
CANARY = b"canary-7f3a19c2 wrote about Frau Beispiel"


@pytest_asyncio.fixture
async def pool(database: Database) -> AsyncIterator[asyncpg.Pool]:
    pool = await open_pool(database.login("ingestion_api"), name="test")
    yield pool
    await pool.close()


@pytest_asyncio.fixture
async def admin(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database.admin)
    yield connection
    await connection.close()


documents = Documents(MASTER)
people = People(MASTER)


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES + 7])
async def test_a_document_comes_back_as_it_was(pool: asyncpg.Pool, size: int) -> None:
    plaintext = secrets.token_bytes(size)
    name = await documents.put(pool, TENANT, plaintext, "text/csv")
    assert await documents.get(pool, TENANT, name) == plaintext


async def test_the_name_is_the_hash_of_the_stored_ciphertext(pool: asyncpg.Pool, admin: asyncpg.Connection) -> None:
    name = await documents.put(pool, TENANT, CANARY, "text/plain")
    stored = b"".join(row[0] for row in await admin.fetch("SELECT ciphertext FROM vault.piece ORDER BY n"))
    assert name == hashlib.sha256(stored).hexdigest() != hashlib.sha256(CANARY).hexdigest()


async def test_the_same_document_is_kept_once_in_a_tenant_and_apart_between_tenants(pool: asyncpg.Pool) -> None:
    name = await documents.put(pool, TENANT, CANARY, "text/plain")
    assert (
        await documents.find_same(pool, TENANT, CANARY)
        == name
        == await documents.put(pool, TENANT, CANARY, "text/plain")
    )
    assert await documents.find_same(pool, OTHER, CANARY) is None
    assert await documents.put(pool, OTHER, CANARY, "text/plain") != name


async def test_the_same_document_put_many_times_at_once_is_kept_once(
    pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    names = await asyncio.gather(*(documents.put(pool, TENANT, CANARY, "text/plain") for _ in range(8)))
    assert len(set(names)) == 1
    assert await documents.get(pool, TENANT, names[0]) == CANARY
    for table in ("document", "key", "piece"):
        assert await admin.fetchval(f"SELECT count(*) FROM vault.{table}") == 1


async def test_many_texts_are_kept_in_one_call_each_once(pool: asyncpg.Pool, admin: asyncpg.Connection) -> None:
    texts = [b"note %d" % (n % 300) for n in range(1000)]
    names = await documents.put_all(pool, TENANT, texts, "text/plain")
    assert await asyncio.gather(*(documents.get(pool, TENANT, name) for name in names[:20])) == texts[:20]
    assert len(set(names)) == 300 == await admin.fetchval("SELECT count(*) FROM vault.key")
    assert await documents.put_all(pool, TENANT, [b"new", *reversed(texts)], "text/plain") == [
        await documents.put(pool, TENANT, b"new", "text/plain"),
        *reversed(names),
    ]


async def test_put_takes_part_in_the_callers_transaction(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute("SELECT set_config('plumbline.tenant', $1, true)", TENANT)
        await documents.put(connection, TENANT, CANARY, "text/plain")
        await transaction.rollback()
    assert await documents.find_same(pool, TENANT, CANARY) is None


async def test_another_tenant_finds_nothing_whichever_way_it_asks(pool: asyncpg.Pool) -> None:
    name = await documents.put(pool, TENANT, CANARY, "text/plain")
    with pytest.raises(NotInVault):
        await documents.get(pool, OTHER, name)
    async with tenant_transaction(pool, OTHER) as connection:
        with pytest.raises(NotInVault):  # row-level security, although the query names the owner
            await documents.get(connection, TENANT, name)
        for table in ("document", "key", "piece", "person"):
            assert await connection.fetchval(f"SELECT count(*) FROM vault.{table}") == 0
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
            await documents.put(connection, TENANT, b"forged", "text/plain")


async def test_ciphertext_moved_to_another_tenant_does_not_open(pool: asyncpg.Pool, admin: asyncpg.Connection) -> None:
    name = await documents.put(pool, TENANT, CANARY, "text/plain")
    for table in ("document", "key", "piece"):
        await admin.execute(f"UPDATE vault.{table} SET tenant = $1", OTHER)
    with pytest.raises(Damaged):
        await documents.get(pool, OTHER, name)


async def test_ciphertext_and_keys_moved_between_documents_do_not_open(
    pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    first = await documents.put(pool, TENANT, b"one", "text/plain")
    second = await documents.put(pool, TENANT, b"two", "text/plain")
    swap = "UPDATE vault.{0} a SET {1} = b.{1} FROM vault.{0} b WHERE a.object <> b.object"
    await admin.execute(swap.format("piece", "ciphertext"))
    for name in (first, second):
        with pytest.raises(Damaged):
            await documents.get(pool, TENANT, name)
    await admin.execute(swap.format("key", "wrapped"))
    for name in (first, second):
        with pytest.raises(Damaged):
            await documents.get(pool, TENANT, name)


@pytest.mark.parametrize(
    "harm",
    [
        "DELETE FROM vault.piece WHERE n = 2",
        "DELETE FROM vault.piece WHERE n = 0",
        "UPDATE vault.piece SET n = -1 WHERE n = 1",
        "UPDATE vault.piece SET ciphertext = set_byte(ciphertext, 7, get_byte(ciphertext, 7) # 1) WHERE n = 1",
        "DELETE FROM vault.piece",
    ],
)
async def test_a_document_that_was_cut_reordered_or_altered_does_not_open(
    pool: asyncpg.Pool, admin: asyncpg.Connection, harm: str
) -> None:
    name = await documents.put(pool, TENANT, secrets.token_bytes(2 * PIECE_BYTES + 1), "text/csv")
    await admin.execute(harm)
    with pytest.raises(Damaged):
        await documents.get(pool, TENANT, name)


async def test_a_document_over_the_limit_is_refused(pool: asyncpg.Pool) -> None:
    with pytest.raises(TooLarge, match="67,108,865"):
        await documents.put(pool, TENANT, bytes(MAX_DOCUMENT_BYTES + 1), "text/csv")


async def test_another_master_key_says_so(pool: asyncpg.Pool) -> None:
    name = await documents.put(pool, TENANT, CANARY, "text/plain")
    with pytest.raises(WrongMasterKey, match="put back the file"):
        await Documents(Master(bytes(32))).get(pool, TENANT, name)


async def _tables_with(admin: asyncpg.Connection, canary: bytes) -> list[str]:
    """Every table of the database with a row that holds the bytes, as text or as bytea."""
    found = []
    for schema, table in await admin.fetch(
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    ):
        # A row's text shows bytea as hex, so the canary is looked for in both spellings.
        hit = await admin.fetchval(
            f'SELECT count(*) FROM "{schema}"."{table}" t'
            " WHERE position($1 in t::text) > 0 OR position($2 in t::text) > 0",
            canary.decode(),
            canary.hex(),
        )
        if hit:
            found.append(f"{schema}.{table}")
    return found


async def test_no_table_ever_holds_a_plaintext_and_nothing_opens_after_erasure(
    pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    who = Person(name=CANARY.decode(), email="canary-7f3a19c2@example.org", phone="+49 30 7f3a19c2")
    name = await documents.put(pool, TENANT, CANARY, "text/plain")
    [person] = await people.ids(pool, TENANT, [who])
    await admin.execute("CREATE TABLE public.control AS SELECT $1::bytea AS a", CANARY)
    assert await _tables_with(admin, b"canary-7f3a19c2") == ["public.control"]  # the search finds what is there

    await documents.erase(pool, TENANT, name)
    await people.erase(pool, TENANT, person)
    await documents.erase(pool, TENANT, name)  # a repeat is harmless
    with pytest.raises(Erased):
        await documents.get(pool, TENANT, name)
    with pytest.raises(Erased):
        await people.get(pool, TENANT, person)
    for table in ("key", "piece"):
        assert await admin.fetchval(f"SELECT count(*) FROM vault.{table}") == 0
    assert await documents.find_same(pool, TENANT, CANARY) is None
    assert (
        await admin.fetchval("SELECT count(*) FROM vault.person WHERE mac IS NOT NULL OR ciphertext IS NOT NULL") == 0
    )


async def test_one_person_has_one_id_however_often_and_however_spelt(pool: asyncpg.Pool) -> None:
    ada = Person("Ada Beispiel", "Ada.Beispiel@Example.org")
    nameless, other = Person("Bo"), Person("Ada Beispiel", "other@example.org")
    ids = await people.ids(pool, TENANT, [ada, nameless, other, Person("A. B.", " ada.beispiel@example.ORG ")])
    assert ids[0] == ids[3]
    assert len(set(ids)) == 3
    assert await people.ids(pool, TENANT, [Person(" bo "), ada]) == [ids[1], ids[0]]
    assert await people.get(pool, TENANT, ids[0]) == ada
    assert (await people.ids(pool, OTHER, [ada]))[0] != ids[0]


async def test_one_person_entered_many_times_at_once_has_one_id(pool: asyncpg.Pool, admin: asyncpg.Connection) -> None:
    crowd = [Person(f"P{n}", f"p{n}@example.org") for n in range(10)]
    answers = await asyncio.gather(*(people.ids(pool, TENANT, crowd[::step]) for step in (1, -1, 1, -1)))
    assert len({frozenset(ids) for ids in answers}) == 1
    assert await admin.fetchval("SELECT count(*) FROM vault.key") == len(crowd)


async def test_a_person_is_not_shown_to_another_tenant_nor_in_a_repr(pool: asyncpg.Pool) -> None:
    [person] = await people.ids(pool, TENANT, [Person("Ada", "ada@example.org")])
    with pytest.raises(NotInVault):
        await people.get(pool, OTHER, person)
    assert "Ada" not in repr(await people.get(pool, TENANT, person))


async def test_notification_reads_documents_and_changes_nothing(pool: asyncpg.Pool, database: Database) -> None:
    name = await documents.put(pool, TENANT, b"whsec_x", "text/plain")
    reader = await open_pool(database.login("notification_work"), name="test")
    try:
        assert await documents.get(reader, TENANT, name) == b"whsec_x"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await documents.put(reader, TENANT, b"new", "text/plain")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await documents.erase(reader, TENANT, name)
    finally:
        await reader.close()


def _file(folder: Path, text: str, mode: int) -> Path:
    path = folder / "vault_master"
    path.write_text(text)
    path.chmod(mode)
    return folder


def test_the_master_key_is_read_from_its_file_and_never_shown(tmp_path: Path) -> None:
    master = Master.load(_file(tmp_path, MASTER.key.hex() + "\n", 0o600))
    assert master == MASTER
    assert MASTER.key.hex() not in repr(master)


@pytest.mark.parametrize(
    ("text", "mode", "says"),
    [
        (MASTER.key.hex(), 0o640, "chmod 600"),
        (MASTER.key.hex(), 0o604, "chmod 600"),
        ("00" * 31, 0o600, "64 hex digits"),
        ("z" * 64, 0o600, "64 hex digits"),
        ("", 0o600, "64 hex digits"),
    ],
)
def test_a_master_key_that_is_open_to_others_or_no_key_is_refused(
    tmp_path: Path, text: str, mode: int, says: str
) -> None:
    with pytest.raises(MasterKeyRefused, match=says):
        Master.load(_file(tmp_path, text, mode))


def test_a_missing_master_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MasterKeyRefused, match="cannot read"):
        Master.load(tmp_path)
