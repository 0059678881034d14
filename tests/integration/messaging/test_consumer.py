"""The consumer on a real PostgreSQL: marks, members side by side, lost answers, dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random
from uuid import UUID

import asyncpg
import pytest

from shared.events.catalogue import CATALOGUE, setting_stream
from shared.events.record import Context, Draft, draft_decision
from shared.events.settings import SettingChanged
from shared.messaging.loop import ConsumerLoop
from shared.messaging.ports import Partition
from shared.messaging.postgres import PostgresStore, PostgresTransaction
from shared.runtime.clock import SystemClock
from shared.runtime.database import open_pool
from tests.integration.messaging.support import NAME, TOPIC, World, consumer
from tests.unit.messaging.world import BEGIN, fact


async def test_duplicates_jumps_and_backward_jumps_apply_each_record_once(world: World) -> None:
    await world.write(500)
    messages = await world.messages()
    random = Random(5)
    loop = world.loop(consumer())
    for _ in range(30):
        start = random.randrange(len(messages))
        batch = [m for m in messages[start : start + 60] if random.random() < 0.7]
        batch += random.choices(messages, k=5)
        random.shuffle(batch)
        assert await loop.deliver(batch)
    assert await loop.deliver(messages)
    await world.check_effects()
    assert await world.behind() == 0


async def test_two_members_at_once_on_one_partition_apply_each_record_once(world: World) -> None:
    other = await open_pool(world.database.login("ingestion_work"), name="other", size=4)
    await world.write(600, accounts=1)
    messages = await world.messages()
    loops = [world.loop(consumer(batch_records_max=7)), world.loop(consumer(batch_records_max=5), other, seed=2)]
    await asyncio.gather(*(_feed(loop, messages, Random(n)) for n, loop in enumerate(loops)))
    await world.check_effects()
    assert all(loop.counters.applied for loop in loops), "both had their turn"
    await other.close()


async def _feed(loop: ConsumerLoop, messages: Sequence[object], random: Random) -> None:
    start = 0
    while start < len(messages):
        end = start + random.randint(1, 40)
        await loop.deliver(messages[max(0, start - 10) : end])  # type: ignore[arg-type]
        start = end


async def test_a_lost_answer_to_commit_is_settled_by_the_mark(world: World) -> None:
    class LosesAnswers(PostgresStore):
        lost = 0

        @asynccontextmanager
        async def transaction(self, partitions: Sequence[Partition]) -> AsyncIterator[PostgresTransaction]:
            async with super().transaction(partitions) as tx:
                yield tx
            if self.lost < 3:
                self.lost += 1
                raise ConnectionResetError("the connection broke after COMMIT")

    await world.write(100)
    declared = consumer(batch_records_max=20)
    store = LosesAnswers(world.pool, declared)
    loop = ConsumerLoop(declared, store, epoch=1, clock=SystemClock(), random=Random(1))
    assert await loop.deliver(await world.messages())
    assert store.lost == 3
    await world.check_effects()


async def test_a_terminated_backend_costs_a_retry(world: World) -> None:
    await world.write(300)
    loop = world.loop(consumer(batch_records_max=10))
    delivering = asyncio.create_task(loop.deliver(await world.messages()))
    for _ in range(5):
        await asyncio.sleep(0.05)
        await world.admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'test'"
        )
    assert await delivering
    await world.check_effects()


async def test_poison_in_the_middle_of_a_batch_is_one_dead_letter_whoever_refuses_it(world: World) -> None:
    refused_by = {41: "666", 42: "999"}
    await world.write(120, lambda n: refused_by.get(n, "1"), accounts=1)
    await world.append([_newer(world)])
    loop = world.loop(consumer())
    assert await loop.deliver(await world.messages())
    letters = {letter["detail"].split(":")[0]: letter for letter in await world.letters()}
    assert set(letters) == {
        "BadRecord",
        "CheckViolationError",
        "type usage.metered.v9 is not known to this release; a newer one wrote it",
    }
    assert {letter["reason"] for letter in letters.values()} == {"refused", "newer"}
    assert letters["BadRecord"]["position"] == 42
    assert letters["BadRecord"]["tenant"] == "tenant"
    assert letters["BadRecord"]["attempts"] == 2
    assert letters["BadRecord"]["state"] == "open"
    await world.check_effects()
    assert await world.behind() == 0


def _newer(world: World) -> Draft:
    draft = fact(10_000, time=BEGIN, account="a0")
    body = draft.body.replace(b"usage.metered.v1", b"usage.metered.v9")
    return Draft(
        draft.topic, draft.partition, draft.tenant, draft.id_hash, draft.content_hash, body, draft.stamp_offset
    )


def _setting(key: str, version: int, value: str) -> Draft:
    command = f"{key}-{version}"
    return draft_decision(
        CATALOGUE["setting.changed.v1"],
        tenant="tenant",
        source="test",
        record_id=command,
        time=BEGIN,
        data=SettingChanged(key=key, value=value),
        command={"name": command},
        stream=setting_stream("tenant", key),
        expected=version - 1,
        context=Context("person:00000000-0000-0000-0000-000000000000"),
    )


async def test_an_ordered_consumer_sets_the_rest_of_the_stream_aside_and_nothing_else(world: World) -> None:
    await world.admin.execute("SELECT messaging.add_consumer('ingestion', $1, $2)", NAME, ["settings"])

    class Refuses:
        async def handle(self, tx: asyncpg.Connection, batch: Sequence[object]) -> dict[str, list[Draft]]:
            for record in batch:
                if record.fields["data"]["value"] == "bad":  # type: ignore[attr-defined]
                    raise ValueError("bad value")
            return {}

    for key in ("a", "b"):
        for version, value in enumerate(("good", "bad" if key == "a" else "good", "good"), start=1):
            await world.append([_setting(key, version, value)])
    loop = world.loop(replace(consumer(("settings",), ordered=True), handler=Refuses()))
    assert await loop.deliver(await world.messages("settings"))
    await world.append([_setting("a", 4, "good")])
    assert await loop.deliver(await world.messages("settings"))
    letters = [(row["stream"], row["reason"]) for row in await world.letters()]
    stream: UUID = setting_stream("tenant", "a")
    assert letters == [(stream, "refused"), (stream, "behind"), (stream, "behind")]
    assert await loop._store.open_dead_letters() == 3


async def test_the_state_names_lag_in_records_and_seconds(world: World) -> None:
    await world.write(30)
    loop = world.loop(consumer())
    loop._standing = await PostgresStore(world.pool, consumer()).standing()
    lag = loop.state()["lag"][TOPIC]
    assert lag["records"] == 30
    assert 0 < lag["seconds"] < 30


async def test_a_topic_without_marks_says_which_migration_lacks_it(world: World) -> None:
    await world.append([_setting("a", 1, "good")])
    loop = world.loop(consumer(("settings",)))
    delivering = asyncio.create_task(loop.deliver(await world.messages("settings")))
    await asyncio.sleep(0.3)
    assert "must call messaging.add_consumer" in loop.state()["fault"]
    loop.stop()
    assert not await delivering


async def test_a_consumer_of_a_topic_that_does_not_exist_cannot_be_added(world: World) -> None:
    with pytest.raises(asyncpg.RaiseError, match="reads topic usages"):
        await world.admin.execute("SELECT messaging.add_consumer('ingestion', 'ingestion.x', ARRAY['usages'])")
