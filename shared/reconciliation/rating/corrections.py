"""Corrections as FOCUS tells them (rating.md section 10): ledger, delta and replacement all fold to one state.

A charge of a closed billing period is never edited. Its correction is a row of a later billing period with
``ChargeClass`` = Correction and the old charge period.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple, TypeVar

from shared.kernel.money import split_largest_remainder
from shared.reconciliation.exact import exact


class Costs(NamedTuple):
    """The four costs of a charge, with all decimals of the source. Each folds by itself; ``None``: not said."""

    billed: Decimal | None = None
    effective: Decimal | None = None
    contracted: Decimal | None = None
    listed: Decimal | None = None

    def plus(self, other: Costs) -> Costs:
        """Their sums, one by one."""
        return Costs(*(_sum(one, two) for one, two in zip(self, other, strict=True)))

    def negated(self) -> Costs:
        return Costs(*(None if cost is None else -cost for cost in self))


class Row(NamedTuple):
    """One charge of an export."""

    id: str
    billing_period: date
    """First day of the billing period."""
    charge_start: datetime
    charge_end: datetime
    resource: str | None
    """``None`` in bulk adjustments."""
    sku: str | None
    quantity: Decimal | None
    """``None`` is not zero: an adjustment moves cost and no usage."""
    costs: Costs
    category: str = "Usage"
    """ChargeCategory."""
    correction: bool = False
    """ChargeClass = Correction."""
    scope: str = ""
    """What its export covers: a later export of the same billing period and scope replaces it."""
    exported_at: datetime | None = None
    """x_ExportDateTime; ``None``: nothing replaces it."""


class Key(NamedTuple):
    """What a charge is about. Adjustments stand apart: they are never matched to usage."""

    adjustment: bool
    resource: str
    sku: str
    charge_start: datetime
    charge_end: datetime


class State(NamedTuple):
    """What rows of one key come to."""

    quantity: Decimal | None
    costs: Costs
    rows: tuple[str, ...]
    """Ids of the rows, sorted."""
    late: bool
    """Only corrections, no original: usage that came late, or a bulk adjustment."""


G = TypeVar("G", Key, date, tuple[datetime, datetime])


def key_of(row: Row) -> Key:
    """What ``row`` is about."""
    adjustment = row.category.casefold() == "adjustment"
    return Key(adjustment, row.resource or "", row.sku or "", row.charge_start, row.charge_end)


def standing(rows: Iterable[Row]) -> list[Row]:
    """The rows that no later export of their billing period and scope replaces, by id; a row that is repeated within
    its export counts once."""
    kept = list(rows)
    latest: dict[tuple[date, str], datetime] = {}
    for row in kept:
        if row.exported_at is not None:
            place = (row.billing_period, row.scope)
            latest[place] = max(latest.get(place, row.exported_at), row.exported_at)
    held = {
        (row.id, row.billing_period, row.scope): row
        for row in sorted(kept, key=repr)
        if row.exported_at is None or row.exported_at == latest[(row.billing_period, row.scope)]
    }
    return sorted(held.values(), key=lambda row: (row.billing_period, row.scope, row.id))


def fold(rows: Iterable[Row]) -> dict[Key, State]:
    """What was consumed, as it is known now: by resource, sku and charge period, zero states included."""
    return _group(standing(rows), key_of)


def by_billing_period(rows: Iterable[Row]) -> dict[date, State]:
    """What each invoice shows."""
    return _group(standing(rows), lambda row: row.billing_period)


def by_charge_period(rows: Iterable[Row]) -> dict[tuple[datetime, datetime], State]:
    """What was consumed in each charge period."""
    return _group(standing(rows), lambda row: (row.charge_start, row.charge_end))


@exact
def _group(rows: Iterable[Row], of: Callable[[Row], G]) -> dict[G, State]:
    states: dict[G, State] = {}
    for row in rows:
        before: State = states.get(of(row), State(None, Costs(), (), True))
        states[of(row)] = State(
            _sum(before.quantity, row.quantity),
            before.costs.plus(row.costs),
            tuple(sorted((*before.rows, row.id))),
            before.late and row.correction,
        )
    return dict(sorted(states.items(), key=lambda item: item[0]))


def ledger(old: Iterable[Row], new: Iterable[Row], billing_period: date) -> list[Row]:
    """The correction of ``old`` to ``new``, booked in ``billing_period``: each old row negated, then the new ones."""
    reversed_ = [
        _booked(row, f"{row.id}:reversed", _negated(row.quantity), row.costs.negated(), billing_period) for row in old
    ]
    return [*reversed_, *(_booked(row, f"{row.id}:corrected", row.quantity, row.costs, billing_period) for row in new)]


@exact
def delta(old: Sequence[Row], new: Sequence[Row], billing_period: date) -> list[Row]:
    """The same as differences alone, one row for each key that has one."""
    before, after = _group(old, key_of), _group(new, key_of)
    shapes = {key_of(row): row for row in (*new, *old)}
    rows = []
    for key in sorted(shapes):
        nothing = State(None, Costs(), (), True)
        was, now = before.get(key, nothing), after.get(key, nothing)
        quantity = _sum(now.quantity, _negated(was.quantity))
        costs = now.costs.plus(was.costs.negated())
        if quantity or any(costs):
            rows.append(_booked(shapes[key], f"{shapes[key].id}:delta", quantity, costs, billing_period))
    return rows


def _booked(row: Row, id: str, quantity: Decimal | None, costs: Costs, billing_period: date) -> Row:
    return row._replace(id=id, quantity=quantity, costs=costs, billing_period=billing_period, correction=True)


def allocated(cost: Decimal, weights: Mapping[str, Decimal], scale: int) -> dict[str, Decimal]:
    """A bulk adjustment over what it may belong to, by largest remainder: for a report, never for the record."""
    names = sorted(weights)
    parts = split_largest_remainder(cost, [weights[name] for name in names], scale)
    return dict(zip(names, parts, strict=True))


def _sum(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    if one is None or other is None:
        return one if other is None else other
    return one + other


def _negated(value: Decimal | None) -> Decimal | None:
    return None if value is None else -value
