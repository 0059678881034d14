"""Every code through the services: found with its direction and amount and told, nothing else is, and what the services
keep step by step equals what the pure engine makes of the whole log from scratch."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.local.home import Home
from deploy.local.secret_files import administrator_password
from deploy.local.supervisor import Supervisor
from shared.events.discrepancies import Code
from tests.chaos.effects import every_violation
from tests.receiver import Receiver
from tests.simulator.demo import alerted, finish, load
from tests.simulator.driver import Driver
from tests.simulator.msp import Msp
from tests.simulator.score import score


@pytest.mark.timeout(600)
@pytest.mark.parametrize("clients", [40, pytest.param(400, marks=pytest.mark.long)])
async def test_precision_and_recall_are_one(tmp_path: Path, clients: int, capsys: pytest.CaptureFixture[str]) -> None:
    home, msp = Home(tmp_path / "var"), Msp(7, clients, datetime.now(UTC), every=1 if clients == 40 else 7)
    async with Supervisor(home), Receiver() as receiver, Driver(home.path, msp.tenant) as driver:
        await load(driver, msp, receiver)
        await asyncio.gather(*(driver.stream(source, msp.usage(source), batch=50) for source in msp.sources))
        await finish(driver, msp, settle_s=300)
        result = score(msp.truths, [row["body"] for row in await driver.discrepancies()], alerted(receiver))
        address = json.loads(home.endpoints.read_text())["postgres"]
        url = f"postgresql://plumbline:{administrator_password(home)}@{address}/plumbline"
        violations = await every_violation(url, msp.tenant, receiver.arrivals)
    with capsys.disabled():
        print(f"\n{clients:,} clients through the services\n{result.table()}")
    assert {truth.code for truth in msp.truths} == {code.value for code in Code}
    assert not violations, "\n".join(violations[:20])
    assert result.perfect, "\n".join([*result.missed, *result.false_alarms])
    assert driver.tally.balanced
