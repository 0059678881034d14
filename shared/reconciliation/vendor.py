"""The vendors' side of a group: what their bills charge, against what was agreed and what was used."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from shared.events.contracts import Terms
from shared.events.discrepancies import Source
from shared.kernel.money import money
from shared.kernel.periods import bounds
from shared.reconciliation import words
from shared.reconciliation.bodies import DIGITS, Frame, sayable
from shared.reconciliation.chains import Chain, chains
from shared.reconciliation.exact import exact
from shared.reconciliation.inputs import GroupInputs, Measured, VendorLine
from shared.reconciliation.licences import ASSIGNED, BOUGHT, by_bill, dates, units
from shared.reconciliation.measure import measure
from shared.reconciliation.rules.vendor.assigned_ne_purchased import assigned_ne_purchased
from shared.reconciliation.rules.vendor.base import (
    ZERO,
    Agreed,
    Charge,
    Moved,
    VendorCase,
    VendorOutcome,
    due,
    share,
)
from shared.reconciliation.rules.vendor.cost_mismatch import cost_mismatch, units_compared
from shared.reconciliation.rules.vendor.margin_floor import margin_floor
from shared.reconciliation.stale import feed_waits
from shared.reconciliation.verdict import Break, VendorTotals, Waiting

_SHORT = 10**8


@dataclass(frozen=True, slots=True)
class VendorSide:
    """What holds between a group and its vendors' bills."""

    breaks: tuple[Break, ...] = ()
    """Of sides ``vendor`` (COST_MISMATCH) and ``none``; by stream key."""
    waiting: tuple[Waiting, ...] = ()
    totals: tuple[VendorTotals, ...] = ()
    """By currency: amounts of several are not added up."""
    cost: Mapping[str, tuple[tuple[Decimal, str], ...]] | None = None
    """By product: what vendors billed for it, by currency."""


@exact
def vendor_side(
    inputs: GroupInputs, used: Mapping[str, Decimal] | None, billed: tuple[Decimal, str] | None
) -> VendorSide:
    """Compare the vendors' charges of the month with the agreed cost, the use and the client's bill. What the bill
    itself says of the use is not set against it.

    ``used``: measured units by product, without those that are not known. ``billed``: what the client is billed for
    the group once its own breaks are put right, and its currency; ``None`` where nothing is. Without a vendor's bill
    nothing is concluded: where a cost was agreed and something was used, it is waited for.
    """
    if not inputs.vendor_lines:
        return VendorSide(waiting=_bill_awaited(inputs, used))
    known = chains(inputs.lines, inputs.client.time_zone)
    metered = {product: of for product, of in (used or {}).items() if not by_bill(inputs, product, known)}
    case = _case(inputs, metered, billed)
    if not _sayable(case):
        return VendorSide(waiting=(DIGITS,))
    costs = cost_mismatch(case)
    disputed = sum((signed for currency, signed in costs.broken if billed is not None and currency == billed[1]), ZERO)
    outcomes = [costs, assigned_ne_purchased(case), margin_floor(case, disputed)]
    breaks = sorted((one for outcome in outcomes for one in outcome.breaks), key=lambda one: one.stream_key)
    waiting = dict.fromkeys([*(w for outcome in outcomes for w in outcome.waiting), *_other_currencies(case)])
    return VendorSide(tuple(breaks), tuple(waiting), _totals(case, outcomes), _costs(case))


def _bill_awaited(inputs: GroupInputs, used: Mapping[str, Decimal] | None) -> tuple[Waiting, ...]:
    agreed = _agreed(inputs, _in_force(inputs))
    names = [one.name for one in (inputs.product, *inputs.others) if one.id in agreed and (used or {}).get(one.id)]
    if not names:
        return ()
    what = f"no vendor's bill of {words.month(inputs.period)} for {words.more(sorted(names))} yet"
    return (Waiting("vendor_bill", what, None),)


