"""One process of the torture: many callers that append, repeat, contradict and command, and note each answer.

``python -m tests.chaos.append_worker URL STARTED SEED CALLERS NOTES``. SIGTERM: finish what is begun, then end.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import asyncpg
import orjson

from shared.eventlog.groupcommit import is_transient
from shared.eventlog.model import LogFull, LogUnavailable, Outcome, Verdict
from shared.eventlog.postgres import Appender, PostgresLog
from shared.events.catalogue import setting_stream
from shared.events.record import Draft
from shared.runtime.database import open_pool
from tests.integration.eventlog.records import command, fact

STREAMS = 40
_IDS_PER_S = 300
_COMMANDS_PER_S = 10
T = TypeVar("T")


class Worker:
    """Callers of one process; ids come from a window that all processes share, so that they meet."""

    def __init__(self, pool: asyncpg.Pool, usage: Appender, settings: Appender, started: float, notes: int) -> None:
        self._log = PostgresLog(pool)
        self._usage = usage
        self._settings = settings
        self._started = started
        self._notes = notes
        self.stopping = asyncio.Event()

    async def caller(self, rng: random.Random) -> None:
        while not self.stopping.is_set():
            try:
                if rng.random() < 0.7:
                    await self._facts(rng)
                else:
                    await self._command(rng)
            except Exception as error:  # whatever a caller is told other than an outcome is a finding
                self._note({"error": f"{type(error).__name__}: {error}"})

    async def _facts(self, rng: random.Random) -> None:
        newest = int((time.monotonic() - self._started) * _IDS_PER_S)
        unit = [
            # One in twenty contradicts what the others say of the id, some under another partition key.
            fact(n, quantity=7, account=rng.choice((None, "other"))) if rng.random() < 0.05 else fact(n)
            for n in (newest + rng.randint(-100, 20) for _ in range(rng.randint(1, 5)))
        ]
        self._note_all(unit, await _persist(lambda: self._usage.append(unit)))

    async def _command(self, rng: random.Random) -> None:
        key = f"key-{rng.randrange(STREAMS)}"
        turn = int((time.monotonic() - self._started) * _COMMANDS_PER_S) - rng.randint(0, 3)
        name = f"{key}/{turn}"
        for _ in range(5):
            stream = await _persist(lambda: self._log.stream("settings", setting_stream("acme", key)))
            drafts = decided(key, name, len(stream))
            outcomes = await _persist(lambda drafts=drafts: self._settings.append(drafts))
            self._note_all(drafts, outcomes)
            if outcomes[0].verdict is not Verdict.VERSION_MOVED:
                return

    def _note_all(self, drafts: Sequence[Draft], outcomes: Sequence[Outcome]) -> None:
        for draft, outcome in zip(drafts, outcomes, strict=True):
            place = None if outcome.place is None else str(outcome.place)
            self._note(
                {"id": str(draft.id_hash), "verdict": outcome.verdict, "place": place, "at": outcome.recorded_at}
            )

    def _note(self, answer: dict[str, Any]) -> None:
        # Straight to the file: what was answered before a kill stays answered.
        os.write(self._notes, orjson.dumps(answer, option=orjson.OPT_APPEND_NEWLINE))


def decided(key: str, name: str, expected: int) -> list[Draft]:
    """The command of that name: one to three records, the same on whatever version it is decided."""
    length = 1 + hashlib.sha256(name.encode()).digest()[0] % 3
    return command(key, expected, name=name, values=tuple(f"{name}/{n}" for n in range(length)))


async def _persist(attempt: Callable[[], Awaitable[T]]) -> T:
    """As a client does: the same again until there is an answer."""
    while True:
        try:
            return await attempt()
        except (LogFull, LogUnavailable):
            pass
        except Exception as error:
            if not is_transient(error):
                raise
        await asyncio.sleep(0.05)


async def main(url: str, started: float, seed: int, callers: int, notes: str) -> None:
    rng = random.Random(seed)
    file = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    pool = await _persist(lambda: open_pool(url, name="torture", size=6))
    async with Appender(pool, "usage") as usage, Appender(pool, "settings") as settings:
        worker = Worker(pool, usage, settings, started, file)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stopping.set)
        await asyncio.gather(*(worker.caller(random.Random(rng.random())) for _ in range(callers)))
    await pool.close()


if __name__ == "__main__":
    _, url, started, seed, callers, notes = sys.argv
    asyncio.run(main(url, float(started), int(seed), int(callers), notes))
