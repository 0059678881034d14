"""mypy over a module that holds all its mutants side by side: what `make lint` would refuse needs no test.

mutmut runs it inside its copy of the tree and reads mypy's JSON. Errors that come from standing side by side are left
out: an attribute that each copy of a constructor declares again, and the decorator around the copies.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

SIDE_BY_SIDE = {"no-redef", "has-type", "untyped-decorator", "unused-ignore", "no-any-return", "import-not-found"}


def main() -> int:
    command, module = sys.argv[1], Path(sys.argv[2])
    run = subprocess.run(
        [sys.executable, "-m", command, "--output=json", "--cache-dir=../../.mypy_cache", str(module)],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if run.returncode not in (0, 1):
        print(run.stdout, run.stderr, file=sys.stderr)
        return run.returncode
    spans: dict[str, list[int]] = json.loads(Path(f"{module}.spans").read_text())["spans"]
    errors = [json.loads(line) for line in run.stdout.splitlines() if line.strip()]
    located = [(error, copy_at(spans, error["line"])) for error in errors if concerns(error, module)]
    sound = {copy.rpartition("__mutmut_")[0] for copy in spans} - {
        copy.rpartition("__mutmut_")[0] for _, copy in located if copy is not None and copy.endswith("__mutmut_orig")
    }
    for error, copy in located:
        if copy is not None and copy.rpartition("__mutmut_")[0] in sound:
            print(json.dumps(error))
    return run.returncode


def concerns(error: dict[str, Any], module: Path) -> bool:
    return error["severity"] == "error" and error["file"] == str(module) and error["code"] not in SIDE_BY_SIDE


def copy_at(spans: dict[str, list[int]], line: int) -> str | None:
    return next((name for name, (start, end) in spans.items() if start <= line <= end), None)


if __name__ == "__main__":
    sys.exit(main())
