"""The wiring of matching: pools, the fold, the worker that resolves and draws, the relay of its topic, the routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from random import SystemRandom

from fastapi import FastAPI

from services.matching.api import router
from services.matching.findings import Findings
from services.matching.fold import consumer
from services.matching.settings import MatchingSettings
from services.matching.worker import Worker
from shared.access.principal import Access, read_secrets
from shared.eventlog.checks import check_settings, keep_room
from shared.messaging.runner import Messaging
from shared.runtime.clock import Clock, SystemClock
from shared.runtime.database import open_pool
from shared.runtime.http import install

_WORK_CONNECTIONS = 16
_DRAIN_S = 10.0


@asynccontextmanager
async def running(app: FastAPI, settings: MatchingSettings, clock: Clock) -> AsyncIterator[None]:
    """The service, from its start to its end. Requests reach the ``_api`` pool only: what the routes need is put into
    ``app.state``, and the ``_work`` pool is not among it."""
    async with AsyncExitStack() as stack:
        pool = await open_pool(settings.api_database_url.get_secret_value(), name="matching-api")
        stack.push_async_callback(pool.close)
        work = await open_pool(
            settings.work_database_url.get_secret_value(), name="matching-work", size=_WORK_CONNECTIONS
        )
        stack.push_async_callback(work.close)
        async with work.acquire() as connection:
            await check_settings(connection)
        messaging = Messaging(
            service="matching",
            pool=work,
            bootstrap=settings.kafka_bootstrap,
            cell=settings.cell,
            consumers=[consumer()],
            clock=clock,
        )
        await stack.enter_async_context(messaging)
        worker = Worker(
            work,
            clock=clock,
            random=SystemRandom(),
            behind=lambda: _behind(messaging),
            appended=messaging.waker("discrepancies"),
        )
        working = asyncio.create_task(worker.run(), name="worker")
        stack.push_async_callback(_ended, worker, working)
        room = asyncio.create_task(keep_room(work, clock), name="room")
        stack.callback(room.cancel)
        app.state.pool, app.state.messaging, app.state.worker = pool, messaging, worker
        app.state.access, app.state.findings = Access(pool, read_secrets(settings.secrets_dir), clock), Findings(pool)
        yield


def _behind(messaging: Messaging) -> int:
    """Records that the fold has yet to take, as of its last look."""
    return sum(int(topic["records"]) for one in messaging.state()["consumers"] for topic in one["lag"].values())


async def _ended(worker: Worker, working: asyncio.Task[None]) -> None:
    worker.stop()
    _, late = await asyncio.wait([working], timeout=_DRAIN_S)
    for task in late:
        task.cancel()
    await asyncio.gather(working, return_exceptions=True)


def build_app(settings: MatchingSettings, clock: Clock | None = None) -> FastAPI:
    """The service as an ASGI application; its lifespan is the service's life."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with running(app, settings, clock or SystemClock()):
            yield

    app = FastAPI(title="Plumbline matching", docs_url=None, redoc_url=None, lifespan=lifespan)
    install(app)
    app.include_router(router)
    return app
