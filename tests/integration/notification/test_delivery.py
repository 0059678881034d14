"""From a discrepancy in the log to the receiver: once under one id, in order, whatever fails in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
import pytest_asyncio

import services.notification.sender as sender_module
from services.notification.domain.attempts import UNKNOWN
from services.notification.domain.lanes import Limits
from services.notification.domain.retry import RetryPolicy
from services.notification.handlers import SECRET_KEY, URL_KEY
from services.notification.store import Outbox
from tests.conftest import Database
from tests.integration.notification.world import CLOCK, World, discrepancy, tasks_of, until, world_of
from tests.receiver import Answer, Receiver

A, B = "harbor-msp", "other-msp"


@pytest_asyncio.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with world_of(database) as world:
        yield world


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


async def test_a_discrepancy_arrives_signed_and_its_attempt_is_a_record(world: World, receiver: Receiver) -> None:
    async with world.running():
        await world.configure(A, receiver)
        stream = await world.detect(A, "one")
        [arrival] = await receiver.wait_for(1)
        assert await world.settled(A) == {"sent": 1}
    assert arrival.payload["data"]["id"] == stream.hex
    assert arrival.payload["data"]["version"] == 1
    assert arrival.webhook_id.startswith("msg_")
    [attempt] = await world.attempts(A, arrival.webhook_id)
    assert attempt.pop("attempted_at")
    assert attempt.pop("duration_ms") >= 0
    assert attempt == {
        "type": "notification.sent.v1",
        "intent": arrival.webhook_id,
        "channel": "webhook",
        "discrepancy": stream.hex,
        "version": 1,
        "attempt": 1,
        "status_code": 200,
    }


async def test_many_discrepancies_arrive_once_each_in_the_order_of_their_versions(
    world: World, receiver: Receiver
) -> None:
    receiver.script.extend([Answer(500), Answer(200), Answer(lose=True), Answer(503), Answer(200)] * 6)
    async with world.running():
        await world.configure(A, receiver)
        for n in range(12):
            await world.detect(A, f"d{n}")
        for n in range(12):
            await world.change(A, f"d{n}", "60", "56")
        for n in range(12):
            await world.clear(A, f"d{n}")
        await receiver.wait_for(36)
        assert await world.settled(A) == {"sent": 36}
    for n in range(12):
        told = [a.payload["data"]["version"] for a in receiver.arrivals.values()
                if a.payload["data"]["id"] == discrepancy(A, f"d{n}").hex]  # fmt: skip
        assert told == [1, 2, 3]
    assert not receiver.refused


async def test_a_later_version_never_overtakes_an_earlier_one_that_fails(world: World, receiver: Receiver) -> None:
    async with world.running():
        await world.configure(A, receiver)
        receiver.answer = Answer(500)
        await world.detect(A, "one")
        await world.clear(A, "one")
        await receiver.wait_for_requests(3)
        receiver.answer = Answer(200)
        await receiver.wait_for(2)
    assert [a.payload["data"]["state"] for a in receiver.arrivals.values()] == ["new", "cleared"]
    refused = [request.webhook_id for request in receiver.requests if not request.answer.takes]
    assert set(refused) == {next(iter(receiver.arrivals))}


async def test_failures_are_retried_with_growing_waits_and_each_is_a_record(world: World, receiver: Receiver) -> None:
    receiver.script.extend([Answer(500), Answer(302, headers=(("location", receiver.url),)), Answer(429), Answer(404)])
    async with world.running():
        await world.configure(A, receiver)
        await world.detect(A, "one")
        [arrival] = await receiver.wait_for(1)
        assert await world.settled(A) == {"sent": 1}
    assert len(receiver.requests) == 5
    assert len({request.webhook_id for request in receiver.requests}) == 1
    attempts = await world.attempts(A, arrival.webhook_id)
    assert [a["attempt"] for a in attempts] == [1, 2, 3, 4, 5]
    assert [a.get("reason") for a in attempts] == ["HTTP 500", "HTTP 302", "HTTP 429", "HTTP 404", None]
    assert [a.get("final") for a in attempts] == [False] * 4 + [None]
    assert all(a["next_attempt_at"] > a["attempted_at"] for a in attempts[:-1])


async def test_after_the_last_attempt_it_has_failed_for_good_and_the_next_version_goes_out(
    world: World, receiver: Receiver
) -> None:
    receiver.script.extend([Answer(500)] * 3)
    sender = world.sender(policy=RetryPolicy(base_s=0.02, attempts_max=3))
    async with world.running(sender):
        await world.configure(A, receiver)
        await world.detect(A, "one")
        await world.clear(A, "one")
        [arrival] = await receiver.wait_for(1)
        assert await world.settled(A) == {"failed": 1, "sent": 1}
    assert arrival.payload["data"]["state"] == "cleared"
    attempts = await world.attempts(A, receiver.requests[0].webhook_id)
    assert [a["final"] for a in attempts] == [False, False, True]


async def test_gone_is_final_at_once(world: World, receiver: Receiver) -> None:
    receiver.script.append(Answer(410))
    async with world.running():
        await world.configure(A, receiver)
        await world.detect(A, "one")
        await receiver.wait_for_requests(1)
        assert await world.settled(A) == {"failed": 1}
    assert len(receiver.requests) == 1


async def test_retry_after_is_heeded(world: World, receiver: Receiver) -> None:
    receiver.script.append(Answer(503, headers=(("retry-after", "1"),)))
    async with world.running(world.sender(policy=RetryPolicy(base_s=0.05))):
        await world.configure(A, receiver)
        await world.detect(A, "one")
        await receiver.wait_for(1)
    first, second = receiver.requests
    assert second.at_monotonic - first.at_monotonic >= 0.95


async def test_an_answer_that_never_ends_is_not_read_to_its_end(world: World, receiver: Receiver) -> None:
    receiver.answer = Answer(body=b"x" * 10_000_000)
    async with world.running():
        await world.configure(A, receiver)
        for n in range(3):
            await world.detect(A, f"d{n}")
        await receiver.wait_for(3)
        assert await world.settled(A) == {"sent": 3}
    assert [arrival.count for arrival in receiver.arrivals.values()] == [1, 1, 1]


async def test_a_record_that_cannot_be_read_is_set_aside_with_its_stream_and_stops_no_other(
    world: World, receiver: Receiver
) -> None:
    async with world.running():
        await world.configure(A, receiver)
        await world.spoil(A, "spoilt")
        await world.clear(A, "spoilt")
        await world.detect(A, "good")
        await receiver.wait_for(1)
        assert await world.settled(A) == {"sent": 1}
    letters = await world.work.fetch("SELECT reason, detail FROM notification.dead_letter ORDER BY position")
    assert [letter["reason"] for letter in letters] == ["refused", "behind"]
    assert "does not hold what its type says" in letters[0]["detail"]


# --- stopped at every step ---


class DiesBeforeSettling(Outbox):
    """A process that dies between the receiver's answer and the record of it."""

    async def settle(self, results: Any) -> None:
        await asyncio.Event().wait()


