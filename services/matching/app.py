"""The wiring of matching: pools, the fold, resolvers and comparers, the relay of its topic, the routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from random import SystemRandom

from fastapi import FastAPI

from services.matching import api, statements_api
from services.matching.fold import consumer
from services.matching.preview import Preview
from services.matching.settings import MatchingSettings
from services.matching.statements import Statements
from services.matching.workers import Workers
from shared.access.principal import Access, read_secrets
from shared.eventlog.checks import check_settings, keep_room
from shared.messaging.runner import Messaging
from shared.runtime.clock import Clock, SystemClock
from shared.runtime.database import BY_KEY, open_pool
from shared.runtime.http import install
from shared.vault.documents import Documents
from shared.vault.keys import Master


@asynccontextmanager
async def running(app: FastAPI, settings: MatchingSettings, clock: Clock) -> AsyncIterator[None]:
    """The service, from its start to its end. Requests reach the ``_api`` pool only: what the routes need is put into
    ``app.state``, and the ``_work`` pools are not among it. Two doors hold one: they draw for the tenant that they are
    told, and answer what was drawn."""
    async with AsyncExitStack() as stack:
        secrets, master = read_secrets(settings.secrets_dir), Master.load(settings.secrets_dir)
        pool = await open_pool(settings.api_database_url.get_secret_value(), name="matching-api")
        stack.push_async_callback(pool.close)
        work = await open_pool(settings.work_database_url.get_secret_value(), name="matching-work")
        stack.push_async_callback(work.close)
        # A comparer holds two connections; were there fewer, all of them could wait for their second one. A door holds
        # one at a time.
        keyed = await open_pool(
            settings.work_database_url.get_secret_value(),
            name="matching-draw",
            size=2 * settings.comparers + settings.resolvers + 8,
            settings=BY_KEY,
        )
        stack.push_async_callback(keyed.close)
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
        workers = Workers(
            keyed,
            resolvers=settings.resolvers,
            comparers=settings.comparers,
            clock=clock,
            random=SystemRandom(),
            appended=messaging.waker("discrepancies"),
        )
        await stack.enter_async_context(workers)
        room = asyncio.create_task(keep_room(work, clock), name="room")
        stack.callback(room.cancel)
        app.state.pool, app.state.messaging, app.state.workers = pool, messaging, workers
        app.state.access, app.state.documents = Access(pool, secrets, clock), Documents(master)
        app.state.statements = Statements(keyed, Documents(master), clock, messaging.waker("statements"))
        daily = asyncio.create_task(app.state.statements.keep_daily(), name="daily")
        stack.callback(daily.cancel)
        app.state.preview = Preview(keyed, clock)
        yield


def build_app(settings: MatchingSettings, clock: Clock | None = None) -> FastAPI:
    """The service as an ASGI application; its lifespan is the service's life."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with running(app, settings, clock or SystemClock()):
            yield

    app = FastAPI(title="Plumbline matching", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    install(app)
    for room in (api, statements_api):
        app.include_router(room.router)
    return app
