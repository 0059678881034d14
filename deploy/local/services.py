"""Our own services as processes: which there are, how each is run, and what each is told."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from deploy.local.database import with_login
from deploy.local.home import ROOT, Home
from deploy.local.process import Server, spawn
from shared.runtime import migrate

SERVICES: Mapping[str, Sequence[str]] = {name: (sys.executable, "-m", f"services.{name}") for name in migrate.SERVICES}
"""Service -> the command that runs it. Every service that has roles in the database is started."""


class ServiceProcess(Server):
    """One of our services: live when it listens, ready when its /health/ready says so."""

    stop_timeout_s = 25.0

    def __init__(self, name: str, port: int, log: Path, command: Sequence[str], environment: Mapping[str, str]) -> None:
        super().__init__(name, port, log)
        self._command = command
        self._environment = environment

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self.process = spawn(
            self._command, log=self.log, death=self.stop_signal, cwd=ROOT, environment=self._environment
        )

    async def answers(self) -> bool:
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
                return (await client.get(f"{self.url}/health/ready")).status_code == 200
        except httpx.TransportError:
            return False


def told(
    name: str,
    port: int,
    home: Home,
    *,
    inherited: Mapping[str, str],
    database_url: str,
    bootstrap: str,
    passwords: Mapping[str, str],
) -> dict[str, str]:
    """The environment of service ``name`` (see ``shared.runtime.settings``)."""
    logins = {kind: f"plumbline_{name}_{kind}" for kind in ("api", "work")}
    urls = {
        f"PLUMBLINE_{kind.upper()}_DATABASE_URL": with_login(database_url, login, passwords[login])
        for kind, login in logins.items()
    }
    # The administrator's address is for migrations: a service that cannot see it cannot lose it.
    kept = {variable: value for variable, value in inherited.items() if variable != "PLUMBLINE_DATABASE_URL"}
    return {
        **kept,
        **urls,
        "PLUMBLINE_KAFKA_BOOTSTRAP": bootstrap,
        "PLUMBLINE_SECRETS_DIR": str(home.secrets),
        "PLUMBLINE_HOST": "127.0.0.1",
        "PLUMBLINE_PORT": str(port),
    }
