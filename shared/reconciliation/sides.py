"""From the inputs of a group to its cases: each expected line with what is billed for it, or why the two cannot be
compared.

Everything that no rule needs to know is settled here and in the modules that it calls: which usage belongs to which
contract line (usage.py), what is due for it (rating), which posted line answers it or what the agreement is set to
bill (billed.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from shared.events.contracts import CostPlusPrice, FlatPrice, GraduatedPrice, PercentagePrice, UnitPrice, VolumePrice
from shared.events.discrepancies import Source
from shared.kernel.money import money
from shared.kernel.periods import Period, bounds, local_date
from shared.reconciliation import words
from shared.reconciliation.billed import Answers, agreed, answers, by_days, invoiced, posted_order, unsaid
from shared.reconciliation.case import Billed, Case, Charge, Exchange, Expected, LineInForce, Mode, Repricer
from shared.reconciliation.chains import Chain, Holding
from shared.reconciliation.inputs import GroupInputs, InvoiceLineFacts, Measured, Product
from shared.reconciliation.measure import NOTHING, Quantity, measure
from shared.reconciliation.rating import due
from shared.reconciliation.rating.model import Amount, Component, Level, Measurement, Number, Service, Version
from shared.reconciliation.rating.numbers import plus
from shared.reconciliation.stale import feed_waits
from shared.reconciliation.usage import Demand, Group, beyond, carried, covered, demands, kinds, uncontracted
from shared.reconciliation.verdict import Waiting
from shared.reconciliation.views import sample

_ZERO = Decimal(0)
_TOO_LARGE = Decimal(10) ** 19
"""A record's decimal holds 20 whole digits; a difference of two figures below this one fits."""


def overdue_on(period: Period, grace_days: int) -> date:
    """The first day on which a missing invoice is an error."""
    return period.end + timedelta(days=grace_days)


def is_overdue(as_of: date | None, period: Period, grace_days: int) -> bool:
    """Whether a missing invoice is an error by now."""
    return as_of is not None and as_of >= overdue_on(period, grace_days)


@dataclass(frozen=True, slots=True)
class Sides:
    """A group, line by line."""

    cases: tuple[Case, ...]
    strays: tuple[tuple[InvoiceLineFacts, Waiting], ...] = ()
    """Posted lines of the month that are set against nothing, and what they wait for."""
    covered: tuple[tuple[str, str, str, Quantity], ...] = ()
    """(product, id and name of what covers its usage: a bundle's line, a part that began earlier; what was used)."""


def sides_of(inputs: GroupInputs) -> Sides | None:
    """The cases of a group; ``None`` where there is nothing to compare."""
    group = Group(inputs)
    found = demands(group)
    after = [one for one in beyond(group) if one.supply.used.value > 0 or _billed_after(group, one)]
    if not (found or after or group.used or inputs.invoice_lines) or _unopened(inputs, bool(group.used)):
        return None
    every = [*found, *after]
    expected = {one.key: _expected(one) for one in every}
    answered = answers(group, every, expected)
    covers = covered(group, found)
    of_product = Counter(one.product for one in every)
    of_chain = Counter(one.chains[0].key for one in every)
    posted = {group.product_of(line.product) for line in inputs.invoice_lines if line.kind == "invoice"}
    cases = []
    for one in every:
        stream = _stream(one, of_product[one.product] > 1, of_chain[one.chains[0].key] > 1)
        cases.append(_of_line(group, one, expected[one.key], answered, stream, one.product in posted))
        if cases[-1].mode == "agreement":
            _put_off(inputs, answered, answered.charges.get(one.key, ()), one.period)
    ended = {one.product for one in after}
    alone = [one for one in uncontracted(group, found, covers) if one not in ended]
    carries = carried(group, alone) if alone else {}
    alone = [one for one in alone if one not in carries]
    for product in sorted({*alone, *answered.left}):
        if not inputs.invoices.complete and product not in posted:
            _put_off(inputs, answered, answered.left.pop(product, []), inputs.period)
            if product not in alone:
                continue
        cases.append(_without_contract(group, product, product in alone, answered.left.get(product, []), every))
    if not cases and not answered.strays and not carries:
        return None
    cases = _closed(inputs, sorted(cases, key=lambda case: case.key))
    by = {product: (bundle, f"bundle {group.products[bundle].name}") for product, bundle in covers.items()}
    by |= {product: (ref, ref) for product, ref in carries.items()}
    covering = tuple(
        (one, *by[one], measure(group.used[one], inputs.period, group.zone) if _alike(group.used[one]) else NOTHING)
        for one in sorted(by)
        if one in group.used
    )
    return Sides(tuple(cases), tuple(answered.strays), covering)


