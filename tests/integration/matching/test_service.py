"""The service as a process of its own, between a real PostgreSQL and a real Kafka: alerts, deaths, answers."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import httpx
import orjson
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer

from deploy.local.kafka import Kafka
from shared.access.directory import add_key, add_tenant
from shared.messaging.kafka import topic_name
from shared.messaging.runner import Messaging
from shared.runtime.clock import SystemClock
from tests.conftest import Database, free_port
from tests.integration.matching.support import Matching
from tests.integration.matching.test_lifecycle import OCTOBER, mapped
from tests.integration.matching.worlds import RandomBook
from tests.unit.reconciliation.book import TENANT

ADMIN_TOKEN = "an administrator's token"
OTHER = "other-msp"


@dataclass
class Service:
    """``python -m services.matching``, startable and killable."""

    environment: dict[str, str]
    url: str
    cell: str
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.matching", env=self.environment
        )

    async def ready(self, *, idle: bool = False) -> dict[str, Any]:
        """Until it says that it can do its work (``idle``: and, for longer than it takes to look again, that it has
        none); what it says."""
        said = 0
        async with asyncio.timeout(60), httpx.AsyncClient(trust_env=False) as client:
            while True:
                try:
                    response = await client.get(f"{self.url}/health/ready", timeout=3)
                    state: dict[str, Any] = response.json()
                    said = said + 1 if response.status_code == 200 and not (idle and _work(state)) else 0
                    if said > (15 if idle else 0):
                        return state
                except httpx.TransportError:
                    said = 0
                await asyncio.sleep(0.1)

    async def end(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 30)

    async def get(self, path: str, token: str = ADMIN_TOKEN, **params: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {token}"} | ({"plumbline-tenant": TENANT} if token == ADMIN_TOKEN else {})
        async with httpx.AsyncClient(trust_env=False) as client:
            return await client.get(f"{self.url}{path}", headers=headers, params=params)


def _work(state: dict[str, Any]) -> int:
    lag = sum(topic["records"] for one in state["messaging"]["consumers"] for topic in one["lag"].values())
    return int(state["due"] + lag + sum(relay["behind"] for relay in state["messaging"]["relays"]))


@pytest_asyncio.fixture
async def service(database: Database, kafka: Kafka, matching: Matching, tmp_path: Path) -> AsyncIterator[Service]:
    """The service, and ingestion's relays. One cell a test: the broker is the session's."""
    secrets = {"key_pepper": "ab" * 32, "admin_token": ADMIN_TOKEN, "vault_master": bytes(range(32)).hex()}
    for name, text in secrets.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    for tenant in (TENANT, OTHER):
        await add_tenant(matching.ingestion, tenant, tenant, "UTC")
    port, cell = free_port(), f"m{database.name}"
    environment = {
        **os.environ,
        "PLUMBLINE_API_DATABASE_URL": database.login("matching_api"),
        "PLUMBLINE_WORK_DATABASE_URL": database.login("matching_work"),
        "PLUMBLINE_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "PLUMBLINE_CELL": cell,
        "PLUMBLINE_SECRETS_DIR": str(tmp_path),
        "PLUMBLINE_PORT": str(port),
    }
    service = Service(environment, f"http://127.0.0.1:{port}", cell)
    async with AsyncExitStack() as stack:
        relays = Messaging(
            service="ingestion", pool=matching.ingestion, bootstrap=kafka.bootstrap, cell=cell, random=Random(7)
        )
        await stack.enter_async_context(relays)
        await service.start()
        try:
            await service.ready()
            yield service
        finally:
            await service.end()


async def test_a_usage_record_is_a_discrepancy_in_kafka_within_a_second(
    matching: Matching, service: Service, kafka: Kafka
) -> None:
    clock = SystemClock()
    book = mapped()
    for n in range(12):
        book.client(f"c-{n}")
        book.map("account", "huntress", f"a-{n}", f"c-{n}")
        book.line(f"c-{n}", "edr", "2026-10-01", unit="4.20", recurring=("1", "4.20"), contract=f"C-{n}")
    await matching.append(book.records)
    await service.ready(idle=True)
    consumer = AIOKafkaConsumer(topic_name(service.cell, "discrepancies"), bootstrap_servers=kafka.bootstrap)
    await consumer.start()
    try:
        latencies_ms = []
        for n in range(12):
            usage = book.usage("5", OCTOBER, account=f"a-{n}")
            began = clock.monotonic()
            await matching.append([usage])
            message = await asyncio.wait_for(consumer.getone(), 30)
            latencies_ms.append(round((clock.monotonic() - began) * 1000))
            record = orjson.loads(message.value)
            assert (record["data"]["body"]["code"], record["causationid"]) == ("QTY_UNDER", usage["id"])
    finally:
        await consumer.stop()
    print(f"p50 {median(latencies_ms)} ms", sorted(latencies_ms))
    # Measured: 170 ms, of which the group waits 100 for others. The bound is what is promised.
    assert median(latencies_ms) < 1000


async def test_killed_again_and_again_it_ends_in_what_the_oracle_says(matching: Matching, service: Service) -> None:
    random = Random(3)
    records = RandomBook(random, 160).shuffled()

    async def load() -> None:
        for n in range(0, len(records), 5):
            await matching.append(records[n : n + 5])
            await asyncio.sleep(random.uniform(0, 0.2))

    loading = asyncio.create_task(load())
    for _ in range(3):
        await asyncio.sleep(random.uniform(0.3, 1.0))
        await service.end(signal.SIGKILL)
        await service.start()
        await service.ready()
    await loading
    await service.ready(idle=True)
    await matching.settle()
    await matching.check(TENANT)
    assert await matching.replay(TENANT)
    assert await service.end() == 0


async def test_the_api_shows_a_tenant_what_was_found_and_what_waits(matching: Matching, service: Service) -> None:
    empty = (await service.get("/v1/discrepancies")).json()
    assert empty["data"] == []
    assert empty["meta"]["note"] == "nothing has been compared yet"
    book = mapped()
    for n, seats in enumerate(("3", "9", "5")):
        book.map("account", "huntress", f"b-{n}", f"c-{n}")
        book.line(f"c-{n}", "edr", "2026-10-01", unit="4.20", recurring=("1", "4.20"), contract=f"C-{n}")
        book.usage(seats, OCTOBER, account=f"b-{n}")
    book.usage("1", OCTOBER, account="nobody", account_name="Northwind")
    book.line("northwind", "edr", "2026-10-15", unit="4.20", contract="C-9")
    await matching.append(book.records)
    await service.ready(idle=True)
    await matching.check(TENANT)

    listed = (await service.get("/v1/discrepancies", limit=3)).json()
    assert [row["body"].get("amount") for row in listed["data"]] == ["33.6", "16.8", "8.4"]
    assert listed["meta"]["open"] == 4
    assert listed["meta"]["compared_groups"] == 3
    assert listed["meta"]["not_comparable"] == 1
    rest = (await service.get("/v1/discrepancies", limit=3, cursor=listed["meta"]["next"])).json()
    assert [row["body"]["code"] for row in rest["data"]] == ["UNMAPPED_CLIENT"]
    assert [len((await service.get("/v1/discrepancies", **filters)).json()["data"]) for filters in (
        {"code": "QTY_UNDER"}, {"client": "c-1"}, {"min": "10"}, {"state": "cleared"}, {"state": "all"},
    )] == [3, 1, 2, 0, 4]  # fmt: skip

    wanted = listed["data"][0]["id"]
    book.usage("10", OCTOBER + timedelta(hours=1), account="b-1")
    await matching.append(book.records[-1:])
    await service.ready(idle=True)
    for name in (wanted, wanted[:8]):
        shown = (await service.get(f"/v1/discrepancies/{name}")).json()["data"]
        assert (shown["id"], shown["version"], shown["state"]) == (wanted, 2, "open")
        assert [(step["version"], step["type"], step["amount"]) for step in shown["history"]] == [
            (1, "discrepancy.detected.v1", "33.6"),
            (2, "discrepancy.changed.v1", "37.26"),
        ]
        assert shown["basis"]["cause"]["type"] == "usage.metered.v1"
        assert shown["basis"]["as_of"] == "2026-10-20"

    groups = (await service.get("/v1/groups", client="northwind", period="2026-10")).json()["data"]
    assert [(group["product"], group["state"]) for group in groups] == [("edr", "not_comparable")]
    assert {wait["side"] for wait in groups[0]["waiting"]} == {"invoice"}
    pages = await service.get("/v1/groups", limit=2)
    more = await service.get("/v1/groups", limit=2, cursor=pages.json()["meta"]["next"])
    assert not {str(row) for row in pages.json()["data"]} & {str(row) for row in more.json()["data"]}

    for path, params, status in (
        ("/v1/discrepancies/0000000000", {}, 404),
        ("/v1/discrepancies/no-id", {}, 404),
        ("/v1/discrepancies", {"cursor": "x"}, 400),
        ("/v1/discrepancies", {"code": "NO_SUCH"}, 422),
        ("/v1/discrepancies", {"min": "lots"}, 422),
        ("/v1/groups", {"period": "2026-13"}, 422),
    ):
        answer = await service.get(path, **params)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), path
    token = (await add_key(matching.ingestion, bytes.fromhex("ab" * 32), OTHER, None)).token
    assert (await service.get("/v1/discrepancies", token)).json()["meta"]["open"] == 0
    assert (await service.get(f"/v1/discrepancies/{wanted}", token)).status_code == 404
    assert (await service.get("/v1/discrepancies", "wrong")).status_code == 401


@pytest.mark.parametrize("role", ["matching_api"])
async def test_the_role_of_requests_reads_results_and_nothing_else(database: Database, role: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(database.login(role))
    try:
        for table in ("slot", "cell", "meter", "due", "due_key", "name", "route", "document"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch(f"SELECT * FROM matching.{table}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("DELETE FROM matching.verdict")
    finally:
        await connection.close()
