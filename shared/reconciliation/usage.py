"""Which usage belongs to which expected line.

A product's usage goes to its own contract lines; without one, to the line of a bundle that holds the product. Lines of
one product that sell it by use share it: as one pool where their terms are the same price a unit, else each in order
up to its recurring quantity, the last one the rest. A line whose terms name a meter gets that meter alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from operator import attrgetter
from typing import NamedTuple

from shared.events.contracts import CostPlusPrice, FlatPrice, PercentagePrice, Terms, UnitPrice
from shared.kernel.periods import Period, bounds, instant_of
from shared.reconciliation import words
from shared.reconciliation.chains import Chain, chains, expired
from shared.reconciliation.inputs import GroupInputs, Measured, Product
from shared.reconciliation.licences import ASSIGNED, CHARGED, by_bill, charged, first_day, stands_at_end, units
from shared.reconciliation.measure import ALL, NOTHING, Quantity, Take, levels, mean_level, measure, shows_usage
from shared.reconciliation.rating import parts, version_at
from shared.reconciliation.rating.model import Amount, Level, Measurement, Part, Service
from shared.reconciliation.spans import needed, stretches
from shared.reconciliation.verdict import Waiting
from shared.reconciliation.views import sample

_ZERO = Decimal(0)
_PERIOD_DAYS = {"once": 1, "day": 1, "week": 7, "month": 31, "quarter": 92, "year": 366}
_METER = attrgetter("source", "account", "sku", "meter", "kind")


class Supply(NamedTuple):
    """What an expected line is rated by."""

    measured: Measurement | None
    used: Quantity = NOTHING
    trouble: Waiting | None = None
    """Why it cannot be said what was used."""
    gaps: tuple[Waiting, ...] | None = None
    """Where the vendor's bill says what was used, what of it is still to come; ``None``: meters say it."""


@dataclass(eq=False, slots=True)
class Demand:
    """An expected line: a billing part of a contract line, or of several that share a pool."""

    chains: tuple[Chain, ...]
    service: Service
    part: Part
    terms: Terms
    supply: Supply
    over: bool = False
    """The contract had ended before."""

    @property
    def product(self) -> str:
        return self.chains[0].product

    @property
    def period(self) -> Period:
        return Period(self.part.start, self.part.end)

    @property
    def key(self) -> tuple[str, ...]:
        return ("contract", *self.chains[0].key, self.part.start.isoformat())


