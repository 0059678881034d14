"""What is due for a part of a period, in the order of rating.md section 4: measure, convert, allow, price, round,
discount, cap, commit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import lru_cache
from heapq import nsmallest
from itertools import chain, repeat
from typing import Literal, NamedTuple

from shared.events.contracts import FlatPrice, Rounding, RoundingStep, Terms
from shared.events.discrepancies import Source
from shared.kernel.money import amount_text, exponent, round_to, split
from shared.reconciliation.exact import exact
from shared.reconciliation.rating import text
from shared.reconciliation.rating.entries import Entry, Piece, cut, entries, mean, summed
from shared.reconciliation.rating.fraction import share_of
from shared.reconciliation.rating.grid import version_at, zone_of
from shared.reconciliation.rating.model import ZERO, Arithmetic, Component, Measurement, Number, Part, Service
from shared.reconciliation.rating.numbers import minus, plus, share, times
from shared.reconciliation.words import quantity

SOURCES_MAX = 20
_HUNDRED = 100
_ONE = Decimal(1)
_CAN_FALL = ("last", "time_weighted")


@exact
def due(
    service: Service, measured: Measurement | None, part: Part, final: bool, *, explain: bool = True
) -> tuple[Component, ...]:
    """Everything due for a part of a period so far, in order: tiers ascending, a tier's usage before its flat.

    ``measured`` is what was measured in the part up to now (``None``: nothing is known, which is not zero: only flat
    fees are due). ``final``: the part is over, so what waits for its end is due too. ``explain=False`` leaves out
    ``steps``, which cost most of the time. Raises ``ValueError`` where the measure does not fit the terms: a unit that
    they do not convert, a gauge for a percentage.
    """
    pieces = cut(service, part, measured)
    if _waits(pieces[0].terms, measured, final):
        return ()
    lines = _lines(list(entries(measured, part, pieces, final)), service.currency, part, measured, explain)
    _discount(lines, pieces, service.currency, explain)
    sources, records = evidence(measured)
    components = [line.component(part, sources, records) for line in lines]
    step = line_step(pieces[0].terms.rounding, service.currency)
    most = _agreed(pieces, "maximum_amount")
    if most is not None:
        components = _cap(components, most[0], _covered(lines, most[1]), step, service.currency, explain)
    least = _agreed(pieces, "minimum_amount") if final else None
    if least is not None:
        covered = _covered(lines, least[1])
        components.extend(_missing(components, least[0], covered, step, service.currency, part, explain))
    return tuple(component for component in components if _matters(component))


def fraction(service: Service, part: Part) -> Number:
    """The share of its full period that a part costs (``rounding.fraction`` applied): what minimum and maximum amounts
    of a scope are multiplied by."""
    terms = version_at(service, part.start).terms
    return share_of(terms, part, part.start, part.end, zone_of(service, terms)).value


@exact
def apply_commitment(
    minimum: Decimal | None,
    maximum: Decimal | None,
    components: Sequence[Component],
    fraction: Number,
    currency: str,
    final: bool,
    part: Part,
    rounding: Rounding | None = None,
) -> tuple[Component, ...]:
    """Steps 8 and 9 once over all lines of a scope, ``components`` in contract line order.

    What exceeds ``maximum x fraction`` becomes a discount of the lines that exceed it, earlier lines being paid first.
    Where the totals stay below ``minimum x fraction`` and the period is over (``final``), the rest is one more line,
    ``minimum``, over ``part``.
    """
    step = line_step(rounding or Rounding(), currency)
    found = list(components)
    if maximum is not None:
        found = _cap(found, times(maximum, fraction), repeat(_ONE), step, currency, True)
    if minimum is not None and final:
        found.extend(_missing(found, times(minimum, fraction), repeat(_ONE), step, currency, part, True))
    return tuple(component for component in found if _matters(component))


def _waits(terms: Terms, measured: Measurement | None, final: bool) -> bool:
    """What can fall again bills nothing before the period's end. Billed in advance, nothing waits but usage."""
    accumulates = measured is not None and measured.kind != "gauge"
    if final or (terms.billing == "advance" and not accumulates):
        return False
    if terms.interim is not None:
        return terms.interim == "none"
    falls = measured is not None and measured.kind == "gauge" and terms.statistic in _CAN_FALL
    return terms.price.kind == "volume" or falls


def line_step(rounding: Rounding, currency: str) -> RoundingStep:
    """How the amount of a line is rounded."""
    return rounding.line or half_up(exponent(currency))


def discount_step(rounding: Rounding, currency: str) -> RoundingStep:
    return rounding.discount or half_up(exponent(currency))


@lru_cache(maxsize=32)
def half_up(scale: int) -> RoundingStep:
    return RoundingStep(scale=scale)


