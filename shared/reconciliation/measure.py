"""From the meters of a group to the one quantity that is rated (rating.md section 6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import chain, groupby
from operator import attrgetter, eq, itemgetter
from typing import NamedTuple

from shared.events.discrepancies import Source
from shared.kernel.periods import Period, bounds, local_date
from shared.reconciliation.inputs import Measured, Observation
from shared.reconciliation.rating.model import Level
from shared.reconciliation.views import sample
from shared.reconciliation.words import quantity, shown

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


class Take(NamedTuple):
    """Of a level (or of a sum) the units above ``skip``, at most ``upto`` of them: what one of several lines gets."""

    skip: Decimal = _NONE
    upto: Decimal | None = None

    def of(self, value: Decimal) -> Decimal:
        rest = max(value - self.skip, _NONE)
        return rest if self.upto is None else min(rest, self.upto)


ALL = Take()


def levels(meters: Sequence[Measured], start: datetime, end: datetime, take: Take = ALL) -> tuple[Level, ...]:
    """Gauges together as one: the level of their sum from each instant on at which it changes, led by the one that
    stands at ``start``. Nothing is said of the time before the first observation; where nothing holds any more (a
    bucket is over), the level is zero."""
    if len(meters) == 1 and all(seen.until is None for seen in meters[0].observations):
        return tuple(
            Level(begins, level if take is ALL else take.of(level), None, (seen.record,))
            for begins, _, level, seen in _segments(meters[0], start, end)
        )
    edges: list[tuple[datetime, Decimal, tuple[Source, ...]]] = []
    for meter in meters:
        for begins, upto, level, seen in _segments(meter, start, end):
            edges.append((begins, level, (seen.record,)))
            edges.append((upto, -level, ()))
    edges.sort(key=itemgetter(0))
    found: list[Level] = []
    standing = _NONE
    for at, group in groupby(edges, key=itemgetter(0)):
        known = list(group)
        standing += sum((change for _, change, _ in known), _NONE)
        if at < end:
            found.append(Level(at, take.of(standing), None, sample(chain.from_iterable(of for *_, of in known))))
    return tuple(found)


def mean_level(found: Sequence[Level], period: Period, time_zone: str) -> Quantity:
    """The mean over the days that it stood of the level at the end of each: what prorated terms price."""
    by_day: dict[date, Level] = {}
    for level in found:
        by_day[max(local_date(level.at, time_zone), period.start)] = level
    days = sorted(by_day)
    sources = sample(chain.from_iterable(level.sources for level in found))
    if not days:
        return NOTHING
    pieces: list[tuple[Decimal, int]] = []
    total = _NONE
    for number, day in enumerate(days):
        lasts = ((days[number + 1] if number + 1 < len(days) else period.end) - day).days
        stood = by_day[day].quantity
        assert isinstance(stood, Decimal)
        if pieces and pieces[-1][0] == stood:
            pieces[-1] = (stood, pieces[-1][1] + lasts)
        else:
            pieces.append((stood, lasts))
        total += stood * lasts
    of = (period.end - days[0]).days
    if len(pieces) == 1:
        since = "" if days[0] == period.start else f" from {days[0]} on"
        return Quantity(pieces[0][0], f"level of {quantity(pieces[0][0])}{since}", sources, len(found))
    value = shown(Fraction(total) / of)
    terms = " + ".join(f"{quantity(stood)} x {lasts}" for stood, lasts in pieces)
    return Quantity(value, f"mean level of {of} days: ({terms}) / {of} = {quantity(value)}", sources, len(found))


def shows_usage(meter: Measured, start: datetime, end: datetime) -> bool:
    """Whether a meter stands at anything but zero in ``[start, end)``."""
    if meter.kind != "gauge":
        return meter.total != 0
    return any(level for _, _, level, _ in _segments(meter, start, end))


_Segment = tuple[datetime, datetime, Decimal, Observation]
"""A gauge stands in ``[from, to)`` at a level, as an observation says. A plain tuple: there are hundreds a draw."""


def _segments(meter: Measured, start: datetime, end: datetime) -> Iterator[_Segment]:
    """The segments of one gauge, clipped to ``[start, end)``, from its observations in order of time.

    Of two that start together (only a source that mixes instants and buckets has them) the bucket holds, then the
    longer one, then the greater quantity.
    """
    seen = sorted(meter.observations, key=_at)
    nexts = [observation.at for observation in seen[1:]]
    nexts.append(end)
    if any(map(eq, map(_at, seen), nexts)):
        seen.sort(key=_order)
    share = meter.share
    for observation, upto in zip(seen, nexts, strict=False):
        begins, until = observation.at, observation.until
        if begins < start:
            begins = start
        if until is not None and until < upto:
            upto = until
        if upto > end:
            upto = end
        if begins < upto:
            yield begins, upto, observation.quantity if share == 1 else observation.quantity * share, observation


_at = attrgetter("at")


def _order(observation: Observation) -> tuple[datetime, bool, datetime, Decimal, str]:
    until = observation.until
    return (observation.at, until is not None, until or observation.at, observation.quantity, observation.record.id)


def _highest_level(meters: Sequence[Measured], period: Period, time_zone: str) -> Quantity:
    start, end = bounds(period, time_zone)
    segments = [list(_segments(meter, start, end)) for meter in meters]
    peak = _peak_of_one(segments[0]) if len(meters) == 1 else _peak_of_sum(segments)
    seen = sum(len(meter.observations) for meter in meters)
    if not peak:
        return Quantity(_NONE, f"no level above 0 in {seen} observations", (), seen)
    highest = sum((level for _, _, level, _ in peak), _NONE)
    day = local_date(max(begins for begins, *_ in peak), time_zone)
    return Quantity(
        highest,
        f"highest level of {seen} observations: {quantity(highest)} on {day}",
        sample(observation.record for *_, observation in peak),
        len(peak),
    )


def _peak_of_one(segments: list[_Segment]) -> list[_Segment]:
    highest = max(segments, key=itemgetter(2), default=None)  # the first of equal ones
    return [] if highest is None or highest[2] <= 0 else [highest]


def _peak_of_sum(meters: list[list[_Segment]]) -> list[_Segment]:
    """The segments that stand when the sum over the meters is highest (the first time that it is)."""
    edges = [(segment[0], number, 1, segment) for number, of in enumerate(meters) for segment in of]
    edges += [(segment[1], number, 0, segment) for number, of in enumerate(meters) for segment in of]
    edges.sort(key=itemgetter(0, 1, 2))
    standing: dict[int, _Segment] = {}
    level = highest = _NONE
    peak: list[_Segment] = []
    for n, (at, number, begins, segment) in enumerate(edges):
        if begins:
            standing[number] = segment
            level += segment[2]
        else:
            del standing[number]
            level -= segment[2]
        # What happens at one instant happens together: a seat that moves between accounts is never counted twice.
        if level > highest and not (n + 1 < len(edges) and edges[n + 1][0] == at):
            highest, peak = level, [one for one in standing.values() if one[2]]
    return peak