def _put_off(inputs: GroupInputs, answered: Answers, credits: Sequence[Charge], service: Period) -> None:
    """Credits that are here before the invoice, which is not set against what an agreement is set to bill."""
    known = {(line.source, line.invoice, line.line) for line, _ in answered.strays}
    until = overdue_on(service, inputs.settings.invoice_grace_days)
    waits = Waiting("invoice", f"no invoice of {words.month(service)} yet", until)
    answered.strays += [(one.line, waits) for one in credits if one.key[1:] not in known]


def _billed_after(group: Group, demand: Demand) -> bool:
    """Whether a posted line of the product begins after its contract has ended."""
    return any(
        group.product_of(line.product) == demand.product and demand.period.contains(line.period.start)
        for line in group.inputs.invoice_lines
    )


def _unopened(inputs: GroupInputs, used: bool) -> bool:
    """Whether only a contract line speaks for the group, in a month that has not begun, or in one before the books
    were opened of which nothing was loaded."""
    invoices = inputs.invoices
    if used or inputs.invoice_lines or invoices.complete or invoices.incomplete or invoices.straddling:
        return False
    start, as_of, opens = inputs.period.start, inputs.as_of, inputs.opens
    return as_of is None or as_of < start or (opens is not None and start < opens)


def invoice_waits(inputs: GroupInputs) -> tuple[Waiting, ...]:
    """Documents of the month that are still to come."""
    waits = [Waiting("invoice_lines", what, None) for what in inputs.invoices.incomplete]
    if not waits and not inputs.invoices.complete:
        until = overdue_on(inputs.period, inputs.settings.invoice_grace_days)
        waits.append(Waiting("invoice", f"no invoice of {words.month(inputs.period)} yet", until))
    return tuple(waits)


def next_change(inputs: GroupInputs, cases: Sequence[Case], *, broken: bool) -> date | None:
    """The day whose coming changes the answer by itself: a missing invoice becomes an error, or what a break claims is
    too old to be billed."""
    days = [inputs.period.end + timedelta(days=inputs.settings.backbill_days)] if broken else []
    if not inputs.invoices.complete:
        days.append(overdue_on(inputs.period, inputs.settings.invoice_grace_days))
    days += [until for case in cases for until in [_due_by(inputs, case.service)] if until is not None]
    if inputs.vendor_lines:
        days.append(inputs.period.end)  # before, a vendor may still charge more
    return min((day for day in days if inputs.as_of is None or inputs.as_of < day), default=None)


def _due_by(inputs: GroupInputs, service: Period) -> date | None:
    """From when a part that goes on beyond the month must be on an invoice; ``None`` for any other."""
    if service.end <= inputs.period.end:
        return None
    return overdue_on(service, inputs.settings.invoice_grace_days)


# --- one contract line ---------------------------------------------------------------------------------------------
def _of_line(
    group: Group, demand: Demand, expected: Expected, answered: Answers, stream: tuple[str, ...], posted: bool
) -> Case:
    inputs = group.inputs
    charges = tuple(answered.charges.get(demand.key, ()))
    charges = tuple(sorted(charges, key=lambda one: posted_order(one.line)))
    mode = _mode(inputs, demand, charges, posted)
    billed = invoiced(charges, expected) if mode == "invoice" else (None if demand.over else agreed(demand))
    chain = demand.chains[0]
    case = Case(
        inputs=inputs,
        key=demand.key,
        stream=stream,
        product=group.products[demand.product],
        service=demand.period,
        mode=mode,
        currency=chain.currency,
        lines=tuple(_in_force(demand)),
        used=demand.supply.used,
        expected=expected,
        billed=billed,
        usage_gaps=_usage_gaps(group, demand.period) if demand.supply.gaps is None else demand.supply.gaps,
        charges=charges if mode == "invoice" else (),
        part=demand.part,
        prorated=not demand.part.whole or _changes(demand),
        over=demand.over,
        reprice=_repricer(demand),
    )
    troubles = [*answered.troubles.get(demand.key, ())]
    if demand.supply.trouble is not None:
        troubles.append(demand.supply.trouble)
    elif expected.amount is None:
        troubles.append(Waiting("unit", words.clip(expected.formula), None))
    if _too_large(case):
        return _unsayable(case, (*dict.fromkeys(troubles), _DIGITS))
    if troubles:
        shown = bool(group.used) or isinstance(demand.terms.price, FlatPrice)
        return replace(case, waiting=tuple(dict.fromkeys(troubles)), owes=shown, billed=None)
    case = _in_one_currency(case)
    if case.exchange is not None and _too_large(case):
        return _unsayable(case, (_DIGITS,))
    why = _incomparable(case, demand)
    if why is None:
        return case
    return replace(case, waiting=why, owes=case.owed)


