"""Starts PostgreSQL, Kafka and the services, keeps them running, and ends them all when it ends.

``plumbline up`` runs it; ``python -m deploy.local.supervisor`` is the same without a terminal. Tests and the demo use
:class:`Supervisor` as an asynchronous context: inside it everything is ready, after it everything is gone.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import psutil

from deploy.local import claim, ports, secret_files
from deploy.local.database import DATABASE, address, create_database, migrate_database
from deploy.local.errors import PlatformError
from deploy.local.home import ROOT, Home, read_json, write_atomically
from deploy.local.kafka import Kafka, await_external, make_topics
from deploy.local.postgres import Postgres
from deploy.local.process import Server, bound_log
from deploy.local.services import SERVICES, ServiceProcess, told
from shared.runtime.clock import Clock, SystemClock

_BACKOFF_FIRST_S, _BACKOFF_MAX_S = 0.5, 30.0
_STEADY_S = 60
"""A process that lived this long starts its backoff anew when it dies."""
_POLL_S = 0.1
_TIDY_S = 60


class State(StrEnum):
    """Of a process that is kept running."""

    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting to restart"
    STOPPED = "stopped"


@dataclass
class Kept:
    """A server and what the supervisor knows of it."""

    server: Server
    state: State = State.STARTING
    restarts: int = 0
    since: datetime | None = None
    last_ending: str | None = None

    def as_json(self) -> dict[str, Any]:
        process = self.server.process
        return {
            "name": self.server.name,
            "state": self.state,
            "port": self.server.port,
            "pid": process.pid if process and self.server.alive else None,
            "created": _created(process) if process and self.server.alive else None,
            "stop_signal": int(self.server.stop_signal),
            "restarts": self.restarts,
            "since": self.since.isoformat(timespec="milliseconds") if self.since else None,
            "last_ending": self.last_ending,
            "log": str(self.server.log),
        }


class Supervisor:
    """One installation, running. ``say`` gets a line of progress at a time."""

    def __init__(
        self,
        home: Home,
        *,
        services: Mapping[str, Sequence[str]] = SERVICES,
        environment: Mapping[str, str] = os.environ,
        say: Callable[[str], None] = lambda line: None,
        clock: Clock | None = None,
        choice: random.Random | None = None,
    ) -> None:
        self.home = home
        self._services = services
        self._environment = environment
        self._say = say
        self._clock = clock or SystemClock()
        self._choice = choice or random.Random()
        self._kept: list[Kept] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._lock: int | None = None
        self._watcher: subprocess.Popen[bytes] | None = None
        self._state = "starting"

    async def __aenter__(self) -> Supervisor:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Bring everything up, in the order in which one thing needs another. Raises :class:`PlatformError`."""
        self._lock = claim.claim(self.home)
        claim.check_disk(self.home.path)
        if left := await asyncio.to_thread(claim.end_left_behind, self.home):
            self._say(f"  ended {left} processes that a killed supervisor had left")
        self._watch()
        secret_files.make_secrets(self.home)
        chosen = self._choose_ports()
        database_url, bootstrap = await self._servers(chosen)
        passwords = secret_files.login_passwords(self.home)
        await self._prepare(database_url, passwords, bootstrap)
        await self._bring_up(
            [self._service(name, chosen, database_url, bootstrap, passwords) for name in self._services]
        )
        self._write_endpoints(database_url, bootstrap)
        self._state = "ready"
        self._write_status()
        self._tasks.append(asyncio.create_task(self._tidy()))

    async def stop(self) -> None:
        """End every process, services first, and give the folder back."""
        self._state = "stopping"
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        platform = [kept for kept in self._kept if not isinstance(kept.server, ServiceProcess)]
        services = [kept for kept in self._kept if isinstance(kept.server, ServiceProcess)]
        for group in (services, platform):
            await asyncio.gather(*(asyncio.to_thread(kept.server.stop) for kept in group))
            for kept in group:
                kept.state = State.STOPPED
        if self._lock is not None:
            self.home.endpoints.unlink(missing_ok=True)
            self.home.status.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None
        if self._watcher is not None:
            self._watcher.communicate()

    def kill(self) -> None:
        """Kill every process at once, for a person who will not wait for an orderly end."""
        for kept in self._kept:
            kept.server.kill()

    # Before the processes

    def _choose_ports(self) -> dict[str, int]:
        names = [*self._services]
        if not self._environment.get("PLUMBLINE_DATABASE_URL"):
            names.append("postgres")
        if not self._environment.get("PLUMBLINE_KAFKA_BOOTSTRAP"):
            names += ["kafka", "kafka_controller"]
        kept = read_json(self.home.ports) or {}
        chosen = ports.choose(names, kept, self._environment, self._choice)
        write_atomically(self.home.ports, json.dumps(kept | chosen, indent=2))
        return chosen

    def _watch(self) -> None:
        """Where the kernel cannot tell children that their parent died, a process that outlives us does."""
        if sys.platform != "linux":
            command = [sys.executable, "-m", "deploy.local.claim", str(self.home.path), str(os.getpid())]
            self._watcher = subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT, start_new_session=True)

    async def _servers(self, chosen: Mapping[str, int]) -> tuple[str, str]:
        """Start the embedded servers that no external one replaces; the administrator's URL and Kafka's address."""
        database_url = self._environment.get("PLUMBLINE_DATABASE_URL")
        bootstrap = self._environment.get("PLUMBLINE_KAFKA_BOOTSTRAP")
        ours: list[Server] = []
        if not database_url:
            password = secret_files.administrator_password(self.home)
            database = Postgres(self.home.path / "postgres", chosen["postgres"], password, self._log("postgres"))
            ours.append(database)
        if not bootstrap:
            broker = Kafka(self.home.path / "kafka", chosen["kafka"], chosen["kafka_controller"], self._log("kafka"))
            ours.append(broker)
        await self._bring_up(ours)
        if not database_url:
            database_url = database.admin_url(DATABASE)
            await create_database(database_url)
        if bootstrap:
            await await_external(bootstrap)
        else:
            bootstrap = broker.bootstrap
        return database_url, bootstrap

    async def _prepare(self, database_url: str, passwords: dict[str, str], bootstrap: str) -> None:
        began = self._clock.monotonic()
        applied = await migrate_database(database_url, passwords)
        self._done("migrations", f"{applied} applied" if applied else "up to date", began)
        began = self._clock.monotonic()
        await make_topics(bootstrap, self._environment.get("PLUMBLINE_CELL", "plumbline"))
        self._done("topics", "there", began)

    def _service(
        self, name: str, chosen: Mapping[str, int], database_url: str, bootstrap: str, passwords: Mapping[str, str]
    ) -> ServiceProcess:
        environment = told(
            name,
            chosen[name],
            self.home,
            inherited=self._environment,
            database_url=database_url,
            bootstrap=bootstrap,
            passwords=passwords,
        )
        return ServiceProcess(name, chosen[name], self._log(name), self._services[name], environment)

    def _log(self, name: str) -> Path:
        return self.home.logs / f"{name}.log"

    # The processes

    async def _bring_up(self, servers: Sequence[Server]) -> None:
        """Start all at once, return when each has been ready, and keep each running from then on."""
        kept = [Kept(server) for server in servers]
        self._kept += kept
        try:
            async with asyncio.TaskGroup() as group:
                for one in kept:
                    group.create_task(self._first_start(one))
        except ExceptionGroup as failures:
            # One is enough: the others ended, or were given up, because of it.
            raise failures.exceptions[0] from None
        self._tasks += [asyncio.create_task(self._keep(one)) for one in kept]

    async def _first_start(self, kept: Kept) -> None:
        began = self._clock.monotonic()
        try:
            await asyncio.to_thread(kept.server.prepare)
            self._start(kept)
        except (OSError, subprocess.SubprocessError) as error:
            raise PlatformError(f"{kept.server.name} cannot be started: {error}", where=self.home.path) from error
        await kept.server.ready()
        self._move(kept, State.READY)
        self._done(kept.server.name, f":{kept.server.port}", began)

    def _start(self, kept: Kept) -> None:
        kept.server.start()
        self._move(kept, State.STARTING)

    async def _keep(self, kept: Kept) -> None:
        """Restart what dies, for ever, each time in a row waiting longer."""
        deaths = 0
        while True:
            began = self._clock.monotonic()
            while kept.server.alive:
                await self._clock.sleep(_POLL_S)
            deaths = 1 if self._clock.monotonic() - began > _STEADY_S else deaths + 1
            kept.last_ending = kept.server.ending
            kept.restarts += 1
            delay = backoff_s(deaths, self._choice)
            self._say(f"! {kept.server.name} ended ({kept.last_ending}); restarting in {delay:.1f} s")
            self._move(kept, State.WAITING)
            await self._clock.sleep(delay)
            await self._restart(kept)

    async def _restart(self, kept: Kept) -> None:
        began = self._clock.monotonic()
        try:
            self._start(kept)
            await kept.server.ready(timeout_s=None)
        except (PlatformError, OSError, subprocess.SubprocessError) as error:
            self._say(f"! {error}")
            return
        self._move(kept, State.READY)
        self._done(kept.server.name, f":{kept.server.port}, restart {kept.restarts}", began)

    async def _tidy(self) -> None:
        """Bound the logs of processes that run for months."""
        while True:
            await self._clock.sleep(_TIDY_S)
            for kept in self._kept:
                await asyncio.to_thread(bound_log, kept.server.log)

    # What others read

    def _move(self, kept: Kept, state: State) -> None:
        kept.state = state
        kept.since = self._clock.now()
        self._write_status()

    def _write_status(self) -> None:
        status = {
            "pid": os.getpid(),
            "state": self._state,
            "processes": [kept.as_json() for kept in self._kept],
        }
        write_atomically(self.home.status, json.dumps(status, indent=2))

    def _write_endpoints(self, database_url: str, bootstrap: str) -> None:
        endpoints = {
            kept.server.name: kept.server.url for kept in self._kept if isinstance(kept.server, ServiceProcess)
        }
        endpoints |= {"postgres": address(database_url), "kafka": bootstrap}
        write_atomically(self.home.endpoints, json.dumps(endpoints, indent=2))

    def _done(self, name: str, note: str, began: float) -> None:
        self._say(f"✓ {name:<13} {note:<24} {self._clock.monotonic() - began:.1f} s")


