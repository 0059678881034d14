"""Every code is found with its direction and amount, and nothing else is: the pure engine on the synthetic MSP."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.events.discrepancies import Code
from tests.simulator.msp import Msp
from tests.simulator.pure import reconciled
from tests.simulator.score import of_body, score

NOW = datetime(2026, 11, 24, 18, tzinfo=UTC)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("clients", [40, 400, pytest.param(4000, marks=pytest.mark.long)])
def test_precision_and_recall_are_one(clients: int, capsys: pytest.CaptureFixture[str]) -> None:
    msp = Msp(7, clients, NOW, every=1 if clients == 40 else 7)
    assert {truth.code for truth in msp.truths} == {code.value for code in Code}
    _, bodies = reconciled(msp)
    result = score(msp.truths, bodies, [of_body(body) for body in bodies])
    with capsys.disabled():
        print(f"\n{clients:,} clients through the pure engine\n{result.table()}")
    assert result.perfect, "\n".join(["missed:", *result.missed[:40], "false:", *result.false_alarms[:40]])