def _changes(demand: Demand) -> bool:
    measured = demand.supply.measured
    if measured is None or not measured.levels or demand.terms.statistic != "prorated":
        return False
    since = local_date(measured.levels[0].at, demand.service.time_zone)
    return since > demand.part.start or len({level.quantity for level in measured.levels}) > 1


def _mode(inputs: GroupInputs, demand: Demand, charges: Sequence[Charge], posted: bool) -> Mode:
    """Posted lines take the billed side over as soon as an invoice of the month can hold them: it is complete, or a
    line of the product is ``posted``. A part that goes on beyond the month and is billed afterwards is asked for when
    it is over."""
    if any(charge.line.kind == "invoice" for charge in charges):
        return "invoice"
    later = demand.terms.billing == "arrears" and demand.part.end > inputs.period.end
    if later and not (inputs.as_of is not None and inputs.as_of >= demand.part.end and inputs.invoices.complete):
        return "agreement"
    return "invoice" if inputs.invoices.complete or posted else "agreement"


def _stream(demand: Demand, several: bool, parts: bool) -> tuple[str, ...]:
    """The product, as long as this is its only line: so the stream stays the same when a contract is agreed late."""
    if not several:
        return (demand.product,)
    chain = demand.chains[0]
    days = (demand.part.start.isoformat(),) if parts else ()
    return (demand.product, chain.source, chain.contract, chain.line, *days)


def _in_force(demand: Demand) -> list[LineInForce]:
    found = []
    for chain in demand.chains:
        last = chain.last_at(demand.part.start, demand.part.end)
        terms = last.terms or demand.terms
        record = chain.holdings[-1].version.record if demand.over else last.record
        recurring = None if demand.over else last.recurring
        found.append(LineInForce(chain.source, chain.contract, chain.line, chain.currency, terms, recurring, record))
    return found


def _expected(demand: Demand) -> Expected:
    """What is due for the part; an amount of ``None`` says in ``formula`` why it cannot be known."""
    chain = demand.chains[0]
    records = sample(one.version.record for each in demand.chains for one in _held(demand, each))
    if demand.supply.trouble is not None:
        return Expected(None, None, None, demand.supply.trouble.what, records)
    if demand.over and demand.supply.used.value <= 0:
        units = None if isinstance(demand.terms.price, FlatPrice) else _ZERO
        return Expected(units, None, money(_ZERO, chain.currency), "nothing used after the end", records)
    try:
        components = due(demand.service, demand.supply.measured, demand.part, True)
    except ValueError as error:
        return Expected(None, None, None, f"{chain.ref}: {error}", records)
    amount = sum((one.total for one in components), _ZERO) if components else money(_ZERO, chain.currency)
    formula = " + ".join(words.price(one.total, chain.currency) for one in components) or "nothing used"
    if len(components) > 1:
        formula += f" = {words.price(amount, chain.currency)}"
    quantity, price = _units(demand, components, amount)
    stands = demand.period if by_days(demand) and not demand.over else None
    return Expected(quantity, price, amount, formula, records, components, stands)


def _held(demand: Demand, chain: Chain) -> tuple[Holding, ...]:
    return chain.holdings[-1:] if demand.over else chain.within(demand.part.start, demand.part.end)


