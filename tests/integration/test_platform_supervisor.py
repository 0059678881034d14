"""The supervisor brings the platform up, keeps it up, and leaves nothing behind, however it ends."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
import pytest
import pytest_asyncio

from deploy.local.errors import PlatformError
from deploy.local.home import ROOT, Home, read_json, write_atomically
from deploy.local.supervisor import Supervisor
from tests.conftest import Database, Kafka
from tests.integration import platform_double

PLUMBLINE = [sys.executable, "-m", "services.cli.main"]


def environment(home: Home, **more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PLUMBLINE_")}
    return {**clean, "PLUMBLINE_HOME": str(home.path), **more}


def until(true: Callable[[], Any], what: str, timeout_s: float = 30) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := true()):
        assert time.monotonic() < deadline, f"not in {timeout_s:.0f} s: {what}"
        time.sleep(0.05)
    return found


def gone(pids: dict[str, int]) -> bool:
    """Whether all have ended; one that nobody has reaped yet has."""

    def runs(pid: int) -> bool:
        try:
            return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return not any(runs(pid) for pid in pids.values())


def plumbline(home: Home, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PLUMBLINE, *arguments], cwd=ROOT, env=environment(home), capture_output=True, text=True, timeout=60
    )


class Running:
    """A supervisor of two doubles, with servers of its own, as a process."""

    def __init__(self, home: Home, **more: str) -> None:
        self.home = home
        self.process = subprocess.Popen(
            [*platform_double.ME, "supervise"],
            cwd=ROOT,
            env=environment(home, **more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.end()

    def ready(self) -> Running:
        until(lambda: self.process.poll() is not None or self.state() == "ready", "the platform is ready", 60)
        assert self.process.poll() is None, self.process.communicate()[0]
        return self

    def state(self) -> str | None:
        known = read_json(self.home.status) or {}
        return known.get("state") if known.get("pid") == self.process.pid else None

    def pids(self) -> dict[str, int]:
        return {entry["name"]: entry["pid"] for entry in read_json(self.home.status)["processes"]}

    def end(self, number: signal.Signals = signal.SIGTERM) -> str:
        self.process.send_signal(number)
        return self.process.communicate(timeout=60)[0]


@pytest.fixture(scope="module")
def started_once(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A folder whose servers have been made and used; tests copy it, because making them takes seconds."""
    home = Home(tmp_path_factory.mktemp("platform") / "var")
    with Running(home) as running:
        running.ready()
    return home


@pytest.fixture
def home(started_once: Home, tmp_path: Path) -> Home:
    shutil.copytree(started_once.path, tmp_path / "var")
    return Home(tmp_path / "var")


@pytest.fixture
def running(home: Home) -> Iterator[Running]:
    with Running(home) as supervisor:
        yield supervisor.ready()


def test_everything_runs_is_told_of_and_ends_in_order(running: Running) -> None:
    home, pids = running.home, running.pids()
    assert set(pids) == {"postgres", "kafka", "ingestion", "matching"}
    endpoints = read_json(home.endpoints)
    assert set(endpoints) == set(pids)
    assert httpx.get(endpoints["ingestion"]).status_code == 200

    told = plumbline(home, "status", "--json")
    assert told.returncode == 0, told.stderr
    assert {row["name"]: row["state"] for row in json.loads(told.stdout)["data"]} == dict.fromkeys(pids, "ready")

    stopped = plumbline(home, "down")
    assert stopped.returncode == 0, stopped.stderr
    running.process.wait(timeout=10)
    assert gone(pids)
    assert not home.endpoints.exists()
    absent = plumbline(home, "status")
    assert (absent.returncode, "plumbline up" in absent.stderr) == (3, True)


def test_secrets_are_for_their_owner_alone(started_once: Home) -> None:
    folder = started_once.secrets
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert set(modes) == {"admin_token", "key_pepper", "vault_master", "postgres_password", "database_logins.json"}
    assert set(modes.values()) == {0o600}


def test_killing_the_supervisor_leaves_no_process_and_the_next_start_keeps_ports_and_data(running: Running) -> None:
    pids, ports = running.pids(), read_json(running.home.ports)
    running.end(signal.SIGKILL)
    until(lambda: gone(pids), "all children ended")
    with Running(running.home) as again:
        again.ready()
        assert read_json(running.home.ports) == ports
        said = again.end()
    assert "migrations    up to date" in said


def test_servers_and_services_that_are_killed_are_restarted(running: Running) -> None:
    before = running.pids()
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)

    def all_new() -> bool:
        entries = read_json(running.home.status)["processes"]
        return all(entry["state"] == "ready" and entry["pid"] != before[entry["name"]] for entry in entries)

    until(all_new, "all four restarted", 60)
    assert httpx.get(read_json(running.home.endpoints)["matching"]).status_code == 200


# With servers from outside, which also makes these quick.


@pytest.fixture
def outside(tmp_path: Path, database: Database, kafka: Kafka) -> dict[str, str]:
    home = Home(tmp_path / "var")
    # Roles are the server's, and other tests log in by these passwords too.
    write_atomically(home.secrets / "database_logins.json", json.dumps(database.server.passwords), 0o600)
    return environment(home, PLUMBLINE_DATABASE_URL=database.admin, PLUMBLINE_KAFKA_BOOTSTRAP=kafka.bootstrap)


@pytest_asyncio.fixture
async def external(tmp_path: Path, outside: dict[str, str]) -> AsyncIterator[Supervisor]:
    async with Supervisor(Home(tmp_path / "var"), services=platform_double.SERVICES, environment=outside) as supervisor:
        yield supervisor