@dataclass(slots=True)
class _Line:
    """A line while it is made."""

    entries: list[Entry]
    amount: Decimal
    steps: list[Arithmetic]
    by_segment: bool
    discounts: Decimal = ZERO
    lefts: dict[int, Number] = field(default_factory=dict)
    """What is left of it in each piece of the part, where a discount or a commitment asked."""

    @property
    def left(self) -> Decimal:
        return self.amount - self.discounts

    def within(self, pieces: frozenset[int]) -> Number:
        """The share of what is left of the line that lies in some of the part's pieces."""
        if all(entry.piece.number in pieces for entry in self.entries):
            return _ONE
        self._spread()
        inside: Number = ZERO
        for number in pieces & self.lefts.keys():
            inside = plus(inside, self.lefts[number])
        return share(inside, 1, self.left) if inside and self.left else ZERO

    def take(self, taken: Decimal, pieces: frozenset[int]) -> None:
        """A discount on what lies in some of the pieces: the next one finds as much less there, and nowhere else."""
        inside = times(self.left, self.within(pieces))
        if inside:
            for number in pieces & self.lefts.keys():
                self.lefts[number] = minus(self.lefts[number], share(times(self.lefts[number], taken), 1, inside))
        self.discounts += taken

    def _spread(self) -> None:
        """What each piece holds of the line: what it added, until a discount takes from some pieces alone."""
        total = summed(self.entries)
        if self.lefts or not total:
            return
        for number in {entry.piece.number for entry in self.entries}:
            added = summed([entry for entry in self.entries if entry.piece.number == number])
            self.lefts[number] = share(times(self.left, added), 1, total)

    def component(self, part: Part, sources: tuple[Source, ...], records: int) -> Component:
        charge = self.entries[0].charge
        flat = isinstance(self.entries[0].piece.terms.price, FlatPrice)
        first, last = self.entries[0], self.entries[-1]
        return Component(
            charge.component,
            charge.unit_price,
            _quantity(self.entries),
            self.amount,
            first.start if self.by_segment else part.start,
            last.end if self.by_segment else part.end,
            self.discounts,
            ZERO,
            "flat" if flat else "usage",
            None,
            tuple(self.steps),
            () if flat else sources,
            0 if flat else records,
            ("beyond_last_tier",) if any(entry.charge.beyond for entry in self.entries) else (),
        )


def _quantity(of: Sequence[Entry]) -> Number:
    """What adds up is added; of what lasts (levels of a gauge) it is the mean over the time that it stood."""
    if len(of) == 1:
        return of[0].charge.number
    if of[0].lasts:
        return mean(of)
    total: Number = ZERO
    for entry in of:
        total = plus(total, entry.charge.number)
    return total


def _lines(
    all_entries: list[Entry], currency: str, part: Part, measured: Measurement | None, explain: bool
) -> list[_Line]:
    """Entries of the same component and price are one line: summed exactly, rounded once."""
    grouped: dict[tuple[object, ...], list[Entry]] = {}
    for entry in all_entries:
        key: tuple[object, ...] = (entry.charge.component, entry.charge.unit_price)
        if entry.piece.terms.lines == "segment" and entry.lasts:
            key = (*key, entry.start, entry.end)
        grouped.setdefault(key, []).append(entry)
    groups = list(grouped.values())
    if len(groups) > 1:
        groups.sort(key=lambda group: group[0].charge.rank)
    lines = []
    for group in groups:
        terms = group[0].piece.terms
        step = line_step(terms.rounding, currency)
        amount = round_to(summed(group), step.scale, step.mode)
        steps = text.line_steps(group, amount, step, currency, part, measured) if explain else []
        lines.append(_Line(group, amount, steps, terms.lines == "segment" and group[0].lasts))
    return lines


class _Reduction(NamedTuple):
    kind: Literal["pct", "amount"]
    value: Decimal
    name: str


def _discount(lines: list[_Line], pieces: Sequence[Piece], currency: str, explain: bool) -> None:
    """Steps 6 and 7: each discount takes from what the former left, percentages before amounts."""
    found: dict[tuple[_Reduction, int], set[int]] = {}
    for piece in pieces:
        met: dict[_Reduction, int] = {}
        for reduction in _reductions(piece):
            met[reduction] = met.get(reduction, 0) + 1
            found.setdefault((reduction, met[reduction]), set()).add(piece.number)
    if not found:
        return
    terms = pieces[0].terms
    step = discount_step(terms.rounding, currency)
    for (reduction, _), numbers in sorted(found.items(), key=lambda item: item[0][0].kind == "amount"):
        if reduction.kind == "pct":
            _take_share(lines, reduction, frozenset(numbers), step, currency, explain)
        else:
            _take_amount(lines, reduction, frozenset(numbers), step, terms, currency, explain)


def _reductions(piece: Piece) -> list[_Reduction]:
    terms = piece.terms
    reductions = []
    if terms.discount_pct:
        reductions.append(_Reduction("pct", terms.discount_pct, "discount"))
    if terms.discount_amount:
        reductions.append(_Reduction("amount", terms.discount_amount, "discount"))
    for discount in terms.discounts:
        begun = discount.effective_from is None or discount.effective_from <= piece.start
        if begun and (discount.effective_to is None or piece.start < discount.effective_to):
            name = discount.name or "discount"
            if discount.pct:
                reductions.append(_Reduction("pct", discount.pct, name))
            if discount.amount:
                reductions.append(_Reduction("amount", discount.amount, name))
    return reductions


