"""The wiring of ingestion: pools, the intake, the relays of its topics, the calendar, the routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from services.ingestion.api import health, records
from services.ingestion.intake import Intake
from services.ingestion.parts import Parts
from services.ingestion.settings import IngestionSettings
from shared.access.principal import Access, read_secrets
from shared.eventlog.checks import check_settings
from shared.eventlog.model import LogFull, LogUnavailable
from shared.eventlog.postgres import Appender
from shared.messaging.runner import Messaging
from shared.runtime.clock import Clock, SystemClock
from shared.runtime.database import open_pool
from shared.runtime.http import install, on_error, unavailable
from shared.vault.documents import Documents
from shared.vault.keys import Master

DECIDED = ("mappings", "settings", "feeds")
"""Topics that are appended to without a batch: decisions, and the calendar's days."""


def routes(app: FastAPI) -> FastAPI:
    """``app`` with everything that it answers; ``app.state.parts`` and ``app.state.access`` come with its lifespan."""
    install(app)
    on_error(app, LogFull, unavailable("Busy", "More is waiting to be stored than may wait."))
    on_error(app, LogUnavailable, unavailable("Database away", "The database did not answer in time."))
    for module in (health, records):
        app.include_router(module.router)
    return app


@asynccontextmanager
async def running(settings: IngestionSettings, clock: Clock) -> AsyncIterator[tuple[Parts, Messaging]]:
    """The parts of a service that runs until the context ends."""
    async with AsyncExitStack() as stack:
        secrets, master = read_secrets(settings.secrets_dir), Master.load(settings.secrets_dir)
        pool = await open_pool(settings.api_database_url.get_secret_value(), name="ingestion-api")
        stack.push_async_callback(pool.close)
        work = await open_pool(settings.work_database_url.get_secret_value(), name="ingestion-work")
        stack.push_async_callback(work.close)
        async with work.acquire() as connection:
            await check_settings(connection)
        messaging = await stack.enter_async_context(
            Messaging(service="ingestion", pool=work, bootstrap=settings.kafka_bootstrap, cell=settings.cell)
        )
        intake = await stack.enter_async_context(Intake(pool, master, clock=clock, on_append=messaging.wake))
        writers = {
            topic: await stack.enter_async_context(Appender(pool, topic, on_append=messaging.waker(topic)))
            for topic in DECIDED
        }
        access = Access(pool, secrets, clock)
        yield Parts(pool, access, intake, writers, Documents(master), master, clock), messaging


def build_app(settings: IngestionSettings, clock: Clock | None = None) -> FastAPI:
    """The service as an ASGI application; its lifespan is the service's life."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with running(settings, clock or SystemClock()) as (parts, messaging):
            app.state.parts, app.state.access, app.state.messaging = parts, parts.access, messaging
            yield

    return routes(FastAPI(title="Plumbline ingestion", docs_url=None, redoc_url=None, lifespan=lifespan))