def _units(demand: Demand, components: Sequence[Component], amount: Decimal) -> tuple[Number | None, Number | None]:
    """Billable units, and what one comes to where that does not depend on their number."""
    price = demand.terms.price
    if isinstance(price, FlatPrice | CostPlusPrice | PercentagePrice):
        return None, None
    usage = [one for one in components if one.category == "usage" and not one.component.endswith("flat")]
    quantity: Number = _ZERO
    for one in usage:
        quantity = plus(quantity, one.quantity)
    if isinstance(price, GraduatedPrice | VolumePrice):
        return quantity, None
    if not usage:
        return quantity, (price.unit_amount if isinstance(price, UnitPrice) else price.amount)
    total = sum((one.total for one in usage), _ZERO)
    unit = usage[0].unit_price
    if len(usage) == 1 and unit is not None and money(_times(quantity, unit), demand.chains[0].currency) == total:
        return quantity, unit
    if len(usage) > 1 and len(demand.service.versions) > 1:
        # Lines of two versions: units that stood for a part of the time each are no sum.
        quantity = _mean(demand, usage)
    return quantity, Fraction(total) / Fraction(quantity) if quantity else usage[0].unit_price


def _times(one: Number, other: Number) -> Number:
    if isinstance(one, Decimal) and isinstance(other, Decimal):
        return one * other
    return Fraction(one) * Fraction(other)


def _mean(demand: Demand, usage: Sequence[Component]) -> Number:
    measured = demand.supply.measured
    if measured is None or measured.kind != "gauge":
        quantity: Number = _ZERO
        for one in usage:
            quantity = plus(quantity, one.quantity)
        return quantity
    return demand.supply.used.value


def _repricer(demand: Demand) -> Repricer:
    """Rates the same part under changed terms, or by another billable quantity."""

    def reprice(changes: Mapping[str, object], units: Number | None) -> Decimal | None:
        measured, update = demand.supply.measured, dict(changes)
        if units is not None:
            update |= {"included": _ZERO, "free": _ZERO, "minimum_quantity": None, "maximum_quantity": None}
            update |= {"convert": None}
            measured = _as_measured(demand, units)
        service = demand.service
        versions = tuple(
            Version(one.terms.model_copy(update=update), one.start, one.end, one.record) for one in service.versions
        )
        changed = Service(versions, service.currency, service.time_zone, service.ref)
        try:
            components = due(changed, measured, demand.part, True, explain=False)
        except ValueError:
            return None
        return sum((one.total for one in components), _ZERO)

    return reprice


def _as_measured(demand: Demand, units: Number) -> Measurement:
    measured = demand.supply.measured
    start, _ = bounds(demand.period, demand.service.time_zone)
    if measured is not None and measured.kind == "gauge" and measured.levels:
        return Measurement("gauge", (Level(start, units),))
    return Measurement("counter", amounts=(Amount(start, units),))


def _incomparable(case: Case, demand: Demand) -> tuple[Waiting, ...] | None:
    """Why two known sides still cannot be set against each other; ``None``: they can."""
    inputs = case.inputs
    if case.mode == "invoice" or demand.over:
        return None
    due_by = _due_by(inputs, case.service)
    whole = case.service if due_by is not None else inputs.period
    if is_overdue(inputs.as_of, whole, inputs.settings.invoice_grace_days) and not inputs.invoices.incomplete:
        # The agreement has had its time. That the client has no invoice at all is said once, for the whole client.
        return (_no_invoice(inputs),)
    missing = unsaid([demand])
    if missing:
        until = overdue_on(whole, inputs.settings.invoice_grace_days)
        return (Waiting("invoice", f"{words.more(missing)} does not say what it is set to bill", until),)
    return None


_DIGITS = Waiting("terms", "a figure has more digits than a record can hold", None)


def _unsayable(case: Case, why: tuple[Waiting, ...]) -> Case:
    """A case none of whose figures can be written down."""
    unknown = Expected(None, None, None, why[0].what, case.expected.sources)
    return replace(case, waiting=why, owes=True, used=NOTHING, expected=unknown, billed=None, charges=(), currency=None)


def _no_invoice(inputs: GroupInputs) -> Waiting:
    until = overdue_on(inputs.period, inputs.settings.invoice_grace_days)
    return Waiting("invoice", f"no invoice of {words.month(inputs.period)} yet", until)


def _small(*figures: Number | None) -> bool:
    """Whether the product of any two of them is short enough."""
    return all(one is None or -(10**9) < one < 10**9 for one in figures)


