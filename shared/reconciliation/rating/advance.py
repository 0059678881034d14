"""Changes and cancellations inside a period that was billed in advance (rating.md section 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Literal, NamedTuple

from shared.events.contracts import Terms
from shared.kernel.money import amount_text, round_to
from shared.reconciliation.exact import exact
from shared.reconciliation.rating import text
from shared.reconciliation.rating.apply import discount_step, line_step
from shared.reconciliation.rating.entries import Entry, Piece, prorated
from shared.reconciliation.rating.fraction import Share, share_of
from shared.reconciliation.rating.model import ZERO, Arithmetic, Component, Number, Part
from shared.reconciliation.rating.numbers import minus, share
from shared.reconciliation.rating.prices import Charge

_DAY = timedelta(days=1)


class Position(NamedTuple):
    """What is held: so many units at a price of a whole period each."""

    quantity: Number
    unit_price: Decimal
    component: str = "usage"


@exact
def change_lines(
    terms: Terms,
    currency: str,
    time_zone: str,
    part: Part,
    on: date,
    old: Position,
    new: Position,
    splits: Sequence[date] = (),
) -> tuple[Component, ...]:
    """What a change from ``old`` to ``new`` on day ``on`` of a part adds to its lines, as ``terms.change`` books it.

    ``delta``: one line of the difference for the rest (two where the price changes with the quantity); ``remaining``:
    ``old`` back and ``new`` charged for the rest; ``replace``: the original line back in full, then a line for each
    segment of the part, also cut at the source's own billing dates (``splits``). They agree before rounding. An upgrade
    or a conversion to another product is ``remaining``. Nothing where any part costs a whole period
    (``proration: none``), or the change lies outside the part.
    """
    if terms.proration == "none" or not part.start <= on < part.end or old == new:
        return ()
    if terms.change == "replace":
        days = sorted({part.start, on, part.end, *(day for day in splits if part.start < day < part.end)})
        lines = [_line(terms, currency, time_zone, part, part.start, part.end, _back(old))]
        for start, end in pairwise(days):
            lines.append(_line(terms, currency, time_zone, part, start, end, old if start < on else new))
    elif terms.change == "delta" and (old.unit_price == new.unit_price or old.quantity == new.quantity):
        lines = [_line(terms, currency, time_zone, part, on, part.end, _step(old, new))]
    else:
        lines = [_line(terms, currency, time_zone, part, on, part.end, held) for held in (_back(old), new)]
    return tuple(line for line in lines if line.amount)


@exact
def cancel_lines(
    terms: Terms,
    currency: str,
    time_zone: str,
    part: Part,
    on: date,
    since: date,
    lines: Sequence[Component],
) -> tuple[Component, ...]:
    """What cancelling on day ``on`` (the first that is not billed) gives back of a part's booked ``lines``.

    ``since`` is the day of the purchase or of the last renewal; the first rule of ``terms.refund`` that matches holds,
    ``unused`` where there is none. With ``none`` nothing comes back and billing goes on until the commitment's end.
    """
    credit = refund(terms, on, since)
    if credit == "none":
        return ()
    if credit == "full":
        return tuple(_negated(line, currency) for line in lines)
    end_of_use = max(on + _DAY if terms.last_day_billed else on, part.start)
    if terms.proration == "none" or end_of_use >= part.end:
        return ()
    portion = share_of(terms, part, end_of_use, part.end, time_zone)
    return tuple(
        line
        for line in (_unused(terms, currency, part, end_of_use, portion, line, time_zone) for line in lines)
        if line.amount or line.discounts
    )


def refund(terms: Terms, on: date, since: date) -> str:
    """``full``, ``unused`` or ``none``: the first rule within whose days the cancellation lies."""
    if not terms.refund:
        return "unused"
    days = (on - since).days
    return next((rule.credit for rule in terms.refund if rule.within is None or days < rule.within), "none")


def _step(old: Position, new: Position) -> Position:
    if old.unit_price == new.unit_price:
        return new._replace(quantity=minus(new.quantity, old.quantity))
    return new._replace(unit_price=new.unit_price - old.unit_price)


def _back(held: Position) -> Position:
    return held._replace(quantity=-held.quantity)


def _line(terms: Terms, currency: str, time_zone: str, part: Part, start: date, end: date, held: Position) -> Component:
    portion = share_of(terms, part, start, end, time_zone)
    charge = Charge(0, held.component, held.unit_price, held.quantity)
    piece = Piece(0, terms, start, end, portion, time_zone, None)
    entry = Entry(piece, charge, portion, *prorated(terms, charge, portion), start, end, True)
    step = line_step(terms.rounding, currency)
    amount = round_to(entry.amount, step.scale, step.mode)
    steps = tuple(text.line_steps([entry], amount, step, currency, part))
    category: Literal["usage", "flat"] = "flat" if held.component == "flat" else "usage"
    return Component(held.component, held.unit_price, held.quantity, amount, start, end, category=category, steps=steps)


def _unused(
    terms: Terms, currency: str, part: Part, start: date, portion: Share, line: Component, time_zone: str
) -> Component:
    """A booked line back for the rest of the part, its discounts by the share of the line that comes back."""
    price = line.unit_price if isinstance(line.unit_price, Decimal) else None
    if price is None:
        step = line_step(terms.rounding, currency)
        amount = round_to(share(-line.amount, *portion), step.scale, step.mode)
        back = replace(line, quantity=-line.quantity, amount=amount, start=start, steps=())
    else:
        held = Position(-line.quantity, price, line.component)
        back = _line(terms, currency, time_zone, part, start, part.end, held)
    cut = discount_step(terms.rounding, currency)
    discounts = ZERO
    if line.discounts and line.amount:
        discounts = round_to(share(line.discounts, back.amount, line.amount), cut.scale, cut.mode)
    return replace(back, discounts=discounts, charges=ZERO, corrects=line.booked, booked=None, sources=line.sources)


def _negated(line: Component, currency: str) -> Component:
    step = Arithmetic("refund", f"{amount_text(line.total, currency)} back in full", -line.total)
    return line.reversed(step)
