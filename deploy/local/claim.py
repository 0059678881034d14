"""One supervisor per folder: who holds it, and what a predecessor that was killed left running."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sys
import time
from pathlib import Path

import psutil

from deploy.local.errors import PlatformError
from deploy.local.home import Home, read_json

DISK_FREE_BYTES_MIN = 1_000_000_000
_GRACE_S = 10.0
_POLL_S = 0.05


def claim(home: Home) -> int:
    """Take the folder for this process; the descriptor holds it until it is closed or the process ends.

    Raises :class:`PlatformError` naming the process that holds it, or what is wrong with the folder or its disk.
    """
    try:
        home.run.mkdir(parents=True, exist_ok=True)
        home.logs.mkdir(parents=True, exist_ok=True)
        lock = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise PlatformError(
            f"the folder cannot be written: {error.strerror}",
            where=home.path,
            fix="free some disk, mend its permissions, or name another folder by PLUMBLINE_HOME",
        ) from error
    if not _locked(lock):
        os.close(lock)
        raise PlatformError(
            f"Plumbline already runs here, as process {home.lock.read_text().strip() or 'unknown'}",
            where=home.path,
            fix="`plumbline status` shows it and `plumbline down` stops it;"
            " PLUMBLINE_HOME=/another/folder runs one beside it",
        )
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock


def _locked(lock: int) -> bool:
    for _ in range(5):  # `holder` takes a look by a lock of its own, for an instant
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(_POLL_S)
    return False


def holder(home: Home) -> int | None:
    """Process id of the supervisor that runs on this folder; None if none does."""
    try:
        with home.lock.open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except BlockingIOError:
        return int(home.lock.read_text().strip() or 0) or None
    return None


def check_disk(path: Path, free_bytes_min: int = DISK_FREE_BYTES_MIN) -> None:
    """Refuse to start on a disk that is nearly full: PostgreSQL without disk stops hard."""
    free = shutil.disk_usage(path).free
    if free < free_bytes_min:
        raise PlatformError(
            f"only {free / 1e9:.2f} GB of disk are free; {free_bytes_min / 1e9:.0f} GB are needed to start",
            where=path,
            fix="free some, or name a folder on another disk by PLUMBLINE_HOME",
        )


def end_left_behind(home: Home, supervisor: int | None = None) -> int:
    """End the processes of a supervisor that was killed (of that one alone, if named); returns how many there were.

    On Linux the kernel has told them already and they are on their way; elsewhere this, and the watcher that runs
    ``main`` below, are what ends them.
    """
    known = read_json(home.status) or {}
    if supervisor is not None and known.get("pid") != supervisor:
        return 0
    left = []
    for entry in known.get("processes", []):
        try:
            process = psutil.Process(entry["pid"])
            # A process id may have been given to somebody else since; the instant of its start tells them apart.
            if abs(process.create_time() - entry["created"]) < 1:
                process.send_signal(entry["stop_signal"])
                left.append(process)
        except psutil.Error:
            continue
    for process in _still_running(left):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    home.status.unlink(missing_ok=True)
    home.endpoints.unlink(missing_ok=True)
    return len(left)


def _still_running(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended after the time of grace. One that nobody has reaped yet has ended."""
    for _ in range(int(_GRACE_S / _POLL_S)):
        processes = [process for process in processes if _runs(process)]
        if not processes:
            break
        time.sleep(_POLL_S)
    return processes


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def main() -> None:
    """``python -m deploy.local.claim HOME PID``: wait until stdin ends, which is when the supervisor that holds its
    other end does, then end what that one left."""
    sys.stdin.buffer.read()
    end_left_behind(Home(Path(sys.argv[1])), int(sys.argv[2]))


if __name__ == "__main__":
    main()