def _too_large(case: Case) -> bool:
    expected, billed = case.expected, case.billed
    if billed is not None and _small(expected.unit_price, expected.amount, case.used.value, billed.quantity):
        lines = (one for charge in case.charges for one in (charge.line.quantity, charge.line.amount))
        if _small(billed.amount, billed.unit_price, *lines):
            return False
    price = abs(Fraction(expected.unit_price or 0))
    most = max(abs(Fraction(case.used.value)), abs(Fraction(billed.quantity)) if billed else 0)
    figures: list[Number | int] = [price, abs(expected.amount or _ZERO), most, price * most]
    if billed is not None:
        figures += [abs(billed.amount), abs(Fraction(billed.unit_price or 0))]
        figures += [max(abs(charge.line.quantity), abs(charge.line.amount)) for charge in case.charges]
    return any(figure >= _TOO_LARGE for figure in figures)


# --- currencies ----------------------------------------------------------------------------------------------------
def _in_one_currency(case: Case) -> Case:
    """A contract in another currency than the invoice is compared in the invoice's, by the rate that it names."""
    billed_in = sorted({charge.line.currency for charge in case.charges})
    if not billed_in or billed_in == [case.currency] or case.currency is None:
        return case
    agreed_in, expected = case.currency, case.expected
    rates = {charge.line.exchange_rate for charge in case.charges if charge.line.exchange_from == agreed_in}
    named = all(charge.line.exchange_from == agreed_in for charge in case.charges)
    rate = next(iter(rates)) if len(rates) == 1 and named and len(billed_in) == 1 else None
    exchange = Exchange(agreed_in, " and ".join(billed_in), rate, expected.amount)
    if rate is None or expected.amount is None:
        return replace(case, exchange=exchange)
    currency = billed_in[0]
    amount = money(expected.amount * rate, currency)
    formula = f"{expected.formula}; {words.price(expected.amount, agreed_in)} {agreed_in} x {words.quantity(rate)}"
    converted = replace(
        expected,
        amount=amount,
        formula=formula,
        unit_price=None if expected.unit_price is None else _times(expected.unit_price, rate),
    )
    inner = case.reprice

    def reprice(changes: Mapping[str, object], units: Number | None) -> Decimal | None:
        found = None if inner is None else inner(changes, units)
        return None if found is None else money(found * rate, currency)

    return replace(case, exchange=exchange, expected=converted, currency=currency, reprice=reprice)


# --- without a contract line -----------------------------------------------------------------------------------------
def _without_contract(
    group: Group, product: str, used_alone: bool, charges: list[Charge], every: Sequence[Demand]
) -> Case:
    inputs = group.inputs
    of = group.products[product]
    charges = sorted(charges, key=lambda one: posted_order(one.line))
    meters = group.used.get(product, []) if used_alone else []
    by_bill = product in group.by_bill
    posted = any(charge.line.kind == "invoice" for charge in charges)
    mode: Mode = "invoice" if inputs.invoices.complete or posted else "agreement"
    troubles = [_other_span(charge, inputs.period) for charge in charges if charge.line.period != inputs.period]
    used = NOTHING
    if len({(meter.meter, meter.kind, meter.unit) for meter in meters}) > 1:
        troubles.append(Waiting("unit", f"{kinds(meters)} are measured; the terms name no meter", None))
    elif meters:
        used = measure(meters, inputs.period, group.zone)
        used = group.as_charged((product,), used) if by_bill else used
    if not meters and charges:
        # Lines that no usage and no contract asks for: what period they are of makes no difference.
        troubles = []
    billed = invoiced(charges) if mode == "invoice" else None
    currencies = sorted({charge.line.currency for charge in charges})
    currency = currencies[0] if currencies else of.currency or inputs.client.currency
    expected = _expected_without_contract(of, inputs, max(used.value, _ZERO), billed, currency)
    if expected.amount is None and billed is None:
        currency = None
    if len(currencies) > 1:
        troubles.append(Waiting("price", f"lines of {of.name} are in {' and '.join(currencies)}", None))
    mine = [demand for demand in every if demand.product == product]
    # What a flat price covers has no usage to wait for, where no source of usage is known.
    flat = mine or any(one.product == product and isinstance(one.terms.price, FlatPrice) for one in group.chains)
    gaps = () if flat and not inputs.feed_sources else _usage_gaps(group, inputs.period)
    gaps = group.bill_gaps((product,)) if by_bill else gaps
    key = ("usage", product) if meters or len(charges) != 1 else charges[0].key
    case = Case(
        inputs=inputs,
        key=key,
        stream=(product,) if not mine else (product, "*"),
        product=of,
        service=inputs.period,
        mode=mode,
        currency=currency,
        lines=(),
        used=used,
        expected=expected,
        billed=billed,
        usage_gaps=gaps,
        charges=tuple(charges) if mode == "invoice" else (),
        excluded=_excluded(group, product),
    )
    if _too_large(case):
        return _unsayable(case, (*dict.fromkeys(troubles), _DIGITS))
    if not troubles and mode == "invoice" and used.value > 0 and _says_no_price(billed):
        troubles.append(Waiting("price", "the lines billed give no price of a unit, and no contract says one", None))
    if not troubles and mode == "agreement" and _had_its_time(inputs):
        troubles.append(_no_invoice(inputs))
    if not troubles:
        return case
    return replace(case, waiting=tuple(dict.fromkeys(troubles)), owes=bool(meters) or case.owed)


