"""I3: kill -9 of any process at any instant, under load, loses nothing and doubles nothing."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.local.home import Home
from deploy.local.secret_files import administrator_password
from deploy.local.supervisor import Supervisor
from tests.chaos.effects import every_violation
from tests.receiver import Receiver
from tests.simulator.demo import alerted, finish, load
from tests.simulator.driver import Driver
from tests.simulator.msp import Msp
from tests.simulator.score import score

VICTIMS = ("ingestion", "matching", "notification", "kafka", "postgres")


def _pid(home: Home, name: str) -> int | None:
    for process in json.loads(home.status.read_text())["processes"]:
        if process["name"] == name and process["state"] == "ready":
            return process["pid"]
    return None


async def _kill(home: Home, name: str) -> None:
    """Kill a process that is ready (waiting for it to be), so that each kill meets work."""
    deadline = time.monotonic() + 90
    while (pid := _pid(home, name)) is None:
        assert time.monotonic() < deadline, f"{name} did not come back"
        await asyncio.sleep(0.05)
    os.kill(pid, signal.SIGKILL)


async def _kills(home: Home, n: int, rng: random.Random) -> None:
    """``n`` kills, each victim equally often, in random order."""
    victims = [VICTIMS[i % len(VICTIMS)] for i in range(n)]
    rng.shuffle(victims)
    for victim in victims:
        await asyncio.sleep(rng.uniform(0.2, 1.2))
        await _kill(home, victim)


async def _run(tmp_path: Path, *, kills: int, clients: int, seed: int, per_second: float) -> None:
    home, rng = Home(tmp_path / "var"), random.Random(seed)
    msp = Msp(seed, clients, datetime.now(UTC))
    async with Supervisor(home) as _, Receiver() as receiver, Driver(home.path, msp.tenant) as driver:
        await load(driver, msp, receiver)
        streams = [driver.stream(source, msp.usage(source), batch=25, per_second=per_second) for source in msp.sources]
        await asyncio.gather(_kills(home, kills, rng), *streams)
        await finish(driver, msp, settle_s=120)
        result = score(msp.truths, [row["body"] for row in await driver.discrepancies()], alerted(receiver))
        address = json.loads(home.endpoints.read_text())["postgres"]
        url = f"postgresql://plumbline:{administrator_password(home)}@{address}/plumbline"
        violations = await every_violation(url, msp.tenant, receiver.arrivals)
        assert not violations, "\n".join(violations[:20])
        assert result.perfect, "\n".join([*result.missed, *result.false_alarms])
        assert driver.tally.balanced
        print(f"{kills} kills, {kills} recovered, 0 lost, 0 doubled; {driver.tally.sent:,} records")


@pytest.mark.timeout(400)
async def test_twenty_kills_under_load_lose_and_double_nothing(tmp_path: Path) -> None:
    await _run(tmp_path, kills=20, clients=60, seed=11, per_second=80)