class DiesBeforeCalling(Outbox):
    """A process that dies when ``sending`` was committed, before the call."""

    async def claim(self, *args: Any) -> Any:
        if await super().claim(*args):
            await asyncio.Event().wait()
        return []


async def _killed(world: World, outbox: Any, until: Any) -> None:
    """Run a sender over ``outbox`` and cut it off, without any farewell, once ``until`` is over."""
    task = asyncio.create_task(world.sender(outbox=outbox).run())
    await until
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _until_sending(world: World) -> None:
    async def sending() -> bool:
        return "sending" in await world.states(A)

    await until(sending)


async def test_killed_after_the_call_it_sends_again_under_the_same_id_and_says_so(
    world: World, receiver: Receiver
) -> None:
    await world.configure(A, receiver)
    await world.detect(A, "one")
    await world.fold()
    await _killed(world, DiesBeforeSettling(world.work), receiver.wait_for_requests(1))
    assert await world.states(A) == {"sending": 1}
    async with world.running():
        await receiver.wait_for_requests(2)
        assert await world.settled(A) == {"sent": 1}
    [arrival] = receiver.arrivals.values()
    assert arrival.count == 2
    attempts = await world.attempts(A, arrival.webhook_id)
    assert [(a["attempt"], a["type"], a.get("reason")) for a in attempts] == [
        (1, "notification.failed.v1", UNKNOWN),
        (2, "notification.sent.v1", None),
    ]