@dataclass(frozen=True)
class Group:
    """The inputs, with what everybody needs to know of them."""

    inputs: GroupInputs

    @cached_property
    def zone(self) -> str:
        return self.inputs.client.time_zone

    @cached_property
    def products(self) -> dict[str, Product]:
        return {one.id: one for one in (self.inputs.product, *self.inputs.others)}

    @cached_property
    def kin(self) -> dict[str, set[str]]:
        """Product -> those that it is a part of, or that are parts of it."""
        kin: dict[str, set[str]] = {}
        for one in self.products.values():
            for component in one.components:
                if component != one.id:
                    kin.setdefault(one.id, set()).add(component)
                    kin.setdefault(component, set()).add(one.id)
        return kin

    def product_of(self, product: str) -> str:
        """Facts of a group of one product need not name it."""
        return product or self.inputs.product.id

    @cached_property
    def chains(self) -> tuple[Chain, ...]:
        """Its contract lines; commitments belong to the client's level."""
        found = chains(self.inputs.lines, self.zone)
        named = (one if one.product else replace(one, product=self.inputs.product.id) for one in found)
        return tuple(one for one in named if one.terms.scope is None)

    @cached_property
    def bounds(self) -> tuple[datetime, datetime]:
        return bounds(self.inputs.period, self.zone)

    @cached_property
    def meters(self) -> dict[str, list[Measured]]:
        """Product -> what its meters show, in a stable order."""
        found: dict[str, list[Measured]] = {}
        for meter in (
            sorted(self.inputs.measured, key=_order) if len(self.inputs.measured) > 1 else self.inputs.measured
        ):
            found.setdefault(self.product_of(meter.product), []).append(meter)
        for product in self.by_bill:
            assigned = [meter for meter in found.get(product, ()) if meter.meter == ASSIGNED]
            spans = needed(self.inputs.lines, self.inputs.client, self.inputs.period)
            found[product] = [*assigned, *charged(self.inputs, product, spans)]
        return found

    @cached_property
    def by_bill(self) -> frozenset[str]:
        """The products whose usage the vendor's bill says."""
        return frozenset(product for product in self.products if by_bill(self.inputs, product, self.chains))

    def bill_gaps(self, products: Iterable[str]) -> tuple[Waiting, ...]:
        """What keeps the absence of units on the vendor's bill from being concluded: lines of a bill that are still to
        come, and in a running month charges that do not reach its end."""
        inputs, of = self.inputs, set(products)
        lines = [one for one in inputs.vendor_lines if one.product in of and units(one) is not None]
        missing = sorted({(one.source, one.bill) for one in lines if not one.arrived})
        waits = [
            Waiting("vendor_bill", words.clip(f"not all lines of {name} {bill} are here"), None)
            for name, bill in missing
        ]
        over = inputs.as_of is not None and inputs.as_of >= inputs.period.end
        if not over and not any(stands_at_end(inputs, one) for one in lines):
            what = f"more of {words.month(inputs.period)} may be charged"
            waits.append(Waiting("vendor_bill", what, inputs.period.end))
        return tuple(waits)

    def as_charged(self, products: Iterable[str], used: Quantity) -> Quantity:
        """A quantity that is read from the vendor's bill, with the lines that it rests on."""
        lines = sorted(
            (line for line in self.inputs.vendor_lines if line.product in products and units(line) is not None),
            key=lambda one: (one.source, one.issuer, one.bill, one.line),
        )
        refs = words.more([f"{line.bill} line {line.line}" for line in lines])
        return replace(
            used,
            formula=f"the vendor's bill charges ({refs}): {used.formula}",
            sources=sample(line.record for line in lines),
            records=len(lines),
        )

    def complete(self, source: str, start: datetime, end: datetime) -> bool:
        """Whether a source has declared ``[start, end)`` complete; pieces add up."""
        reached = start
        for covers_from, covers_to in sorted(
            (f.covers_from, f.covers_to) for f in self.inputs.feeds if f.source == source
        ):
            if covers_from <= reached:
                reached = max(reached, covers_to)
        return reached >= end

    def attested(self, meter: Measured) -> Measured:
        """A gauge without the level that it carries into the month, unless something says that the level still held.

        The last level before the month is a guess as long as the days between are not all here (a history that is
        being loaded, a feed that lags): it counts once the meter is observed in the month (or later in a part that
        goes on), or its source has declared a span complete that reaches the month's start.
        """
        start = self.bounds[0]
        if meter.kind != "gauge" or any(seen.at >= start for seen in meter.observations):
            return meter
        if any(
            feed.source == meter.source and feed.covers_from <= start <= feed.covers_to for feed in self.inputs.feeds
        ):
            return meter
        return replace(meter, observations=())

    def shown(self, meters: Iterable[Measured], spans: Sequence[Period]) -> list[Measured]:
        """Of ``meters`` those that stand at anything but zero in the spans, each gauge without an unattested level."""
        start, end = instant_of(spans[0].start, self.zone), instant_of(spans[-1].end, self.zone)
        wanted = set(spans)
        found = []
        for meter in meters:
            if meter.kind != "gauge" and (meter.span or self.inputs.period) not in wanted:
                continue
            attested = self.attested(meter)
            if shows_usage(attested, start, end) or attested.events:
                found.append(attested)
        return found

    @cached_property
    def used(self) -> dict[str, list[Measured]]:
        """Product -> the meters that show anything in the month."""
        month = (self.inputs.period,)
        found = {product: self.shown(meters, month) for product, meters in self.meters.items()}
        usage = {p: [one for one in meters if one.meter != ASSIGNED] for p, meters in found.items()}
        return {product: meters for product, meters in usage.items() if meters}


def _order(meter: Measured) -> tuple[object, ...]:
    span = meter.span
    return (*_METER(meter), meter.unit or "", "" if span is None else str(span))


def demands(group: Group) -> list[Demand]:
    """The expected lines of the group's month, each with the usage that is its own, in order of their keys."""
    found: list[Demand] = []
    period = group.inputs.period
    for chain in group.chains:
        if chain.sells and chain.terms.labour is None:
            for part in parts(chain.service, period):
                terms = version_at(chain.service, part.start).terms
                found.append(Demand((chain,), chain.service, part, terms, Supply(None)))
    if not found:
        return found
    by_use: dict[tuple[str, str | None], list[Demand]] = {}
    for demand in found:
        if isinstance(demand.terms.price, CostPlusPrice):
            demand.supply = _cost(group, demand)
        elif not isinstance(demand.terms.price, FlatPrice):
            by_use.setdefault((demand.product, demand.terms.meter), []).append(demand)
    named = {(product, meter) for product, meter in by_use if meter is not None}
    for (product, meter), of in by_use.items():
        sources = _suppliers(group, product)
        besides = {other for one, other in named if one == product} if meter is None else set()
        _share_out(group, of, sources, besides, found)
    return found


