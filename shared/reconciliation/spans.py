"""Of which spans usage must be measured, and which months a piece of usage concerns.

What belongs to a month is decided here once, for whoever loads inputs and for whoever marks groups as due
(docs/decisions/0102).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from itertools import pairwise

from shared.events.contracts import PercentagePrice
from shared.kernel.periods import Period, month_of, months
from shared.reconciliation.chains import after, chains, expired
from shared.reconciliation.inputs import Client, LineVersion
from shared.reconciliation.rating.grid import parts
from shared.reconciliation.rating.model import Part, Service

_DAY = timedelta(days=1)
_UNIT_DAYS = {"once": 1, "day": 1, "week": 7, "month": 31, "quarter": 92, "year": 366}


def needed(lines: Iterable[LineVersion], client: Client, period: Period) -> tuple[Period, ...]:
    """The spans for which the usage of a group must be measured, in order: the month itself, and of each billing part
    that starts in it every stretch in which one version of the terms and the same dated discounts hold; likewise the
    days after a product's last line has ended.

    They are local dates of the client: a counter under terms of another zone is measured by the client's days.
    """
    found = {period}
    known = chains(lines, client.time_zone)
    for chain in known:
        for part in parts(chain.service, period):
            found.update(stretches(chain.service, part))
    for _, service, part in expired(known, period):
        found.update(stretches(service, part))
    return tuple(sorted(found))


def stretches(service: Service, part: Part) -> tuple[Period, ...]:
    """A billing part, cut wherever its terms change or a dated discount begins or ends."""
    first = service.versions[0]
    if len(service.versions) == 1 and first.start <= part.start and not first.terms.discounts:
        return (Period(part.start, part.end),)
    cuts = {part.start, part.end}
    for version in service.versions:
        cuts.add(version.start)
        for discount in version.terms.discounts:
            cuts.update(day for day in (discount.effective_from, discount.effective_to) if day is not None)
    days = sorted(day for day in cuts if part.start <= day <= part.end)
    return tuple(Period(start, end) for start, end in pairwise(days))


def wants_events(lines: Iterable[LineVersion]) -> bool:
    """Whether terms price single transactions, so that meters must hold each event by itself."""
    return any(line.terms is not None and isinstance(line.terms.price, PercentagePrice) for line in lines)


def hull(spans: Iterable[Period]) -> Period:
    """The shortest period that holds all of them. Raises ``ValueError`` if there is none."""
    known = tuple(spans)
    return Period(min(span.start for span in known), max(span.end for span in known))


def entry_span(lines: Iterable[LineVersion], client: Client, period: Period) -> Period:
    """The days of which the time entries must be at hand: those of :func:`needed`, and as far back as a prepaid block
    of the lines reaches (which entry drew from it is decided by all of them together)."""
    versions = tuple(lines)
    if not any(version.terms is not None and version.terms.labour is not None for version in versions):
        return period
    whole = hull(needed(versions, client, period))
    starts = [
        block.start
        for version in versions
        if version.terms is not None and version.terms.labour is not None
        for block in version.terms.labour.blocks
        if block.start < whole.end
    ]
    return Period(min([whole.start, *starts]), whole.end)


def homes(lines: Iterable[LineVersion], client: Client, days: Period) -> tuple[Period, ...]:
    """The months whose groups usage or work on ``days`` (half-open) concerns, in order: their own months, the months
    in which the billing parts that hold them start, and, where a prepaid block holds them, every month until the last
    block's end (whoever knows the calendar cuts off what lies ahead)."""
    found = set(months(days.start, days.end - _DAY))
    versions = tuple(lines)
    for chain in chains(versions, client.time_zone):
        longest = max(_UNIT_DAYS[one.terms.period.unit] * one.terms.period.count for one in chain.service.versions)
        window = Period(_back(days.start, longest), days.end)
        for service in filter(None, (chain.service, after(chain))):
            found.update(month_of(part.start) for part in parts(service, window) if part.end > days.start)
    for last in _blocks_until(versions, days):
        found.update(months(days.start, last - _DAY))
    return tuple(sorted(found))


def _back(day: date, by: int) -> date:
    return day - timedelta(days=by) if (day - date.min).days > by else date.min


def _blocks_until(versions: Iterable[LineVersion], days: Period) -> Iterator[date]:
    for version in versions:
        blocks = version.terms.labour.blocks if version.terms is not None and version.terms.labour is not None else ()
        if any(block.start < days.end and days.start < block.end for block in blocks):
            yield max(block.end for block in blocks)
