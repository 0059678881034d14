"""The folder that holds everything of one installation on this machine: ``var/``, or what ``PLUMBLINE_HOME`` names.

::

    postgres/ kafka/   data of the embedded servers
    secrets/           mode 700, each file 600: admin_token, key_pepper, vault_master, database passwords
    run/               endpoints.json (where each service listens), ports.json, status.json, the supervisor's lock
    log/               <name>.log of each process, and the one before it
"""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Home:
    """Paths of one installation."""

    path: Path

    @classmethod
    def named(cls) -> Home:
        """The one that ``PLUMBLINE_HOME`` names, else ``var`` beside the code."""
        named = os.environ.get("PLUMBLINE_HOME")
        return cls(Path(named).expanduser().resolve() if named else ROOT / "var")

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def logs(self) -> Path:
        return self.path / "log"

    @property
    def secrets(self) -> Path:
        return self.path / "secrets"

    @property
    def endpoints(self) -> Path:
        """While it runs: each service's ``http://127.0.0.1:PORT``, and ``host:port`` under "postgres" and "kafka"."""
        return self.run / "endpoints.json"

    @property
    def lock(self) -> Path:
        """Held (flock) by the one supervisor of this folder; its text is the supervisor's process id."""
        return self.run / "supervisor.lock"

    @property
    def status(self) -> Path:
        """What the supervisor last knew of each process."""
        return self.run / "status.json"

    @property
    def ports(self) -> Path:
        """Ports chosen at the first start, so that a restart keeps them."""
        return self.run / "ports.json"


DEMO = Home(ROOT / "var" / "demo")
"""Where ``make demo`` runs: its data is made anew each time."""


def read_json(path: Path) -> Any:
    """The document in ``path``, or None if there is none."""
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace ``path`` in one step: a reader sees the old text or the new, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        os.fchmod(descriptor, mode)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
