"""The service as a process of its own, between a real PostgreSQL, a real Kafka and a real receiver."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import httpx
import pytest
import pytest_asyncio

from deploy.local.kafka import Kafka
from shared.access.directory import add_key, add_tenant
from shared.messaging.runner import Messaging
from tests.conftest import Database, free_port
from tests.integration.notification.world import CLOCK, World, until, world_of
from tests.receiver import Answer, Receiver

A, B = "harbor-msp", "other-msp"
ADMIN_TOKEN = "an administrator's token"


@dataclass
class Service:
    """``python -m services.notification``, startable and killable."""

    environment: dict[str, str]
    url: str
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.notification", env=self.environment
        )

    async def ready(self) -> dict[str, Any]:
        """Until it says that it can do its work; what it says."""
        answer: dict[str, Any] = {}

        async def done() -> bool:
            nonlocal answer
            try:
                async with httpx.AsyncClient() as client:
                    response = await client.get(f"{self.url}/health/ready", timeout=3)
            except httpx.TransportError:
                return False
            answer = response.json()
            return response.status_code == 200

        await until(done)
        return answer

    async def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 30)

    async def get(self, path: str, token: str = ADMIN_TOKEN, tenant: str | None = A, **params: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"} | ({"plumbline-tenant": tenant} if tenant else {})
        async with httpx.AsyncClient() as client:
            return await client.get(f"{self.url}{path}", headers=headers, params=params)


@pytest_asyncio.fixture
async def world(database: Database) -> AsyncIterator[World]:
    async with world_of(database) as world:
        for tenant in (A, B):
            await add_tenant(world.ingestion, tenant, tenant, "Europe/Berlin")
        yield world


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)


@pytest_asyncio.fixture
async def service(database: Database, kafka: Kafka, world: World, tmp_path: Path) -> AsyncIterator[Service]:
    """The notification service, and the relays of the services whose records it reads. One cell a test: the broker is
    the session's, and topics of another database must not be read."""
    files = {"key_pepper": "ab" * 32, "admin_token": ADMIN_TOKEN, "vault_master": bytes(range(32)).hex()}
    _write(tmp_path, files)
    port, cell = free_port(), f"n{database.name}"
    environment = {
        **os.environ,
        "PLUMBLINE_API_DATABASE_URL": database.login("notification_api"),
        "PLUMBLINE_WORK_DATABASE_URL": database.login("notification_work"),
        "PLUMBLINE_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "PLUMBLINE_CELL": cell,
        "PLUMBLINE_SECRETS_DIR": str(tmp_path),
        "PLUMBLINE_PORT": str(port),
        # A proxy that nobody answers at: the way to this machine itself must not lead through it.
        "HTTP_PROXY": "http://127.0.0.1:9",
    }
    service = Service(environment, f"http://127.0.0.1:{port}")
    async with AsyncExitStack() as stack:
        for name, pool in (("matching", world.matching), ("ingestion", world.ingestion)):
            relays = Messaging(service=name, pool=pool, bootstrap=kafka.bootstrap, cell=cell, random=Random(7))
            await stack.enter_async_context(relays)
        await service.start()
        try:
            await service.ready()
            yield service
        finally:
            await service.end()


async def test_an_alert_is_at_the_receiver_within_a_second(world: World, service: Service, receiver: Receiver) -> None:
    await world.configure(A, receiver)
    await world.detect(A, "warm")
    await receiver.wait_for(1)
    latencies_ms = []
    for n in range(30):
        await asyncio.sleep(0.05 + n / 100)
        # From before the append: the figure holds PostgreSQL's commit, relay, Kafka, fold, commit, call.
        began = CLOCK.monotonic()
        await world.detect(A, f"d{n}")
        arrival = (await receiver.wait_for(n + 2))[-1]
        latencies_ms.append((arrival.first_monotonic - began) * 1000)
    print(f"p50 {median(latencies_ms):.0f} ms, max {max(latencies_ms):.0f} ms", sorted(latencies_ms))
    # Measured: 42 ms. The bound is what is promised, and holds on a busy machine too.
    assert median(latencies_ms) < 1000


