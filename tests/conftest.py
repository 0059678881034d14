"""The servers that tests run on: a real PostgreSQL for a session, a fresh migrated database for each test."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from hypothesis import settings

from deploy.local import jars
from deploy.local.kafka import Kafka
from deploy.local.postgres import Postgres
from shared.runtime.migrate import migrate, new_passwords

# The same examples each time, so that what fails is the change at hand; PLUMBLINE_RANDOM=1 draws new ones.
settings.register_profile("same", derandomize=True)
if not os.environ.get("PLUMBLINE_RANDOM"):
    settings.load_profile("same")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server(Postgres):
    """A PostgreSQL server that this test session started; ``admin`` is its administrator's address."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, free_port(), secrets.token_urlsafe(24))
        self.passwords = new_passwords()

    def admin(self, database: str = "postgres") -> str:
        return self.admin_url(database)


@dataclass
class Database:
    """One migrated database."""

    server: Server
    name: str

    @property
    def admin(self) -> str:
        return self.server.admin(self.name)

    def login(self, role: str) -> str:
        """URL of ``<service>_api`` or ``<service>_work``."""
        full = f"plumbline_{role}"
        return f"postgresql://{full}:{self.server.passwords[full]}@127.0.0.1:{self.server.port}/{self.name}"


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("postgres"))
    server.prepare()
    server.start()
    try:
        asyncio.run(server.ready())
        asyncio.run(_template(server))
        yield server
    finally:
        server.stop()


async def _template(server: Server) -> None:
    connection = await asyncpg.connect(server.admin())
    await connection.execute("CREATE DATABASE migrated")
    await connection.close()
    await migrate(server.admin("migrated"), server.passwords)


@pytest_asyncio.fixture
async def database(postgres_server: Server) -> AsyncIterator[Database]:
    """A fresh database with every migration applied."""
    name = f"t{secrets.token_hex(6)}"
    connection = await asyncpg.connect(postgres_server.admin())
    try:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE migrated")
        yield Database(postgres_server, name)
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """A real Apache Kafka for the session, at ``.bootstrap``; topics are the test's own (none is made by itself)."""
    jars.fetch()
    broker = Kafka(tmp_path_factory.mktemp("kafka"), free_port(), free_port())
    broker.prepare()
    broker.start()
    try:
        asyncio.run(broker.ready())
        yield broker
    finally:
        broker.stop()
