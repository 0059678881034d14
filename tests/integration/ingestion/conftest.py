"""Ingestion on a real PostgreSQL, spoken to over HTTP in process; without Kafka, which it does not need to accept."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx
import pytest_asyncio
from fastapi import FastAPI

from services.ingestion.app import DECIDED, routes
from services.ingestion.intake import Intake
from services.ingestion.parts import Parts
from services.ingestion.standing import Standing
from shared.access import directory
from shared.access.principal import Access, AccessSecrets
from shared.eventlog.postgres import Appender
from shared.runtime.clock import SystemClock
from shared.runtime.database import open_pool
from shared.vault.documents import Documents
from shared.vault.keys import Master
from tests.conftest import Database, Server


class ShiftedClock(SystemClock):
    """The machine's clock, which a test may set ahead."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self.fixed: datetime | None = None

    def now(self) -> datetime:
        return self.fixed or datetime.now(UTC)

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s


@dataclass
class Ingestion:
    """A running ingestion and two tenants of its own for a test."""

    parts: Parts
    clock: ShiftedClock
    http: httpx.AsyncClient
    admin_token: str
    database: Database
    tenant: str
    other: str
    """Another tenant."""
    key: str
    """Of source ``huntress`` of the tenant."""
    operator: str
    """Of any source of the tenant."""

    def bearer(self, token: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {token}"}

    async def new_key(self, tenant: str, source: str | None) -> str:
        return (await directory.add_key(self.parts.pool, self.parts.access.pepper, tenant, source)).token

    async def send(self, events: Any, token: str | None = None, **headers: Any) -> httpx.Response:
        """POST events as JSON."""
        return await self.http.post("/v1/records", json=events, headers={**self.bearer(token or self.key), **headers})

    async def call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """As the tenant's operator."""
        options["headers"] = {**self.bearer(self.operator), **options.get("headers", {})}
        return await self.http.request(method, path, **options)

    async def rows(self, query: str, *args: Any) -> list[asyncpg.Record]:
        """As the database's administrator, who sees all."""
        connection = await asyncpg.connect(self.database.admin)
        try:
            return list(await connection.fetch(query, *args))
        finally:
            await connection.close()

    async def of(self, table: str, columns: str = "count(*)", order: str = "1") -> list[asyncpg.Record]:
        """The tenant's rows of a table."""
        return await self.rows(f"SELECT {columns} FROM {table} WHERE tenant = $1 ORDER BY {order}", self.tenant)


def in_process(app: FastAPI) -> httpx.AsyncClient:
    # A defect is answered with 500, as by the server; the test then sees the answer.
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://ingestion", timeout=30)


@asynccontextmanager
async def database_of_module(server: Server) -> AsyncIterator[Database]:
    """One migrated database for the tests of a module: copying it takes longer than most of them."""
    name = f"m{secrets.token_hex(6)}"
    connection = await asyncpg.connect(server.admin())
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE migrated")
    try:
        yield Database(server, name)
    finally:
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await connection.close()


@dataclass
class House:
    """An ingestion without tenants."""

    database: Database
    parts: Parts
    clock: ShiftedClock
    http: httpx.AsyncClient
    admin_token: str

    async def with_tenants(self, tenant: str, other: str) -> Ingestion:
        pool, pepper = self.parts.pool, self.parts.access.pepper
        for name in (tenant, other):
            await directory.add_tenant(pool, name, name, "Europe/Berlin")
        keys = [(await directory.add_key(pool, pepper, tenant, source)).token for source in ("huntress", None)]
        return Ingestion(
            self.parts, self.clock, self.http, self.admin_token, self.database, tenant, other, keys[0], keys[1]
        )


@asynccontextmanager
async def house_on(database: Database) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        pool = await open_pool(database.login("ingestion_api"), name="test")
        stack.push_async_callback(pool.close)
        clock, master, admin_token = ShiftedClock(), Master(secrets.token_bytes(32)), secrets.token_urlsafe(32)
        access = Access(pool, AccessSecrets(secrets.token_bytes(32), admin_token), clock)
        intake = await stack.enter_async_context(Intake(pool, master, clock=clock))
        writers = {topic: await stack.enter_async_context(Appender(pool, topic)) for topic in DECIDED}
        app = routes(FastAPI())
        app.state.access = access
        app.state.parts = parts = Parts(pool, access, intake, writers, Standing(pool), Documents(master), master, clock)
        http = await stack.enter_async_context(in_process(app))
        yield House(database, parts, clock, http, admin_token)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(postgres_server: Server) -> AsyncIterator[House]:
    async with database_of_module(postgres_server) as database, house_on(database) as house:
        yield house


@pytest_asyncio.fixture(loop_scope="module")
async def ingestion(house: House) -> AsyncIterator[Ingestion]:
    """On the module's database, with tenants of its own."""
    name = f"msp-{secrets.token_hex(4)}"
    yield await house.with_tenants(name, f"{name}-rival")
    house.clock.ahead_s, house.clock.fixed = 0.0, None


def usage(n: int = 1, **changes: Any) -> dict[str, Any]:
    """The n-th usage record of source ``huntress``; ``data__x=...`` changes its data."""
    event: dict[str, Any] = {
        "specversion": "1.0",
        "type": "usage.metered.v1",
        "id": f"agents/{n}",
        "source": "huntress",
        "time": "2026-09-01T00:00:00Z",
        "data": {"account": f"acct-{n % 7}", "sku": "edr", "meter": "agents", "kind": "gauge", "quantity": "7"},
    }
    for name, value in changes.items():
        if name.startswith("data__"):
            event["data"][name[6:]] = value
        else:
            event[name] = value
    return event
