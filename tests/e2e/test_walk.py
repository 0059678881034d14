"""README's walk over docs/examples, typed as a person would: the real platform, the real command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.local.home import ROOT

EXAMPLES = ROOT / "docs" / "examples"
pytestmark = pytest.mark.timeout(180)


class Plumbline:
    """``plumbline`` with an installation of its own and one tenant."""

    def __init__(self, home: Path) -> None:
        self._env = {**os.environ, "PLUMBLINE_HOME": str(home), "PLUMBLINE_TENANT": "example-msp"}

    def __call__(self, *arguments: str, exit: int = 0, stdin: str = "") -> str:
        command = [sys.executable, "-m", "services.cli.main", *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=self._env, input=stdin, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == exit, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *arguments: str, exit: int = 0, stdin: str = "") -> Any:
        return json.loads(self(*arguments, "--json", exit=exit, stdin=stdin))["data"]

    def ingest(self, name: str, profile: str, *options: str, exit: int = 0) -> dict[str, int]:
        path = name if name.startswith("/") else str(EXAMPLES / name)
        answer = self.json("ingest", "file", path, "--profile", profile, *options, exit=exit)
        receipt: dict[str, int] = answer["receipt"]
        return receipt

    def found(self) -> dict[str, tuple[str, str, str | None]]:
        """Short id -> (code, direction, amount) of what is open."""
        rows = self.json("discrepancies", "list")
        return {
            row["id"][:8]: (row["body"]["code"], row["body"]["direction"], row["body"].get("amount")) for row in rows
        }


def until(holds: Callable[[], Any], what: str, timeout_s: float = 30) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (value := holds()):
        assert time.monotonic() < deadline, f"never {what}"
        time.sleep(0.3)
    return value


@pytest.fixture(scope="module")
def plumbline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plumbline]:
    run = Plumbline(tmp_path_factory.mktemp("walk") / "var")
    run("up", "--detach")
    try:
        run("tenants", "add", "example-msp", "--zone", "UTC")
        yield run
    finally:
        run("down")


WANTED = {
    ("QTY_UNDER", "client_owes_us", "8"),
    ("PRICE_MISMATCH", "we_owe_client", "7.2"),
    ("UNBILLED_SERVICE", "client_owes_us", "20"),
}


def test_the_walk_of_the_readme_ends_in_three_discrepancies_worked_by_hand(
    plumbline: Plumbline, tmp_path: Path
) -> None:
    assert plumbline.ingest("focus-small.csv", "focus", "--complete")["stored"] == 126
    again = plumbline.ingest("focus-small.csv", "focus", "--complete")
    assert (again["stored"], again["duplicate"]) == (0, 126)
    plumbline.ingest("clients.csv", "clients")
    plumbline.ingest("products.csv", "products")
    until(
        lambda: "northwind?" in {row["target"] for row in plumbline.json("mappings", "list", "--state", "unmapped")},
        "a candidate for Northwind",
    )
    plumbline("mappings", "confirm", "account", "focus", "700100200301", "northwind")
    plumbline.ingest("mappings.csv", "mappings")
    plumbline.ingest("contracts.csv", "contracts")
    plumbline.ingest("invoices.csv", "invoices")
    until(lambda: set(plumbline.found().values()) == WANTED, "the three discrepancies")
    short = next(short for short, (code, *_) in plumbline.found().items() if code == "QTY_UNDER")
    explained = plumbline("explain", short)
    assert "500" in explained
    assert "row=" in explained
    assert "8.00" in plumbline("discrepancies", "show", short)
    repaired = tmp_path / "invoices.csv"
    text = (EXAMPLES / "invoices.csv").read_text()
    repaired.write_text(text.replace("400", "500").replace("32.00", "40.00").replace("118.40", "126.40"))
    plumbline.ingest(str(repaired), "invoices")
    until(lambda: "QTY_UNDER" not in {code for code, *_ in plumbline.found().values()}, "cleared")


def test_a_bad_row_is_kept_shown_and_repaired(plumbline: Plumbline, tmp_path: Path) -> None:
    bad = tmp_path / "usage.csv"
    bad.write_text("account,sku,kind,quantity,at\norg-1,edr,gauge,n/a,2026-09-01\n")
    receipt = plumbline.ingest(str(bad), "usage", "--source", "huntress", exit=5)
    assert (receipt["stored"], receipt["quarantined"]) == (0, 1)
    [item] = plumbline.json("quarantine", "list")
    assert "quantity" in item["field"]
    assert "n/a" in plumbline("quarantine", "show", item["id"])
    assert plumbline.json("quarantine", "resubmit", item["id"], "--set", "data.quantity=7")["outcome"] == "stored"
    assert plumbline.json("quarantine", "list") == []
    assert "usage.metered.v1" in plumbline("tail", "--topic", "usage", "--no-follow")


def test_keys_and_settings(plumbline: Plumbline) -> None:
    key = plumbline.json("keys", "create", "--source", "huntress")
    plumbline("keys", "revoke", key["prefix"], "--yes")
    [listed] = plumbline.json("keys", "list")
    assert listed["revoked_at"]
    plumbline("settings", "set", "notification.webhook.secret", "-", stdin="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n")
    plumbline("settings", "set", "invoice.grace_days", "9")
    settings = {row["key"]: row for row in plumbline.json("settings", "list")}
    assert settings["invoice.grace_days"]["value"] == "9"
    assert "MfKQ" not in plumbline("settings", "list")


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("ingest", "template", "no-such-profile"), 6),
        (("explain", "0123abcd"), 6),
        (("settings", "set", "no.such.setting", "1"), 6),
        (("mappings", "confirm", "account", "focus", "x"), 2),
        (("--tenant", "nobody", "settings", "list"), 6),
    ],
)
def test_bad_use_has_an_exit_status_and_a_fix(plumbline: Plumbline, arguments: tuple[str, ...], status: int) -> None:
    plumbline(*arguments, exit=status)
