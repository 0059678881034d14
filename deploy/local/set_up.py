"""Makes what running Plumbline needs, inside the checkout: ``.venv`` (Python packages) and ``.cache`` (Kafka's jars).

``make setup`` runs it with whatever ``python3`` there is, so it uses the standard library alone, and syntax that an old
Python 3 reads far enough to say that it is too old. Run again it does nothing, in a few hundredths of a second.
"""

import contextlib
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
STAMP = os.path.join(VENV, "plumbline-set-up")
INPUTS = ("requirements.lock", "deploy/local/uv-requirements.lock", "deploy/local/jars.lock", "deploy/local/set_up.py")
DISK_FREE_BYTES_MIN = 2 * 10**9
SYSTEM_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


class SetUpError(Exception):
    """What stands in the way, and the fix."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.fix = fix


def main() -> int:
    try:
        check_python()
        with one_at_a_time():
            if stamp() != stamped():
                set_up()
    except SetUpError as error:
        print(f"set-up failed: {error}\n  fix: {error.fix}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nset-up interrupted; run it again, what was fetched is kept", file=sys.stderr)
        return 130
    return 0


def set_up() -> None:
    check_disk()
    began = time.time()
    print(f"Setting up in {ROOT} (once; about 20 s and 1 GB)", file=sys.stderr)
    step("Python environment", make_venv)
    step("installer", install_uv)
    step("Python packages", sync_packages)
    step("command line", make_command)
    step("Kafka's jars", fetch_jars)
    with open(STAMP, "w") as file:
        file.write(stamp())
    print(f"Set up in {time.time() - began:.0f} s", file=sys.stderr)


def check_python() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 (this file alone is run by a Python that nobody has checked yet)
        found = f"{sys.executable} is Python {sys.version_info[0]}.{sys.version_info[1]}"
        raise SetUpError(
            f"{found}; 3.11 or newer is needed", "install one, then: make setup PYTHON=/path/to/python3.11"
        )


def check_disk() -> None:
    free = shutil.disk_usage(ROOT).free
    if free < DISK_FREE_BYTES_MIN:
        raise SetUpError(
            f"only {free / 1e9:.1f} GB of disk are free in {ROOT}; 2 GB are needed",
            "free some, or move the checkout to another disk",
        )


@contextlib.contextmanager
def one_at_a_time() -> "Iterator[None]":
    """A second set-up of this checkout waits for the first, and then finds everything done."""
    import fcntl

    try:
        os.makedirs(os.path.join(ROOT, ".cache"), exist_ok=True)
        lock = open(  # noqa: SIM115 (closed below)
            os.path.join(ROOT, ".cache", "set-up.lock"), "w"
        )
    except OSError as error:
        raise SetUpError(
            f"the checkout cannot be written: {error}", "mend its permissions or free some disk"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def stamp() -> str:
    """Changes with all that set-up depends on; the path too, because a virtual environment cannot be moved."""
    digest = hashlib.sha256(repr((ROOT, sys.version_info[:3])).encode())
    for name in INPUTS:
        with open(os.path.join(ROOT, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def stamped() -> "str | None":
    try:
        with open(STAMP) as file:
            return file.read()
    except OSError:
        return None


def make_venv() -> None:
    if works(PYTHON):
        return
    shutil.rmtree(VENV, ignore_errors=True)
    call(
        [sys.executable, "-m", "venv", VENV],
        "the virtual environment cannot be made",
        "Debian and Ubuntu: apt-get install python3-venv; elsewhere: is the disk full?",
    )


def works(python: str) -> bool:
    """Whether this environment runs, was made by this Python, and in this place."""
    probe = "import sys; print(sys.version_info[:3], sys.prefix)"
    try:
        said = subprocess.check_output([python, "-c", probe], universal_newlines=True, stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return False
    return said.strip() == f"{tuple(sys.version_info[:3])} {VENV}"


def install_uv() -> None:
    lock = os.path.join(ROOT, "deploy", "local", "uv-requirements.lock")
    pip = [PYTHON, "-m", "pip", "--disable-pip-version-check"]
    call(
        [*pip, "install", "--quiet", "--retries", "1", "--require-hashes", "--only-binary", ":all:", "-r", lock],
        "the installer uv could not be fetched",
        "is the network there? A proxy goes into HTTPS_PROXY, your own certificate authority into the system's store",
        environment=certificates(pip),
    )


def certificates(pip: "list[str]") -> "dict[str, str]":
    """pip before 24.2 trusts a list of its own; where the network re-signs TLS only the system's store is right."""
    said = subprocess.check_output([*pip, "--version"], universal_newlines=True).split()[1]
    old = tuple(int(part) for part in said.split(".")[:2]) < (24, 2)
    configured = subprocess.check_output([*pip, "config", "list"], universal_newlines=True)
    if not old or ".cert=" in configured or os.environ.get("PIP_CERT"):
        return {}
    return next(({"PIP_CERT": path} for path in SYSTEM_CERTIFICATES if os.path.exists(path)), {})


def sync_packages() -> None:
    # uv trusts the system's store because pyproject.toml, in its working directory, says so.
    call(
        [os.path.join(VENV, "bin", "uv"), "pip", "sync", "--python", PYTHON, "--require-hashes", "requirements.lock"],
        "the Python packages could not be installed",
        "is the network there, is the disk full? Then run it again: what was fetched is kept",
        show=sys.stderr.isatty(),
    )


def make_command() -> None:
    """``.venv/bin/plumbline``, and a .pth so that ``services``, ``shared`` and ``deploy`` are found from anywhere."""
    folder = subprocess.check_output(
        [PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], universal_newlines=True
    ).strip()
    with open(os.path.join(folder, "plumbline.pth"), "w") as file:
        file.write(ROOT + "\n")
    command = os.path.join(VENV, "bin", "plumbline")
    with open(command, "w") as file:
        # -P: a folder named "services" where the command is typed must not be taken for ours.
        file.write(f'#!/bin/sh\nexec {shlex.quote(PYTHON)} -P -m services.cli.main "$@"\n')
    os.chmod(command, 0o755)  # noqa: S103 (a program)


def fetch_jars() -> None:
    call([PYTHON, "-m", "deploy.local.jars"], "Kafka's jars could not be fetched", "see above", show=True)


def step(title: str, work: "Callable[[], None]") -> None:
    began = time.time()
    print(f"  {title} ...", file=sys.stderr)
    work()
    print(f"  {title} done, {time.time() - began:.1f} s", file=sys.stderr)


def call(
    command: "list[str]", what: str, fix: str, environment: "dict[str, str] | None" = None, show: bool = False
) -> None:
    """Run a command; its output is shown as it comes, or else only if it fails."""
    pipe = None if show else subprocess.PIPE
    run = subprocess.Popen(
        command,
        cwd=ROOT,
        env=dict(os.environ, **(environment or {})),
        stdout=pipe,
        stderr=None if show else subprocess.STDOUT,
        universal_newlines=True,
    )
    said, _ = run.communicate()
    if run.returncode != 0:
        lines = (said or "").strip().splitlines()[-8:]
        raise SetUpError("\n    ".join([what, *lines]), fix)


if __name__ == "__main__":
    sys.exit(main())