def _sayable(case: VendorCase) -> bool:
    """Whether every figure that a break could name fits a record: sums, costs of one unit, units at a cost."""
    costs = sum((abs(one.cost) for one in case.costs), ZERO)
    units = sum((abs(one.quantity) for one in case.charges), ZERO) + sum(map(abs, case.used.values()), ZERO)
    units += sum((of[0] for of in case.assigned.values()), ZERO)
    each = [
        Fraction(one.cost) / Fraction(one.quantity) / share(one.period)
        for one in case.charges
        if one.quantity and not _short(one)
    ]
    agreed = max((one.cost for of in case.agreed.values() for one in of), default=ZERO)
    # Several months in one charge: no more than a lifetime of them.
    worth = units * agreed * 1_200
    return sayable(costs, units, worth, *each, case.billed[0] if case.billed else None)


def _short(charge: Charge) -> bool:
    """Whether no quotient of the charge's figures can be too long."""
    return abs(charge.cost) < _SHORT and abs(charge.quantity) * _SHORT > 1


# --- the case ----------------------------------------------------------------------------------------------------
def _case(inputs: GroupInputs, used: Mapping[str, Decimal], billed: tuple[Decimal, str] | None) -> VendorCase:
    charges: list[Charge] = []
    moved: list[Moved] = []
    for line in sorted(inputs.vendor_lines, key=_order):
        quantity = units(line)
        if quantity is None:
            category = line.category or "Adjustment"
            cost = line.billed_cost * line.share
            moved.append(Moved(line.product, category, cost, line.currency, line.record))
        else:
            charges.append(_charge(line, quantity, inputs.client.time_zone))
    held = _in_force(inputs)
    floors = [terms.margin_floor_pct for terms, _, _ in held if terms.margin_floor_pct is not None]
    products = {one.id: one for one in (inputs.product, *inputs.others)}
    return VendorCase(
        frame=Frame(client=inputs.client, period=inputs.period, as_of=inputs.as_of, settings=inputs.settings),
        products=products,
        lead=inputs.product,
        charges=tuple(charges),
        moved=tuple(moved),
        agreed=_agreed(inputs, held),
        used=used,
        assigned=_assigned(inputs),
        gaps=_gaps(inputs),
        over=inputs.as_of is not None and inputs.as_of >= inputs.period.end,
        billed=billed,
        floor_pct=max(floors) if floors else inputs.settings.margin_floor_pct,
    )


def _order(line: VendorLine) -> tuple[str, ...]:
    return (line.product, line.source, line.account, line.sku, line.issuer, line.bill, line.line)


def _charge(line: VendorLine, quantity: Decimal, time_zone: str) -> Charge:
    return Charge(
        line.source,
        line.account,
        line.sku,
        line.product,
        line.category in BOUGHT,
        line.correction,
        dates(line, time_zone),
        quantity * line.share,
        line.billed_cost * line.share,
        line.currency,
        words.clip(f"{line.bill} line {line.line}"),
        line.record,
    )


def _in_force(inputs: GroupInputs) -> list[tuple[Terms, Chain, Source]]:
    """The terms that hold on a day of the month, with their line and record."""
    period = inputs.period
    return [
        (holding.version.terms, chain, holding.version.record)
        for chain in chains(inputs.lines, inputs.client.time_zone)
        for holding in chain.within(period.start, period.end)
        if holding.version.terms is not None
        and holding.start < period.end
        and (holding.end is None or holding.end > period.start)
    ]


def _agreed(inputs: GroupInputs, held: Iterable[tuple[Terms, Chain, Source]]) -> dict[str, tuple[Agreed, ...]]:
    """By product: the contract lines' cost, else the product's own."""
    found: dict[str, dict[tuple[Decimal, str], Agreed]] = defaultdict(dict)
    for terms, chain, record in held:
        if terms.cost is not None:
            of = chain.product or inputs.product.id
            agreed = Agreed(terms.cost, chain.currency, chain.ref, record)
            found[of].setdefault((terms.cost, chain.currency), agreed)
    for product in (inputs.product, *inputs.others):
        currency = product.cost_currency or product.currency
        if product.id not in found and product.unit_cost is not None and currency is not None:
            agreed = Agreed(product.unit_cost, currency, words.clip(product.name), product.record)
            found[product.id][product.unit_cost, currency] = agreed
    return {product: tuple(one.values()) for product, one in found.items()}


