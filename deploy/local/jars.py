"""The jars of Apache Kafka: by Maven coordinates, verified by SHA-256 against ``jars.lock``, in ``.cache/jars``.

``python -m deploy.local.jars`` fetches what is missing; ``python -m deploy.local.jars lock`` resolves the graph again
and writes the lock (after a change of ``KAFKA`` or ``LOGGING`` below).
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local.errors import PlatformError

ROOT = Path(__file__).resolve().parents[2]
LOCK = Path(__file__).with_name("jars.lock")
CACHE = ROOT / ".cache" / "jars"

KAFKA = "4.4.0"
LOGGING = "2.25.5"
# Every module is named: the resolver's own mediation would otherwise put an older kafka-clients beside this server.
_MODULES = (
    "kafka_2.13",
    "kafka-clients",
    "kafka-server",
    "kafka-server-common",
    "kafka-group-coordinator",
    "kafka-group-coordinator-api",
    "kafka-transaction-coordinator",
    "kafka-share-coordinator",
    "kafka-coordinator-common",
    "kafka-metadata",
    "kafka-raft",
    "kafka-storage",
    "kafka-storage-api",
    "kafka-tools-api",
)
_FETCHERS = 8
_TIMEOUT_S = 60


class JarError(PlatformError):
    """Jars are missing or are not what the lock says; the message names them."""


@dataclass(frozen=True, slots=True, order=True)
class Jar:
    """One line of the lock."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def coordinate(self) -> str:
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def file(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def read_lock(lock: Path = LOCK) -> list[Jar]:
    """The lines of ``group:artifact:version sha256:<64 hex>``."""
    jars = []
    for number, line in enumerate(lock.read_text().splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        coordinate, _, digest = line.partition(" sha256:")
        match coordinate.split(":"):
            case [group, artifact, version] if len(digest) == 64:
                jars.append(Jar(group, artifact, version, digest))
            case _:
                raise JarError(f"{lock.name} line {number} is not `group:artifact:version sha256:<64 hex>`: {line!r}")
    return jars


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def classpath(jars: Iterable[Jar] | None = None, cache: Path = CACHE) -> str:
    """The class path of the broker, every jar of it present and verified (45 MB: 0.1 s)."""
    paths = []
    for jar in read_lock() if jars is None else jars:
        path = cache / jar.file
        if not path.exists():
            raise JarError(f"{jar.coordinate} has not been fetched", where=cache, fix="run `make setup`")
        if digest_of(path) != jar.sha256:
            fix = "run `make setup`, which replaces it"
            raise JarError(f"{path.name} is not the {jar.coordinate} that jars.lock names", where=path, fix=fix)
        paths.append(str(path))
    return os.pathsep.join(paths)


def fetch(
    jars: Iterable[Jar] | None = None,
    cache: Path = CACHE,
    *,
    download: Callable[[Jar, Path], Path] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Bring every jar into ``cache``; returns how many were fetched.

    A file is moved into the cache only after its digest was found right, so neither an interruption nor a second fetch
    at the same time leaves a half jar behind. Raises :class:`JarError` naming each jar that differs or cannot be had.
    """
    wanted = read_lock() if jars is None else list(jars)
    cache.mkdir(parents=True, exist_ok=True)
    missing = [jar for jar in wanted if not _is_there(jar, cache)]
    if not missing:
        return 0
    problems = []
    with (
        tempfile.TemporaryDirectory(prefix=".fetching-", dir=cache) as scratch,
        ThreadPoolExecutor(_FETCHERS) as pool,
    ):
        get = download or _downloader(Path(scratch))
        running = [pool.submit(_fetch_one, jar, cache, Path(scratch), get) for jar in missing]
        for done, future in enumerate(as_completed(running), start=1):
            if problem := future.result():
                problems.append(problem)
            progress(done, len(missing))
    if problems:
        fix = "is the network there? Then run `make setup` again: what was fetched is kept"
        raise JarError("\n".join(sorted(problems)), fix=fix)
    return len(missing)


def _is_there(jar: Jar, cache: Path) -> bool:
    path = cache / jar.file
    if not path.exists():
        return False
    if digest_of(path) == jar.sha256:
        return True
    print(
        f"{path.name} in {cache} is not the {jar.coordinate} that jars.lock names: deleted, fetching again",
        file=sys.stderr,
    )
    path.unlink()
    return False


def _fetch_one(jar: Jar, cache: Path, scratch: Path, get: Callable[[Jar, Path], Path]) -> str | None:
    """Fetch, verify and put in place; the problem in words, or None."""
    try:
        path = get(jar, scratch)
    except Exception as error:  # a resolver's many errors all mean: this jar could not be had
        return f"{jar.coordinate} could not be fetched: {_first_line(error)}"
    found = digest_of(path)
    if found != jar.sha256:
        path.unlink()
        return (
            f"{jar.coordinate}: the file fetched has SHA-256 {found}, jars.lock says {jar.sha256}. It was deleted."
            " Either the download was altered on its way, or the lock is wrong: do not go on before you know which"
        )
    path.replace(cache / jar.file)
    return None


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]


def _context(cache: Path) -> Any:
    import truststore

    # jgo brings its own certificate list; behind a proxy that re-signs TLS only the system's store is right.
    truststore.inject_into_ssl()
    from jgo.maven import MavenContext

    return MavenContext(repo_cache=cache, timeout=_TIMEOUT_S)


def _downloader(scratch: Path) -> Callable[[Jar, Path], Path]:
    context = _context(scratch)

    def download(jar: Jar, _scratch: Path) -> Path:
        artifact = context.project(jar.group, jar.artifact).at_version(jar.version).artifact()
        return Path(artifact.resolve())

    return download


def write_lock(lock: Path = LOCK) -> int:
    """Resolve the graph of the modules above and write each jar with the SHA-256 of what was fetched."""
    with tempfile.TemporaryDirectory() as scratch:
        context = _context(Path(scratch))
        from jgo.maven import Dependency

        roots = [context.project("org.apache.kafka", name).at_version(KAFKA).artifact() for name in _MODULES]
        # Without a binding for slf4j the broker logs nothing, and nobody learns why it stopped.
        roots.append(context.project("org.apache.logging.log4j", "log4j-slf4j-impl").at_version(LOGGING).artifact())
        named, found = context.resolver.resolve([Dependency(root, scope="compile") for root in roots])
        lines = []
        for node in sorted([*named, *found], key=lambda node: (node.groupId, node.artifactId)):
            path = Path(node.artifact.resolve())
            lines.append(f"{node.groupId}:{node.artifactId}:{node.version} sha256:{digest_of(path)}\n")
    lock.write_text("".join(lines))
    return len(lines)


def main() -> int:
    if sys.argv[1:] == ["lock"]:
        print(f"{write_lock()} jars locked in {LOCK}")
        return 0
    step = 0

    def show(done: int, total: int) -> None:
        nonlocal step
        if sys.stderr.isatty():
            print(f"\r  Kafka's jars: {done}/{total}", end="" if done < total else "\n", file=sys.stderr, flush=True)
        elif done * 4 // total > step:
            step = done * 4 // total
            print(f"  Kafka's jars: {done}/{total}", file=sys.stderr)

    try:
        fetch(progress=show)
    except JarError as error:
        print(error.lines(), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
