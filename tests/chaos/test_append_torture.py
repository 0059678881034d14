"""The torture of the append: two processes of many callers through a proxy that cuts, while they and PostgreSQL are
killed, stopped and cut off; then every place, answer and stream is held against the rules (I1, I2)."""

from __future__ import annotations

import asyncio
import hashlib
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest

from shared.eventlog.groupcommit import is_transient
from shared.eventlog.model import Place
from shared.eventlog.postgres import PostgresLog
from shared.kernel.identity import id_hash
from shared.runtime.database import open_pool
from tests.chaos.proxy import CuttingProxy
from tests.conftest import Server, _template

ROOT = Path(__file__).resolve().parents[2]
DATABASE = "migrated"
WORKERS = 2


@dataclass
class Torture:
    """One run: the server, the proxy, the worker processes and what a tailing reader saw."""

    server: Server
    proxy: CuttingProxy
    folder: Path
    callers: int
    rng: random.Random
    started: float = field(default_factory=time.monotonic)
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    seen: dict[Place, bytes] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def login(self, role: str, port: int) -> str:
        return f"postgresql://plumbline_{role}:{self.server.passwords[f'plumbline_{role}']}@127.0.0.1:{port}/{DATABASE}"

    def start_worker(self) -> subprocess.Popen[bytes]:
        n = len(self.workers) + self.done["SIGKILL"]
        url = self.login("ingestion_work", self.proxy.port)
        arguments = [url, str(self.started), str(self.rng.randrange(2**31)), str(self.callers)]
        command = [sys.executable, "-m", "tests.chaos.append_worker", *arguments, str(self.folder / f"notes-{n}")]
        with (self.folder / f"worker-{n}.log").open("wb") as log:
            return subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)

    async def working(self) -> None:
        """Every process has given its first answer."""
        async with asyncio.timeout(60):
            while sum(path.stat().st_size > 0 for path in self.folder.glob("notes-*")) < WORKERS:
                await asyncio.sleep(0.1)

    async def disturb(self, seconds: float, postgres_kills: int) -> None:
        """Something happens every half second; PostgreSQL dies at even distances."""
        end = time.monotonic() + seconds
        deaths = [end - seconds * (n + 0.5) / postgres_kills for n in range(postgres_kills)]
        while time.monotonic() < end:
            await asyncio.sleep(self.rng.uniform(0.2, 0.7))
            if deaths and time.monotonic() > deaths[-1]:
                deaths.pop()
                await self.kill_postgres()
            else:
                await self.rng.choice((self.kill_worker, self.stop_worker, self.terminate_backends))()

    async def kill_postgres(self) -> None:
        self.done["PostgreSQL killed"] += 1
        self.server.kill()
        self.server.start()
        await self.server.ready()

    async def kill_worker(self) -> None:
        n = self.rng.randrange(WORKERS)
        self.workers[n].kill()
        self.workers[n].wait()
        self.done["SIGKILL"] += 1
        self.workers[n] = self.start_worker()

    async def stop_worker(self) -> None:
        victim = self.rng.choice(self.workers)
        victim.send_signal(signal.SIGSTOP)
        await asyncio.sleep(self.rng.uniform(0.1, 1.0))
        victim.send_signal(signal.SIGCONT)
        self.done["SIGSTOP"] += 1

    async def terminate_backends(self, share: float = 0.5) -> None:
        admin = await asyncpg.connect(self.server.admin(DATABASE))
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'torture' AND random() < $1",
            share,
        )
        await admin.close()
        self.done["backends terminated"] += 1

    async def tail(self) -> None:
        """Read each record once, as it comes."""
        marks: dict[tuple[str, int], int] = {}
        while True:
            try:
                pool = await open_pool(self.login("matching_work", self.server.port), name="tail", size=1)
                try:
                    while True:
                        await self._read_on(PostgresLog(pool), marks)
                        await asyncio.sleep(0.02)
                finally:
                    pool.terminate()
            except Exception as error:
                if not is_transient(error):
                    self.broken.append(f"the reader got {type(error).__name__}: {error}")
                await asyncio.sleep(0.1)

    async def _read_on(self, log: PostgresLog, marks: dict[tuple[str, int], int]) -> None:
        for topic, heads in (await log.heads()).items():
            for partition, head in enumerate(heads):
                after = marks.get((topic, partition), 0)
                if head > after:
                    for record in await log.page(topic, partition, after, 1_000):
                        self.seen[record.place] = hashlib.sha256(record.body).digest()
                        marks[topic, partition] = record.place.position

    async def read_to_the_end(self) -> None:
        """The tailing reader has come to the heads, or says in ``violations`` what it missed."""
        admin = await asyncpg.connect(self.server.admin(DATABASE))
        for _ in range(100):
            if len(self.seen) == await admin.fetchval("SELECT sum(position) FROM log.head"):
                break
            await asyncio.sleep(0.1)
        await admin.close()

    def finish(self) -> None:
        """No more disturbance: every caller gets its answer."""
        for worker in self.workers:
            worker.send_signal(signal.SIGTERM)
        for worker in self.workers:
            # One that a kill had just replaced may not yet listen to the signal: it has answered nobody.
            if worker.wait(timeout=60) not in (0, -signal.SIGTERM):
                logs = [path.read_text()[-2_000:] for path in self.folder.glob("worker-*.log")]
                self.broken.append(f"a worker ended with {worker.returncode}: {logs}")

    def answers(self) -> list[dict[str, Any]]:
        found = []
        for path in sorted(self.folder.glob("notes-*")):
            # A kill may have cut the last line; an answer not noted was not given.
            lines = path.read_bytes().split(b"\n")[:-1]
            found += [orjson.loads(line) for line in lines]
        return found


