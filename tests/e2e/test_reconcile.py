"""The commands of docs/examples/reconcile, typed: no server, no database, the figures worked by hand."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from deploy.local.home import ROOT

PLUMBLINE = ROOT / ".venv/bin/plumbline"
EXAMPLE = ROOT / "docs/examples/reconcile"


def typed(page: Path) -> list[list[str]]:
    """The commands of a page, without ``plumbline``."""
    lines = re.findall(r"^(?:    )?plumbline (reconcile .*)$", page.read_text(), re.MULTILINE)
    return [shlex.split(line) for line in lines]


def run(arguments: list[str], folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    # Nothing runs, nothing may be started: a home of its own, empty.
    env = {**os.environ, "PLUMBLINE_HOME": str(folder / "home"), "COLUMNS": "200"}
    command = [str(PLUMBLINE), *arguments, *more]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path in EXAMPLE.glob("*.csv"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def test_three_spreadsheets_give_the_figures_of_the_page(folder: Path) -> None:
    first, *_ = typed(EXAMPLE / "README.md")
    shown = run(first, folder)
    assert shown.returncode == 0, shown.stderr
    assert "3 clients, 7 lines compared, 5 discrepancies" in shown.stdout
    assert "3 accounts of usage are taken for the clients of the same name" in shown.stdout
    data = json.loads(run(first, folder, "--json").stdout)["data"]
    assert [(one["code"], one.get("amount"), one["direction"]) for one in data["discrepancies"]] == [
        ("MISSING_LINE", "220", "client_owes_us"),
        ("QTY_UNDER", "21", "client_owes_us"),
        ("PRICE_MISMATCH", "3", "we_owe_client"),
        ("UNMAPPED_CLIENT", None, "client_owes_us"),
        ("UNMAPPED_PRODUCT", None, "client_owes_us"),
    ]
    totals = {one["client"]: one["totals"][0] for one in data["statements"]}
    assert {client: (one["expected"], one["billed"], one["residual"]) for client, one in totals.items()} == {
        "Aster Legal": ("234", "237", "0"),
        "Harbor Clinic": ("286", "66", "0"),
        "Northwind Dental": ("608.6", "587.6", "0"),
    }


def test_mappings_uncover_what_was_hidden_and_the_files_are_written(folder: Path) -> None:
    second = typed(EXAMPLE / "README.md")[1]
    assert run(second, folder).returncode == 0
    written = folder / "october"
    assert sorted(path.name for path in written.iterdir()) == [
        "discrepancies.csv",
        "report.html",
        "result.json",
        "statements.csv",
    ]
    with (written / "discrepancies.csv").open() as rows:
        codes = [row["code"] for row in csv.DictReader(rows)]
    assert codes == ["MISSING_LINE", "QTY_UNDER", "PRICE_MISMATCH", "UNBILLED_SERVICE"]
    with (written / "statements.csv").open() as rows:
        states = [row["state"] for row in csv.DictReader(rows)]
    assert sorted(states) == ["break"] * 4 + ["matched"] * 4
    again = {path.name: path.read_bytes() for path in written.iterdir()}
    run(second, folder)
    assert {path.name: path.read_bytes() for path in written.iterdir()} == again


def test_a_script_learns_that_something_is_open(folder: Path) -> None:
    third = typed(EXAMPLE / "README.md")[2]
    assert run(third, folder).returncode == 1


def test_the_first_commands_of_the_readme_give_what_it_shows(folder: Path) -> None:
    text = (ROOT / "README.md").read_text()
    block = text[text.index("## Hold three spreadsheets") :].split("```")
    command = re.search(r"plumbline (reconcile .*)", block[1])
    assert command is not None
    shown = run(shlex.split(command[1]), folder)
    for line in filter(None, (line.strip() for line in block[3].splitlines())):
        assert re.sub(r"\s+", " ", line) in re.sub(r"\s+", " ", shown.stdout), line


def test_a_row_that_cannot_be_read_is_named_and_kept(folder: Path) -> None:
    invoices = folder / "invoices.csv"
    invoices.write_text(invoices.read_text().replace("INV-2,Aster Legal,2026-11-01", "INV-2,Aster Legal,soon", 1))
    second = typed(EXAMPLE / "README.md")[1]
    shown = run(second, folder)
    assert shown.returncode == 5
    assert "invoices.csv row 5, time: column issued on is not a date" in shown.stdout
    with (folder / "october/rejected.csv").open() as rows:
        kept = list(csv.DictReader(rows))
    assert (kept[0]["file"], kept[0]["row"]) == ("invoices.csv", "5")
    assert json.loads(kept[0]["cells"])["issued on"] == "soon"


def test_of_two_files_of_one_kind_the_later_one_holds(folder: Path) -> None:
    text = (folder / "usage.csv").read_text()
    (folder / "restated.csv").write_text(text.replace("agent,53,", "agent,50,"))
    sides = ["reconcile", "--contracts", "contracts.csv", "--invoices", "invoices.csv"]
    for files, used in ((("usage.csv", "restated.csv"), "50 used"), (("restated.csv", "usage.csv"), "53 used")):
        usage = [word for name in files for word in ("--usage", name)]
        assert f"{used}, 48 billed at 4.20" in run([*sides, *usage], folder).stdout
