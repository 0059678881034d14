"""What each command is handed: its voice, its installation, its tenant, and the services.

A command is a function of a module that ``main.py`` lists::

    app = typer.Typer(help="Differences between what was used and what was billed.")

    @app.command("list")
    def list_(state: str = "open") -> None:
        frame = current()
        answer = frame.api("matching").get("/v1/discrepancies", state=state)
        frame.out.rows(answer["data"], COLUMNS, answer["meta"], empty="no discrepancies")
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cached_property

from deploy.local.claim import holder
from deploy.local.home import DEMO, Home
from services.cli.api import Api
from services.cli.faults import Exit, Fault
from services.cli.output import Output


@dataclass
class Frame:
    """The global options of one run, and what follows from them."""

    out: Output
    home: Home
    named_tenant: str | None = None
    yes: bool = False

    @cached_property
    def running(self) -> Home:
        """The installation that commands speak to: the one that is named; if nothing runs there and nobody named
        another, the demo's, while a demo runs."""
        if "PLUMBLINE_HOME" not in os.environ and holder(self.home) is None and holder(DEMO) is not None:
            self.out.note(f"(the demo's installation, {DEMO.path})")
            return DEMO
        return self.home

    @cached_property
    def tenant(self) -> str:
        """The tenant to act for: --tenant, else PLUMBLINE_TENANT, else the only one there is."""
        if self.named_tenant:
            return self.named_tenant
        tenants = [row["tenant"] for row in Api(self.running, "ingestion").pages("/v1/admin/tenants")]
        if len(tenants) == 1:
            return str(tenants[0])
        if not tenants:
            raise Fault(
                "there is no tenant yet", fix="plumbline tenants add ID --name NAME --zone ZONE", exit=Exit.NOT_FOUND
            )
        listed = ", ".join(tenants[:10]) + (", …" if len(tenants) > 10 else "")
        raise Fault(f"which tenant? There are {len(tenants)}: {listed}", fix="--tenant ID, or set PLUMBLINE_TENANT")

    def api(self, service: str) -> Api:
        """A service, on behalf of the tenant."""
        return Api(self.running, service, self.tenant)

    def admin(self, service: str) -> Api:
        """A service, on behalf of nobody: what concerns the installation (tenants, keys)."""
        return Api(self.running, service)

    def confirm(self, question: str) -> None:
        """Ask before a write; --yes answers, and is required where nobody can be asked."""
        if self.yes:
            return
        if not sys.stdin.isatty():
            raise Fault("this changes something, and there is no terminal to ask", fix="add --yes")
        self.out.stderr.print(f"{question} [y/N] ", end="")
        if input().strip().lower() not in {"y", "yes"}:
            raise Fault("not done", exit=Exit.INTERRUPTED)


_current: Frame | None = None


def current() -> Frame:
    """The frame of this run."""
    if _current is None:
        raise RuntimeError("commands run inside main()")
    return _current


def enter(frame: Frame) -> None:
    """Make ``frame`` the current one; ``main`` does this before any command."""
    global _current
    _current = frame