@asynccontextmanager
async def torture(folder: Path, *, callers: int, seed: int, cuts: float) -> AsyncIterator[Torture]:
    server, rng = Server(folder / "postgres"), random.Random(seed)
    server.prepare()
    server.start()
    try:
        await server.ready()
        await _template(server)
        async with CuttingProxy(server.port, rng) as proxy:
            run = Torture(server, proxy, folder, callers, rng)
            tail = asyncio.create_task(run.tail())
            proxy.cuts = cuts
            try:
                for _ in range(WORKERS):
                    run.workers.append(run.start_worker())
                yield run
            finally:
                for worker in run.workers:
                    worker.kill()
                    worker.wait()
                tail.cancel()
                await asyncio.gather(tail, return_exceptions=True)
    finally:
        server.stop()


async def violations(run: Torture) -> list[str]:
    admin = await asyncpg.connect(run.server.admin(DATABASE))
    try:
        found = [*run.broken, *await _gaps(admin), *await _strange_identities(admin), *await _torn_streams(admin)]
        found += await _wrong_stamps(admin)
        found += await _broken_promises(admin, run.answers())
        found += await _unseen(admin, run.seen)
    finally:
        await admin.close()
    return found


async def _gaps(admin: asyncpg.Connection) -> list[str]:
    rows = await admin.fetch(
        "SELECT h.topic, h.partition, h.position AS head, count(r.position) AS n, coalesce(max(r.position), 0) AS high,"
        " coalesce(min(r.position), 1) AS low FROM log.head h LEFT JOIN log.record r USING (topic, partition)"
        " GROUP BY h.topic, h.partition, h.position"
    )
    return [f"gap: {dict(row)}" for row in rows if not (row["n"] == row["high"] == row["head"] and row["low"] == 1)]


async def _strange_identities(admin: asyncpg.Connection) -> list[str]:
    """Each record has one identity, which is that of its own bytes."""
    found = []
    records = await admin.fetch(
        "SELECT r.topic, r.partition, r.position, r.body, e.id_hash FROM log.record r"
        " FULL JOIN log.identity e USING (topic, partition, position)"
    )
    for row in records:
        place = Place(row["topic"], row["partition"], row["position"])
        if row["body"] is None or row["id_hash"] is None:
            found.append(
                f"a record without identity, or the reverse: {row['topic']}/{row['partition']}/{row['position']}"
            )
            continue
        fields = orjson.loads(row["body"])
        if id_hash(fields["tenant"], fields["source"], fields["id"]) != row["id_hash"]:
            found.append(f"identity of another record at {place}")
    return found


async def _torn_streams(admin: asyncpg.Connection) -> list[str]:
    """Versions 1 to n, as each record says of itself; of a command all records or none, one after the other."""
    found = []
    rows = await admin.fetch(
        "SELECT s.stream, s.version, r.body FROM log.stream s LEFT JOIN log.record r USING (topic, partition, position)"
        " ORDER BY s.stream, s.version"
    )
    last: tuple[Any, int] = (None, 0)
    parts: Counter[str] = Counter()
    for row in rows:
        expected = last[1] + 1 if row["stream"] == last[0] else 1
        last = (row["stream"], row["version"])
        fields = orjson.loads(row["body"])
        if row["version"] != expected:
            found.append(f"stream {row['stream']}: version {row['version']} follows {expected - 1}")
        if fields["streamversion"] != row["version"] or fields["stream"] != row["stream"].hex:
            found.append(f"stream {row['stream']} version {row['version']}: its bytes say {fields['streamversion']}")
        parts[fields["data"]["value"].rpartition("/")[0]] += 1
    for name, n in parts.items():
        whole = 1 + hashlib.sha256(name.encode()).digest()[0] % 3
        if n != whole:
            found.append(f"command {name}: {n} of {whole} records")
    return found


