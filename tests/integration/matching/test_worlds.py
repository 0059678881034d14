"""Whatever comes, in whatever order and however often the service is torn down: its tables say what the oracle says of
the log, and every record that it wrote is what its basis gives."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from random import Random
from typing import Any

import pytest

from services.matching import store
from services.matching.workers import Workers
from shared.kernel.periods import Period
from shared.reconciliation.inputs import GroupInputs
from shared.reconciliation.spans import homes, hull, needed
from shared.reconciliation.verdict import State, Verdict
from shared.reconciliation.world import World
from shared.runtime.clock import SystemClock
from tests.integration.matching.support import Matching, canonical_order, text_of
from tests.integration.matching.worlds import RandomBook
from tests.unit.reconciliation.book import TENANT

_KILL = """
SELECT count(pg_terminate_backend(pid)) FROM (
  SELECT pid FROM pg_stat_activity
   WHERE application_name = 'matching' AND datname = current_database() AND state <> 'idle'
   ORDER BY random() LIMIT 1) a"""


def _seeds(seeds: range, always: int) -> list[Any]:
    """The first few of them run always, the others with the long tests."""
    return [*seeds[:always], *(pytest.param(seed, marks=pytest.mark.long) for seed in seeds[always:])]


@pytest.mark.parametrize("seed", _seeds(range(6), 3))
async def test_after_every_few_records_the_tables_say_what_the_oracle_says(matching: Matching, seed: int) -> None:
    book = RandomBook(Random(seed), 130)
    records = book.shuffled()
    while records:
        few = book.random.randrange(1, 25)
        await matching.run(records[:few])
        await matching.check(TENANT)
        records = records[few:]
    assert await matching.check_inputs(TENANT) > 20
    assert await matching.replay(TENANT)


@pytest.mark.parametrize("seed", _seeds(range(300, 302), 1))
async def test_a_level_whose_groups_are_still_to_be_drawn_waits_and_says_what_the_oracle_says(
    matching: Matching, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a large client: nothing more is drawn with what is due, and few due rows are many."""
    monkeypatch.setattr("services.matching.compare.UNIT_GROUPS_MAX", 1)
    monkeypatch.setattr("services.matching.inputs._MOVING_MAX", 0)
    waited = 0
    wait = store._wait_with_level

    async def counted(*arguments: Any) -> None:
        nonlocal waited
        waited += 1
        await wait(*arguments)

    monkeypatch.setattr(store, "_wait_with_level", counted)
    book = RandomBook(Random(seed), 130)
    records = book.shuffled()
    while records:
        few = book.random.randrange(5, 40)
        await matching.run(records[:few])
        await matching.check(TENANT)
        records = records[few:]
    assert await matching.replay(TENANT)
    assert waited > 20


def everything(inputs: GroupInputs) -> GroupInputs:
    """All that a verdict could rest on, but for the calendar's day and what feeds declare (whoever waits for these is
    known by the verdict itself), lines that are not this group's in any of its periods, and work of ended blocks."""
    client, period = inputs.client, inputs.period
    until = hull(needed(inputs.lines, client, period)).end
    lines = [line for line in inputs.lines if line.effective_from < until]
    ours = {(line.source, line.contract, line.line) for line in lines if line.terms is not None}
    return canonical_order(
        replace(
            inputs,
            as_of=None,
            feeds=(),
            feed_sources=(),
            unmapped=(),
            lines=tuple(line for line in lines if (line.source, line.contract, line.line) in ours),
            entries=tuple(
                one
                for one in inputs.entries
                if period in homes(inputs.lines, client, Period(one.worked_on, one.worked_on + timedelta(days=1)))
            ),
        )
    )


def _says_everything(inputs: GroupInputs) -> Verdict:
    digest = sha256(text_of(everything(inputs)).encode()).hexdigest()
    return Verdict(State.MATCHED, explained_by=digest, currency="EUR")


@pytest.mark.parametrize("seed", _seeds(range(200, 203), 2))
async def test_whatever_a_verdict_could_rest_on_is_drawn_again_when_it_changes(
    matching: Matching, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("services.matching.compare", "shared.reconciliation.world"):
        monkeypatch.setattr(f"{module}.draw_group", _says_everything)
    book = RandomBook(Random(seed), 150)
    records = book.shuffled()
    while records:
        few = book.random.randrange(1, 25)
        await matching.run(records[:few])
        await matching.check(TENANT)
        records = records[few:]
    assert await matching.check_inputs(TENANT) > 20


@pytest.mark.parametrize("seed", _seeds(range(100, 102), 1))
async def test_concurrent_members_that_are_killed_at_random_end_in_the_same_state(
    matching: Matching, seed: int
) -> None:
    book = RandomBook(Random(seed), 150)
    members = [matching.loop() for _ in range(3)]
    folding = [asyncio.create_task(member.run()) for member in members]
    ended = asyncio.Event()
    killing = asyncio.create_task(_kill(matching, Random(seed), ended))
    async with Workers(matching.keyed, resolvers=2, comparers=3, clock=SystemClock(), random=Random(seed)) as workers:
        records = book.shuffled()
        while records:
            few = book.random.randrange(1, 8)
            await matching.append(records[:few])
            await asyncio.sleep(book.random.uniform(0, 0.1))
            records = records[few:]
        ended.set()
        killed = await killing
        await asyncio.sleep(0.3)
    for member in members:
        member.stop()
    await asyncio.gather(*folding)
    await matching.fold()
    await matching.settle()
    await matching.check(TENANT)
    assert await matching.replay(TENANT)
    assert workers.drawn
    assert killed > 5


async def _kill(matching: Matching, random: Random, ended: asyncio.Event) -> int:
    """Terminate a busy backend of the service now and then; how many."""
    killed = 0
    while not ended.is_set():
        await asyncio.sleep(random.uniform(0.01, 0.15))
        killed += await matching.admin.fetchval(_KILL)
    return killed


def test_the_random_books_say_everything_that_can_come_apart() -> None:
    """The proof of the proof: over the seeds above most codes are drawn (those that an invoice must hit exactly are
    not), and every kind of wait."""
    codes, sides = set(), set()
    for seed in range(6):
        book = RandomBook(Random(seed), 130)
        records = book.shuffled()
        for upto in range(20, len(records), 15):
            for verdict in World().fold(records[:upto]).verdicts(TENANT).values():
                codes |= {one.body.code for one in verdict.breaks}
                sides |= {waiting.side for waiting in verdict.waiting}
    assert len(codes) >= 14, codes
    assert {"invoice", "invoice_lines", "usage_complete", "mapping", "price", "unit", "terms", "vendor_bill"} <= sides
