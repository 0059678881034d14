"""``plumbline up | down | status``: the platform on this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from datetime import datetime
from typing import Annotated, Any

import httpx
import typer

from deploy.local.claim import holder
from deploy.local.errors import PlatformError
from deploy.local.home import ROOT, Home, read_json
from deploy.local.process import bound_log
from services.cli.faults import Exit, Fault
from services.cli.frame import current
from services.cli.output import Column, Output
from shared.runtime.clock import SystemClock

_POLL_S = 0.1
_DOWN_S = 90


def up(
    detach: Annotated[
        bool, typer.Option("--detach", help="Leave it running in the background; return when ready.")
    ] = False,
) -> None:
    """Start PostgreSQL, Kafka and the services, and keep them running until Ctrl-C."""
    frame = current()
    if detach:
        _detached(frame.home, frame.out)
    else:
        _attached(frame.home, frame.out)


def _attached(home: Home, out: Output) -> None:
    # Here, because it brings the Kafka client with it, and every other command starts faster without.
    from deploy.local.supervisor import Supervisor, run

    async def announce() -> None:
        out.note("ready; Ctrl-C stops everything.  next: plumbline status")
        await asyncio.Event().wait()

    try:
        asyncio.run(run(Supervisor(home, say=out.note), announce))
    except PlatformError as error:
        raise Fault(str(error), where=error.where, fix=error.fix, exit=Exit.UNREACHABLE) from error


def _detached(home: Home, out: Output) -> None:
    """Start a supervisor of its own session and repeat its progress until it is ready."""
    log = home.logs / "supervisor.log"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        bound_log(log)
    except OSError as error:
        raise Fault(
            f"the folder cannot be written: {error.strerror}",
            where=str(home.path),
            fix="mend its permissions, free some disk, or name another folder by PLUMBLINE_HOME",
            exit=Exit.UNREACHABLE,
        ) from error
    with log.open("ab") as output:
        before = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.local.supervisor"],
            cwd=ROOT,
            env={**os.environ, "PLUMBLINE_HOME": str(home.path), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    said: list[str] = []
    try:
        with log.open() as lines:
            lines.seek(before)
            ended = False
            while not ended:
                ended = process.poll() is not None  # asked first, so that its last words are read after it ended
                said += [line.rstrip("\n") for line in lines]
                status = read_json(home.status) or {}
                if status.get("pid") == process.pid and status.get("state") == "ready":
                    _tell_progress(said, out)
                    out.note(f"ready, in the background as process {process.pid}; `plumbline down` stops it")
                    ready = {"pid": process.pid, "home": str(home.path), "endpoints": read_json(home.endpoints)}
                    out.document(ready, show=lambda: None)
                    return
                said = _tell_progress(said, out)
                time.sleep(_POLL_S)
    except KeyboardInterrupt:
        process.send_signal(signal.SIGTERM)
        raise
    raise fault_of(said)


def _tell_progress(said: list[str], out: Output) -> list[str]:
    """Show the lines of progress; what is left begins with the error that ended it, if one did."""
    while said and not said[0].startswith("error: "):
        out.note(said.pop(0))
    return said


def fault_of(said: list[str]) -> Fault:
    """The supervisor's error as it was said, line by line, as a fault."""
    parts: dict[str, str | None] = {"where": None, "fix": None}
    what = []
    for line in said:
        name, _, text = line.strip().partition(": ")
        if line.startswith("  ") and name in parts:
            parts[name] = text
        else:
            what.append(line)
    return Fault(
        "\n".join(what).removeprefix("error: ") or "it ended while starting",
        where=parts["where"],
        fix=parts["fix"],
        exit=Exit.UNREACHABLE,
    )