def _take_share(
    lines: list[_Line], by: _Reduction, numbers: frozenset[int], step: RoundingStep, currency: str, explain: bool
) -> None:
    for line in lines:
        within = line.within(numbers)
        taken = round_to(share(times(times(line.left, within), by.value), 1, _HUNDRED), step.scale, step.mode)
        if explain and taken:
            part = "" if within == 1 else f" x {text.ratio(within)}"
            formula = (
                f"{amount_text(line.left, currency)}{part} x {quantity(by.value)} % = {amount_text(taken, currency)}"
            )
            line.steps.append(Arithmetic(by.name, formula, taken, text.rounding(step)))
        line.take(taken, numbers)


def _take_amount(
    lines: list[_Line],
    by: _Reduction,
    numbers: frozenset[int],
    step: RoundingStep,
    terms: Terms,
    currency: str,
    explain: bool,
) -> None:
    lefts = [round_to(max(times(line.left, line.within(numbers)), ZERO), step.scale, step.mode) for line in lines]
    whole = min(by.value, sum(lefts, ZERO))
    if not whole:
        return
    whole = round_to(whole, step.scale, step.mode)
    for line, left, taken in zip(lines, lefts, split(whole, lefts, step.scale, terms.split, terms.order), strict=True):
        if explain and taken:
            formula = f"{amount_text(by.value, currency)} off"
            if taken != by.value:
                formula += f", {amount_text(taken, currency)} of it on {amount_text(left, currency)}"
            line.steps.append(Arithmetic(by.name, formula, taken, text.rounding(step)))
        line.take(taken, numbers)


def _agreed(
    pieces: Sequence[Piece], name: Literal["minimum_amount", "maximum_amount"]
) -> tuple[Number, frozenset[int]] | None:
    """The part's least or greatest amount by its own terms, and the pieces that it covers. Flat fees have one only as
    part of a scope, which is for the caller."""
    total: Number = ZERO
    covered = set()
    for piece in pieces:
        terms = piece.terms
        amount: Decimal | None = getattr(terms, name)
        if amount is None or terms.scope is not None or terms.excluded or isinstance(terms.price, FlatPrice):
            continue
        total = plus(total, share(amount, *piece.share))
        covered.add(piece.number)
    return (total, frozenset(covered)) if covered else None


def _covered(lines: Sequence[_Line], pieces: frozenset[int]) -> list[Number]:
    """The share of each line to which a commitment of some of the part's pieces applies."""
    return [line.within(pieces) for line in lines]


def _cap(
    components: Sequence[Component],
    most: Number,
    covered: Iterable[Number],
    step: RoundingStep,
    currency: str,
    explain: bool,
) -> list[Component]:
    """Lines are paid in their order; what exceeds the room left becomes a discount of the line that exceeds it."""
    room = round_to(most, step.scale, step.mode)
    capped = []
    for component, portion in zip(components, covered, strict=False):
        counts = round_to(times(component.total, portion), step.scale, step.mode)
        excess = counts - room
        if excess > 0:
            total, left = amount_text(counts, currency), amount_text(room, currency)
            formula = f"{total} - {left} left to the maximum = {amount_text(excess, currency)}"
            steps = (*component.steps, Arithmetic("maximum", formula, excess)) if explain else ()
            component = replace(component, discounts=component.discounts + excess, steps=steps)
        room -= counts - max(excess, ZERO)
        capped.append(component)
    return capped


def _missing(
    components: Sequence[Component],
    least: Number,
    covered: Iterable[Number],
    step: RoundingStep,
    currency: str,
    part: Part,
    explain: bool,
) -> list[Component]:
    """The line that raises the totals to ``least``, where they stay below it."""
    total = ZERO
    for component, portion in zip(components, covered, strict=False):
        total += round_to(times(component.total, portion), step.scale, step.mode)
    missing = round_to(minus(least, total), step.scale, step.mode)
    if missing <= 0:
        return []
    whole = round_to(least, step.scale, step.mode)
    formula = f"{amount_text(whole, currency)} - {amount_text(total, currency)} = {amount_text(missing, currency)}"
    steps = (Arithmetic("minimum", formula, missing, text.rounding(step)),) if explain else ()
    return [Component("minimum", None, ZERO, ZERO, part.start, part.end, ZERO, missing, "commitment", None, steps)]


def _matters(component: Component) -> bool:
    return bool(component.amount or component.discounts or component.charges)


def evidence(measured: Measurement | None) -> tuple[tuple[Source, ...], int]:
    """The records that a measure rests on: the first twenty by id, and how many they are."""
    if measured is None:
        return (), 0
    kept = chain((level.sources for level in measured.levels), (amount.sources for amount in measured.amounts))
    distinct = {(source.id, source.type, source.source): source for source in chain.from_iterable(kept)}
    records = sum(amount.records for amount in measured.amounts) if measured.amounts else len(distinct)
    return tuple(distinct[key] for key in nsmallest(SOURCES_MAX, distinct)), records
