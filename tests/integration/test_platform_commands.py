"""``plumbline up --detach | status | down`` on the real services."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from deploy.local.home import ROOT, Home, read_json
from deploy.local.services import SERVICES


def test_every_service_that_can_be_run_is_run() -> None:
    runnable = {path.parent.name for path in (ROOT / "services").glob("*/__main__.py")}
    assert set(SERVICES) == runnable


@pytest.mark.timeout(300)
def test_up_in_the_background_serves_refuses_a_second_one_and_goes_down(tmp_path: Path) -> None:
    home = Home(tmp_path / "var")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PLUMBLINE_")}
    environment["PLUMBLINE_HOME"] = str(home.path)

    def plumbline(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "services.cli.main", *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)

    try:
        started = plumbline("up", "--detach")
        assert started.returncode == 0, started.stderr
        assert "ready, in the background" in started.stderr
        for name in SERVICES:
            assert httpx.get(f"{read_json(home.endpoints)[name]}/health/ready").status_code == 200

        status = plumbline("status", "--json")
        assert status.returncode == 0, status.stderr
        rows = {row["name"]: row for row in json.loads(status.stdout)["data"]}
        assert set(rows) == {"postgres", "kafka", *SERVICES}
        assert rows["matching"]["lag"] == rows["matching"]["dead_letters"] == 0

        second = plumbline("up", "--detach")
        assert second.returncode == 3
        assert "already runs here, as process" in second.stderr
        assert "postgres" not in second.stderr, "what the first one said is not said again"
    finally:
        stopped = plumbline("down")
    assert stopped.returncode == 0, stopped.stderr
    assert plumbline("status").returncode == 3