async def test_killed_before_the_call_nothing_is_lost(world: World, receiver: Receiver) -> None:
    await world.configure(A, receiver)
    await world.detect(A, "one")
    await world.fold()
    await _killed(world, DiesBeforeCalling(world.work), _until_sending(world))
    assert not receiver.requests
    async with world.running():
        [arrival] = await receiver.wait_for(1)
        assert await world.settled(A) == {"sent": 1}
    assert arrival.count == 1
    assert len(await world.attempts(A, arrival.webhook_id)) == 2


async def test_an_answer_that_comes_after_its_attempt_was_given_up_changes_nothing(
    world: World, receiver: Receiver
) -> None:
    """A process that was only paused wakes up, and its late answer must not count: another one has taken over."""
    held = asyncio.Event()

    class Paused(Outbox):
        async def claim(self, *args: Any) -> Any:
            if receiver.requests:
                await held.wait()
            return await super().claim(*args)

        async def settle(self, results: Any) -> None:
            await held.wait()
            await super().settle(results)

    receiver.script.append(Answer(500))
    await world.configure(A, receiver)
    await world.detect(A, "one")
    await world.fold()
    paused = world.sender(outbox=Paused(world.work))
    async with tasks_of(paused.run()):
        await receiver.wait_for_requests(1)
        async with world.running():
            await receiver.wait_for_requests(2)
            assert await world.settled(A) == {"sent": 1}
        held.set()
        paused.stop()
    assert await world.states(A) == {"sent": 1}
    [arrival] = receiver.arrivals.values()
    assert [a["type"] for a in await world.attempts(A, arrival.webhook_id)] == [
        "notification.failed.v1",
        "notification.sent.v1",
    ]


async def test_stopped_in_good_order_it_settles_what_was_on_its_way(world: World, receiver: Receiver) -> None:
    receiver.answer = Answer(delay_s=0.3)
    await world.configure(A, receiver)
    await world.detect(A, "one")
    await world.fold()
    sender = world.sender()
    async with tasks_of(sender.run()):
        await receiver.wait_for_requests(1)
        sender.stop()
    assert await world.states(A) == {"sent": 1}
    assert len(receiver.requests) == 1


async def test_two_processes_share_the_work_and_do_none_of_it_twice(world: World, receiver: Receiver) -> None:
    await world.configure(A, receiver)
    for n in range(60):
        await world.detect(A, f"d{n % 20}") if n < 20 else await world.change(A, f"d{n % 20}", str(60 + n), "56")
    await world.fold()
    first, second = world.sender(), world.sender()
    async with tasks_of(first.run(), second.run()):
        await receiver.wait_for(60)
        assert await world.settled(A) == {"sent": 60}
        first.stop()
        second.stop()
    assert {arrival.count for arrival in receiver.arrivals.values()} == {1}
    by_stream: dict[str, list[int]] = {}
    for arrival in receiver.arrivals.values():
        by_stream.setdefault(arrival.payload["data"]["id"], []).append(arrival.payload["data"]["version"])
    assert all(earlier < later for told in by_stream.values() for earlier, later in pairwise(told))


