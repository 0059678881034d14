"""Programs that end when we end: how each server of the platform is started, awaited, stopped and killed."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from deploy.local.errors import PlatformError

_PR_SET_PDEATHSIG = 1
START_TIMEOUT_S = 120.0
"""Generous: a machine of two cores that does something else besides takes its time, and progress is shown."""
_LOG_BYTES_MAX = 16 * 1024 * 1024


class Server(ABC):
    """One process that listens on a loopback port."""

    stop_signal = signal.SIGTERM
    """Asks for an orderly end; the kernel sends it too, when our own process dies (Linux)."""
    stop_timeout_s = 20.0

    def __init__(self, name: str, port: int, log: Path) -> None:
        self.name = name
        self.port = port
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Make what must exist before the first start; what is there stays."""
        self.log.parent.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def start(self) -> None:
        """Start the process; ``ready`` says when it serves. From the main thread (see ``spawn``)."""

    @abstractmethod
    async def answers(self) -> bool:
        """Whether it serves now."""

    async def ready(self, timeout_s: float | None = START_TIMEOUT_S) -> None:
        """Return once it serves. Raises :class:`PlatformError` with the end of its log if it ends or takes too long."""
        try:
            async with asyncio.timeout(timeout_s):
                while not await self.answers():
                    if not self.alive:
                        raise self._failure(f"ended while starting ({self.ending})")
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise self._failure(f"was not ready in {timeout_s:.0f} s") from None

    def _failure(self, what: str) -> PlatformError:
        return PlatformError(f"{self.name} {what}\n{self.tail()}", where=self.log)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def ending(self) -> str:
        """How it ended, in words."""
        code = None if self.process is None else self.process.returncode
        if code is None:
            return "running"
        return f"exit status {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"

    def stop(self) -> None:
        """End it in order; kill it when that takes longer than ``stop_timeout_s``."""
        if self.process is None or not self.alive:
            return
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(self.stop_timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL, as a crash would, and return when its own children are gone too."""
        if self.process is None or not self.alive:
            return
        try:
            children = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            children = []
        self.process.kill()
        self.process.wait()
        psutil.wait_procs(children, timeout=10)

    def tail(self, lines: int = 12) -> str:
        """The end of its log."""
        if not self.log.exists():
            return ""
        return "\n".join(f"    {line}" for line in self.log.read_text(errors="replace").splitlines()[-lines:])


def spawn(
    command: Sequence[str],
    *,
    log: Path,
    death: signal.Signals,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    identity: Callable[[], None] | None = None,
) -> subprocess.Popen[bytes]:
    """Start ``command`` in a process group of its own: a terminal's Ctrl-C reaches us alone, and we end it in order.

    On Linux the kernel sends it ``death`` when the *thread* that called this ends: call it from the main thread.
    ``identity`` runs in the child first, because a change of credentials clears that wish.
    """
    parent = os.getpid()

    def before_exec() -> None:
        if identity is not None:
            identity()
        _die_with(parent, death)

    bound_log(log)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=cwd,
            env=None if environment is None else dict(environment),
            process_group=0,
            preexec_fn=before_exec,
        )


def _die_with(parent: int, death: signal.Signals) -> None:
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(death))
    if os.getppid() != parent:  # it died before the kernel was asked
        os._exit(1)


def bound_log(log: Path, bytes_max: int = _LOG_BYTES_MAX) -> None:
    """Keep a log and the one before it. Copied and cut in place: the process that appends to it need not know."""
    if log.exists() and log.stat().st_size > bytes_max:
        log.with_suffix(log.suffix + ".1").write_bytes(log.read_bytes())
        os.truncate(log, 0)
