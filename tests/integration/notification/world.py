"""A little of the other services, over a real database: matching that writes discrepancies, ingestion that writes
settings and secrets; and the notification service in parts, so that a test can stop it between any two of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from services.notification.domain.lanes import Limits
from services.notification.domain.retry import RetryPolicy
from services.notification.handlers import SECRET_KEY, URL_KEY, consumer
from services.notification.sender import Sender
from services.notification.store import Outbox
from services.notification.webhook import Caller, VaultSigner, http_client
from shared.eventlog.model import Verdict
from shared.eventlog.postgres import PostgresLog, append_in
from shared.events.catalogue import CATALOGUE, notification_stream, setting_stream
from shared.events.discrepancies import DiscrepancyChanged, DiscrepancyCleared, DiscrepancyDetected
from shared.events.record import Context, draft_decision, draft_derived
from shared.events.settings import SettingChanged
from shared.kernel.identity import derived_id, stream_id
from shared.messaging.loop import ConsumerLoop
from shared.messaging.ports import Message, Partition
from shared.messaging.postgres import PostgresStore
from shared.runtime.clock import SystemClock
from shared.runtime.database import open_pool
from shared.vault.documents import Documents
from shared.vault.keys import Master
from tests.conftest import Database
from tests.receiver import Receiver
from tests.unit.notification.verdicts import BASIS, body

CLOCK = SystemClock()
QUICK = RetryPolicy(base_s=0.05, wait_max_s=0.2)
QUICK_LIMITS = Limits(rest_base_s=0.05, rest_max_s=0.2)


def discrepancy(tenant: str, name: str) -> UUID:
    return stream_id("discrepancies", tenant, "discrepancy", name)


@dataclass
class World:
    """Pools of the three services, and what was written so far."""

    matching: asyncpg.Pool
    ingestion: asyncpg.Pool
    work: asyncpg.Pool
    documents: Documents
    versions: dict[UUID, int] = field(default_factory=dict)

    async def detect(self, tenant: str, name: str, amount: str = "56") -> UUID:
        data = DiscrepancyDetected(body=body(amount=Decimal(amount)), basis=BASIS)
        return await self._derive("discrepancy.detected.v1", tenant, name, data)

    async def change(self, tenant: str, name: str, amount: str, was: str) -> UUID:
        data = DiscrepancyChanged(body=body(amount=Decimal(amount)), basis=BASIS, previous_amount=Decimal(was))
        return await self._derive("discrepancy.changed.v1", tenant, name, data)

    async def clear(self, tenant: str, name: str) -> UUID:
        return await self._derive("discrepancy.cleared.v1", tenant, name, DiscrepancyCleared(body=body(), basis=BASIS))

    async def spoil(self, tenant: str, name: str) -> UUID:
        """A detection whose code no release knows: matching would not write it, and the log would keep it."""
        data = DiscrepancyDetected(body=body(), basis=BASIS)
        return await self._derive("discrepancy.detected.v1", tenant, name, data, (b"QTY_UNDER", b"QTY_UNDEX"))

    async def _derive(
        self, type_name: str, tenant: str, name: str, data: Any, spoilt: tuple[bytes, bytes] = (b"", b"")
    ) -> UUID:
        stream = discrepancy(tenant, name)
        version = self.versions.get(stream, 0)
        draft = draft_derived(
            CATALOGUE[type_name],
            tenant=tenant,
            source="plumbline.matching",
            record_id=derived_id(stream, version + 1),
            time=CLOCK.now(),
            data=data,
            stream=stream,
            expected=version,
            context=Context(actor="service:matching", correlation_id=f"cor-{name}"),
        )
        await self._append(self.matching, replace(draft, body=draft.body.replace(*spoilt)))
        self.versions[stream] = version + 1
        return stream

    async def set(self, tenant: str, key: str, value: str | None, *, secret: bool = False) -> None:
        stream = setting_stream(tenant, key)
        version = self.versions.get(stream, 0)
        name = (
            value and await self.documents.put(self.ingestion, tenant, value.encode(), "text/plain") if secret else None
        )
        draft = draft_decision(
            CATALOGUE["setting.changed.v1"],
            tenant=tenant,
            source="plumbline.ingestion",
            record_id=f"{key}/{version}",
            time=CLOCK.now(),
            data=SettingChanged(key=key, secret=name) if secret else SettingChanged(key=key, value=value),
            command={"name": "change_setting", "key": key, "version": version},
            stream=stream,
            expected=version,
            context=Context(actor="key:test"),
        )
        await self._append(self.ingestion, draft)
        self.versions[stream] = version + 1

    async def configure(self, tenant: str, receiver: Receiver) -> None:
        await self.set(tenant, URL_KEY, receiver.url)
        await self.set(tenant, SECRET_KEY, receiver.secret, secret=True)

    async def _append(self, pool: asyncpg.Pool, draft: Any) -> None:
        async with pool.acquire() as connection, connection.transaction():
            [outcome] = await append_in(connection, [draft], None)
        assert outcome.verdict is Verdict.STORED

    def sender(self, *, outbox: Any = None, timeout_s: float = 5.0, **options: Any) -> Sender:
        """A sender as the service makes it, quicker to try again."""
        client = http_client()
        caller = Caller(client, VaultSigner(self.work, self.documents, CLOCK), CLOCK, timeout_s)
        return Sender(
            outbox or Outbox(self.work),
            caller,
            clock=CLOCK,
            rng=Random(7),
            **{"policy": QUICK, "limits": QUICK_LIMITS, **options},
        )

    def consumer(self, on_planned: Callable[[], None] = lambda: None) -> ConsumerLoop:
        declared = consumer(on_planned)
        return ConsumerLoop(declared, PostgresStore(self.work, declared), epoch=1, clock=CLOCK, random=Random(7))

    @asynccontextmanager
    async def running(self, sender: Sender | None = None) -> AsyncIterator[Sender]:
        """The service without its broker and its HTTP: consumer (fed by the log) and sender."""
        sender = sender or self.sender()
        loop = self.consumer(sender.wake)
        async with tasks_of(sender.run(), loop.run()):
            yield sender
            loop.stop()
            sender.stop()

    async def folded(self) -> None:
        """Until the consumer has come to the heads."""
        store = PostgresStore(self.work, consumer(lambda: None))

        async def done() -> bool:
            return all(s.mark == s.head for s in await store.standing())

        await until(done)

    async def fold(self) -> None:
        """Run the consumer until it has come to the heads."""
        loop = self.consumer()
        async with tasks_of(loop.run()):
            await self.folded()
            loop.stop()

    async def message(self, stream: UUID) -> Message:
        """The newest record of a discrepancy as Kafka brings it."""
        newest = (await PostgresLog(self.work).stream("discrepancies", stream))[-1]
        topic, partition, position = newest.place
        return Message(Partition(topic, partition), position, 1, newest.body)

    async def states(self, tenant: str) -> dict[str, int]:
        rows = await self.work.fetch(
            "SELECT state, count(*) FROM notification.intent WHERE tenant = $1 GROUP BY 1", tenant
        )
        return {row["state"]: row["count"] for row in rows}

    async def settled(self, tenant: str, timeout_s: float = 30.0) -> dict[str, int]:
        """Until nothing of the tenant is planned or on its way; how many ended in which state."""

        async def done() -> bool:
            return not (await self.states(tenant)).keys() & {"planned", "sending"}

        await self.folded()
        await until(done, timeout_s)
        return await self.states(tenant)

    async def attempts(self, tenant: str, intent: str) -> list[dict[str, Any]]:
        """Type and data of the records of an intent's attempts, in order."""
        stored = await PostgresLog(self.work).stream("notifications", notification_stream(tenant, intent))
        records = [orjson.loads(record.body) for record in stored]
        return [{"type": record["type"], **record["data"]} for record in records]


async def until(done: Callable[[], Awaitable[bool]], timeout_s: float = 30.0) -> None:
    """Until ``done()`` answers true; asks the database, so it has to poll."""
    async with asyncio.timeout(timeout_s):
        while not await done():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def tasks_of(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run beside the block; ended with it, by themselves if they can."""
    tasks = [asyncio.create_task(one) for one in work]
    try:
        yield
        await asyncio.wait(tasks, timeout=10)
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result


@asynccontextmanager
async def world_of(database: Database) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        pools = []
        for role in ("matching_work", "ingestion_work", "notification_work"):
            pool = await open_pool(database.login(role), name="test")
            stack.push_async_callback(pool.close)
            pools.append(pool)
        yield World(*pools, Documents(Master(bytes(range(32)))))
