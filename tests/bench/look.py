"""A look at speed: usage at full load, from the HTTP request to folded, compared and committed.

``python -m tests.bench.look [RECORDS] [CLIENTS]`` starts its own platform in a temporary folder and prints a table.
The load, PostgreSQL, Kafka and the services share the machine.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import orjson
import psutil

from deploy.local.home import Home
from deploy.local.supervisor import Supervisor
from tests.receiver import Receiver
from tests.simulator.business import SOURCES
from tests.simulator.demo import load
from tests.simulator.driver import Driver
from tests.simulator.msp import Msp

BATCH, CALLERS = 100, 16


def _events(msp: Msp) -> Iterator[dict[str, object]]:
    """The vendors' usage, as often as needed: each round is another meter of the same accounts."""
    for number in itertools.count():
        for source in SOURCES:
            for event in msp.usage(source, repeat=0.001, restate=0):
                data = {**event["data"], "meter": f"m{number}"} if number else event["data"]  # type: ignore[dict-item]
                yield {**event, "id": f"{number}/{event['id']}", "data": data}


def _cpu_s(home: Home) -> dict[str, float]:
    found = {}
    for one in json.loads(home.status.read_text())["processes"]:
        process = psutil.Process(one["pid"])
        family = [process, *process.children(recursive=True)]
        times = [member.cpu_times() for member in family]
        gone = process.cpu_times()
        found[one["name"]] = sum(t.user + t.system for t in times) + gone.children_user + gone.children_system
    return found


def _rss_mb(home: Home) -> dict[str, float]:
    found = {}
    for one in json.loads(home.status.read_text())["processes"]:
        process = psutil.Process(one["pid"])
        family = [process, *process.children(recursive=True)]
        found[one["name"]] = sum(member.memory_full_info().uss for member in family) / 1e6
    return found


async def _send(driver: Driver, bodies: list[bytes]) -> None:
    key = driver._keys["load"]
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/cloudevents-batch+json"}
    queue = iter(bodies)
    async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=CALLERS)) as http:

        async def caller() -> None:
            for body in queue:
                while True:
                    answer = await http.post(
                        driver.endpoints["ingestion"] + "/v1/records", content=body, headers=headers
                    )
                    if answer.status_code == 202:
                        break
                    assert answer.status_code == 503, answer.text
                    await asyncio.sleep(0.2)

        await asyncio.gather(*(caller() for _ in range(CALLERS)))


async def _drained(driver: Driver) -> tuple[float, float]:
    """Until matching has folded everything, and until nothing is due; matching looks at both once a second."""
    folded = 0.0
    while True:
        state = (await driver.call("matching", "GET", "/health/ready")).json()
        lag = sum(topic["records"] for one in state["messaging"]["consumers"] for topic in one["lag"].values())
        if not lag and not folded:
            folded = time.monotonic()
        if not lag and not state["due"]:
            return folded, time.monotonic()
        await asyncio.sleep(0.1)


async def look(records: int, clients: int) -> None:
    """Print the figures of one run."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        msp = Msp(7, clients, datetime.now(UTC))
        async with Supervisor(home), Receiver() as receiver, Driver(home.path, msp.tenant) as driver:
            await load(driver, msp, receiver)
            # One operator's key for all vendors, so that a batch holds several sources.
            body = {"tenant": msp.tenant, "source": None}
            driver._keys["load"] = (await driver.call("ingestion", "POST", "/v1/admin/keys", json=body)).json()["data"][
                "token"
            ]
            events = itertools.islice(_events(msp), records)
            bodies = [orjson.dumps(batch) for batch in iter(lambda: list(itertools.islice(events, BATCH)), [])]
            before, began = _cpu_s(home), time.monotonic()
            await _send(driver, bodies)
            sent = time.monotonic() - began
            folded, compared = (moment - began for moment in await _drained(driver))
            after, rss = _cpu_s(home), _rss_mb(home)
    print(f"{records:,} records of {clients:,} clients, batches of {BATCH}, {CALLERS} callers")
    print(f"accepted and committed   {records / sent:>10,.0f} records/s")
    print(f"folded                   {records / folded:>10,.0f} records/s")
    print(f"compared                 {records / compared:>10,.0f} records/s")
    print("process           CPU s per 100,000   memory MB")
    for name in after:
        print(f"{name:<16} {(after[name] - before[name]) / records * 1e5:>19.1f} {rss[name]:>11.0f}")


if __name__ == "__main__":
    asyncio.run(look(*(int(argument) for argument in (sys.argv[1:] + ["100000", "400"][len(sys.argv) - 1 :]))))