def backoff_s(deaths: int, choice: random.Random) -> float:
    """Seconds before the next start after so many deaths in a row: doubling, bounded, and never two at one instant."""
    longest = min(_BACKOFF_MAX_S, _BACKOFF_FIRST_S * 2.0 ** min(deaths - 1, 10))
    return longest * choice.uniform(0.5, 1.0)


def _created(process: subprocess.Popen[bytes]) -> float | None:
    try:
        return float(psutil.Process(process.pid).create_time())
    except psutil.Error:
        return None


async def run(supervisor: Supervisor, then: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
    """Bring ``supervisor`` up, then wait for SIGINT or SIGTERM (or for ``then`` to end), and bring it down.

    A second signal kills what has not ended yet. Raises :class:`PlatformError` if it cannot start.
    """
    asked = asyncio.Event()

    def ask() -> None:
        if asked.is_set():
            supervisor.kill()
        asked.set()

    loop = asyncio.get_running_loop()
    # Explicitly: a background job of a shell without job control inherits an ignored SIGINT.
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ask)

    async def work() -> None:
        await supervisor.start()
        if then is not None:
            await then()
        else:
            await asyncio.Event().wait()

    working, waiting = asyncio.create_task(work()), asyncio.create_task(asked.wait())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
    finally:
        working.cancel()
        waiting.cancel()
        await asyncio.gather(working, waiting, return_exceptions=True)
        await supervisor.stop()


def main() -> int:
    home = Home.named()
    try:
        asyncio.run(run(Supervisor(home, say=lambda line: print(line, flush=True))))
    except PlatformError as error:
        print(error.lines(), file=sys.stderr, flush=True)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