async def test_the_database_going_away_delays_and_loses_nothing(
    world: World, receiver: Receiver, database: Database
) -> None:
    import asyncpg

    admin = await asyncpg.connect(database.admin)
    async with world.running():
        await world.configure(A, receiver)
        for n in range(10):
            await world.detect(A, f"d{n}")
            await admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'plumbline_notification_work'"
            )
            await asyncio.sleep(0.05)
        await receiver.wait_for(10)
        assert await world.settled(A) == {"sent": 10}
    await admin.close()


# --- receivers that fail ---


async def test_receivers_that_hang_delay_no_other_tenant(world: World, receiver: Receiver) -> None:
    """Six of them would fill the four places many times over; their own two are all that they get."""
    dead_tenants = [f"dead-{n}" for n in range(6)]
    limits = Limits(per_tenant=4, healthy=4, suspect=2, rest_base_s=0.05, rest_max_s=0.2)
    async with Receiver(answer=Answer(delay_s=60)) as dead:
        async with world.running(world.sender(timeout_s=2.0, limits=limits)) as sender:

            async def all_failed() -> bool:
                return bool(sender.state()["failing_receivers"] == len(dead_tenants))

            for tenant in dead_tenants:
                await world.configure(tenant, dead)
                for n in range(4):
                    await world.detect(tenant, f"d{n}")
            await world.configure(B, receiver)
            await until(all_failed)
            began = CLOCK.monotonic()
            for n in range(30):
                await world.detect(B, f"d{n}")
            await receiver.wait_for(30)
            took_s = CLOCK.monotonic() - began
        assert took_s < 15.0


async def test_a_receiver_that_is_away_gets_everything_when_it_is_back(world: World, receiver: Receiver) -> None:
    async with world.running():
        await world.configure(A, receiver)
        await receiver.stop()
        for n in range(8):
            await world.detect(A, f"d{n}")
        await asyncio.sleep(1.0)
        await receiver.start()
        await receiver.wait_for(8)
        assert await world.settled(A) == {"sent": 8}


async def test_a_receiver_without_room_is_called_by_nobody_else_in_its_name(world: World, receiver: Receiver) -> None:
    """Two tenants, two receivers, two secrets: no message takes the other's way or signature."""
    async with Receiver(secret="whsec_b3RoZXIgc2VjcmV0IG9mIHRlbmFudCBCISEhISE=") as other, world.running():
        await world.configure(A, receiver)
        await world.configure(B, other)
        await world.detect(A, "one")
        await world.detect(B, "one")
        [a], [b] = await receiver.wait_for(1), await other.wait_for(1)
    assert (a.payload["data"]["tenant"], b.payload["data"]["tenant"]) == (A, B)
    assert a.webhook_id != b.webhook_id
    assert not receiver.refused + other.refused


# --- settings ---


async def test_what_was_found_before_the_webhook_was_set_is_kept_and_never_floods(
    world: World, receiver: Receiver
) -> None:
    async with world.running():
        for n in range(5):
            await world.detect(A, f"old{n}")
        await world.folded()
        await world.configure(A, receiver)
        await world.detect(A, "new")
        await world.clear(A, "old0")
        await receiver.wait_for(2)
        await asyncio.sleep(0.5)
    told = [(a.payload["data"]["id"], a.payload["data"]["state"]) for a in receiver.arrivals.values()]
    assert sorted(told) == sorted([(discrepancy(A, "new").hex, "new"), (discrepancy(A, "old0").hex, "cleared")])
    assert await world.states(A) == {"planned": 5, "sent": 2}


async def test_a_webhook_without_a_secret_gets_nothing(world: World, receiver: Receiver) -> None:
    async with world.running():
        await world.set(A, URL_KEY, receiver.url)
        await world.detect(A, "one")
        await world.folded()
        await asyncio.sleep(0.5)
    assert not receiver.requests
    assert not receiver.refused


