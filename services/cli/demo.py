"""``plumbline demo``: the synthetic MSP of the tests, as a process of its own (nothing here imports tests)."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from deploy.local.home import ROOT
from services.cli.faults import Fault
from services.cli.frame import current


def demo(
    once: Annotated[bool, typer.Option("--once", help="End by itself; exit 0 only if all was right.")] = False,
) -> None:
    """Start everything on a synthetic MSP with planted errors, and show each alert as it arrives."""
    if current().out.for_programs:
        raise Fault("the demo speaks to people", fix="without --json; its figures are in var/demo/report.json")
    if once:
        os.environ["ONCE"] = "1"
    os.chdir(ROOT)
    os.execv(sys.executable, [sys.executable, "-m", "tests.simulator.demo"])  # noqa: S606 - our own module