async def _wrong_stamps(admin: asyncpg.Connection) -> list[str]:
    """The bytes say what the column says, and time never goes back along a partition."""
    rows = await admin.fetch(
        "SELECT * FROM (SELECT topic, partition, position, recorded_at,"
        " lag(recorded_at) OVER (PARTITION BY topic, partition ORDER BY position) AS before,"
        " (convert_from(body, 'UTF8')::jsonb ->> 'recordedat')::timestamptz AS said FROM log.record) x"
        " WHERE said <> recorded_at OR before > recorded_at"
    )
    return [f"stamp: {dict(row)}" for row in rows]


async def _broken_promises(admin: asyncpg.Connection, answers: list[dict[str, Any]]) -> list[str]:
    """Each place that was answered holds that id; each id was stored once; no caller got an error."""
    found = [f"a caller got {answer['error']}" for answer in answers if "error" in answer]
    given = [answer for answer in answers if answer.get("place")]
    places = [Place.parse(answer["place"]) for answer in given]
    rows = await admin.fetch(
        "SELECT topic || '/' || partition || '/' || position AS place, id_hash::text AS id FROM log.identity"
    )
    held = {row["place"]: row["id"] for row in rows}
    found += [f"{a['place']} was answered for {a['id']}" for a in given if held.get(a["place"]) != a["id"]]
    stored = Counter(answer["id"] for answer in answers if answer.get("verdict") == "s")
    found += [f"{identity} was stored {n} times" for identity, n in stored.items() if n > 1]
    assert len(places) == len(given)
    return found


async def _unseen(admin: asyncpg.Connection, seen: dict[Place, bytes]) -> list[str]:
    """The tailing reader saw each record, as it is now."""
    found = []
    rows = await admin.fetch("SELECT topic, partition, position, sha256(body) AS digest FROM log.record")
    for row in rows:
        place = Place(row["topic"], row["partition"], row["position"])
        if seen.get(place) != row["digest"]:
            found.append(f"the reader {'saw other bytes at' if place in seen else 'missed'} {place}")
    if len(seen) != len(rows):
        found.append(f"the reader saw {len(seen)} records of {len(rows)}")
    return found


async def _run(folder: Path, *, seconds: float, callers: int, seed: int, postgres_kills: int) -> None:
    async with torture(folder, callers=callers, seed=seed, cuts=0.02) as run:
        await run.working()
        await run.disturb(seconds, postgres_kills)
        run.proxy.cuts = 0
        await asyncio.to_thread(run.finish)
        await run.read_to_the_end()
        found = await violations(run)
        answers = run.answers()
        verdicts = Counter(answer.get("verdict", "error") for answer in answers)
        print(
            f"\n{len(run.seen):,} records, {len(answers):,} answers {dict(verdicts)};"
            f" {dict(run.done)}; cut {dict(run.proxy.done)}; {len(found)} violations"
        )
        assert not found, "\n".join(found[:20])
        # A run in which nothing happened proves nothing.
        assert len(run.seen) > 200
        assert set("sdcv") <= set(verdicts)
        assert len(run.proxy.done) == 3
        assert run.done["PostgreSQL killed"] == postgres_kills


@pytest.mark.timeout(180)
async def test_no_append_is_lost_doubled_or_torn_under_kills_and_cuts(tmp_path: Path) -> None:
    await _run(tmp_path, seconds=15, callers=32, seed=1, postgres_kills=2)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [2, 3])
async def test_no_append_is_lost_doubled_or_torn_in_a_long_torture(tmp_path: Path, seed: int) -> None:
    await _run(tmp_path, seconds=90, callers=64, seed=seed, postgres_kills=4)


def _without_the_lock(append: str) -> str:
    assert append.count("FOR UPDATE") == 1
    return append.replace("FOR UPDATE", "")


def _answered_before_it_is_on_disk(append: str) -> str:
    return "ALTER ROLE plumbline_ingestion_work SET synchronous_commit = off"


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("break_it", "finding"),
    [(_without_the_lock, "a caller got UniqueViolationError"), (_answered_before_it_is_on_disk, "was answered for")],
)
async def test_the_torture_notices_a_missing_rule(tmp_path: Path, break_it: Callable[[str], str], finding: str) -> None:
    """The proof of the proof: what the torture says of an append that keeps one rule less."""
    async with torture(tmp_path, callers=16, seed=4, cuts=0) as run:
        admin = await asyncpg.connect(run.server.admin(DATABASE))
        await admin.execute(break_it(await admin.fetchval("SELECT pg_get_functiondef('log.append'::regproc)")))
        await admin.close()
        await run.terminate_backends(share=1.0)
        await run.working()
        for _ in range(2):
            await asyncio.sleep(1)
            await run.kill_postgres()
        await asyncio.to_thread(run.finish)
        await run.read_to_the_end()
        found = await violations(run)
        print(f"\n{break_it.__name__}: {len(found):,} violations, such as {found[:3]}")
        assert [what for what in found if finding in what]
