"""The one path by which facts enter, without HTTP: several processes, and answers that are lost on the way."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import orjson
import pytest
import pytest_asyncio

from services.ingestion.domain.envelope import read
from services.ingestion.domain.facts import Receipt, Sender
from services.ingestion.intake import Intake, digest_of
from shared.eventlog.model import LogUnavailable
from shared.runtime.clock import SystemClock
from tests.integration.ingestion.conftest import House, Ingestion, usage
from tests.integration.ingestion.test_records import balanced

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Swift(SystemClock):
    """Does not wait before it tries again."""

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 50)


class Lossy:
    """A pool that loses calls before the server has them, and answers after it has committed."""

    def __init__(self, pool: asyncpg.Pool, chance: random.Random) -> None:
        self._pool, self._chance = pool, chance
        self.lost = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    async def fetch(self, *args: Any) -> Any:
        return await self._losing(self._pool.fetch(*args))

    async def execute(self, *args: Any) -> Any:
        return await self._losing(self._pool.execute(*args))

    async def _losing(self, call: Any) -> Any:
        fate = self._chance.random()
        if fate < 0.2:
            call.close()
        else:
            answer = await call
            if fate < 0.6:
                return answer
        self.lost += 1
        raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")


@pytest_asyncio.fixture(loop_scope="module")
async def processes(house: House) -> AsyncIterator[list[Intake]]:
    """Three intakes that share nothing but the database, as in three processes; each loses two calls in five."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                Intake(
                    Lossy(house.parts.pool, random.Random(seed)),  # type: ignore[arg-type]
                    house.parts.master,
                    clock=Swift(),
                )
            )
            for seed in range(3)
        ]


async def accept(ingestion: Ingestion, intake: Intake, batch: str, events: list[Any]) -> Receipt:
    sender, now = Sender(ingestion.tenant, None, "key:test", "corr"), ingestion.clock.now()
    body = orjson.dumps(events)
    while True:
        try:
            return await intake.accept(sender, batch, read(body, sender, now), digest=digest_of(body), received_at=now)
        except LogUnavailable:  # every try of the intake's own was lost: answered 503, and the client comes again
            continue


def mixed(first: int, count: int) -> list[Any]:
    """Facts of two topics and three sources, twins, and invalid items."""
    events: list[Any] = []
    for n in range(first, first + count):
        events.append(usage(n, source=f"vendor-{n % 3}"))
        if n % 5 == 0:
            events.append(usage(n, type="client.recorded.v1", data={"client": str(n), "name": "x"}))
        if n % 7 == 0:
            events += [usage(n, source=f"vendor-{n % 3}"), usage(n, data__quantity=1.5), n]
    return events


async def test_one_batch_in_three_processes_over_bad_lines_has_one_answer(
    ingestion: Ingestion, processes: list[Intake]
) -> None:
    for first, count in ((0, 40), (30, 40), (100, 1_300)):
        events = mixed(first, count)
        name = secrets.token_hex(4)
        receipts = await asyncio.gather(*(accept(ingestion, intake, name, events) for intake in processes * 2))
        assert all(receipt == receipts[0] for receipt in receipts)
        assert receipts[0].accepted == len(events)
    await balanced(ingestion)
    assert all(intake._pool.lost for intake in processes)  # type: ignore[attr-defined]


async def test_many_batches_that_share_records_store_each_once(ingestion: Ingestion, processes: list[Intake]) -> None:
    rng = random.Random(7)
    batches = {f"b{n}": mixed(rng.randrange(200), rng.randrange(1, 60)) for n in range(40)}
    jobs = [(name, intake) for name in batches for intake in rng.sample(processes, 2)]
    rng.shuffle(jobs)
    receipts = await asyncio.gather(*(accept(ingestion, intake, name, batches[name]) for name, intake in jobs))
    answers: dict[str, Receipt] = {}
    for (name, _), receipt in zip(jobs, receipts, strict=True):
        assert answers.setdefault(name, receipt) == receipt
    await balanced(ingestion)
    fields = "convert_from(body, 'UTF8')::jsonb"
    [(records, identities)] = await ingestion.of(
        "log.record", f"count(*), count(DISTINCT (topic, {fields} ->> 'source', {fields} ->> 'id'))"
    )
    assert records == identities == sum(receipt.stored for receipt in answers.values())
