"""From the inputs of a group to its two sides, or to why they cannot be compared.

Everything that no rule needs to know is settled here: which contract lines are in force, which meter counts, whether
the invoice or the agreement is the billed side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Literal

from shared.events.contracts import FlatPrice
from shared.events.discrepancies import Source
from shared.kernel.money import money
from shared.kernel.periods import Period, bounds
from shared.reconciliation import words
from shared.reconciliation.case import Billed, Case, Expected, LineInForce
from shared.reconciliation.inputs import FeedSpan, GroupInputs, InvoiceLineFacts, LineVersion, Measured
from shared.reconciliation.measure import NOTHING, Quantity, measure, shows_usage
from shared.reconciliation.rating.whole_month import due
from shared.reconciliation.verdict import State, Verdict, Waiting
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


def case_of(inputs: GroupInputs) -> Case | Verdict | None:
    """The case of a group; a verdict where nothing can be compared; ``None`` where there is nothing to compare."""
    lines, waiting = _in_force(inputs.lines, inputs.period)
    meters = _with_usage(inputs)
    if not (lines or waiting or meters or inputs.invoice_lines) or _unopened(inputs, bool(meters)):
        return None
    used = _used(lines, meters, inputs)
    conflicts = [*waiting, *_terms_conflict(lines), *_line_periods(inputs), *_currencies(lines, inputs)]
    if isinstance(used, Waiting):
        conflicts.append(used)
        used = NOTHING
    if conflicts:
        flat = any(isinstance(line.terms.price, FlatPrice) for line in lines)
        return _not_comparable(inputs, conflicts, owed=not waiting and (flat or bool(meters)))
    return _sides(inputs, lines, used)


def _sides(inputs: GroupInputs, lines: tuple[LineInForce, ...], used: Quantity) -> Case | Verdict:
    posted = any(line.kind == "invoice" for line in inputs.invoice_lines)
    mode: Literal["invoice", "agreement"] = "invoice" if inputs.invoices.complete or posted else "agreement"
    billed = _invoiced(inputs.invoice_lines) if mode == "invoice" else _agreed(lines)
    currency = _currency(lines, inputs)
    expected = _expected(inputs, lines, used, billed, currency)
    if expected.amount is None and billed is None:
        currency = None
    case = Case(inputs, mode, currency, lines, used, expected, billed, _usage_gaps(inputs))
    why = _incomparable(case)
    if why is None:
        return case
    if _too_large(case):
        return _not_comparable(inputs, why, owed=True)
    waits = _not_comparable(inputs, why, owed=case.owed, expected=expected.amount, currency=currency)
    return replace(waits, sources=case.due_sources, records=case.due_records)


def _incomparable(case: Case) -> list[Waiting] | None:
    """Why two known sides still cannot be set against each other; ``None``: they can."""
    inputs = case.inputs
    if _too_large(case):
        return [Waiting("terms", "a figure has more digits than a record can hold", None)]
    if case.mode == "invoice":
        if not case.lines and case.used.value > 0 and _says_no_price(case.billed):
            return [Waiting("price", "the lines billed give no price of a unit, and no contract says one", None)]
        return None
    if is_overdue(inputs.as_of, inputs.period, inputs.settings.invoice_grace_days) and not inputs.invoices.incomplete:
        # The agreement has had its time. That the client has no invoice at all is said once, for the whole client.
        return []
    unsaid = [line.ref for line in case.lines if line.recurring is None]
    if unsaid:
        return [Waiting("invoice", f"{words.more(unsaid)} does not say what it is set to bill", None)]
    return None


def _says_no_price(billed: Billed | None) -> bool:
    """Whether what is billed has no unit price to go by: an amount without units, or credits beyond the charges."""
    if billed is None:
        return False
    return billed.amount != 0 if billed.unit_price is None else billed.unit_price < 0


def _too_large(case: Case) -> bool:
    expected, billed = case.expected, case.billed
    price = abs(Fraction(expected.unit_price or 0))
    units = [abs(case.used.value), *([abs(billed.quantity)] if billed else [])]
    figures: list[Decimal | Fraction] = [price, abs(expected.amount or _ZERO), *units, price * Fraction(max(units))]
    if billed is not None:
        figures += [abs(billed.amount), abs(Fraction(billed.unit_price or 0))]
        figures += [max(abs(line.quantity), abs(line.amount)) for line in case.inputs.invoice_lines]
    return any(figure >= _TOO_LARGE for figure in figures)


def invoice_waits(inputs: GroupInputs) -> tuple[Waiting, ...]:
    """Documents of the month that are still to come."""
    waits = [Waiting("invoice_lines", what, None) for what in inputs.invoices.incomplete]
    if not waits and not inputs.invoices.complete:
        until = overdue_on(inputs.period, inputs.settings.invoice_grace_days)
        waits.append(Waiting("invoice", f"no invoice of {words.month(inputs.period)} yet", until))
    return tuple(waits)


def next_change(inputs: GroupInputs) -> date | None:
    """The day whose coming changes the answer by itself: a missing invoice becomes an error."""
    until = overdue_on(inputs.period, inputs.settings.invoice_grace_days)
    if inputs.invoices.complete or (inputs.as_of is not None and inputs.as_of >= until):
        return None
    return until


def _not_comparable(
    inputs: GroupInputs,
    waiting: Sequence[Waiting],
    *,
    owed: bool,
    expected: Decimal | None = None,
    currency: str | None = None,
) -> Verdict:
    return Verdict(
        State.NOT_COMPARABLE,
        waiting=(*waiting, *invoice_waits(inputs)),
        expected=expected,
        currency=currency,
        next_change=next_change(inputs),
        owed=owed,
    )


def _unopened(inputs: GroupInputs, used: bool) -> bool:
    """Whether only a contract line speaks for the group, in a month that has not begun, or in one before the books
    were opened of which nothing was loaded."""
    invoices = inputs.invoices
    if used or inputs.invoice_lines or invoices.complete or invoices.incomplete or invoices.straddling:
        return False
    start, as_of, opens = inputs.period.start, inputs.as_of, inputs.opens
    return as_of is None or as_of < start or (opens is not None and start < opens)


# --- contract lines ----------------------------------------------------------------------------------------------
def _in_force(versions: Sequence[LineVersion], period: Period) -> tuple[tuple[LineInForce, ...], list[Waiting]]:
    """Lines whose terms hold through the month, and a wait for each whose terms begin, end or change inside it."""
    chains: dict[tuple[str, str, str], list[LineVersion]] = {}
    for version in sorted(versions, key=lambda v: (v.source, v.contract, v.line, v.effective_from)):
        chains.setdefault((version.source, version.contract, version.line), []).append(version)
    lines, waiting = [], []
    for (source, contract, line), chain in chains.items():
        parts = _parts(chain, period)
        if not parts:
            continue
        first, last = parts[0][2], parts[-1][2]
        gapless = all(one[1] == two[0] for one, two in pairwise(parts))
        whole = parts[0][0] == period.start and parts[-1][1] == period.end and gapless
        if not whole or any((v.terms, v.currency) != (first.terms, first.currency) for _, _, v in parts):
            what = f"the terms of {contract} line {line} do not hold through all of {words.month(period)}"
            waiting.append(Waiting("partial_period", what, None))
            continue
        assert last.terms is not None
        assert last.currency is not None
        # A recurring quantity that changes inside the month: the PSA bills by the last one.
        lines.append(LineInForce(source, contract, line, last.currency, last.terms, last.recurring, last.record))
    return tuple(lines), waiting


def _parts(chain: Sequence[LineVersion], period: Period) -> list[tuple[date, date, LineVersion]]:
    """The spans of the month in which a line is in force, with the version that holds."""
    parts = []
    for n, version in enumerate(chain):
        ends = [chain[n + 1].effective_from] if n + 1 < len(chain) else []
        ends += [version.effective_to] if version.effective_to else []
        start, end = max(version.effective_from, period.start), min([*ends, period.end])
        if start < end and version.terms is not None:
            parts.append((start, end, version))
    return parts


def _terms_conflict(lines: Sequence[LineInForce]) -> list[Waiting]:
    # Which invoice line bills which of them is a matter of allocation.
    if len(lines) < 2 or all(isinstance(line.terms.price, FlatPrice) for line in lines):
        return []
    return [Waiting("terms", f"{words.more([line.ref for line in lines])} all sell this product by use", None)]


# --- usage -------------------------------------------------------------------------------------------------------
def _with_usage(inputs: GroupInputs) -> list[Measured]:
    """The meters that show anything in the period, in a stable order."""
    start, end = bounds(inputs.period, inputs.client.time_zone)
    attested = [_attested(meter, inputs.feeds, start) for meter in inputs.measured]
    found = [meter for meter in attested if shows_usage(meter, start, end)]
    return sorted(found, key=lambda m: (m.source, m.account, m.sku, m.meter, m.kind, m.unit or ""))


def _attested(meter: Measured, feeds: Sequence[FeedSpan], start: datetime) -> Measured:
    """A gauge without the level that it carries into the period, unless something says that the level still held.

    The last level before a period is a guess as long as the days between are not all here (a history that is being
    loaded, a feed that lags): it counts once the meter is observed in the period, or its source has declared a span
    complete that reaches the period's start.
    """
    if meter.kind != "gauge" or any(seen.at >= start for seen in meter.observations):
        return meter
    if any(feed.source == meter.source and feed.covers_from <= start <= feed.covers_to for feed in feeds):
        return meter
    return replace(meter, observations=())


def _used(lines: Sequence[LineInForce], meters: Sequence[Measured], inputs: GroupInputs) -> Quantity | Waiting:
    named = next((line.terms.meter for line in lines if line.terms.meter is not None), None)
    if named is not None:
        known = any(meter.meter == named for meter in inputs.measured)
        if meters and not known:
            return Waiting("unit", f"the terms bill meter {named}; {_kinds(meters)} is measured", None)
        meters = [meter for meter in meters if meter.meter == named]
    if len({(meter.meter, meter.kind, meter.unit) for meter in meters}) > 1:
        flat = bool(lines) and all(isinstance(line.terms.price, FlatPrice) for line in lines)
        return NOTHING if flat else Waiting("unit", f"{_kinds(meters)} are measured; the terms name no meter", None)
    return measure(meters, inputs.period, inputs.client.time_zone)


def _kinds(meters: Sequence[Measured]) -> str:
    names = sorted({f"{meter.meter} ({meter.kind}{', ' + meter.unit if meter.unit else ''})" for meter in meters})
    return words.clip(" and ".join(names))


def _usage_gaps(inputs: GroupInputs) -> tuple[Waiting, ...]:
    start, end = bounds(inputs.period, inputs.client.time_zone)
    month = words.month(inputs.period)
    if not inputs.feed_sources:
        return (Waiting("usage_complete", f"no source of usage of {inputs.product.name} is known", None),)
    gaps = []
    for source in sorted(set(inputs.feed_sources)):
        reached = start
        for covers_from, covers_to in sorted((f.covers_from, f.covers_to) for f in inputs.feeds if f.source == source):
            if covers_from <= reached:
                reached = max(reached, covers_to)
        if reached < end:
            gaps.append(Waiting("usage_complete", f"{source} has not declared {month} complete", None))
    return tuple(gaps)


# --- sides -------------------------------------------------------------------------------------------------------
def _line_periods(inputs: GroupInputs) -> list[Waiting]:
    return [
        Waiting("partial_period", f"{line.invoice} line {line.line} bills {words.month(line.period)}", None)
        for line in sorted(inputs.invoice_lines, key=_posted_order)
        if line.period != inputs.period
    ]


def _currencies(lines: Sequence[LineInForce], inputs: GroupInputs) -> list[Waiting]:
    found = sorted({line.currency for line in lines} | {line.currency for line in inputs.invoice_lines})
    if len(found) < 2:
        return []
    return [Waiting("price", f"contract and invoice are in {' and '.join(found)}", None)]


def _currency(lines: Sequence[LineInForce], inputs: GroupInputs) -> str | None:
    """Of the contract, else of the invoice, else of the list price."""
    if lines:
        return lines[0].currency
    if inputs.invoice_lines:
        return inputs.invoice_lines[0].currency
    return inputs.product.currency or inputs.client.currency


def _posted_order(line: InvoiceLineFacts) -> tuple[str, str, str]:
    return (line.source, line.invoice, line.line)


def _invoiced(posted: Sequence[InvoiceLineFacts]) -> Billed | None:
    if not posted:
        return None
    posted = sorted(posted, key=_posted_order)
    quantity = sum((line.quantity for line in posted), _ZERO)
    amount = sum((line.amount for line in posted), _ZERO)
    figures = [
        f"{words.quantity(line.quantity)} x {words.price(line.unit_price, line.currency)} = "
        f"{words.price(line.amount, line.currency)}"
        for line in posted
    ]
    first = posted[0]
    follows = len(posted) == 1 and quantity and money(quantity * first.unit_price, first.currency) == amount
    return Billed(
        quantity,
        Fraction(amount) / Fraction(quantity) if quantity else None,
        amount,
        " + ".join(figures),
        words.more([f"{line.invoice} line {line.line}" for line in posted]),
        sample(line.record for line in posted),
        len(posted),
        first.unit_price if follows else None,
    )


def _agreed(lines: Sequence[LineInForce]) -> Billed | None:
    set_to_bill = [(line, line.recurring) for line in lines if line.recurring is not None]
    if not set_to_bill:
        return None
    currency = lines[0].currency
    quantity = sum((recurring.quantity for _, recurring in set_to_bill), _ZERO)
    amounts = [money(recurring.quantity * recurring.unit_price, currency) for _, recurring in set_to_bill]
    figures = [
        f"{words.quantity(recurring.quantity)} x {words.price(recurring.unit_price, currency)}"
        for _, recurring in set_to_bill
    ]
    return Billed(
        quantity,
        # The agreement's own price, not the quotient of a rounded amount: it also stands when the quantity is zero.
        set_to_bill[0][1].unit_price if len(set_to_bill) == 1 else None,
        sum(amounts, _ZERO),
        " + ".join(figures),
        words.clip(f"{words.more([line.ref for line, _ in set_to_bill])}, recurring"),
        sample(line.record for line, _ in set_to_bill),
        len(set_to_bill),
    )


def _expected(
    inputs: GroupInputs, lines: tuple[LineInForce, ...], used: Quantity, billed: Billed | None, currency: str | None
) -> Expected:
    if not lines:
        return _expected_without_contract(inputs, max(used.value, _ZERO), billed, currency)
    components = [component for line in lines for component in due(line.terms, line.currency, used.value)]
    single = components[0] if len(components) == 1 and components[0].quantity is not None else None
    return Expected(
        single.quantity if single else None,
        single.unit_price if single else None,
        sum((component.amount for component in components), _ZERO),
        " + ".join(component.formula for component in components),
        sample(line.record for line in lines),
    )


def _expected_without_contract(
    inputs: GroupInputs, quantity: Decimal, billed: Billed | None, currency: str | None
) -> Expected:
    """Without a contract the invoice's own price holds, and without an invoice the list price."""
    product = inputs.product
    unit_price: Decimal | Fraction | None = None if billed is None else billed.unit_price
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