async def test_a_webhook_that_was_taken_away_gets_nothing_more(world: World, receiver: Receiver) -> None:
    async with world.running():
        await world.configure(A, receiver)
        await world.detect(A, "one")
        await receiver.wait_for(1)
        await world.set(A, URL_KEY, None)
        await world.folded()
        await world.detect(A, "two")
        await world.folded()
        await asyncio.sleep(0.5)
        assert len(receiver.requests) == 1
        await world.set(A, URL_KEY, receiver.url)
        await world.detect(A, "three")
        await receiver.wait_for(2)
        await asyncio.sleep(0.4)
    assert len(receiver.requests) == 2


async def test_a_new_address_takes_over_what_the_old_one_has_not_taken(world: World, receiver: Receiver) -> None:
    async with Receiver(answer=Answer(500)) as old, world.running():
        await world.configure(A, old)
        await world.detect(A, "one")
        await old.wait_for_requests(1)
        await world.set(A, URL_KEY, receiver.url)
        await receiver.wait_for(1)
    assert {request.webhook_id for request in old.requests} == set(receiver.arrivals)


async def test_a_new_secret_signs_at_once_and_the_former_one_for_a_while(world: World, receiver: Receiver) -> None:
    renewed = "whsec_dGhlIHNlY3JldCB0aGF0IGNvbWVzIGFmdGVyd2FyZHM="
    async with world.running():
        await world.configure(A, receiver)
        await world.detect(A, "one")
        await receiver.wait_for(1)
        await world.set(A, SECRET_KEY, renewed, secret=True)
        await world.folded()
        await world.detect(A, "two")
        await receiver.wait_for(2)  # still checks the former one
        receiver.secret = renewed
        await world.detect(A, "three")
        await receiver.wait_for(3)
        await world.work.execute("UPDATE notification.webhook SET former_until = now() - interval '1 s'")
        receiver.secret = Receiver.secret
        await world.detect(A, "four")
        await receiver.until(lambda: bool(receiver.refused), "a refusal")
        receiver.secret = renewed
        await receiver.wait_for(4)
    assert set(receiver.refused) == {"No matching signature found"}


async def test_a_secret_that_cannot_sign_fails_the_attempt_in_words_and_without_the_secret(
    world: World, receiver: Receiver
) -> None:
    async with world.running(world.sender(policy=RetryPolicy(base_s=0.02, attempts_max=2))):
        await world.set(A, URL_KEY, receiver.url)
        await world.set(A, SECRET_KEY, "whsec_", secret=True)
        await world.detect(A, "one")
        await world.folded()
        assert await world.settled(A) == {"failed": 1}
    intent = await world.work.fetchval("SELECT intent FROM notification.intent")
    assert {a["reason"] for a in await world.attempts(A, intent)} == {"the secret is not whsec_ and base64"}


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "ftp://example.org/", "http://", "no address", "http://[::1"])
async def test_an_address_that_cannot_be_called_fails_the_attempt_and_stops_nobody(
    world: World, receiver: Receiver, url: str
) -> None:
    async with world.running(world.sender(policy=RetryPolicy(base_s=0.02, attempts_max=2))):
        await world.configure(A, receiver)
        await world.set(A, URL_KEY, url)
        await world.configure(B, receiver)
        await world.detect(A, "one")
        await world.detect(B, "one")
        await receiver.wait_for(1)
        assert await world.settled(A) == {"failed": 1}


async def test_a_message_from_kafka_wakes_the_sender(
    world: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the wake it would wait for the idle poll, which here is so long that nothing would come."""
    monkeypatch.setattr(sender_module, "IDLE_S", 600.0)
    await world.configure(A, receiver)
    await world.fold()
    sender = world.sender()
    loop = world.consumer(sender.wake)
    async with tasks_of(sender.run()):
        for n in range(5):
            await asyncio.sleep(0.3)  # past the eager looks of the last wake
            stream = await world.detect(A, f"d{n}")
            assert await loop.deliver([await world.message(stream)])
            await receiver.wait_for(n + 1, timeout_s=20)
        sender.stop()