def beyond(group: Group) -> list[Demand]:
    """What is used after the last line of a product has ended, as that line would have priced it."""
    found = []
    if any(one.holdings[-1].end is not None for one in group.chains):
        for chain, service, part in expired(group.chains, group.inputs.period):
            demand = Demand((chain,), service, part, chain.terms, Supply(None), over=True)
            if isinstance(demand.terms.price, CostPlusPrice):
                demand.supply = _cost(group, demand)
            else:
                demand.supply = supply(group, demand, _suppliers(group, demand.product), set(), ALL)
            found.append(demand)
    return found


def covered(group: Group, found: Sequence[Demand]) -> dict[str, str]:
    """Product without a contract line of its own -> the bundle whose line covers its usage."""
    selling = {demand.product for demand in found}
    covers: dict[str, str] = {}
    for product in sorted(selling):
        of = group.products.get(product)
        for component in of.components if of is not None else ():
            if component not in selling:
                covers.setdefault(component, product)
    return covers


def _suppliers(group: Group, product: str) -> list[str]:
    """The products whose usage a line of ``product`` bills: its own and, of a bundle, that of its parts which have no
    line themselves."""
    of = group.products.get(product)
    if of is None or not of.components:
        return [product]
    selling = {chain.product for chain in group.chains if chain.sells}
    return [product, *sorted(one for one in of.components if one not in selling and one != product)]


def _share_out(group: Group, of: list[Demand], sources: list[str], besides: set[str], found: list[Demand]) -> None:
    """Give a product's usage to the lines that sell it by use. Parts of one line follow each other in time, so only
    several lines share."""
    lines: dict[tuple[str, str, str], list[Demand]] = {}
    for demand in of:
        lines.setdefault(demand.chains[0].key, []).append(demand)
    if len(lines) == 1:
        for demand in of:
            demand.supply = supply(group, demand, sources, besides, ALL)
        return
    if _one_pool(list(lines.values())):
        first, *others = lines.values()
        for number, demand in enumerate(first):
            demand.chains = (*demand.chains, *(other[number].chains[0] for other in others))
            demand.supply = supply(group, demand, sources, besides, ALL)
        for other in others:
            for demand in other:
                found.remove(demand)
        return
    skip = _ZERO
    for number, key in enumerate(sorted(lines)):
        last = number == len(lines) - 1
        upto = _ZERO
        for demand in lines[key]:
            recurring = demand.chains[0].last_at(demand.part.start, demand.part.end).recurring
            if recurring is None and not last:
                refs = words.more([one[0].chains[0].ref for _, one in sorted(lines.items())])
                trouble = Waiting("terms", f"{refs} all sell this product by use", None)
                for one in of:
                    one.supply = Supply(None, NOTHING, trouble)
                return
            upto = max(upto, recurring.quantity) if recurring is not None else upto
            demand.supply = supply(group, demand, sources, besides, Take(skip, None if last else upto))
        skip += upto


def _one_pool(lines: list[list[Demand]]) -> bool:
    """Whether lines have the same price a unit and nothing that each has for itself, in the same parts."""
    first = lines[0]
    for other in lines:
        if len(other) != len(first):
            return False
        for one, two in zip(first, other, strict=True):
            if one.part != two.part or one.chains[0].currency != two.chains[0].currency:
                return False
            if one.terms != two.terms or len(two.service.versions) > 1 or not _plain(two.terms):
                return False
    return True


def _plain(terms: Terms) -> bool:
    own = (terms.minimum_quantity, terms.maximum_quantity, terms.minimum_amount, terms.maximum_amount)
    allowed = terms.included or terms.free or any(one is not None for one in own)
    return isinstance(terms.price, UnitPrice) and not (allowed or terms.discount_amount or terms.discounts)


