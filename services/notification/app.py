"""The wiring of notification: pools, the consumer of alerts, the sender, the relay of its topic, the routes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from random import SystemRandom

from fastapi import FastAPI

from services.notification.api import router
from services.notification.handlers import consumer
from services.notification.sender import DRAIN_S, Sender
from services.notification.settings import NotificationSettings
from services.notification.store import Outbox, Shown
from services.notification.webhook import Caller, VaultSigner, http_client
from shared.access.principal import Access, read_secrets
from shared.eventlog.checks import check_settings, keep_room
from shared.messaging.runner import Messaging
from shared.runtime.clock import Clock, SystemClock
from shared.runtime.database import open_pool
from shared.runtime.http import install
from shared.vault.documents import Documents
from shared.vault.keys import Master


@asynccontextmanager
async def running(app: FastAPI, settings: NotificationSettings, clock: Clock) -> AsyncIterator[None]:
    """The service, from its start to its end. Requests reach the ``_api`` pool only: what the routes need is put into
    ``app.state``, and the ``_work`` pool is not among it."""
    async with AsyncExitStack() as stack:
        secrets, master = read_secrets(settings.secrets_dir), Master.load(settings.secrets_dir)
        pool = await open_pool(settings.api_database_url.get_secret_value(), name="notification-api")
        stack.push_async_callback(pool.close)
        work = await open_pool(settings.work_database_url.get_secret_value(), name="notification-work")
        stack.push_async_callback(work.close)
        async with work.acquire() as connection:
            await check_settings(connection)
        client = await stack.enter_async_context(http_client())
        caller = Caller(client, VaultSigner(work, Documents(master), clock), clock, settings.webhook_timeout_s)
        # The sender and the messaging wake each other, so one of them is told late.
        sender = Sender(
            Outbox(work), caller, clock=clock, rng=SystemRandom(), on_settled=lambda: messaging.wake("notifications")
        )
        messaging = Messaging(
            service="notification",
            pool=work,
            bootstrap=settings.kafka_bootstrap,
            cell=settings.cell,
            consumers=[consumer(sender.wake)],
            clock=clock,
        )
        await stack.enter_async_context(messaging)
        sending = asyncio.create_task(sender.run(), name="sender")
        stack.push_async_callback(_ended, sender, sending)
        room = asyncio.create_task(keep_room(work, clock), name="room")
        stack.callback(room.cancel)
        app.state.pool, app.state.messaging, app.state.sender = pool, messaging, sender
        app.state.access, app.state.shown = Access(pool, secrets, clock), Shown(pool)
        yield


async def _ended(sender: Sender, sending: asyncio.Task[None]) -> None:
    sender.stop()
    _, late = await asyncio.wait([sending], timeout=2 * DRAIN_S)
    for task in late:
        task.cancel()
    await asyncio.gather(sending, return_exceptions=True)


def build_app(settings: NotificationSettings, clock: Clock | None = None) -> FastAPI:
    """The service as an ASGI application; its lifespan is the service's life."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with running(app, settings, clock or SystemClock()):
            yield

    app = FastAPI(title="Plumbline notification", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    install(app)
    app.include_router(router)
    return app