def _assigned(inputs: GroupInputs) -> dict[str, tuple[Decimal, tuple[Measured, ...]]]:
    """By product: the highest level of its meters named ``assigned``."""
    meters: dict[str, list[Measured]] = defaultdict(list)
    for meter in inputs.measured:
        if meter.meter == ASSIGNED and (meter.records or meter.observations):
            meters[meter.product or inputs.product.id].append(meter)
    found = {}
    for product, of in meters.items():
        ordered = sorted(of, key=lambda m: (m.source, m.account, m.sku, m.kind, str(m.span)))
        found[product] = (measure(ordered, inputs.period, inputs.client.time_zone).value, tuple(ordered))
    return found


def _gaps(inputs: GroupInputs) -> tuple[Waiting, ...]:
    """Sources of usage that have not declared the whole month complete: more may have been used than was seen."""
    start, end = bounds(inputs.period, inputs.client.time_zone)
    gaps = []
    for source in sorted(set(inputs.feed_sources)):
        reached = start
        for covers_from, covers_to in sorted((f.covers_from, f.covers_to) for f in inputs.feeds if f.source == source):
            if covers_from <= reached:
                reached = max(reached, covers_to)
        if reached < end:
            what = f"{source} has not declared {words.month(inputs.period)} complete"
            gaps.append(Waiting("usage_complete", what, None))
    return (*gaps, *feed_waits(inputs.missed)) if gaps else ()


def _other_currencies(case: VendorCase) -> list[Waiting]:
    """Costs that were agreed in another currency than the vendor charges."""
    waits: dict[str, None] = {}
    for charge in case.charges:
        agreed = case.agreed.get(charge.product, ())
        if agreed and case.agreed_for(charge) is None:
            what = f"{charge.source} charges {case.products[charge.product].name} in {charge.currency}, "
            waits[f"{what}its cost is agreed in {agreed[0].currency}"] = None
    return [Waiting("price", words.clip(what), None) for what in sorted(waits)]


# --- totals ------------------------------------------------------------------------------------------------------
def _totals(case: VendorCase, outcomes: Sequence[VendorOutcome]) -> tuple[VendorTotals, ...]:
    """By currency. Expected: what is charged by use at the agreed cost of what was used, what was bought as bought."""
    found = []
    for currency in sorted({one.currency for one in case.costs}):
        charges = [one for one in case.charges if one.currency == currency]
        moved = sum((one.cost for one in case.moved if one.currency == currency), ZERO)
        billed = sum((one.cost for one in charges), ZERO) + moved
        broken = sum((signed for outcome in outcomes for of, signed in outcome.broken if of == currency), ZERO)
        if charges and all(case.agreed_for(one) is not None for one in charges):
            expected = money(_expected(case, charges), currency)
            found.append(VendorTotals(currency, expected, billed, billed - expected - broken, broken))
        else:
            found.append(VendorTotals(currency, None, billed, ZERO, broken))
    return tuple(found)


def _expected(case: VendorCase, charges: Sequence[Charge]) -> Fraction:
    whole = Fraction(0)
    for product in sorted({one.product for one in charges}):
        own = [one for one in charges if one.product == product]
        right = sum((due(one, at.cost) for one in own if (at := case.agreed_for(one)) is not None), Fraction(0))
        compared = units_compared(case, product)
        if compared is not None:
            right = right * Fraction(compared[1]) / Fraction(compared[0])
        whole += right
    return whole


def _costs(case: VendorCase) -> dict[str, tuple[tuple[Decimal, str], ...]]:
    sums: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for one in case.costs:
        sums[one.product][one.currency] += one.cost
    return {
        product: tuple((sums[product][currency], currency) for currency in sorted(sums[product]))
        for product in sorted(sums)
    }
