"""From the versions of contract lines to services that can be rated."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from operator import attrgetter
from typing import NamedTuple

from shared.events.contracts import Terms
from shared.kernel.periods import Period
from shared.reconciliation.inputs import LineVersion
from shared.reconciliation.rating.grid import parts
from shared.reconciliation.rating.model import Part, Service, Version

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Holding:
    """A version of a contract line and the days ``[start, end)`` on which it holds (``None``: open)."""

    start: date
    end: date | None
    version: LineVersion


@dataclass(frozen=True, slots=True)
class Chain:
    """A contract line through time, as long as it sells one product in one currency."""

    source: str
    contract: str
    line: str
    product: str
    currency: str
    service: Service
    holdings: tuple[Holding, ...]
    """In order of time; the service joins neighbours of equal terms."""

    @property
    def ref(self) -> str:
        return f"{self.contract} line {self.line}"

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.source, self.contract, self.line)

    @property
    def terms(self) -> Terms:
        """The last terms: what the line is (a commitment, labour, an exclusion) does not change with its price."""
        return self.service.versions[-1].terms

    @property
    def sells(self) -> bool:
        """Whether it is a line of a group: not a commitment over others, not an exclusion."""
        return self.terms.scope is None and not self.terms.excluded

    def within(self, start: date, end: date) -> tuple[Holding, ...]:
        """The holdings that meet ``[start, end)``."""
        if len(self.holdings) == 1:
            return self.holdings
        return tuple(one for one in self.holdings if one.start < end and (one.end is None or start < one.end))

    def last_at(self, start: date, end: date) -> LineVersion:
        """The version that holds last in ``[start, end)``, or the one before: a last day may be billed after it."""
        return next((one.version for one in reversed(self.holdings) if one.start < end), self.holdings[0].version)


_ORDER = attrgetter("source", "contract", "line", "effective_from")


def chains(versions: Iterable[LineVersion], time_zone: str) -> tuple[Chain, ...]:
    """The contract lines of ``versions``, by source, contract and line: each version holds until the next one of its
    line, or until its own end. A line whose currency or product changes is one chain for each."""
    ordered = sorted(versions, key=_ORDER)
    found: list[Chain] = []
    run: list[Holding] = []
    for number, version in enumerate(ordered):
        following = ordered[number + 1] if number + 1 < len(ordered) else None
        same_line = following is not None and _line(following) == _line(version)
        end = following.effective_from if following is not None and same_line else None
        if version.effective_to is not None and (end is None or version.effective_to < end):
            end = version.effective_to
        if version.terms is not None and (end is None or version.effective_from < end):
            if run and not _goes_on(run[-1].version, version):
                found.append(_chain(run, time_zone))
                run = []
            run.append(Holding(version.effective_from, end, version))
        if run and not same_line:
            found.append(_chain(run, time_zone))
            run = []
    return tuple(found)


def _line(version: LineVersion) -> tuple[str, str, str]:
    return (version.source, version.contract, version.line)


def _goes_on(one: LineVersion, other: LineVersion) -> bool:
    return one.currency == other.currency and one.product == other.product


def _chain(run: list[Holding], time_zone: str) -> Chain:
    first = run[0].version
    assert first.currency is not None
    versions: list[Version] = []
    for one in run:
        assert one.version.terms is not None
        last = versions[-1] if versions else None
        if last is not None and last.end == one.start and last.terms == one.version.terms:
            versions[-1] = Version(last.terms, last.start, one.end, last.record)
        else:
            versions.append(Version(one.version.terms, one.start, one.end, one.version.record))
    ref = f"{first.contract} line {first.line}"
    service = Service(tuple(versions), first.currency, time_zone, ref)
    return Chain(first.source, first.contract, first.line, first.product, first.currency, service, tuple(run))


class Expired(NamedTuple):
    """Days after the last line of a product has ended, priced as if it went on."""

    chain: Chain
    service: Service
    part: Part


def expired(found: Iterable[Chain], period: Period) -> tuple[Expired, ...]:
    """Of each product whose lines have all ended by the end of ``period``: the parts after the last of them that start
    in it, under that line's terms."""
    by_product: dict[str, list[Chain]] = {}
    for chain in found:
        if chain.sells:
            by_product.setdefault(chain.product, []).append(chain)
    gone: list[Expired] = []
    for product in sorted(by_product):
        ends = [(_end(chain), chain.key) for chain in by_product[product]]
        end, key = max((end, key) for end, key in ends)
        chain = next(one for one in by_product[product] if one.key == key and _end(one) == end)
        service = after(chain)
        if service is not None:
            gone += [Expired(chain, service, part) for part in parts(service, period)]
    return tuple(gone)


def after(chain: Chain) -> Service | None:
    """A line as if it went on after its end; ``None`` where it has none, or nothing would go on."""
    terms, end = chain.terms, _end(chain)
    if end == date.max or terms.labour is not None or terms.period.unit == "once" or not chain.sells:
        return None
    going_on = Version(terms.model_copy(update={"trial_end": None}), end, None, chain.holdings[-1].version.record)
    return Service((going_on,), chain.currency, chain.service.time_zone, chain.ref)


def _end(chain: Chain) -> date:
    end = chain.holdings[-1].end
    if end is None:
        return date.max
    return end + _DAY if chain.terms.last_day_billed else end
