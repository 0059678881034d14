"""``make mutants``: changes the money engine in thousands of small ways, and counts the changes that a test notices.

Module by module (``modules.py``), mutmut works on a copy in ``.mutants``. A mutant that mypy refuses is killed by types
one that a test fails on, or never ends on, by tests. One that survives must stand in ``tests/mutants.toml``
with the reason; one without a reason makes the exit status 1.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.mutation.modules import MODULES, WORDING
from tests.mutation.undecorate import PROPERTY, undecorate

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / ".mutants"
VENV = ROOT / ".venv-mutants"
LOCK = ROOT / "requirements-mutants.lock"
REASONS = ROOT / "tests" / "mutants.toml"

SKIPPED = shutil.ignore_patterns("__pycache__")
KILLED = (1, 3)
TYPES = 37
TIMEOUTS = (24, -24, 36, 152, 255)


class Mutant(NamedTuple):
    """A change by what it says, so that edits elsewhere do not lose its reason."""

    place: str
    """Module and function, as in ``kernel.money.round_to``."""
    was: str
    """The lines taken away, without their indentation."""
    becomes: str
    """The lines put in their place."""


class Figures(NamedTuple):
    module: str
    total: int
    types: int
    tests: int
    timeouts: int
    survivors: list[Mutant]
    seconds: float

    @property
    def killed(self) -> int:
        return self.types + self.tests + self.timeouts


def main() -> int:
    asked = arguments()
    install()
    reasons = Reasons(tomllib.loads(REASONS.read_text())["mutant"] if REASONS.exists() else [])
    done: list[Figures] = []
    for module in asked.modules:
        run = mutate(module, asked)
        if run is None:
            return 2
        done.append(run)
        show(run, reasons)
    if len(done) == len(MODULES):
        for entry in reasons.unused():
            print(f"no longer survives, take it out of tests/mutants.toml: {entry}")
    return total(done, reasons)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="part of a module's path, as in prices; none: every module")
    parser.add_argument("--again", action="store_true", help="keep what was killed, test the survivors again")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time (2)")
    asked = parser.parse_args()
    asked.modules = [module for module in MODULES if not asked.names or any(name in module for name in asked.names)]
    if not asked.modules:
        parser.error(f"no module is called that; there are {', '.join(MODULES)}")
    return asked


def install() -> None:
    """mutmut in an environment of its own, so that nobody's set-up grows by it."""
    stamp, wanted = VENV / "plumbline-mutants", hashlib.sha256(LOCK.read_bytes() + str(VENV).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return
    uv = str(ROOT / ".venv" / "bin" / "uv")
    if not (VENV / "bin" / "python").exists():
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(VENV)], cwd=ROOT, check=True)
    python = str(VENV / "bin" / "python")
    subprocess.run(
        [uv, "pip", "sync", "--quiet", "--python", python, "--require-hashes", str(LOCK)], cwd=ROOT, check=True
    )
    stamp.write_text(wanted)


def mutate(module: str, asked: argparse.Namespace) -> Figures | None:
    """None: mutmut itself failed; it said why."""
    stage = WORK / module.removesuffix(".py").replace("/", ".")
    if not asked.again:
        shutil.rmtree(stage, ignore_errors=True)
    copy(stage, module)
    (stage / "setup.cfg").write_text(settings(module))
    ask_again(stage, module)
    print(f"{module}", flush=True)
    began = time.monotonic()
    run = subprocess.run(
        ["nice", "-n", "19", str(VENV / "bin" / "mutmut"), "run", "--max-children", str(asked.jobs)],
        cwd=stage,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )
    return None if run.returncode else figures(stage, module, time.monotonic() - began)


def copy(stage: Path, module: str) -> None:
    """What mutmut works on: another's edit during a run changes nothing. Of files that are there only news are copied,
    by which mutmut knows what it need not do again."""

    def refresh_others(source: str, target: str) -> None:
        if Path(source) != ROOT / module:
            refresh(source, target)

    for name in ("shared", "tests"):
        shutil.copytree(ROOT / name, stage / name, dirs_exist_ok=True, copy_function=refresh_others, ignore=SKIPPED)
    shutil.copy2(ROOT / "pyproject.toml", stage)
    if refresh(ROOT / module, stage / module, undecorate((ROOT / module).read_text())):
        # Which tests reach which function is remembered, and would be nothing for a function that is new.
        (stage / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)


def refresh(source: Path | str, target: Path | str, text: str | None = None) -> bool:
    """Whether there was anything new."""
    wanted = Path(source).read_bytes() if text is None else text.encode()
    if Path(target).exists() and Path(target).read_bytes() == wanted:
        return False
    Path(target).write_bytes(wanted)
    return True


def settings(module: str) -> str:
    lists = {
        "source_paths": ["shared"],
        "only_mutate": [module],
        "do_not_mutate_patterns": WORDING,
        "type_check_command": [str(VENV / "bin" / "python"), "-m", "tests.mutation.types", "mypy", module],
        # The servers of tests/conftest.py are not needed here.
        "pytest_add_cli_args": ["-p", "tests.mutation.plugin", "-p", "no:cacheprovider", "--noconftest"],
        "pytest_add_cli_args_test_selection": MODULES[module],
    }
    lines = [f"{key} =\n" + "".join(f"    {value}\n" for value in values) for key, values in lists.items()]
    return "[mutmut]\n" + "".join(lines) + "timeout_multiplier = 10\nuse_git_change_detection = false\n"


