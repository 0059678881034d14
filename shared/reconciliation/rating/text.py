"""A line's arithmetic in words and figures, so that a person can compute it again on paper."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from shared.events.contracts import RoundingStep
from shared.kernel.canonical import decimal_text
from shared.kernel.money import amount_text, split_largest_remainder
from shared.kernel.periods import instant_of
from shared.reconciliation.rating.billable import Allowances, Billable, converts
from shared.reconciliation.rating.entries import Entry, inner_price, statistic_of
from shared.reconciliation.rating.fraction import DAY_SECONDS, WHOLE, Share, elapsed
from shared.reconciliation.rating.gauge import stays
from shared.reconciliation.rating.model import ZERO, Arithmetic, Measurement, Number, Part
from shared.reconciliation.rating.numbers import plus
from shared.reconciliation.words import SENTENCE, clip, price, quantity

_SHOWN_MAX = 31
"""Segments and fees that are shown one by one: a month of days."""


def rounding(step: RoundingStep) -> str:
    return f"{step.mode} {step.scale}"


def line_steps(
    of: Sequence[Entry],
    amount: Decimal,
    step: RoundingStep,
    currency: str,
    part: Part,
    measured: Measurement | None = None,
) -> list[Arithmetic]:
    """How the amount of a line came about: units, price, the line, and its segments where there are several."""
    steps: list[Arithmetic] = []
    seen: set[Billable] = set()
    for entry in of[:_SHOWN_MAX]:
        if entry.billable is not None and entry.billable not in seen:
            seen.add(entry.billable)
            steps.extend(_units(entry, entry.billable, part, measured))
        if entry.charge.size is not None and entry.charge.units is not None:
            steps.append(_blocks(entry))
    label = of[0].charge.component
    records = tuple(dict.fromkeys(entry.piece.record for entry in of if entry.piece.record is not None))
    terms = [_formula(entry, currency) for entry in of if entry.amount or len(of) == 1]
    body = " + ".join(terms[:_SHOWN_MAX]) or "0"
    if len(terms) > _SHOWN_MAX:
        body += f" + {len(terms) - _SHOWN_MAX} more"
    result = f" = {amount_text(amount, currency)}"
    formula = clip(body.replace("+ -", "- "), SENTENCE - len(result)) + result
    steps.append(Arithmetic(label, formula, amount, rounding(step), records))
    if len(of) > 1:
        steps.extend(_by_segment(of, amount, step, currency))
    return steps


def _units(entry: Entry, bill: Billable, part: Part, measured: Measurement | None) -> list[Arithmetic]:
    steps = [Arithmetic("used", _measured(entry, bill.measured, part, measured), bill.measured)]
    if bill.converted != bill.measured:
        rule = entry.piece.terms.convert
        unit = "" if rule is None else f" {rule.to_unit}"
        step = (rule.rounding if rule is not None else None) or entry.piece.terms.rounding.quantity
        how = converts(entry.piece.terms)
        formula = f"{quantity(bill.measured)} {how} = {quantity(bill.converted)}{unit}".replace("  ", " ")
        steps.append(Arithmetic("converted", formula, bill.converted, None if step is None else rounding(step)))
    given = entry.given
    if given is not None and (bill.left != bill.converted or bill.quantity != bill.left):
        steps.append(Arithmetic("billable", _allowed(bill, given), bill.quantity))
    return steps


_STATISTICS = {"max": "highest level", "last": "last level", "first": "first level"}


def _measured(entry: Entry, value: Number, part: Part, measured: Measurement | None) -> str:
    shown = quantity(value)
    if measured is None:
        return shown
    if measured.kind == "gauge":
        kind = statistic_of(entry.piece.terms)
        if kind == "time_weighted":
            return f"{_weighted(measured, part, entry.piece.zone)} = {shown}"
        return f"{_STATISTICS[kind]} = {shown}" if kind in _STATISTICS else f"{shown} from {entry.start} to {entry.end}"
    what = "highest mark" if measured.kind == "peak" else "sum"
    if entry.piece.end < part.end:
        return f"{what} up to {entry.piece.end} = {shown}"
    records = sum(amount.records for amount in measured.amounts)
    return f"{what} of {records} record{'' if records == 1 else 's'} = {shown}"


def _weighted(measured: Measurement, part: Part, time_zone: str) -> str:
    """``(3 x 10 + 5 x 15 + 4 x 5) / 30 days``, or in seconds: the time without a value is no part of it."""
    found = stays(measured.levels, instant_of(part.start, time_zone), instant_of(part.end, time_zone))
    lasted = [elapsed(stay.start, stay.end) for stay in found]
    unit, size = ("days", DAY_SECONDS) if all(seconds % DAY_SECONDS == 0 for seconds in lasted) else ("seconds", 1)
    terms = [f"{quantity(stay.quantity)} x {seconds // size}" for stay, seconds in zip(found, lasted, strict=True)]
    whole = f") / {sum(lasted) // size} {unit}"
    return clip("(" + " + ".join(terms), SENTENCE // 2) + whole


def _allowed(bill: Billable, given: Allowances) -> str:
    less = [
        f"{quantity(units)} {name}" for units, name in ((given.included, "included"), (given.free, "free")) if units
    ]
    text = f"{' - '.join([quantity(bill.converted), *less])}"
    if bill.converted < plus(given.included, given.free):
        text = f"{quantity(bill.converted)} is within {' and '.join(less)} = 0"
    elif less:
        text += f" = {quantity(bill.left)}"
    if bill.quantity > bill.left:
        text += f", raised to the least of {quantity(bill.quantity)}"
    elif bill.quantity < bill.left:
        text += f", cut to the greatest of {quantity(bill.quantity)}"
    return text


def _blocks(entry: Entry) -> Arithmetic:
    charge = entry.charge
    units, size, number = charge.units or ZERO, charge.size or Decimal(1), plus(charge.number, charge.before)
    formula = f"{quantity(units)} / {quantity(size)}, started = {quantity(number)}"
    return Arithmetic("blocks", formula, number)


def _formula(entry: Entry, currency: str) -> str:
    if entry.fees:
        return _fees(entry, currency)
    charge = entry.charge
    unit = price(charge.unit_price, currency) if charge.component != "cost_plus" else quantity(charge.unit_price)
    flat = charge.component.endswith("flat") and charge.number == 1
    number = quantity(charge.number)
    if charge.before:
        number = f"({quantity(plus(charge.number, charge.before))} - {quantity(charge.before)} before)"
    head = "" if flat else f"{number} x "
    if entry.share == WHOLE:
        return f"{head}{unit}"
    inner = inner_price(entry.piece.terms, charge.unit_price, entry.share) if entry.lasts else None
    if inner is None:
        return f"{head}{unit} x {portion(entry.share)}"
    rounded = price(inner[0], currency)
    if inner[1] == 1 and entry.piece.terms.rounding.day_price is None:
        return f"{head}{rounded} ({unit} x {portion(entry.share)})"
    return f"{head}{rounded} ({unit} / {entry.share.denominator}) x {inner[1]}"


def portion(share: Share) -> str:
    """``10/30``, or a share that was rounded."""
    counted = share.numerator if isinstance(share.numerator, int) else quantity(share.numerator)
    return str(counted) if share.denominator == 1 else f"{counted}/{share.denominator}"


def ratio(value: Number) -> str:
    """A share as it is computed with: ``2/3``, never 0.666667."""
    return f"{value.numerator}/{value.denominator}" if isinstance(value, Fraction) else quantity(value)


def _fees(entry: Entry, currency: str) -> str:
    terms = entry.piece.terms.price
    if terms.kind != "percentage":
        return ""
    shown = []
    for fee in [fee for fee in entry.fees if fee.amount or fee.paying][:_SHOWN_MAX]:
        if fee.bounded:
            shown.append(f"{price(fee.amount, currency)} ({fee.bounded})")
            continue
        fixed = f" + {price(terms.fixed, currency)}" if terms.fixed else ""
        shown.append(f"({quantity(fee.paying)} x {decimal_text(terms.rate_pct)} %{fixed})")
    paying = sum(1 for fee in entry.fees if fee.amount or fee.paying)
    if paying > _SHOWN_MAX:
        shown.append(f"{paying - _SHOWN_MAX} more")
    free = sum(1 for fee in entry.fees if not fee.amount and not fee.paying)
    text = " + ".join(shown) or "0"
    return f"{text}, {free} free" if free else text


def _by_segment(of: Sequence[Entry], amount: Decimal, step: RoundingStep, currency: str) -> list[Arithmetic]:
    """What each segment contributes: the rounded line, split by largest remainder."""
    shown = [entry for entry in of if entry.amount]
    if not 1 < len(shown) <= _SHOWN_MAX or any(entry.amount < 0 for entry in shown):
        return []
    weights = [_decimal(entry.amount) for entry in shown]
    return [
        Arithmetic(f"{entry.start} to {entry.end}", _formula(entry, currency), part)
        for entry, part in zip(shown, split_largest_remainder(amount, weights, step.scale), strict=True)
    ]


def _decimal(value: Number) -> Decimal:
    """A weight for splitting; its eighteenth decimal moves no cent."""
    if isinstance(value, Decimal):
        return value
    return Decimal(value.numerator * 10**18 // value.denominator).scaleb(-18)