async def test_killed_again_and_again_under_load_it_loses_nothing_and_keeps_each_messages_id(
    world: World, service: Service, receiver: Receiver
) -> None:
    rng = Random(7)
    receiver.answer = Answer(delay_s=0.02)
    await world.configure(A, receiver)
    expected = 0

    async def load() -> None:
        nonlocal expected
        for n in range(60):
            await world.detect(A, f"d{n}")
            await world.change(A, f"d{n}", "60", "56")
            await world.clear(A, f"d{n}")
            expected += 3
            await asyncio.sleep(rng.uniform(0, 0.1))

    writing = asyncio.create_task(load())
    for _ in range(4):
        await asyncio.sleep(rng.uniform(0.3, 1.2))
        await service.end(signal.SIGKILL)
        await service.start()
        await service.ready()
    await writing
    await receiver.wait_for(expected, timeout_s=60)
    assert await world.settled(A, 60) == {"sent": expected}
    assert len(receiver.arrivals) == expected
    assert not receiver.refused
    versions: dict[str, list[int]] = {}
    for arrival in receiver.arrivals.values():
        versions.setdefault(arrival.payload["data"]["id"], []).append(arrival.payload["data"]["version"])
    assert set(map(tuple, versions.values())) == {(1, 2, 3)}
    # Every request that the receiver saw belongs to an attempt that a record tells of.
    for arrival in receiver.arrivals.values():
        attempts = await world.attempts(A, arrival.webhook_id)
        assert [a["attempt"] for a in attempts] == list(range(1, len(attempts) + 1))
        assert arrival.count <= len(attempts)
        assert attempts[-1]["type"] == "notification.sent.v1"


async def test_stopped_in_good_order_it_ends_by_itself_with_everything_settled(
    world: World, service: Service, receiver: Receiver
) -> None:
    receiver.answer = Answer(delay_s=0.5)
    await world.configure(A, receiver)
    await world.detect(A, "one")
    await receiver.wait_for_requests(1)
    assert await service.end() == 0
    assert await world.states(A) == {"sent": 1}


async def test_a_tenant_sees_its_messages_with_their_attempts_and_nobody_elses(
    world: World, service: Service, receiver: Receiver
) -> None:
    await world.detect(A, "before")
    await world.folded()
    await world.configure(A, receiver)
    await world.configure(B, receiver)
    receiver.script.append(Answer(500))
    await world.detect(A, "one")
    await receiver.wait_for(1)
    await world.detect(B, "one")
    await receiver.wait_for(2)
    await world.settled(B)

    page = (await service.get("/v1/notifications", limit=1)).json()
    [newest] = page["data"]
    assert (newest["state"], newest["attempt"], newest["due_at"]) == ("sent", 2, None)
    assert newest["intent"] == next(iter(receiver.arrivals))
    assert newest["message"] == receiver.arrivals[newest["intent"]].payload
    assert [a.get("reason") for a in newest["attempts"]] == ["HTTP 500", None]
    rest = (await service.get("/v1/notifications", cursor=page["meta"]["next"])).json()
    assert [row["state"] for row in rest["data"]] == ["unrouted"]
    assert rest["meta"]["next"] is None
    unrouted = (await service.get("/v1/notifications", state="unrouted")).json()
    assert [row["attempts"] for row in unrouted["data"]] == [[]]

    key = await add_key(world.ingestion, bytes.fromhex("ab" * 32), B, None)
    seen = (await service.get("/v1/notifications", token=key.token, tenant=None)).json()
    assert {row["message"]["data"]["tenant"] for row in seen["data"]} == {B}
    assert (await service.get("/v1/notifications", token=key.token, tenant=A)).status_code == 403
    assert (await service.get("/v1/notifications", token="pl_nobody", tenant=A)).status_code == 401


@pytest.mark.parametrize("params", [{"cursor": "!"}, {"cursor": "MjAyNg=="}, {"limit": 0}, {"state": "lost"}])
async def test_a_bad_question_gets_a_clear_answer(service: Service, params: dict[str, Any]) -> None:
    response = await service.get("/v1/notifications", **params)
    assert response.status_code in (400, 422)
    assert response.headers["content-type"] == "application/problem+json"
    assert next(iter(params)) in response.text


async def test_readiness_says_how_far_behind_it_is(service: Service) -> None:
    state = await service.ready()
    assert state["sender"] == {"ok": True, "stuck": [], "on_the_way": 0, "failing_receivers": 0}
    [consumer] = state["messaging"]["consumers"]
    assert consumer["consumer"] == "notification.alerts"
