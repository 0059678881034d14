"""The same records in any order of arrival, with any repetition, end in the same verdicts and statements."""

from __future__ import annotations

import os
from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.reconciliation.verdict import LineState, State
from shared.reconciliation.world import World
from tests.unit.reconciliation.anything import Anything
from tests.unit.reconciliation.book import TENANT, Record

pytestmark = pytest.mark.timeout(900)
EXAMPLES = int(os.environ.get("PLUMBLINE_EXAMPLES", "2000"))
SEEDS, SIZES = st.integers(0, 2**32), st.integers(0, 6)


def answers(world: World) -> str:
    """Everything that the engine says of a tenant, as text: verdicts, bodies, lines, totals."""
    verdicts = world.verdicts(TENANT)
    return "\n".join(f"{key!r}: {verdicts[key]!r}" for key in sorted(verdicts, key=repr))


def _jumbled(records: list[Record], rng: Random) -> list[Record]:
    again = [*records, *rng.choices(records, k=len(records) // 3)]
    rng.shuffle(again)
    return again


@settings(max_examples=EXAMPLES, deadline=None)
@given(SEEDS, SIZES)
def test_no_order_and_no_repetition_changes_an_answer(seed: int, size: int) -> None:
    records = Anything(seed, size).records
    drawn = answers(World().fold(records))
    assert answers(World().fold(_jumbled(records, Random(seed)))) == drawn


@settings(max_examples=max(100, EXAMPLES // 10), deadline=None)
@given(SEEDS, SIZES)
def test_what_is_drawn_on_the_way_leaves_no_trace(seed: int, size: int) -> None:
    """Drawn after each of some pieces, as a service does: the end is that of one fold from scratch."""
    records = _jumbled(Anything(seed, size).records, Random(seed))
    world = World()
    third = max(1, len(records) // 3)
    for start in range(0, len(records), third):
        world.fold(records[start : start + third])
        answers(world)
    assert answers(world) == answers(World().fold(records))


def test_the_books_are_not_all_alike() -> None:
    """A property over books in which nothing happens would prove nothing."""
    states: Counter[object] = Counter()
    for seed in range(300):
        for verdict in World().fold(Anything(seed).records).verdicts(TENANT).values():
            states[verdict.state] += 1
            states.update({body.body.code for body in verdict.breaks})
            states.update({line.state for line in verdict.lines})
    few = {one: states[one] for one in (*State, *LineState) if states[one] < 30}
    assert not few
    assert len([one for one in states if str(one).isupper()]) >= 20, states
