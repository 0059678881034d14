"""The log in memory and PostgreSQL give the same answers to the same random questions."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from shared.eventlog.memory import MemoryLog
from shared.eventlog.model import Outcome, Place, Verdict
from shared.eventlog.postgres import Appender, PostgresLog, append_in
from shared.events.catalogue import WRITERS
from shared.events.record import Draft
from shared.runtime.clock import SystemClock
from shared.runtime.database import open_pool
from tests.conftest import Database
from tests.integration.eventlog.records import command, derived, fact


def answers(outcomes: Sequence[Outcome]) -> list[tuple[Verdict, Place | None]]:
    return [(outcome.verdict, outcome.place) for outcome in outcomes]


def some_facts(rng: random.Random) -> list[Draft]:
    """Few ids, two contents, two partition keys, two tenants: repetitions, contradictions and twins in one unit."""
    return [
        fact(
            rng.randrange(40),
            rng.choice((1, 1, 1, 2)),
            account=rng.choice((None, None, "other")),
            tenant=rng.choice(("acme", "zeta")),
        )
        for _ in range(rng.randint(1, 6))
    ]


def a_command(rng: random.Random) -> list[Draft]:
    """Few streams and names, any expected version, one to three values."""
    values = tuple(str(n) for n in range(rng.choice((1, 2, 2, 3))))
    name, key = f"c{rng.randrange(30)}", f"key-{rng.randrange(4)}"
    return command(key, rng.randrange(6), name=name, values=values)


def some_verdicts(rng: random.Random) -> list[Draft]:
    """Versions of several streams in one call, also of one stream twice, also one version twice."""
    drafts: dict[tuple[int, int], Draft] = {}
    chosen = [(rng.randrange(5), rng.randrange(4)) for _ in range(rng.randint(1, 5))]
    for client, version in chosen:
        amount = rng.choice(("1.00", "1.00", "2.00"))
        drafts.setdefault((client, version), derived(f"client-{client}", version, amount=amount))
    return [drafts[which] for which in chosen]


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_memory_answers_as_postgresql_does(database: Database, seed: int) -> None:
    rng, memory = random.Random(seed), MemoryLog(SystemClock())
    ingestion = await open_pool(database.login("ingestion_work"), name="test", size=3)
    matching = await open_pool(database.login("matching_work"), name="test", size=1)
    async with Appender(ingestion, "usage") as usage, Appender(ingestion, "settings") as settings:
        for _ in range(120):
            unit = some_facts(rng)
            assert answers(await memory.append(unit)) == answers(await usage.append(unit))
            unit = some_facts(rng)
            async with ingestion.acquire() as connection, connection.transaction():
                real = await append_in(connection, unit, None)
            assert answers(memory.append_in(unit, None)) == answers(real)
            unit = a_command(rng)
            assert answers(await memory.append(unit)) == answers(await settings.append(unit))
            unit = some_verdicts(rng)
            async with matching.acquire() as connection, connection.transaction():
                real = await append_in(connection, unit, None)
            assert answers(memory.append_in(unit, None)) == answers(real)
    log = PostgresLog(ingestion)
    heads = await log.heads()
    assert heads == await memory.heads()
    for topic in WRITERS:
        for partition, head in enumerate(heads[topic]):
            real_page = await log.page(topic, partition, 0, head + 1)
            page = await memory.page(topic, partition, 0, head + 1)
            assert [(r.place, r.tenant, _unstamped(r.body)) for r in real_page] == [
                (r.place, r.tenant, _unstamped(r.body)) for r in page
            ]
    await ingestion.close()
    await matching.close()


def _unstamped(body: bytes) -> bytes:
    start = body.rindex(b'"recordedat":"')
    return body[:start] + body[start + 41 :]
