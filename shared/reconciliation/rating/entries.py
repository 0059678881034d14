"""What a line costs in each piece of a part, before anything is rounded (rating.md sections 2 and 3).

A part is cut into *pieces*, each under one version of the terms and one set of discounts. Levels of a gauge and flat
fees are priced piece by piece for the time that they stood. What accumulates (counters, peaks, packages) is priced as
a whole: a piece pays its version's price of all so far, less that version's price of what came before, so tiers go on
filling when the terms change.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from shared.events.contracts import FlatPrice, PackagePrice, PercentagePrice, Terms
from shared.events.discrepancies import Source
from shared.kernel.money import round_to
from shared.kernel.periods import instant_of
from shared.reconciliation.rating.billable import Allowances, Billable, allowances, billable
from shared.reconciliation.rating.fraction import WHOLE, Share, share_of
from shared.reconciliation.rating.gauge import Segment, segments, statistic
from shared.reconciliation.rating.grid import zone_of
from shared.reconciliation.rating.model import ZERO, Amount, Measurement, Number, Part, Service
from shared.reconciliation.rating.numbers import figure, plus, share, times
from shared.reconciliation.rating.prices import Charge, Fee, Transactions, flats, less, usage

_ONE = Decimal(1)
_PERCENT = Decimal("0.01")


class Piece(NamedTuple):
    """``[start, end)`` of a part, under one version of the terms."""

    number: int
    terms: Terms
    start: date
    end: date
    share: Share
    """Of the full period."""
    zone: str
    record: Source | None


class Entry(NamedTuple):
    """One exact amount, ``scaled / over``, and what it was computed from. It is divided after entries are summed."""

    piece: Piece
    charge: Charge
    share: Share
    scaled: Number
    over: int
    start: date
    end: date
    lasts: bool = False
    """It is a quantity for a time (a line shows their mean), not a quantity that adds up."""
    billable: Billable | None = None
    given: Allowances | None = None
    fees: tuple[Fee, ...] = ()

    @property
    def amount(self) -> Number:
        return share(self.scaled, 1, self.over)


def summed(of: Sequence[Entry]) -> Number:
    """The exact sum of entries; mostly they are divided alike, and once."""
    over = of[0].over
    if len(of) == 1:
        return of[0].amount
    total: Number = ZERO
    if all(entry.over == over for entry in of):
        for entry in of:
            total = plus(total, entry.scaled)
        return share(total, 1, over)
    for entry in of:
        total = plus(total, entry.amount)
    return total


def mean(of: Sequence[Entry]) -> Number:
    """The mean number of entries that last, over the time that they do."""
    total: Number = ZERO
    lasted: Number = ZERO
    alike = len({entry.share.denominator for entry in of}) == 1
    for entry in of:
        portion = figure(entry.share.numerator) if alike else entry.share.value
        total = plus(total, times(entry.charge.number, portion))
        lasted = plus(lasted, portion)
    return share(total, 1, lasted) if lasted else of[-1].charge.number


def cut(service: Service, part: Part, measured: Measurement | None) -> list[Piece]:
    """The pieces of a part. Where any part costs a whole period, what changes inside it does not count."""
    versions = service.versions
    last = bisect_left(versions, part.end, key=_starts)
    first = max(bisect_right(versions, part.start, key=_starts) - 1, 0)
    terms = versions[first].terms
    accumulates = measured is not None and measured.kind != "gauge" and not isinstance(terms.price, FlatPrice)
    if (terms.proration == "none" or terms.period.unit == "once") and not accumulates:
        cuts = [part.start, part.end]
    else:
        cuts = _cuts(service, part, first, last)
    pieces = []
    at = first
    for number, start in enumerate(cuts[:-1]):
        while at + 1 < last and versions[at + 1].start <= start:
            at += 1
        version, end = versions[at], cuts[number + 1]
        zone = zone_of(service, version.terms)
        portion = share_of(version.terms, part, start, end, zone)
        pieces.append(Piece(number, version.terms, start, end, portion, zone, version.record))
    return pieces


def _starts(version: object) -> date:
    return version.start  # type: ignore[attr-defined, no-any-return]


def _cuts(service: Service, part: Part, first: int, last: int) -> list[date]:
    cuts = {part.start, part.end}
    for version in service.versions[first:last]:
        cuts.add(version.start)
        for discount in version.terms.discounts:
            cuts.update(day for day in (discount.effective_from, discount.effective_to) if day is not None)
    return sorted(day for day in cuts if part.start <= day <= part.end) if len(cuts) > 2 else [part.start, part.end]


def entries(measured: Measurement | None, part: Part, pieces: Sequence[Piece], final: bool) -> Iterator[Entry]:
    """All amounts of a part, in order of time."""
    for piece in pieces:
        if isinstance(piece.terms.price, FlatPrice) and not piece.terms.excluded:
            yield from _flat(piece, piece.terms.price, final)
    if measured is None or all(isinstance(piece.terms.price, FlatPrice) for piece in pieces):
        return
    if measured.kind == "gauge":
        yield from _gauge(measured, part, pieces)
    else:
        yield from _accumulated(measured, part, pieces)


def _flat(piece: Piece, price: FlatPrice, final: bool) -> Iterator[Entry]:
    """Billed in advance it is due from the start; in arrears at the end."""
    if final or piece.terms.billing == "advance":
        charge = Charge(0, "flat", price.amount, _ONE)
        scaled, over = prorated(piece.terms, charge, piece.share)
        yield Entry(piece, charge, piece.share, scaled, over, piece.start, piece.end, True)


def prorated(terms: Terms, charge: Charge, portion: Share) -> tuple[Number, int]:
    """A charge for a share of a period: what is to be divided, and by what. Rounding inside the line comes by day or by
    unit, where the terms say so."""
    if portion == WHOLE:
        return times(charge.number, charge.unit_price), 1
    price = inner_price(terms, charge.unit_price, portion)
    if price is not None:
        return times(times(charge.number, price[0]), Decimal(price[1])), 1
    return times(times(charge.number, charge.unit_price), figure(portion.numerator)), portion.denominator


def inner_price(terms: Terms, price: Decimal, portion: Share) -> tuple[Decimal, int] | None:
    """A price that is rounded before it is multiplied: by day, with the number of days, or for the whole share (1)."""
    step = terms.rounding.day_price
    if step is not None and isinstance(portion.numerator, int) and terms.proration != "seconds":
        return round_to(share(price, 1, portion.denominator), step.scale, step.mode), portion.numerator
    step = terms.rounding.unit_price
    if step is not None:
        return round_to(share(price, *portion), step.scale, step.mode), 1
    return None


def _gauge(measured: Measurement, part: Part, pieces: Sequence[Piece]) -> Iterator[Entry]:
    one = _one_quantity(measured, part, pieces[0])
    highest: Number | None = None
    for piece in pieces:
        terms = piece.terms
        if isinstance(terms.price, FlatPrice) or terms.excluded:
            continue
        if isinstance(terms.price, PercentagePrice):
            raise ValueError("a percentage price needs single transactions, and a gauge has none; agree another price")
        given = allowances(terms, share_of(terms, part, part.start, part.end, piece.zone))
        before = highest
        for segment in _segments(measured, part, piece, one, given):
            bill = billable(terms, given, segment.quantity, measured.unit)
            if highest is None or bill.quantity > highest:
                highest = bill.quantity
            if not isinstance(terms.price, PackagePrice):
                for charge in usage(terms.price, bill.quantity):
                    scaled, over = prorated(terms, charge, segment.share)
                    yield Entry(
                        piece, charge, segment.share, scaled, over, segment.start, segment.end, True, bill, given
                    )
        if highest is not None:
            yield from _entered(piece, before, highest)


def _entered(piece: Piece, before: Number | None, highest: Number) -> Iterator[Entry]:
    """Flats of the tiers (and packages) that the highest level entered: whole, and once a period."""
    whole = usage if isinstance(piece.terms.price, PackagePrice) else flats
    price = piece.terms.price
    for charge in less(whole(price, highest), [] if before is None else whole(price, before)):
        yield Entry(piece, charge, WHOLE, times(charge.number, charge.unit_price), 1, piece.start, piece.end)


def statistic_of(terms: Terms) -> str:
    """What of a gauge is priced. Where any part costs a whole period, changes inside it do not count: its start does
    in advance, its highest level in arrears."""
    if terms.statistic == "prorated" and (terms.proration == "none" or terms.period.unit == "once"):
        return "first" if terms.billing == "advance" else "max"
    return terms.statistic


def _one_quantity(measured: Measurement, part: Part, first: Piece) -> Number | None:
    """The one quantity that is priced for the whole part; ``None``: each level for as long as it stood."""
    kind = statistic_of(first.terms)
    if kind == "prorated":
        return None
    return statistic(measured.levels, kind, part.start, part.end, first.zone)


def _segments(measured: Measurement, part: Part, piece: Piece, one: Number | None, given: Allowances) -> list[Segment]:
    if one is not None:
        return [Segment(piece.start, piece.end, one, piece.share)]
    found = segments(measured.levels, piece.terms, part, piece.start, piece.end, piece.share, piece.zone)
    if not measured.levels or (given.minimum and not found):
        return [Segment(piece.start, piece.end, ZERO, piece.share)]  # the caller says that nothing was there
    if given.minimum and found and found[0].start > piece.start:
        # The least quantity holds as long as the line is in service, also before the first level was seen.
        portion = share_of(piece.terms, part, piece.start, found[0].start, piece.zone)
        found.insert(0, Segment(piece.start, found[0].start, ZERO, portion))
    return found


def _accumulated(measured: Measurement, part: Part, pieces: Sequence[Piece]) -> Iterator[Entry]:
    transactions = Transactions()
    before: Number | None = None
    for piece, amounts in _by_piece(measured.amounts, pieces):
        price = piece.terms.price
        so_far = _so_far(measured.kind, before, amounts)
        if piece.terms.excluded or isinstance(price, FlatPrice):
            pass
        elif isinstance(price, PercentagePrice):
            yield from _fees(piece, price, transactions, amounts)
        else:
            yield from _added(measured, part, piece, before, so_far)
        before = so_far


def _by_piece(amounts: Sequence[Amount], pieces: Sequence[Piece]) -> list[tuple[Piece, Sequence[Amount]]]:
    """Usage goes to the version in force when it occurred."""
    if len(pieces) == 1:
        return [(pieces[0], amounts)]
    ends = [instant_of(piece.end, piece.zone) for piece in pieces[:-1]]
    sorted_in: list[list[Amount]] = [[] for _ in pieces]
    for amount in amounts:
        sorted_in[bisect_right(ends, amount.at)].append(amount)
    return list(zip(pieces, sorted_in, strict=True))


def _so_far(kind: str, before: Number | None, amounts: Sequence[Amount]) -> Number:
    if kind == "peak":
        marks = [amount.quantity for amount in amounts]
        return max(marks if before is None else [before, *marks], default=ZERO)
    total = ZERO if before is None else before
    for amount in amounts:
        total = plus(total, amount.quantity)
    return total


def _added(measured: Measurement, part: Part, piece: Piece, before: Number | None, so_far: Number) -> Iterator[Entry]:
    """What a piece adds: the price of all so far, less the price of what came before it."""
    given = allowances(piece.terms, share_of(piece.terms, part, part.start, part.end, piece.zone))
    bill = billable(piece.terms, given, so_far, measured.unit)
    charges = _whole(piece.terms, bill.quantity)
    earlier = []
    if before is not None:
        earlier = _whole(piece.terms, billable(piece.terms, given, before, measured.unit).quantity)
    for charge in less(charges, earlier):
        amount = times(charge.number, charge.unit_price)
        yield Entry(piece, charge, WHOLE, amount, 1, piece.start, piece.end, False, bill, given)


def _whole(terms: Terms, quantity: Number) -> list[Charge]:
    return [*usage(terms.price, quantity), *flats(terms.price, quantity)]


def _fees(
    piece: Piece, price: PercentagePrice, transactions: Transactions, amounts: Sequence[Amount]
) -> Iterator[Entry]:
    in_order = sorted(amounts, key=lambda a: (a.at, [(s.id, s.type, s.source) for s in a.sources], a.quantity))
    fees = tuple(transactions.fee(price, amount.quantity) for amount in in_order)
    total: Number = ZERO
    paying: Number = ZERO
    for fee in fees:
        total, paying = plus(total, fee.amount), plus(paying, fee.paying)
    charge = Charge(0, "percentage", price.rate_pct * _PERCENT, paying)
    if fees:
        yield Entry(piece, charge, WHOLE, total, 1, piece.start, piece.end, fees=fees)