def ask_again(stage: Path, module: str) -> None:
    """Verdicts of the last run are kept for what was killed; the tests may have grown for the rest."""
    path = stage / "mutants" / f"{module}.meta"
    if not path.exists():
        return
    meta = json.loads(path.read_text())
    codes = meta["exit_code_by_key"]
    meta["exit_code_by_key"] = {key: code if code in KILLED else None for key, code in codes.items()}
    path.write_text(json.dumps(meta))


def figures(stage: Path, module: str, seconds: float) -> Figures:
    codes = json.loads((stage / "mutants" / f"{module}.meta").read_text())["exit_code_by_key"]
    known = (*KILLED, TYPES, *TIMEOUTS)
    alive = sorted(key for key, code in codes.items() if code not in known)
    return Figures(
        module,
        total=len(codes),
        types=sum(code == TYPES for code in codes.values()),
        tests=sum(code in KILLED for code in codes.values()),
        timeouts=sum(code in TIMEOUTS for code in codes.values()),
        survivors=list(described(stage, module, alive)),
        seconds=seconds,
    )


def described(stage: Path, module: str, keys: list[str]) -> Iterator[Mutant]:
    path = stage / "mutants" / module
    lines = path.read_text().splitlines()
    spans = json.loads(Path(f"{path}.spans").read_text())["spans"]

    def body(copy: str) -> list[str]:
        start, end = spans[copy]
        return [line.strip() for line in lines[start - 1 : end] if "__mutmut_" not in line]

    for key in keys:
        copy = key.rpartition(".")[2]
        function = copy.partition("__mutmut_")[0]
        change = list(difflib.ndiff(body(f"{function}__mutmut_orig"), body(copy)))
        where = module.removeprefix("shared/").removesuffix(".py").replace("/", ".")
        named = ".".join(part for part in function.removeprefix("x").replace("ǁ", ".").split(".") if part)
        named = named.removesuffix(PROPERTY)
        yield Mutant(
            f"{where}.{named.removeprefix('_') if 'ǁ' not in function else named}",
            "\n".join(line[2:] for line in change if line.startswith("- ")),
            "\n".join(line[2:] for line in change if line.startswith("+ ")),
        )


class Reasons:
    """Entries of ``tests/mutants.toml``: ``in`` and ``why``, and ``was`` and ``becomes`` where one mutant is meant.

    Without ``becomes`` an entry covers every mutant of the line, without ``was`` every one of the function.
    """

    def __init__(self, entries: list[dict[str, str]]) -> None:
        self.entries = entries
        self.used: set[int] = set()

    def why(self, mutant: Mutant) -> str | None:
        for number, entry in enumerate(self.entries):
            wanted = (entry["in"], entry.get("was", mutant.was).strip(), entry.get("becomes", mutant.becomes).strip())
            if wanted == mutant:
                self.used.add(number)
                return entry["why"]
        return None

    def unused(self) -> Iterator[str]:
        for number, entry in enumerate(self.entries):
            if number not in self.used:
                yield f"{entry['in']}: {entry.get('was', '')} -> {entry.get('becomes', '')}"


def show(run: Figures, reasons: Reasons) -> None:
    open_ones = [mutant for mutant in run.survivors if reasons.why(mutant) is None]
    print(
        f"  {run.killed} of {run.total} killed = {share(run.killed, run.total)}: {run.types} by types, "
        f"{run.tests} by tests, {run.timeouts} never ended; {len(run.survivors)} survive, "
        f"{len(open_ones)} of them without a reason; {run.seconds:.0f} s"
    )
    for mutant in open_ones:
        print(entry(mutant))
    sys.stdout.flush()


def entry(mutant: Mutant) -> str:
    """As it would stand in ``tests/mutants.toml``, but for its reason."""
    fields = {"in": mutant.place, "was": mutant.was, "becomes": mutant.becomes, "why": ""}
    return "[[mutant]]\n" + "".join(f"{name} = {literal(text)}\n" for name, text in fields.items())


def literal(text: str) -> str:
    return f"'''{text}'''" if "\n" in text or "'" in text else f"'{text}'"


def total(done: list[Figures], reasons: Reasons) -> int:
    survivors = [mutant for run in done for mutant in run.survivors]
    unexplained = sum(reasons.why(mutant) is None for mutant in survivors)
    killed, every = sum(run.killed for run in done), sum(run.total for run in done)
    timeouts = sum(run.timeouts for run in done)
    print(
        f"mutants: {killed} killed / {every} = {share(killed, every)} ({timeouts} timeouts), "
        f"{len(survivors)} survivors, {unexplained} without a reason"
    )
    return 1 if unexplained else 0


def share(part: int, whole: int) -> str:
    return f"{1000 * part // whole / 10:.1f} %" if whole else "nothing"


if __name__ == "__main__":
    sys.exit(main())
