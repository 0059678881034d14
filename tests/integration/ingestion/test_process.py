"""The service as a process: over a real socket, killed, disconnected from, told to end, without its database."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI

from services.ingestion.app import routes
from services.ingestion.disk import DiskLow
from shared.access.principal import Access, AccessSecrets
from shared.eventlog.model import LogFull, LogUnavailable
from tests.conftest import Database, Server, free_port
from tests.integration.ingestion.conftest import ShiftedClock, database_of_module, in_process, usage

pytestmark = pytest.mark.asyncio(loop_scope="module")

READY_S = 30


class Service:
    """``python -m services.ingestion``, on a real database and with a broker that never answers."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.admin_token = secrets.token_urlsafe(32)
        self.log = folder / "log"
        for name, text in (
            ("key_pepper", secrets.token_hex(32)),
            ("vault_master", secrets.token_hex(32)),
            ("admin_token", self.admin_token),
        ):
            path = folder / name
            path.write_text(text)
            path.chmod(0o600)
        self._environment = {
            "PATH": os.environ["PATH"],
            "PLUMBLINE_API_DATABASE_URL": database.login("ingestion_api"),
            "PLUMBLINE_WORK_DATABASE_URL": database.login("ingestion_work"),
            "PLUMBLINE_KAFKA_BOOTSTRAP": f"127.0.0.1:{free_port()}",
            "PLUMBLINE_SECRETS_DIR": str(folder),
            "PLUMBLINE_PORT": str(self.port),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "services.ingestion"], env=self._environment, stderr=output
            )
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            try:
                if httpx.get(f"{self.url}/health/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(f"not ready: {self.log.read_text()}")

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def headers(self, tenant: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.admin_token}", "Plumbline-Tenant": tenant}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def database_here(postgres_server: Server) -> AsyncIterator[Database]:
    async with database_of_module(postgres_server) as database:
        yield database


@pytest.fixture(scope="module")
def service(database_here: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(database_here, tmp_path_factory.mktemp("ingestion"))
    service.start()
    yield service
    service.kill()


@pytest_asyncio.fixture(loop_scope="module")
async def tenant(service: Service) -> str:
    name = f"msp-{secrets.token_hex(4)}"
    async with httpx.AsyncClient(base_url=service.url, headers=service.headers(name)) as http:
        answer = await http.post("/v1/admin/tenants", json={"tenant": name, "name": name})
        assert answer.status_code == 201, answer.text
    return name


async def stored(database: Database, tenant: str) -> list[dict[str, Any]]:
    connection = await asyncpg.connect(database.admin)
    try:
        rows = await connection.fetch("SELECT body FROM log.record WHERE tenant = $1 AND topic = 'usage'", tenant)
        return [json.loads(body) for (body,) in rows]
    finally:
        await connection.close()


async def raw(service: Service, sent: bytes, *, answer: bool = True) -> bytes:
    """Bytes to the socket, and what comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(sent)
    await writer.drain()
    received = await asyncio.wait_for(reader.read(), 20) if answer else b""
    writer.close()
    return received


def request(service: Service, tenant: str, body: bytes, length: int | None = None, **extra: bytes) -> bytes:
    headers = {
        "Host": b"x",
        "Connection": b"close",
        "Content-Type": b"application/json",
        "Content-Length": str(len(body) if length is None else length).encode(),
        **{name: value.encode() for name, value in service.headers(tenant).items()},
        **{name.replace("_", "-"): value for name, value in extra.items()},
    }
    head = b"".join(name.encode() + b": " + value + b"\r\n" for name, value in headers.items())
    return b"POST /v1/records HTTP/1.1\r\n" + head + b"\r\n" + body


async def test_it_lives_is_ready_and_stores(service: Service, tenant: str, database_here: Database) -> None:
    async with httpx.AsyncClient(base_url=service.url) as http:
        assert (await http.get("/health/live")).json() == {"live": True}
        health = (await http.get("/health/ready")).json()
        assert (health["ready"], health["database"], health["calendar"]) == (True, True, None)
        assert {relay["topic"] for relay in health["messaging"]["relays"]} >= {"usage", "feeds"}
        answer = await http.post("/v1/records", json=[usage(1)], headers=service.headers(tenant))
        assert answer.status_code == 202, answer.text
    assert [record["id"] for record in await stored(database_here, tenant)] == ["agents/1"]


async def test_a_client_that_goes_away_in_mid_body_stores_nothing_and_harms_nobody(
    service: Service, tenant: str, database_here: Database
) -> None:
    body = json.dumps([usage(n) for n in range(20)]).encode()
    for cut in (0, 1, len(body) // 2, len(body) - 1):
        await raw(service, request(service, tenant, body[:cut], len(body)), answer=False)
    assert b"202" in await raw(service, request(service, tenant, json.dumps([usage(99)]).encode()))
    assert [record["id"] for record in await stored(database_here, tenant)] == ["agents/99"]
    assert "Traceback" not in service.log.read_text()


async def test_a_client_that_does_not_wait_for_the_answer_may_ask_again(
    service: Service, tenant: str, database_here: Database
) -> None:
    sent = request(service, tenant, json.dumps([usage(n) for n in range(20)]).encode(), Idempotency_Key=b"gone")
    await raw(service, sent, answer=False)
    answer = await raw(service, sent)
    assert b'"accepted":20' in answer
    assert len(await stored(database_here, tenant)) == 20


async def test_headers_of_any_bytes_are_no_defect(service: Service, tenant: str) -> None:
    body = json.dumps([usage(1)]).encode()
    for header in (b"\xff\xfe", b"caf\xc3\xa9", b"x" * 20_000):
        answer = await raw(service, request(service, tenant, body, X_Correlation_Id=header, X_Odd=header))
        assert answer.split(b" ", 2)[1] in (b"202", b"400", b"431"), answer
    assert b" 400 " in await raw(service, request(service, tenant, body, Idempotency_Key=b"\xff\xfe"))
    assert b" 400 " in await raw(service, b"\x00\x01nonsense\r\n\r\n")
    assert "Traceback" not in service.log.read_text()


async def test_a_secret_is_never_logged(service: Service, tenant: str) -> None:
    async with httpx.AsyncClient(base_url=service.url) as http:
        await http.post("/v1/records", content=b"{", headers={"Authorization": f"Bearer {service.admin_token}x"})
        await http.post("/v1/records", json=[usage(1, data__x="canary")], headers=service.headers(tenant))
    log = service.log.read_text()
    assert service.admin_token not in log
    assert "canary" not in log


async def test_killed_under_load_it_loses_and_doubles_nothing(
    service: Service, tenant: str, database_here: Database
) -> None:
    """Every batch is sent under its id until it is answered; the process is killed meanwhile, three times."""
    total, size = 40, 25
    done = 0
    answered: dict[str, str] = {}

    async def sender(first: int) -> None:
        nonlocal done
        async with httpx.AsyncClient(base_url=service.url, headers=service.headers(tenant), timeout=10) as http:
            for number in range(first, total, 4):
                batch = [usage(number * size + n) for n in range(size)] + [usage(number, data__quantity=0.5)]
                while True:
                    try:
                        answer = await http.post("/v1/records", json=batch, headers={"Idempotency-Key": str(number)})
                    except httpx.TransportError:
                        await asyncio.sleep(0.05)
                        continue
                    if answer.status_code == 503:
                        await asyncio.sleep(0.05)
                        continue
                    assert answer.status_code == 202, answer.text
                    told = answer.json()
                    assert told["receipt"]["accepted"] == size + 1
                    assert told["receipt"]["quarantined"] == 1
                    answered.update({item["id"]: item["place"] for item in told["records"] if "place" in item})
                    break
                done += 1

    async def killer() -> None:
        for _ in range(3):
            before = done
            while done < min(before + 8, total):
                await asyncio.sleep(0.002)
            await asyncio.to_thread(service.kill)
            await asyncio.to_thread(service.start)

    await asyncio.gather(killer(), *(sender(n) for n in range(4)))
    records = await stored(database_here, tenant)
    assert (
        sorted(record["id"] for record in records)
        == sorted(answered)
        == sorted(f"agents/{n}" for n in range(total * size))
    )
    connection = await asyncpg.connect(database_here.admin)
    sums = await connection.fetchrow(
        "SELECT sum(stored)::int AS stored, sum(duplicate)::int AS duplicate, sum(quarantined)::int AS quarantined"
        " FROM ingestion.receipt WHERE tenant = $1",
        tenant,
    )
    rejects = await connection.fetchval("SELECT count(*) FROM ingestion.quarantine WHERE tenant = $1", tenant)
    places = await connection.fetch(
        "SELECT convert_from(body, 'UTF8')::jsonb ->> 'id' AS id, topic, partition, position FROM log.record"
        " WHERE tenant = $1 AND topic = 'usage'",
        tenant,
    )
    await connection.close()
    assert tuple(sums) == (total * size, 0, total)
    assert rejects == total
    assert {row["id"]: f"{row['topic']}/{row['partition']}/{row['position']}" for row in places} == answered


async def test_told_to_end_it_answers_what_it_has_begun(service: Service, tenant: str, database_here: Database) -> None:
    body = json.dumps([usage(n) for n in range(1_000)]).encode()
    answer = asyncio.create_task(raw(service, request(service, tenant, body)))
    await asyncio.sleep(0.02)
    assert service.process is not None
    service.process.send_signal(signal.SIGTERM)
    status = await asyncio.to_thread(service.process.wait, 20)
    got = await answer
    service.start()
    assert status == 0
    if got:
        assert b" 202 " in got
        assert len(await stored(database_here, tenant)) == 1_000


async def test_a_service_without_its_secrets_says_which(database_here: Database, tmp_path: Path) -> None:
    service = Service(database_here, tmp_path)
    (tmp_path / "key_pepper").unlink()
    with pytest.raises(AssertionError, match="key_pepper"):
        await asyncio.to_thread(service.start)


# --- without a database, and when too much waits ---


async def answered_503(http: httpx.AsyncClient, token: str) -> None:
    answer = await http.post(
        "/v1/records", json=[usage()], headers={"Authorization": f"Bearer {token}", "Plumbline-Tenant": "t"}
    )
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "same Idempotency-Key" in answer.json()["fix"]


async def test_while_the_database_is_away_callers_are_asked_to_come_again() -> None:
    pool = asyncpg.create_pool(f"postgresql://x:y@127.0.0.1:{free_port()}/z", min_size=0)
    await pool
    app, token = routes(FastAPI()), secrets.token_urlsafe(32)
    app.state.parts = None
    app.state.access = Access(pool, AccessSecrets(bytes(32), token), ShiftedClock())
    async with in_process(app) as http:
        await answered_503(http, token)
    await pool.close()


@pytest.mark.parametrize("error", [LogFull("full"), LogUnavailable("away"), DiskLow("low")])
async def test_what_cannot_be_accepted_is_not_dropped_but_asked_for_again(error: Exception) -> None:
    class Refusing:
        async def accept(self, *_: object, **__: object) -> None:
            raise error

    @dataclasses.dataclass
    class FewParts:
        intake: Refusing
        clock: ShiftedClock

    class Everybody:
        async def fetchrow(self, *_: object) -> dict[str, str]:
            return {"tenant": "t"}

    app, token = routes(FastAPI()), secrets.token_urlsafe(32)
    app.state.parts = FewParts(Refusing(), ShiftedClock())
    app.state.access = Access(Everybody(), AccessSecrets(bytes(32), token), ShiftedClock())
    async with in_process(app) as http:
        await answered_503(http, token)
