"""One time entry: what it worked, what of that is billable, and what an hour of it costs (rating.md section 7, 1-2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Literal, NamedTuple

from shared.events.contracts import Labour, RateRow, Terms, UnitPrice
from shared.events.discrepancies import Source
from shared.kernel.money import round_to
from shared.reconciliation.rating.model import ZERO, Number
from shared.reconciliation.words import price

When = Literal["out_of_hours", "weekend", "holiday"]
NOTHING = Fraction(0)


@dataclass(frozen=True, slots=True)
class Entry:
    """One piece of work: its duration as entered, or the instants between which it lasted."""

    id: str
    worked_on: date
    """Local date of the work."""
    minutes: Number | None = None
    """As entered; ``None``: by ``start``, ``end`` and ``breaks``."""
    start: datetime | None = None
    end: datetime | None = None
    breaks: tuple[tuple[datetime, datetime], ...] = ()
    billable: bool = True
    approved: bool = True
    role: str | None = None
    work_type: str | None = None
    ticket: str | None = None
    when: frozenset[When] = frozenset()
    contract: str | None = None
    record: Source | None = None
    """The record that says so."""

    def __post_init__(self) -> None:
        if self.minutes is None and (self.start is None or self.end is None):
            raise ValueError(f"time entry {self.id} has neither minutes nor start and end")


def worked_minutes(entry: Entry) -> Number:
    """Minutes worked: as entered, else end less start less breaks by instants; never below zero."""
    return plain(worked(entry))


def billable_minutes(worked: Number, rules: Labour) -> Number:
    """``worked`` minutes rounded to the increment, then raised to the minimum, then cut to the maximum; 0 stays 0."""
    minutes = Fraction(worked)
    if minutes <= 0:
        return ZERO
    if rules.increment_minutes:
        steps = minutes / Fraction(rules.increment_minutes)
        whole = {"up": -(-steps // 1), "nearest": (steps + Fraction(1, 2)) // 1, "down": steps // 1}
        minutes = whole[rules.increment_mode] * Fraction(rules.increment_minutes)
    minutes = max(minutes, Fraction(rules.minimum_minutes))
    if rules.maximum_minutes is not None:
        minutes = min(minutes, Fraction(rules.maximum_minutes))
    return plain(minutes)


class Rate(NamedTuple):
    """The price of an hour, and how it came about."""

    value: Number
    formula: str
    """``120.00 x 1.5 onsite``."""


def rate_of(terms: Terms, currency: str, entry: Entry, tenant_rates: Sequence[RateRow] = ()) -> Rate | None:
    """The rate of an hour of ``entry`` before blocks; ``None`` when neither contract nor tenant has one."""
    rules = terms.labour or Labour()
    base = _base_rate(terms, rules, entry, tenant_rates)
    rule = next((r for r in rules.work_types if r.work_type == entry.work_type), None)
    if rule is not None and rule.effect == "custom" and rule.value is not None:
        value, formula = Fraction(rule.value), f"{price(rule.value, currency)} for {rule.work_type}"
    elif base is None:
        return None
    else:
        value, formula = Fraction(base), price(base, currency)
    if rule is not None and rule.effect == "add" and rule.value is not None:
        value, formula = value + Fraction(rule.value), f"{formula} + {price(rule.value, currency)} for {rule.work_type}"
    if rule is not None and rule.effect == "multiply" and rule.value is not None:
        value, formula = value * Fraction(rule.value), f"{formula} x {figure(rule.value)} for {rule.work_type}"
    factors = {
        "out_of_hours": rules.out_of_hours_factor,
        "weekend": rules.weekend_factor,
        "holiday": rules.holiday_factor,
    }
    # The name decides nothing but which of two equal factors is shown.
    largest = max(((factors[when], when) for when in entry.when), default=None)
    if largest is not None and largest[0] != 1:
        value *= Fraction(largest[0])
        formula += f" x {figure(largest[0])} {largest[1].replace('_', ' ')}"
    if terms.rounding.unit_price is not None:
        value = Fraction(round_to(value, terms.rounding.unit_price.scale, terms.rounding.unit_price.mode))
    return Rate(plain(value), formula)


def _base_rate(terms: Terms, rules: Labour, entry: Entry, tenant_rates: Sequence[RateRow]) -> Decimal | None:
    """The first that exists: contract with role and work type, with role, with work type, contract; then the
    tenant's for the role, and the tenant's."""
    wanted = [(entry.role, entry.work_type), (entry.role, None), (None, entry.work_type), (None, None)]
    for role, work_type in wanted:
        found = _row(rules.rates, role, work_type, entry.worked_on)
        if found is not None:
            return found
    if rules.rate is not None:
        return rules.rate
    if isinstance(terms.price, UnitPrice):
        return terms.price.unit_amount
    by_role = _row(tenant_rates, entry.role, None, entry.worked_on)
    return by_role if by_role is not None else _row(tenant_rates, None, None, entry.worked_on)


def _row(rows: Sequence[RateRow], role: str | None, work_type: str | None, day: date) -> Decimal | None:
    """The rate of the row for exactly this role and work type in force on ``day``; of several the latest begun."""
    held = [
        (row.effective_from or date.min, row.rate)
        for row in rows
        if (row.role, row.work_type) == (role, work_type)
        and (row.effective_from is None or row.effective_from <= day)
        and (row.effective_to is None or day < row.effective_to)
    ]
    return max(held)[1] if held else None


def worked(entry: Entry) -> Fraction:
    """As :func:`worked_minutes`."""
    if entry.minutes is not None:
        return max(Fraction(entry.minutes), NOTHING)
    if entry.start is None or entry.end is None or entry.end <= entry.start:
        return NOTHING
    seconds = _seconds(entry.start, entry.end)
    free = entry.start  # up to here breaks are already taken off: two that overlap count once
    for begun, ended in sorted(entry.breaks):
        since, until = max(begun, free), min(ended, entry.end)
        if since < until:
            seconds -= _seconds(since, until)
            free = until
    return seconds / 60


def _seconds(start: datetime, end: datetime) -> Fraction:
    elapsed = end - start
    return Fraction(elapsed.days * 86_400 + elapsed.seconds) + Fraction(elapsed.microseconds, 1_000_000)


def plain(value: Fraction) -> Number:
    """The same number as a ``Decimal`` where it has a last digit."""
    rest, twos, fives = value.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest != 1:
        return value
    scale = max(twos, fives)
    digits = value.numerator * 10**scale // value.denominator
    return Decimal((int(digits < 0), tuple(map(int, str(abs(digits)))), -scale))


def figure(value: Number) -> str:
    """A figure without needless zeros; a quotient at six decimals."""
    if isinstance(value, Fraction):
        value = round_to(value, 6)
    text = format(value, "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"