def _had_its_time(inputs: GroupInputs) -> bool:
    grace = inputs.settings.invoice_grace_days
    return is_overdue(inputs.as_of, inputs.period, grace) and not inputs.invoices.incomplete


def _other_span(charge: Charge, period: Period) -> Waiting:
    return Waiting("partial_period", f"{charge.ref} bills {words.month(charge.line.period)}", None)


def _excluded(group: Group, product: str) -> bool:
    month = group.inputs.period
    return any(
        chain.terms.excluded and chain.product == product and chain.within(month.start, month.end)
        for chain in group.chains
    )


def _says_no_price(billed: Billed | None) -> bool:
    """Whether what is billed has no unit price to go by: an amount without units, or credits beyond the charges."""
    if billed is None:
        return False
    return billed.amount != 0 if billed.unit_price is None else billed.unit_price < 0


def _expected_without_contract(
    product: Product, inputs: GroupInputs, quantity: Decimal, billed: Billed | None, currency: str | None
) -> Expected:
    """Without a contract the invoice's own price holds, and without an invoice the list price."""
    unit_price: Number | None = None if billed is None else billed.unit_price
    listed: Source | None = None
    if unit_price is not None and unit_price < 0:
        unit_price = None
    elif unit_price is None and (product.currency or inputs.client.currency) == currency:
        unit_price, listed = product.list_price, product.record
    if quantity == 0:
        return Expected(quantity, unit_price, _ZERO, "nothing used, nothing agreed", ())
    if unit_price is None or currency is None:
        return Expected(quantity, None, None, "no price is known", ())
    amount = money(Fraction(quantity) * Fraction(unit_price), currency)
    formula = f"{words.quantity(quantity)} x {words.price(unit_price, currency)}"
    return Expected(quantity, unit_price, amount, formula, () if listed is None else (listed,))


# --- of the group ------------------------------------------------------------------------------------------------
def _usage_gaps(group: Group, period: Period) -> tuple[Waiting, ...]:
    inputs = group.inputs
    start, end = bounds(period, inputs.client.time_zone)
    month = words.month(period)
    if not inputs.feed_sources:
        return (Waiting("usage_complete", f"no source of usage of {inputs.product.name} is known", None),)
    gaps = tuple(
        Waiting("usage_complete", f"{source} has not declared {month} complete", None)
        for source in sorted(set(inputs.feed_sources))
        if not group.complete(source, start, end)
    )
    return (*gaps, *feed_waits(inputs.missed)) if gaps else ()


def _alike(meters: Sequence[Measured]) -> bool:
    return len({(meter.meter, meter.kind, meter.unit) for meter in meters}) == 1


def _closed(inputs: GroupInputs, cases: list[Case]) -> list[Case]:
    """The line that a closing's quantity belongs to knows of it: the only one that is billed by use."""
    if inputs.closed is None:
        return cases
    by_use = [case for case in cases if not case.flat and not case.waiting]
    if len(by_use) != 1:
        return cases
    records = sum(case.due_records for case in cases)
    return [replace(case, closed=inputs.closed, records=records) if case is by_use[0] else case for case in cases]