async def test_a_second_supervisor_of_the_same_folder_is_refused_and_names_the_first(
    external: Supervisor, outside: dict[str, str]
) -> None:
    error = await refusal(external.home.path, outside)
    assert f"already runs here, as process {os.getpid()}" in str(error)
    assert "plumbline down" in str(error.fix)
    assert read_json(external.home.status)["state"] == "ready"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_each_way_to_end_a_supervisor_ends_its_services(
    tmp_path: Path, outside: dict[str, str], number: signal.Signals
) -> None:
    with Running(Home(tmp_path / "var"), **outside) as running:
        pids = running.ready().pids()
        running.end(number)
    assert running.process.returncode == (-number if number == signal.SIGKILL else 0)
    until(lambda: gone(pids), "all services ended", 5)


async def test_external_servers_replace_the_embedded_ones_and_nothing_else_changes(
    external: Supervisor, outside: dict[str, str], database: Database
) -> None:
    status = read_json(external.home.status)
    assert [entry["name"] for entry in status["processes"]] == ["ingestion", "matching"]
    endpoints = read_json(external.home.endpoints)
    assert endpoints["kafka"] == outside["PLUMBLINE_KAFKA_BOOTSTRAP"]
    assert endpoints["postgres"] == f"127.0.0.1:{database.server.port}"
    async with httpx.AsyncClient() as client:
        told = (await client.get(endpoints["matching"])).json()
    assert "PLUMBLINE_DATABASE_URL" not in told
    for kind in ("API", "WORK"):
        connection = await asyncpg.connect(told[f"PLUMBLINE_{kind}_DATABASE_URL"])
        assert await connection.fetchval("SELECT current_user") == f"plumbline_matching_{kind.lower()}"
        assert await connection.fetchval("SELECT current_database()") == database.name
        await connection.close()


async def test_a_service_that_crashes_is_restarted_on_its_port(external: Supervisor) -> None:
    address = read_json(external.home.endpoints)["ingestion"]
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.TransportError):
            await client.get(f"{address}/fail")
        async with asyncio.timeout(20):
            while True:
                (entry,) = [e for e in read_json(external.home.status)["processes"] if e["name"] == "ingestion"]
                if entry["restarts"] == 1 and entry["state"] == "ready":
                    break
                await asyncio.sleep(0.05)
        assert (await client.get(address)).status_code == 200
    assert entry["last_ending"] == "exit status 7"


async def refusal(home: Path, outside: dict[str, str], **options: Any) -> PlatformError:
    supervisor = Supervisor(Home(home), environment=outside, **{"services": platform_double.SERVICES, **options})
    with pytest.raises(PlatformError) as caught:
        async with supervisor:
            pass
    return caught.value


async def test_a_service_that_cannot_start_is_named_with_the_end_of_its_log_and_all_is_ended(
    tmp_path: Path, outside: dict[str, str]
) -> None:
    services = {**platform_double.SERVICES, "notification": (*platform_double.ME, "broken")}
    error = await refusal(tmp_path / "var", outside, services=services)
    assert "notification ended while starting (exit status 9)" in str(error)
    assert "cannot read its settings" in str(error)
    assert str(error.where).endswith("log/notification.log")
    ours = [process.cmdline() for process in psutil.Process().children(recursive=True)]
    assert not [command for command in ours if "tests.integration.platform_double" in command]


async def test_a_database_that_a_newer_release_wrote_is_refused(
    tmp_path: Path, outside: dict[str, str], database: Database
) -> None:
    connection = await asyncpg.connect(database.admin)
    await connection.execute("INSERT INTO plumbline.migration VALUES ('services/matching', '9000_later', 'x')")
    await connection.close()
    error = await refusal(tmp_path / "var", outside)
    assert "newer release" in str(error)
    assert "9000_later" in str(error)


async def test_a_database_that_cannot_be_reached_is_named_without_its_password(
    tmp_path: Path, outside: dict[str, str]
) -> None:
    outside["PLUMBLINE_DATABASE_URL"] = "postgresql://boss:hunter2@127.0.0.1:1/plumbline"
    error = await refusal(tmp_path / "var", outside)
    assert error.where == "postgresql://boss@127.0.0.1:1/plumbline"
    assert "hunter2" not in error.lines()
    assert "PLUMBLINE_DATABASE_URL" in str(error.fix)


async def test_a_pinned_port_that_is_taken_is_named(tmp_path: Path, outside: dict[str, str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        outside["PLUMBLINE_MATCHING_PORT"] = str(taken.getsockname()[1])
        error = await refusal(tmp_path / "var", outside)
    assert f"port {outside['PLUMBLINE_MATCHING_PORT']}, pinned for matching, is taken" in str(error)
    assert "PLUMBLINE_MATCHING_PORT" in str(error.fix)


async def test_a_folder_that_is_a_file_is_a_clear_error(tmp_path: Path, outside: dict[str, str]) -> None:
    (tmp_path / "file").write_text("")
    error = await refusal(tmp_path / "file", outside)
    assert "cannot be written" in str(error)
    assert "PLUMBLINE_HOME" in str(error.fix)


async def test_data_of_another_postgresql_is_refused_before_it_is_touched(home: Home) -> None:
    version = home.path / "postgres" / "data" / "PG_VERSION"
    version.write_text("17\n")
    error = await refusal(home.path, environment(home))
    assert "made by PostgreSQL 17; this release runs 18" in str(error)
    assert "move var/ away" in str(error.fix)
