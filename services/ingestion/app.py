"""The wiring of ingestion: pools, the intake, the relays of its topics, the calendar, the routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import structlog
from fastapi import FastAPI

from services.ingestion.api import admin, decisions, feeds, files, health, quarantine, records
from services.ingestion.calendar import Calendar
from services.ingestion.disk import Disk, DiskLow
from services.ingestion.intake import Intake
from services.ingestion.parts import Parts
from services.ingestion.settings import IngestionSettings
from services.ingestion.standing import Standing
from shared.access.principal import Access, read_secrets
from shared.eventlog.checks import check_settings, keep_room
from shared.eventlog.model import LogFull, LogUnavailable
from shared.eventlog.postgres import Appender
from shared.messaging.runner import Messaging
from shared.runtime.clock import Clock, SystemClock
from shared.runtime.database import open_pool
from shared.runtime.http import install, on_error, unavailable
from shared.vault.documents import Documents
from shared.vault.keys import Master

logger = structlog.get_logger(__name__)

DECIDED = ("mappings", "settings", "feeds")
"""Topics that are appended to without a batch: decisions, and the calendar's days."""


def routes(app: FastAPI) -> FastAPI:
    """``app`` with everything that it answers; ``app.state.parts`` and ``app.state.access`` come with its lifespan."""
    install(app)
    on_error(app, DiskLow, unavailable("Disk nearly full", "Too little disk is left to accept more."))
    on_error(app, LogFull, unavailable("Busy", "More is waiting to be stored than may wait."))
    on_error(app, LogUnavailable, unavailable("Database away", "The database did not answer in time."))
    for module in (health, records, files, quarantine, decisions, feeds, admin):
        app.include_router(module.router)
    return app


@dataclass(frozen=True, slots=True)
class Running:
    """A service that runs. Only ``parts`` is in reach of commands; health asks the others how they are."""

    parts: Parts
    messaging: Messaging
    calendar: Calendar


@asynccontextmanager
async def running(settings: IngestionSettings, clock: Clock) -> AsyncIterator[Running]:
    """Everything that the service runs, until the context ends."""
    secrets, master = read_secrets(settings.secrets_dir), Master.load(settings.secrets_dir)
    async with AsyncExitStack() as stack:
        pool = await open_pool(settings.api_database_url.get_secret_value(), name="ingestion-api")
        stack.push_async_callback(pool.close)
        work = await open_pool(settings.work_database_url.get_secret_value(), name="ingestion-work")
        stack.push_async_callback(work.close)
        async with work.acquire() as connection:
            for advice in await check_settings(connection):
                logger.warning(advice)
        messaging = await stack.enter_async_context(
            Messaging(service="ingestion", pool=work, bootstrap=settings.kafka_bootstrap, cell=settings.cell)
        )
        intake = await stack.enter_async_context(
            Intake(
                pool,
                master,
                clock=clock,
                on_append=messaging.wake,
                may_accept=Disk(settings.secrets_dir, clock).check,
            )
        )
        writers = {
            topic: await stack.enter_async_context(Appender(pool, topic, on_append=messaging.waker(topic)))
            for topic in DECIDED
        }
        parts = Parts(
            pool, Access(pool, secrets, clock), intake, writers, Standing(pool), Documents(master), master, clock
        )
        calendar = Calendar(work, writers["feeds"], clock)
        tasks = [
            asyncio.create_task(calendar.run(), name="calendar"),
            asyncio.create_task(keep_room(work, clock), name="room"),
        ]
        try:
            yield Running(parts, messaging, calendar)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def build_app(settings: IngestionSettings, clock: Clock | None = None) -> FastAPI:
    """The service as an ASGI application; its lifespan is the service's life."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with running(settings, clock or SystemClock()) as service:
            app.state.parts, app.state.access, app.state.service = service.parts, service.parts.access, service
            yield

    return routes(
        FastAPI(title="Plumbline ingestion", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    )