# --- one line's usage ----------------------------------------------------------------------------------------------
def supply(group: Group, demand: Demand, sources: Sequence[str], besides: set[str], take: Take) -> Supply:
    """What a line is rated by; of a bundle without a named meter the part that was used most."""
    spans = stretches(demand.service, demand.part)
    named = demand.terms.meter
    awaited = [one for one in sources if one in group.by_bill and not _charged(group, one)]
    if awaited:
        names = words.more(sorted(group.products[one].name for one in awaited))
        what = f"no vendor's bill of {words.month(demand.period)} for {names} yet"
        return Supply(None, NOTHING, Waiting("vendor_bill", what, None))
    if named is not None or len(sources) == 1:
        known = [meter for product in sources for meter in group.meters.get(product, ())]
        return _as_charged(group, sources, _supply(group, demand, known, spans, besides, take))
    each = [
        _as_charged(group, [one], _supply(group, demand, group.meters.get(one, []), spans, besides, take))
        for one in sources
    ]
    troubles = [one for one in each if one.trouble is not None]
    if troubles:
        return troubles[0]
    return max(each, key=lambda one: one.used.value)  # the first of equal ones: sources are in order


def _charged(group: Group, product: str) -> bool:
    return any(meter.meter == CHARGED for meter in group.meters.get(product, ()))


def _as_charged(group: Group, sources: Sequence[str], found: Supply) -> Supply:
    """A supply that rests on the vendor's bill names its lines."""
    if not any(one in group.by_bill for one in sources):
        return found
    return found._replace(gaps=group.bill_gaps(sources), used=group.as_charged(sources, found.used))


def _supply(
    group: Group, demand: Demand, known: Sequence[Measured], spans: Sequence[Period], besides: set[str], take: Take
) -> Supply:
    named = demand.terms.meter
    shown = group.shown(known, spans)
    if named is not None:
        usage = [meter for meter in shown if meter.meter == named]
        if shown and not any(meter.meter == named for meter in known):
            what = f"the terms bill meter {named}; {kinds(shown)} is measured"
            return Supply(None, NOTHING, Waiting("unit", what, None))
    else:
        usage = [meter for meter in shown if meter.meter != ASSIGNED and meter.meter not in besides]
    if len({(meter.meter, meter.kind, meter.unit) for meter in usage}) > 1:
        what = f"{kinds(usage)} are measured; the terms name no meter"
        return Supply(None, NOTHING, Waiting("unit", what, None))
    if not usage:
        return _nothing(demand, known, besides)
    return _measured(group, demand, usage, spans, take)


def _nothing(demand: Demand, known: Sequence[Measured], besides: set[str]) -> Supply:
    """Nothing was used, which is not the same as that nothing is due: a least quantity holds."""
    meters = [one for one in known if one.meter == demand.terms.meter or demand.terms.meter is None]
    kind = meters[0].kind if meters and meters[0].meter not in besides else "gauge"
    unit = meters[0].unit if meters else None
    if isinstance(demand.terms.price, PercentagePrice) and kind == "gauge":
        kind = "counter"
    seen = sum(len(meter.observations) for meter in meters)
    formula = f"no level above 0 in {seen} observations" if seen else NOTHING.formula
    return Supply(Measurement(kind, unit=unit), Quantity(_ZERO, formula, (), seen))


def _measured(group: Group, demand: Demand, usage: list[Measured], spans: Sequence[Period], take: Take) -> Supply:
    kind, unit = usage[0].kind, usage[0].unit
    start, end = instant_of(demand.part.start, group.zone), instant_of(demand.part.end, group.zone)
    if kind == "gauge":
        found = _from_the_start(group, usage, levels(usage, start, end, take), start)
        measured = Measurement("gauge", found, unit=unit)
        if demand.terms.statistic == "prorated" and demand.terms.proration != "none":
            return Supply(measured, mean_level(found, demand.period, group.zone))
        return Supply(measured, measure(usage, demand.period, group.zone) if take is ALL else _highest(found))
    if isinstance(demand.terms.price, PercentagePrice):
        return _transactions(usage, unit)
    amounts = []
    so_far = _ZERO
    for span in spans:
        of = [meter for meter in usage if (meter.span or group.inputs.period) == span]
        quantity = sum((meter.total * meter.share for meter in of), _ZERO)
        if take is not ALL:
            before = so_far
            so_far += quantity
            quantity = take.of(so_far) - take.of(before) if kind == "counter" else take.of(quantity)
        records = sum(meter.records for meter in of)
        sources = sample(source for meter in of for source in meter.sample)
        amounts.append(Amount(instant_of(span.start, demand.service.time_zone), quantity, sources, records))
    used = measure(usage, demand.period, group.zone)
    if take is not ALL:
        value = sum((amount.quantity for amount in amounts), _ZERO)
        assert isinstance(value, Decimal)
        used = Quantity(value, f"{used.formula}; of these {words.quantity(value)}", used.sources, used.records)
    return Supply(Measurement(kind, amounts=tuple(amounts), unit=unit), used)


