"""Decisions over the log in memory: each command produces, refuses and stays quiet."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from services.ingestion.domain.decisions import (
    Command,
    Refused,
    change_setting,
    confirm_mapping,
    newest,
    withdraw_mapping,
)
from services.ingestion.handlers.decide import Contended, Decided, Reused, decide
from shared.eventlog.memory import MemoryLog
from shared.eventlog.model import Outcome
from shared.events.mappings import Exclusion, MappingConfirmed, MappingTarget, MappingWithdrawn
from shared.events.record import Draft
from shared.events.settings import SettingChanged
from shared.runtime.clock import Clock

TENANT, ACTOR = "harbor-msp", "key:abcdefghij"


class Frozen(Clock):
    def now(self) -> datetime:
        return datetime(2026, 9, 15, tzinfo=UTC)


def mapping(client: str = "acme", **changes: Any) -> MappingConfirmed:
    return MappingConfirmed(
        **{"kind": "account", "source": "huntress", "key": "a-1", "targets": (MappingTarget(id=client),)} | changes
    )


def confirm(client: str = "acme", actor: str = ACTOR) -> Command:
    return confirm_mapping(TENANT, actor, mapping(client))


WITHDRAW = withdraw_mapping(TENANT, ACTOR, MappingWithdrawn(kind="account", source="huntress", key="a-1"))


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog(Frozen())


async def carry_out(log: MemoryLog, command: Command, command_id: str, writer: Any = None) -> Decided:
    return await decide(
        command,
        command_id,
        TENANT,
        log=log.only(TENANT),
        writer=writer or log,
        now=Frozen().now(),
        correlation_id="corr",
    )


async def told(log: MemoryLog) -> list[dict[str, Any]]:
    return [orjson.loads(record.body) for record in await log.stream("mappings", confirm().stream)]


async def test_a_confirmation_is_a_record_of_the_mappings_stream(log: MemoryLog) -> None:
    decided = await carry_out(log, confirm(), "c1")
    [record] = await told(log)
    assert decided.outcome == "stored"
    assert (record["type"], record["streamversion"], record["actor"]) == ("mapping.confirmed.v1", 1, ACTOR)
    assert record["data"] == {"kind": "account", "source": "huntress", "key": "a-1", "targets": [{"id": "acme"}]}


async def test_a_repeated_command_is_answered_with_its_record(log: MemoryLog) -> None:
    first = await carry_out(log, confirm(), "c1")
    await carry_out(log, confirm("other"), "c2")
    assert await carry_out(log, confirm(), "c1") == Decided("duplicate", first.place)
    assert len(await told(log)) == 2


async def test_what_stands_already_is_not_decided_again(log: MemoryLog) -> None:
    first = await carry_out(log, confirm(), "c1")
    assert await carry_out(log, confirm(), "c2") == Decided("unchanged", first.place)


async def test_an_id_stands_for_one_command_only(log: MemoryLog) -> None:
    await carry_out(log, confirm(), "c1")
    with pytest.raises(Reused):
        await carry_out(log, confirm("other"), "c1")
    with pytest.raises(Reused):
        await carry_out(log, confirm(actor="key:somebodyel"), "c1")
    elsewhere = confirm_mapping(TENANT, ACTOR, mapping(key="a-2"))
    with pytest.raises(Reused):
        await carry_out(log, elsewhere, "c1")


async def test_a_withdrawal_needs_a_mapping_and_repeats_quietly(log: MemoryLog) -> None:
    with pytest.raises(Refused, match="not mapped"):
        await carry_out(log, WITHDRAW, "w1")
    await carry_out(log, confirm(), "c1")
    gone = await carry_out(log, WITHDRAW, "w2")
    assert await carry_out(log, WITHDRAW, "w2") == Decided("duplicate", gone.place)
    with pytest.raises(Refused):
        await carry_out(log, WITHDRAW, "w3")
    assert [record["type"] for record in await told(log)] == ["mapping.confirmed.v1", "mapping.withdrawn.v1"]


async def test_an_exclusion_is_another_mapping(log: MemoryLog) -> None:
    await carry_out(log, confirm(), "c1")
    excluded = mapping(targets=(), excluded=Exclusion(reason="internal"))
    assert (await carry_out(log, confirm_mapping(TENANT, ACTOR, excluded), "c2")).outcome == "stored"


async def test_a_setting_goes_back_to_its_default_by_a_record_without_value(log: MemoryLog) -> None:
    key = "invoice.grace_days"
    unset = change_setting(TENANT, ACTOR, SettingChanged(key=key))
    assert await carry_out(log, unset, "s0") == Decided("unchanged", None)
    assert (
        await carry_out(log, change_setting(TENANT, ACTOR, SettingChanged(key=key, value="7")), "s1")
    ).outcome == "stored"
    assert (await carry_out(log, unset, "s2")).outcome == "stored"
    assert (await carry_out(log, unset, "s3")).outcome == "unchanged"


class Racing:
    """A writer before whose every append somebody else decides; ``times`` times."""

    def __init__(self, log: MemoryLog, times: int) -> None:
        self.log, self.times = log, times

    async def append(self, unit: Sequence[Draft], *, floor: datetime | None = None) -> list[Outcome]:
        if self.times:
            self.times -= 1
            await carry_out(self.log, confirm(f"rival-{self.times}"), f"rival-{self.times}")
        return await self.log.append(unit, floor=floor)


async def test_a_stream_that_moved_is_read_and_decided_again_with_the_same_ids(log: MemoryLog) -> None:
    decided = await carry_out(log, confirm(), "c1", Racing(log, 4))
    assert decided.outcome == "stored"
    records = await told(log)
    assert [record["streamversion"] for record in records] == [1, 2, 3, 4, 5]
    assert await carry_out(log, confirm(), "c1") == Decided("duplicate", decided.place)


async def test_after_five_tries_the_caller_is_told(log: MemoryLog) -> None:
    with pytest.raises(Contended):
        await carry_out(log, confirm(), "c1", Racing(log, 5))
    assert all(record["data"]["targets"] != [{"id": "acme"}] for record in await told(log))


async def test_the_same_command_at_once_is_decided_once(log: MemoryLog) -> None:
    results = await asyncio.gather(*(carry_out(log, confirm(), "c1") for _ in range(5)))
    assert len({decided.place for decided in results}) == 1
    assert len(await told(log)) == 1


def test_of_each_stream_the_greatest_version_stands_whatever_the_order() -> None:
    records = [{"stream": s, "streamversion": v} for s in "ab" for v in (2, 3, 1)]
    assert newest(records) == newest(records[::-1]) == {s: {"stream": s, "streamversion": 3} for s in "ab"}
