"""What the rules of a client's level answer: breaks and lines of the statement, which are summed up together."""

from __future__ import annotations

from dataclasses import dataclass

from shared.reconciliation.bodies import Frame
from shared.reconciliation.inputs import ClientInputs
from shared.reconciliation.verdict import Break, StatementLine, Waiting

LEVEL = "*"
"""Stands where a product stands in the keys of groups."""


@dataclass(frozen=True, slots=True)
class LevelOutcome:
    """What a rule finds."""

    breaks: tuple[Break, ...] = ()
    lines: tuple[StatementLine, ...] = ()
    waiting: tuple[Waiting, ...] = ()


def frame_of(inputs: ClientInputs) -> Frame:
    return Frame(client=inputs.client, period=inputs.period, as_of=inputs.as_of, settings=inputs.settings)
