"""Cumulative rating: what is due less what was billed (rating.md section 5).

A period is rated from its start up to now as one whole, and what is already billed is taken away as it was booked. So
rounding, repricing and late usage correct themselves, and no tier, package, free unit, flat or fixed discount is used
twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from shared.kernel.money import amount_text
from shared.kernel.periods import Period, instant_of
from shared.reconciliation.exact import exact
from shared.reconciliation.rating.apply import due
from shared.reconciliation.rating.grid import version_at, zone_of
from shared.reconciliation.rating.model import ZERO, Arithmetic, Component, Measurement, Number, Part, Service
from shared.reconciliation.rating.numbers import minus, plus

_Key = tuple[str, Number | None]


class Statement(NamedTuple):
    """A sub-period ``[period.start, period.end)`` of a part, and the lines that were booked on it."""

    period: Period
    lines: tuple[Component, ...] = ()
    ref: str | None = None
    """The statement, as a correction names it."""


@exact
def rate(
    service: Service,
    measured: Measurement | None,
    part: Part,
    final: bool,
    billed: Sequence[Component],
    *,
    explain: bool = True,
) -> tuple[Component, ...]:
    """The lines that are to be billed now: due less billed, all of them on the part (``booking: current``).

    ``billed`` holds the lines of the part as they were booked on all statements together; lines of a voided invoice are
    left out, those of a credit note are among them with their sign. Raises what :func:`due` raises.
    """
    return difference(due(service, measured, part, final, explain=explain), billed, service.currency)


@exact
def rate_original(
    service: Service,
    measured: Measurement | None,
    part: Part,
    final: bool,
    statements: Sequence[Statement],
    *,
    explain: bool = True,
) -> tuple[Component, ...]:
    """The lines that are to be billed now, each on the sub-period to which it belongs (``booking: original``).

    ``statements`` are the sub-periods of the part so far, the last being the one that is now billed. A line of an
    earlier one has ``corrects`` = that statement's ``ref``. The total is that of :func:`rate`.
    """
    ordered = sorted(statements, key=lambda statement: statement.period)
    shares: list[dict[_Key, Component]] = [{} for _ in ordered]
    before: dict[_Key, Component] = {}
    for number, statement in enumerate(ordered):
        end = statement.period.end
        so_far = _until(service, measured, part, end)
        over = final if number == len(ordered) - 1 else end >= part.end
        now = _summed(due(service, so_far, part, over, explain=explain))
        for key, component in now.items():
            old = before.get(key)
            shares[number][key] = (
                component
                if old is None
                else _explained(_minus(component, old), component, old, service.currency, "due before")
            )
        for key in before.keys() - now.keys():  # reversed on the statements whose lines they were
            for share in shares[:number]:
                share.pop(key, None)
        before = now
    lines: list[Component] = []
    for number, (statement, share) in enumerate(zip(ordered, shares, strict=True)):
        corrects = statement.ref if number < len(ordered) - 1 else None
        start, end = max(statement.period.start, part.start), min(statement.period.end, part.end)
        for line in difference(tuple(share.values()), statement.lines, service.currency):
            lines.append(replace(line, start=start, end=end, corrects=line.corrects or corrects))
    return tuple(lines)


def difference(now: Iterable[Component], billed: Iterable[Component], currency: str) -> tuple[Component, ...]:
    """``now`` less ``billed``, matched by component and unit price: differences in the order of ``now``, then the
    reversals of what is no longer due, each naming (``corrects``) the line that it reverses."""
    lines: list[Component] = []
    left = _summed(billed)
    same: dict[_Key, list[Component]] = {}
    for component in now:
        same.setdefault(_key(component), []).append(component)
    for key, components in same.items():
        old = left.pop(key, None)
        if old is None:
            lines.extend(components)  # lines by segment stay as they are
        else:
            component = _summed(components)[key]
            lines.append(_explained(_minus(component, old), component, old, currency))
    lines.extend(_reversal(left[key], currency) for key in sorted(left, key=_order))
    return tuple(line for line in lines if line.amount or line.discounts or line.charges)


def _summed(components: Iterable[Component]) -> dict[_Key, Component]:
    """Equal components summed. The order in which what was billed is given does not matter."""
    summed: dict[_Key, Component] = {}
    for component in components:
        key = _key(component)
        old = summed.get(key)
        summed[key] = component if old is None else _plus(old, component)
    return summed


def _key(component: Component) -> _Key:
    """The line of a commitment matches whatever its amount; all others by component and unit price."""
    return component.component, None if component.category == "commitment" else component.unit_price


def _order(key: _Key) -> tuple[str, Number]:
    return key[0], ZERO if key[1] is None else key[1]


def _plus(one: Component, other: Component) -> Component:
    return replace(
        one,
        quantity=plus(one.quantity, other.quantity),
        amount=one.amount + other.amount,
        discounts=one.discounts + other.discounts,
        charges=one.charges + other.charges,
        start=min(one.start, other.start),
        end=max(one.end, other.end),
        booked=max(filter(None, (one.booked, other.booked)), default=None),
        steps=(*one.steps, *other.steps),
    )


def _minus(now: Component, old: Component) -> Component:
    return replace(
        now,
        quantity=minus(now.quantity, old.quantity),
        amount=now.amount - old.amount,
        discounts=now.discounts - old.discounts,
        charges=now.charges - old.charges,
        corrects=None,
        booked=None,
    )


def _explained(line: Component, now: Component, old: Component, currency: str, less: str = "billed") -> Component:
    if not now.steps:
        return line
    due_text, old_text = amount_text(now.total, currency), amount_text(old.total, currency)
    formula = f"{due_text} due - {old_text} {less} = {amount_text(line.total, currency)}"
    return replace(line, steps=(*now.steps, Arithmetic(f"less {less}", formula, line.total)))


def _reversal(old: Component, currency: str) -> Component:
    step = Arithmetic("reversed", f"0 due - {amount_text(old.total, currency)} billed", -old.total)
    return replace(old.reversed(step), flags=())


def _until(service: Service, measured: Measurement | None, part: Part, end: date) -> Measurement | None:
    """What was measured up to the end of a sub-period."""
    if measured is None or end >= part.end:
        return measured
    limit = instant_of(end, zone_of(service, version_at(service, part.start).terms))
    levels = tuple(
        level._replace(until=limit if level.until is None else min(level.until, limit))
        for level in measured.levels
        if level.at < limit
    )
    return replace(measured, levels=levels, amounts=tuple(a for a in measured.amounts if a.at < limit))


def total(components: Iterable[Component]) -> Decimal:
    """The sum of the totals."""
    return sum((component.total for component in components), ZERO)