def down() -> None:
    """Stop what `plumbline up` started, in order."""
    frame = current()
    supervisor = holder(frame.running)
    if supervisor is None:
        frame.out.document({"stopped": None}, show=lambda: frame.out.say(f"nothing runs in {frame.running.path}"))
        return
    os.kill(supervisor, signal.SIGTERM)
    for _ in range(int(_DOWN_S / _POLL_S)):
        if holder(frame.running) != supervisor:
            frame.out.document({"stopped": supervisor}, show=lambda: frame.out.say(f"stopped (process {supervisor})"))
            return
        time.sleep(_POLL_S)
    raise Fault(
        f"process {supervisor} has not ended in {_DOWN_S} s",
        where=str(frame.running.logs),
        fix=f"kill -9 {supervisor}: what it started ends with it",
        exit=Exit.UNREACHABLE,
    )


_COLUMNS = (
    Column("name", "SERVICE"),
    Column("state", "STATE"),
    Column("port", "PORT", right=True),
    Column("pid", "PID", right=True, drop=2),
    Column("lag", "LAG", right=True),
    Column("lag_s", "AGE", right=True, show=lambda seconds: "" if seconds is None else f"{seconds:.1f}s"),
    Column("dead_letters", "DEAD", right=True),
    Column("behind", "BEHIND", right=True),
    Column("up_s", "UP", right=True, drop=1, show=lambda seconds: "" if seconds is None else _age(seconds)),
    Column("restarts", "RESTARTS", right=True, drop=3),
)


def status() -> None:
    """What runs, where, and whether it is ready. Exit 3 unless everything is."""
    frame = current()
    supervisor = holder(frame.running)
    if supervisor is None:
        raise Fault(
            "Plumbline is not running",
            where=str(frame.running.path),
            fix="`plumbline up` starts it",
            exit=Exit.UNREACHABLE,
        )
    known = read_json(frame.running.status) or {"state": "starting", "processes": []}
    rows = [_row(process, frame.running) for process in known["processes"]]
    meta = {"pid": supervisor, "state": known["state"], "home": str(frame.running.path)}
    frame.out.rows(rows, _COLUMNS, meta, empty="starting")
    if known["state"] != "ready" or any(row["state"] != "ready" for row in rows):
        frame.out.note(f"not ready; the logs are in {frame.running.logs}")
        raise typer.Exit(Exit.UNREACHABLE)


def _row(process: dict[str, Any], home: Home) -> dict[str, Any]:
    since = process["since"] and datetime.fromisoformat(process["since"])
    row = {name: process[name] for name in ("name", "state", "port", "pid", "restarts", "last_ending", "log")}
    row["up_s"] = round((SystemClock().now() - since).total_seconds()) if since else None
    address = (read_json(home.endpoints) or {}).get(process["name"], "")
    if address.startswith("http") and process["state"] == "ready":
        row["state"], row["health"] = _health(address)
        row |= _sums(row["health"] or {})
    return row


def _health(address: str) -> tuple[str, Any]:
    """What the service says of itself: lag, dead letters, relays."""
    try:
        answer = httpx.get(f"{address}/health/ready", timeout=5, trust_env=False)
        body = answer.json()
    except httpx.TransportError:
        return "not answering", None
    except ValueError:
        body = None
    return "ready" if answer.status_code == 200 else "not ready", body


def _sums(health: dict[str, Any]) -> dict[str, Any]:
    """Of all its consumers: records not yet worked off and the age of the oldest, dead letters; records not relayed."""
    messaging = health.get("messaging", {})
    consumers, relays = messaging.get("consumers", []), messaging.get("relays", [])
    lags = [lag for consumer in consumers for lag in consumer["lag"].values()]
    sums = {"behind": sum(relay["behind"] or 0 for relay in relays)} if relays else {}
    if consumers:
        sums["lag"] = sum(lag["records"] for lag in lags)
        sums["lag_s"] = max((lag["seconds"] for lag in lags), default=0.0)
        sums["dead_letters"] = sum(consumer["dead_letters"] for consumer in consumers)
    return sums


def _age(seconds: int) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