def _from_the_start(
    group: Group, usage: Sequence[Measured], found: tuple[Level, ...], start: datetime
) -> tuple[Level, ...]:
    """Levels from the part's start on. What was first seen inside it is taken to have stood since the start, for no
    observation is not zero; unless the sources say that they were complete all the time before it was seen."""
    if not found or found[0].at <= start:
        return found
    sources = sorted({meter.source for meter in usage})
    if all(group.complete(source, start, found[0].at) for source in sources):
        return found
    return (found[0]._replace(at=start), *found[1:])


def _highest(found: Sequence[Level]) -> Quantity:
    values = [level.quantity for level in found if isinstance(level.quantity, Decimal)]
    value = max(values, default=_ZERO)
    sources = sample(source for level in found for source in level.sources)
    return Quantity(value, f"highest level of {len(values)}: {words.quantity(value)}", sources, len(values))


def _transactions(usage: list[Measured], unit: str | None) -> Supply:
    events = [
        Amount(event.at, event.quantity * meter.share, (event.record,)) for meter in usage for event in meter.events
    ]
    total = sum((one.quantity for one in events), _ZERO)
    assert isinstance(total, Decimal)
    formula = f"sum of {len(events)} transactions: {words.quantity(total)}"
    used = Quantity(total, formula, sample(source for one in events for source in one.sources), len(events))
    return Supply(Measurement("counter", amounts=tuple(events), unit=unit), used)


def _cost(group: Group, demand: Demand) -> Supply:
    """What vendors billed in the part, for a price that follows their cost."""
    suppliers = _suppliers(group, demand.product)
    lines = sorted(
        (
            line
            for line in group.inputs.vendor_lines
            if line.product in suppliers and demand.period.contains(first_day(line, group.inputs))
            if line.category != "Tax"
        ),
        key=lambda line: (line.source, line.issuer, line.bill, line.line),
    )
    currencies = sorted({line.currency for line in lines})
    currency = demand.chains[0].currency
    if currencies and currencies != [currency]:
        what = f"the vendor bills in {' and '.join(currencies)}, the contract is in {currency}"
        return Supply(None, NOTHING, Waiting("price", what, None))
    if not lines:
        what = f"no vendor's bill of {words.month(demand.period)} for {demand.chains[0].ref} yet"
        return Supply(None, NOTHING, Waiting("vendor_bill", what, None))
    amounts = tuple(
        Amount(instant_of(first_day(line, group.inputs), group.zone), line.billed_cost * line.share, (line.record,))
        for line in lines
    )
    total = sum((line.billed_cost * line.share for line in lines), _ZERO)
    formula = f"sum of {len(lines)} charges: {words.price(total, currency)}"
    used = Quantity(words.field(total), formula, sample(line.record for line in lines), len(lines))
    return Supply(Measurement("cost", amounts=amounts), used)


def kinds(meters: Sequence[Measured]) -> str:
    """The meters in words: ``quantity (gauge, agent) and gib (counter, GiB)``."""
    names = sorted({f"{meter.meter} ({meter.kind}{', ' + meter.unit if meter.unit else ''})" for meter in meters})
    return words.clip(" and ".join(names))


def parts_meeting(chain: Chain, period: Period) -> list[Part]:
    """The parts of a line that meet a period, those too that began before it."""
    longest = max(_PERIOD_DAYS[one.terms.period.unit] * one.terms.period.count for one in chain.service.versions)
    known = (period.start - date.min).days
    window = Period(period.start - timedelta(days=min(longest, known)), period.end)
    return [part for part in parts(chain.service, window) if part.end > period.start]


def carried(group: Group, products: Sequence[str]) -> dict[str, str]:
    """Of products without a part that begins in the month, those that a part of an earlier month covers, or a bundle's:
    how it is called. They are compared where it began."""
    found: dict[str, str] = {}
    for chain in group.chains:
        if not chain.sells or chain.terms.labour is not None:
            continue
        of = group.products.get(chain.product)
        sold = {chain.product, *(of.components if of is not None else ())}
        asked = [one for one in products if one in sold and one not in found]
        began = [part.start for part in parts_meeting(chain, group.inputs.period)] if asked else []
        if began and began[0] < group.inputs.period.start:
            found |= dict.fromkeys(asked, f"{chain.ref} from {began[0]} on")
    return found


def uncontracted(group: Group, found: Sequence[Demand], covers: Mapping[str, str]) -> list[str]:
    """Products with usage in the month that no contract line answers for, in order."""
    selling = {demand.product for demand in found}
    return sorted(product for product in group.used if product not in selling and product not in covers)
