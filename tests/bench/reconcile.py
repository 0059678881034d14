"""How fast a portfolio is reconciled: ``plumbline reconcile`` over files, as a whole process with all it writes.

``python -m tests.bench.reconcile [LINES]``: so many contract lines (a million) rated from terms and usage against as
many invoice lines, with 2 % errors; beside the floor of reading and sorting the same rows in one process, and beside
10,000 lines, whose cost a line must not be far from the million's. ``cpu`` is what all its processes computed: on a
machine that does nothing else, ``seconds`` is about half of it. Writes ``var/bench/latest.json``, key ``reconcile``.
"""

from __future__ import annotations

import csv
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from operator import itemgetter
from pathlib import Path
from typing import Any

import psutil

from deploy.local.home import ROOT
from tests.bench.portfolio import rows, write

LATEST = ROOT / "var/bench/latest.json"
GATE_S, GATE_MB, GATE_RATIO, AIM_S = 30, 1024, 1.3, 12
_SMALL = 10_000
_KEYS = {"contracts": (2, 3), "usage": (0, 2), "invoices": (1, 7)}
"""Client (or account) and product (or sku) of a row: what has to be brought together."""


def peak_mb(process: subprocess.Popen[bytes], stop: threading.Event, into: list[float]) -> None:
    """Watches what a process and its children hold of their own, all together."""
    most = 0.0
    while not stop.wait(0.1):
        try:
            main = psutil.Process(process.pid)
            held = sum(one.memory_full_info().uss for one in [main, *main.children(recursive=True)])
        except psutil.Error:
            continue
        most = max(most, held / 2**20)
    into.append(most)


def reconcile(folder: Path, out: Path) -> tuple[float, float, float]:
    """(seconds, seconds of computing in all processes, peak MiB) of one run."""
    inputs = [text for kind in (*_KEYS, "mappings") for text in (f"--{kind}", str(folder / f"{kind}.csv"))]
    command = [str(ROOT / ".venv/bin/plumbline"), "reconcile", *inputs, "--out", str(out), "-q", "--json"]
    watched, stop = [], threading.Event()
    with (out.parent / "answer.json").open("wb") as answer:
        began, before = time.perf_counter(), os.times()
        process = subprocess.Popen(command, stdout=answer, env={**os.environ, "COLUMNS": "120"})
        watcher = threading.Thread(target=peak_mb, args=(process, stop, watched))
        watcher.start()
        status = process.wait()
        took, after = time.perf_counter() - began, os.times()
    stop.set()
    watcher.join()
    if status:
        raise SystemExit(f"plumbline reconcile ended with {status}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return took, cpu, watched[0]


def found(out: Path) -> Counter[str]:
    with (out / "discrepancies.csv").open() as lines:
        return Counter(row["code"] for row in csv.DictReader(lines))


def floor(folder: Path) -> float:
    """Seconds to read the same rows and to sort them by whom and what they concern."""
    gc.disable()
    began = time.perf_counter()
    for kind, key in _KEYS.items():
        held = sorted(rows(folder / f"{kind}.csv"), key=itemgetter(*key))
        del held
    return time.perf_counter() - began


def measured(lines: int, base: Path) -> dict[str, Any]:
    folder, out = base / str(lines), base / f"out-{lines}"
    folder.mkdir()
    planted = write(folder, lines)
    took, cpu, peak = reconcile(folder, out)
    if found(out) != planted:
        raise SystemExit(f"planted {dict(planted)}, found {dict(found(out))}")
    return {
        "lines": lines,
        "seconds": round(took, 2),
        "cpu_seconds": round(cpu, 2),
        "peak_mb": round(peak),
        "floor_seconds": round(floor(folder), 2),
    }


def main() -> None:
    lines = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory(prefix="plumbline-bench-") as base:
        runs = [measured(n, Path(base)) for n in sorted({_SMALL, 100_000, lines}) if n <= lines]
    print(f"{'lines':>10} {'seconds':>9} {'cpu s':>9} {'us/line':>9} {'peak MiB':>9} {'floor s':>9}")
    for run in runs:
        each = run["seconds"] / run["lines"] * 1e6
        row = (run["lines"], run["seconds"], run["cpu_seconds"], each, run["peak_mb"], run["floor_seconds"])
        print("{:>10,} {:>9.2f} {:>9.2f} {:>9.1f} {:>9,} {:>9.2f}".format(*row))
    small, large = runs[0], runs[-1]
    ratio = (large["seconds"] / large["lines"]) / (small["seconds"] / small["lines"])
    result = large | {"cost_ratio_1e4_to_1e6": round(ratio, 2)}
    print(f"cost a line, {small['lines']:,} to {large['lines']:,}: x {ratio:.2f} (at most {GATE_RATIO})")
    print(f"gate {GATE_S} s and {GATE_MB:,} MiB; aim {AIM_S} s")
    LATEST.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(LATEST.read_text()) if LATEST.exists() else {}
    LATEST.write_text(json.dumps(known | {"reconcile": result}, indent=2, sort_keys=True) + "\n")
    if result["seconds"] > GATE_S or result["peak_mb"] > GATE_MB or ratio > GATE_RATIO:
        raise SystemExit("the gate is missed")


if __name__ == "__main__":
    main()
