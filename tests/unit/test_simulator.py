"""The simulator and its score: what they say must be able to fail."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.events.discrepancies import Code
from tests.simulator.business import SOURCES, TENANT_ZONE, Truth
from tests.simulator.driver import Tally
from tests.simulator.errors import KINDS
from tests.simulator.msp import Msp
from tests.simulator.score import of_body, score

NOW = datetime(2026, 11, 24, 18, tzinfo=UTC)


def _body(truth: Truth, **changes: object) -> dict[str, object]:
    period = {"from": truth.period.start.isoformat(), "to": truth.period.end.isoformat()} if truth.period else None
    names = ("code", "client", "product", "account", "sku", "direction")
    body = {name: getattr(truth, name) for name in names}
    body |= {"period": period, "amount": None if truth.amount is None else str(truth.amount)}
    return {**body, "vendor_source": truth.source, **changes}


@pytest.fixture(scope="module")
def msp() -> Msp:
    return Msp(7, 45, NOW)


def test_every_kind_of_error_is_planted_and_at_most_one_a_client(msp: Msp) -> None:
    assert {client.kind for client in msp.clients if client.kind} == set(KINDS)
    assert all(len(client.truths) <= 1 for client in msp.clients)
    assert len({truth.code for truth in msp.truths}) == len(Code)


def test_a_seed_gives_one_msp_whatever_the_scale() -> None:
    small, large = Msp(7, 40, NOW), Msp(7, 60, NOW)
    assert small.truths == large.truths[: len(small.truths)]
    assert list(small.usage("huntress")) == list(Msp(7, 40, NOW).usage("huntress"))


def test_usage_is_repeated_late_reordered_and_restated(msp: Msp) -> None:
    events = list(msp.usage("huntress"))
    ids, times = [event["id"] for event in events], [str(event["time"]) for event in events]
    assert len(set(map(str, ids))) < len(ids)
    assert times != sorted(times)
    assert any(str(one).endswith("@first") for one in ids)
    assert max(times) <= NOW.isoformat()


@pytest.mark.parametrize("day", ["2026-01-01T03:00", "2026-03-01T12:00", "2026-12-01T04:59", "2028-02-29T23:59"])
def test_it_can_be_made_on_any_day(day: str) -> None:
    made = Msp(1, 40, datetime.fromisoformat(day).replace(tzinfo=UTC))
    assert TENANT_ZONE == "America/New_York"
    assert made.closed.end == made.running.start
    assert all(list(made.usage(source)) for source in SOURCES)


def test_the_score_is_perfect_only_if_all_was_found_and_told(msp: Msp) -> None:
    bodies = [_body(truth) for truth in msp.truths]
    told = [of_body(body) for body in bodies]
    assert score(msp.truths, bodies, told).perfect
    assert not score(msp.truths, bodies, []).perfect
    assert not score(msp.truths, bodies, told[1:]).perfect
    assert not score(msp.truths, bodies[1:], told).perfect


@pytest.mark.parametrize("changes", [{"amount": "0.01"}, {"direction": "vendor_owes_us"}, {"amount": None}])
def test_a_wrong_amount_or_direction_is_not_found(msp: Msp, changes: dict[str, object]) -> None:
    bodies = [_body(truth) for truth in msp.truths]
    told = [of_body(body) for body in bodies]
    assert len(score(msp.truths, [_body(msp.truths[0], **changes), *bodies[1:]], told).missed) == 1


def test_an_alert_about_nothing_is_a_false_alarm_even_if_it_was_cleared(msp: Msp) -> None:
    bodies = [_body(truth) for truth in msp.truths]
    told = [of_body(body) for body in bodies]
    result = score(msp.truths, bodies, [*told, ("QTY_UNDER", "somebody", "edr", "", "", "2026-10-01")])
    assert result.false_alarms == ["QTY_UNDER somebody edr 2026-10-01"]


def test_a_record_that_was_dropped_unbalances_the_tally() -> None:
    tally = Tally()
    tally.add(3, {"accepted": 2, "stored": 2, "duplicate": 0, "quarantined": 0})
    assert not tally.balanced
