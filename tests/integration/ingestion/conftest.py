"""Ingestion on a real PostgreSQL, spoken to over HTTP in process; without Kafka, which it does not need to accept."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
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
from tests.conftest import Database

TENANT, OTHER = "harbor-msp", "other-msp"


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
    """A running ingestion and its callers."""

    parts: Parts
    clock: ShiftedClock
    http: httpx.AsyncClient
    admin_token: str
    database: Database
    key: str
    """Of source ``huntress`` of :data:`TENANT`."""
    operator: str
    """Of any source of :data:`TENANT`."""

    def bearer(self, token: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {token}"}

    async def send(self, events: Any, token: str | None = None, **headers: str) -> httpx.Response:
        """POST events as JSON."""
        return await self.http.post("/v1/records", json=events, headers={**self.bearer(token or self.key), **headers})

    async def rows(self, query: str, *args: Any) -> list[asyncpg.Record]:
        """As the administrator, who sees all."""
        connection = await asyncpg.connect(self.database.admin)
        try:
            return list(await connection.fetch(query, *args))
        finally:
            await connection.close()


def in_process(app: FastAPI) -> httpx.AsyncClient:
    # What escapes the application must fail the test unless it was answered: the server would only log it.
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://ingestion", timeout=30)


@pytest_asyncio.fixture
async def ingestion(database: Database) -> AsyncIterator[Ingestion]:
    async with AsyncExitStack() as stack:
        pool = await open_pool(database.login("ingestion_api"), name="test")
        stack.push_async_callback(pool.close)
        clock, master = ShiftedClock(), Master(secrets.token_bytes(32))
        access = Access(pool, AccessSecrets(secrets.token_bytes(32), secrets.token_urlsafe(32)), clock)
        intake = await stack.enter_async_context(Intake(pool, master, clock=clock))
        writers = {topic: await stack.enter_async_context(Appender(pool, topic)) for topic in DECIDED}
        app = routes(FastAPI())
        app.state.access = access
        app.state.parts = parts = Parts(pool, access, intake, writers, Standing(pool), Documents(master), master, clock)
        for tenant in (TENANT, OTHER):
            await directory.add_tenant(pool, tenant, tenant, "Europe/Berlin")
        http = await stack.enter_async_context(in_process(app))
        yield Ingestion(
            parts,
            clock,
            http,
            access._secrets.admin_token,
            database,
            (await directory.add_key(pool, access.pepper, TENANT, "huntress")).token,
            (await directory.add_key(pool, access.pepper, TENANT, None)).token,
        )


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
