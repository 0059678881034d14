"""What was used, as the vendor's bill says it: of products that no meter counts, such as licences from a distributor.

A line of the bill stands for its units on the days that it charges. A charge of whole months counts for the month in
which it begins, whatever its cycle; one that ends in a later month (seats added inside a cycle) counts for as many days
as it charges, up to the month's end. Credited units count as negative ones; taxes, credits and adjustments have none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

from shared.events.contracts import Terms
from shared.kernel.periods import Period, bounds, instant_of, local_date
from shared.reconciliation.chains import Chain
from shared.reconciliation.inputs import GroupInputs, Measured, Observation, VendorLine

ASSIGNED = "assigned"
"""A meter of this name counts the licences that users hold in the tenant, and no usage."""
CHARGED = "vendor_bill"
"""The meter's name of what a bill charges."""
BOUGHT = frozenset({"Purchase", "Cycle", "Renewal", "Change", "Conversion", "Cancel"})
"""Categories that charge licences, used or not (Microsoft's charge types as its profile names them)."""
WITHOUT_UNITS = frozenset({"Tax", "Credit", "Adjustment"})
"""FOCUS charge categories that move cost and never usage."""
_HALF_DAY = timedelta(hours=12)
_DAY = timedelta(days=1)
_ZERO = Decimal(0)


def units(line: VendorLine) -> Decimal | None:
    """The units that a line charges; ``None`` where it has none. Some vendors print the sign of a reversal in its
    amount alone."""
    if line.category in WITHOUT_UNITS or line.quantity is None:
        return None
    return -line.quantity if line.billed_cost < 0 < line.quantity else line.quantity


def dates(line: VendorLine, time_zone: str) -> Period:
    """The dates that a vendor means by a charge's instants. Its midnight is not the client's: of each instant the
    nearest midnight counts, so that a month stays a month. Parts of a day are on the client's day."""
    if line.charge_to - line.charge_from < _HALF_DAY:
        day = local_date(line.charge_from, time_zone)
        return Period(day, day + _DAY)
    start = local_date(line.charge_from + _HALF_DAY, time_zone)
    end = local_date(line.charge_to + _HALF_DAY, time_zone)
    return Period(start, max(end, start + _DAY))


def first_day(line: VendorLine, inputs: GroupInputs) -> date:
    """The day of the month, its home, on which a charge begins."""
    return _within(inputs.period, dates(line, inputs.client.time_zone).start)


def months_of(period: Period) -> int:
    """How many whole months a charge is for; 0: it is for days."""
    start, end = period.start, period.end
    whole = (end.year - start.year) * 12 + end.month - start.month
    clipped = (end + _DAY).day == 1 and start.day > end.day  # from the 31st to the 30th
    return whole if end.day == start.day or clipped else 0


def by_bill(inputs: GroupInputs, product: str, agreed: Iterable[Chain]) -> bool:
    """Whether the vendor's bill says what was used of ``product``; ``agreed``: the group's contract lines.

    The terms say it (of a part of a bundle without a line of its own, the bundle's). Else a meter counts, and whatever
    nothing else counts is taken from the bill: always licences that were bought, and other charges where no source of
    the product declares complete runs.
    """
    said = {terms.measured_by for terms in _terms(inputs, product, agreed)}
    if said - {None}:
        return "vendor_bill" in said
    if any((one.product or inputs.product.id) == product and one.meter != ASSIGNED for one in inputs.measured):
        return False
    charges = [line for line in inputs.vendor_lines if line.product == product and units(line) is not None]
    start, end = bounds(inputs.period, inputs.client.time_zone)
    fed = any(one.covers_from < end and one.covers_to > start for one in inputs.feeds)
    return any(line.category in BOUGHT for line in charges) if fed else bool(charges)


def _terms(inputs: GroupInputs, product: str, agreed: Iterable[Chain]) -> list[Terms]:
    month, lines = inputs.period, [one for one in agreed if one.sells]
    of = {product}
    if not any(one.product == product for one in lines):
        of = {one.id for one in (inputs.product, *inputs.others) if product in one.components}
    return [
        holding.version.terms
        for chain in lines
        if chain.product in of
        for holding in chain.within(month.start, month.end)
        if holding.version.terms is not None
    ]


def charged(inputs: GroupInputs, product: str, spans: Iterable[Period]) -> list[Measured]:
    """The units of the month's charges of ``product`` as meters, one for each line of a bill. Licences are levels;
    charges of usage (``Usage``) are sums, of each span."""
    lines = [line for line in inputs.vendor_lines if line.product == product and units(line) is not None]
    named = {line.unit for line in lines}
    unit = named.pop() if len(named) == 1 else None
    found = []
    for line in sorted(lines, key=lambda one: (one.source, one.account, one.sku, one.issuer, one.bill, one.line)):
        quantity = units(line) or _ZERO
        meter = Measured(line.source, line.account, line.sku, CHARGED, "gauge", unit, line.share, product=product)
        if line.category == "Usage":
            found += _sums(inputs, line, meter, quantity, spans)
        else:
            found.append(_level(inputs, line, meter, quantity))
    return found


def _sums(
    inputs: GroupInputs, line: VendorLine, meter: Measured, quantity: Decimal, spans: Iterable[Period]
) -> list[Measured]:
    day = first_day(line, inputs)
    found = []
    for span in spans:
        inside = span.contains(day)
        total, sample = (quantity, (line.record,)) if inside else (_ZERO, ())
        found.append(replace(meter, kind="counter", total=total, records=int(inside), sample=sample, span=span))
    return found


def _level(inputs: GroupInputs, line: VendorLine, meter: Measured, quantity: Decimal) -> Measured:
    zone, month = inputs.client.time_zone, inputs.period
    start, until = _stands(dates(line, zone), month)
    end = None if until is None else instant_of(until, zone)
    seen = [Observation(instant_of(start, zone), quantity, line.record, end)]
    if start > month.start:  # before the charge there was nothing, which a gauge's first level does not say
        seen.insert(0, Observation(instant_of(month.start, zone), _ZERO, line.record))
    return replace(meter, observations=tuple(seen), records=1, sample=(line.record,))


def stands_at_end(inputs: GroupInputs, line: VendorLine) -> bool:
    """Whether a charge is a level that holds until the month's end."""
    return line.category != "Usage" and _stands(dates(line, inputs.client.time_zone), inputs.period)[1] is None


def _stands(charge: Period, month: Period) -> tuple[date, date | None]:
    """From when, and until when within the month, a charge's units stand; ``None``: until another charge says more."""
    days = (charge.end - charge.start).days
    if months_of(charge) or days >= (month.end - month.start).days:
        return month.start, None
    if charge.end >= month.end:
        return month.end - timedelta(days=days), None
    return _within(month, charge.start), charge.end


def _within(month: Period, day: date) -> date:
    return min(max(day, month.start), month.end - _DAY)
