"""From the meters of a group to the one quantity that is rated (rating.md section 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import chain
from typing import NamedTuple

from shared.events.discrepancies import Source
from shared.kernel.periods import Period, bounds, local_date
from shared.reconciliation.inputs import Measured, Observation
from shared.reconciliation.views import sample
from shared.reconciliation.words import quantity

_NONE = Decimal(0)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A measured quantity, how it came about, and the records that it rests on."""

    value: Decimal
    formula: str
    sources: tuple[Source, ...] = ()
    records: int = 0


NOTHING = Quantity(_NONE, "nothing measured")


def measure(meters: Sequence[Measured], period: Period, time_zone: str) -> Quantity:
    """The quantity of meters of one kind in a period of the client.

    Counters: the sum. Peaks: the sum of each meter's highest mark (what each account is charged for). Gauges: the
    highest level that their sum reached.
    """
    if not meters:
        return NOTHING
    if meters[0].kind == "gauge":
        return _highest_level(meters, period, time_zone)
    value = sum((meter.total * meter.share for meter in meters), _NONE)
    records = sum(meter.records for meter in meters)
    what = "sum of {} records" if meters[0].kind == "counter" else "highest mark of {} records"
    if len(meters) > 1:
        what += f" of {len(meters)} meters"
    return Quantity(
        value,
        f"{what.format(records)}: {quantity(value)}",
        sample(chain.from_iterable(meter.sample for meter in meters)),
        records,
    )


def shows_usage(meter: Measured, start: datetime, end: datetime) -> bool:
    """Whether a meter stands at anything but zero in ``[start, end)``."""
    if meter.kind != "gauge":
        return meter.total != 0
    if not any(seen.quantity for seen in meter.observations):
        return False
    return any(step.level for step in _steps(0, meter, start, end))


class _Step(NamedTuple):
    """From ``at`` on meter ``meter`` stands at ``level``: what ``seen`` says, or nothing any more."""

    at: datetime
    meter: int
    level: Decimal
    seen: Observation | None


def _highest_level(meters: Sequence[Measured], period: Period, time_zone: str) -> Quantity:
    start, end = bounds(period, time_zone)
    steps = [step for number, meter in enumerate(meters) for step in _steps(number, meter, start, end)]
    steps.sort(key=lambda step: (step.at, step.meter))
    standing: dict[int, _Step] = {}
    level = highest = _NONE
    peak: list[_Step] = []
    for n, step in enumerate(steps):
        before = standing.get(step.meter)
        level += step.level - (before.level if before else _NONE)
        standing[step.meter] = step
        # What happens at one instant happens together: a seat that moves between accounts is never counted twice.
        together = n + 1 < len(steps) and steps[n + 1].at == step.at
        if level > highest and not together:
            highest, peak = level, list(standing.values())
    at_peak = [step for step in peak if step.seen is not None]
    seen = sum(len(meter.observations) for meter in meters)
    if not at_peak:
        return Quantity(_NONE, f"no level above 0 in {seen} observations", (), seen)
    day = local_date(max(step.at for step in at_peak), time_zone)
    return Quantity(
        highest,
        f"highest level of {seen} observations: {quantity(highest)} on {day}",
        sample(step.seen.record for step in at_peak if step.seen is not None),
        len(at_peak),
    )


def _steps(number: int, meter: Measured, start: datetime, end: datetime) -> list[_Step]:
    """The step function of one gauge, clipped to ``[start, end)``, from its observations in order of time.

    Of two that start together (only a source that mixes instants and buckets has them) the bucket holds, then the
    longer one, then the greater quantity.
    """
    seen = sorted(meter.observations, key=_order)
    share = meter.share
    steps: list[_Step] = []
    for n, observation in enumerate(seen):
        upto = seen[n + 1].at if n + 1 < len(seen) else end
        until = observation.until
        ends_itself = until is not None and until < upto
        if ends_itself:
            assert until is not None
            upto = until
        begins = observation.at if observation.at > start else start
        if begins >= end or upto <= begins:
            continue
        level = observation.quantity if share == 1 else observation.quantity * share
        steps.append(_Step(begins, number, level, observation))
        if ends_itself and upto < end:
            steps.append(_Step(upto, number, _NONE, None))
    return steps


def _order(observation: Observation) -> tuple[datetime, bool, datetime, Decimal, str]:
    until = observation.until
    return (observation.at, until is not None, until or observation.at, observation.quantity, observation.record.id)
