"""What hours cost (rating.md section 7): billable minutes, the rate of an hour, prepaid blocks, caps.

The whole history is folded at every asking, in order of work date and id: an entry that arrives or changes late moves
whatever was drawn after it, and the difference to what was billed is the correction. docs/decisions/0101 says how
blocks are drawn.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from shared.events.contracts import Labour, RateRow, RoundingStep, Terms
from shared.kernel.money import round_to, split, split_largest_remainder
from shared.reconciliation.rating.apply import SOURCES_MAX, apply_commitment, discount_step, fraction, line_step
from shared.reconciliation.rating.billed import difference
from shared.reconciliation.rating.blocks import Balance, Fold, Kind, Piece, State, Work, bill_minutes
from shared.reconciliation.rating.grid import version_at
from shared.reconciliation.rating.hours import (
    NOTHING,
    Entry,
    Rate,
    When,
    billable_minutes,
    figure,
    plain,
    rate_of,
    worked_minutes,
)
from shared.reconciliation.rating.model import ZERO, Arithmetic, Component, Number, Part, Service
from shared.reconciliation.words import LABEL, SENTENCE, clip, price

__all__ = [
    "Balance",
    "Entry",
    "Kind",
    "Outcome",
    "Piece",
    "Rate",
    "Rated",
    "State",
    "When",
    "billable_minutes",
    "labour",
    "labour_difference",
    "rate_of",
    "worked_minutes",
]

_NAMED = 8  # entries that a line's arithmetic names; it counts the rest


class Outcome(NamedTuple):
    """What became of one entry."""

    entry: Entry
    state: State
    """``pending``: not approved; ``excluded``: its work type is out of scope; ``outside``: no terms on its date;
    ``no_rate``: nothing says what an hour costs, and that is not zero."""
    worked: Number
    """Minutes."""
    billable: Number
    """Minutes after increment, minimum and maximum."""
    why: tuple[str, ...] = ()
    """How the minutes came to be billable: ``31 up to 45``."""
    rate: Number | None = None
    """Price of an hour before blocks."""
    pieces: tuple[Piece, ...] = ()
    amount: Decimal = ZERO
    """Its share of the part's lines; over all entries they sum to the lines exactly."""


@dataclass(frozen=True, slots=True)
class Rated:
    """The lines of one part, what became of its entries, and how the blocks stand at its end."""

    components: tuple[Component, ...]
    outcomes: tuple[Outcome, ...]
    """By work date and id: the part's entries, and earlier ones whose carried hours a block of this part paid."""
    balances: tuple[Balance, ...] = ()
    carried: Number = ZERO
    """Hours overdrawn that no block has paid yet."""


def labour(
    service: Service,
    entries: Iterable[Entry],
    part: Part,
    final: bool = True,
    *,
    earlier: Sequence[Part] = (),
    tenant_rates: Sequence[RateRow] = (),
) -> Rated:
    """Everything due for the hours of ``part``, with its discounts, and its least amount once it is ``final``.

    ``entries`` are all of the contract line since its first block began, whatever their order; later ones than the
    part do no harm. ``earlier``: the parts before, where terms have both caps and blocks (a cap is a period's own).
    ``tenant_rates`` price what the contract does not: a role's rate, else the row without a role.
    Raises ``ValueError`` for two entries of one id.
    """
    folded = Fold(service.versions, service.currency, (*earlier, part), tenant_rates)
    since = date.min if folded.blocks else part.start  # without blocks nothing comes over from before
    ordered = sorted((e for e in entries if since <= e.worked_on < part.end), key=lambda e: (e.worked_on, e.id))
    _refuse_repeated(ordered)
    works = [folded.seen(entry) for entry in ordered]
    bill_minutes(works)
    for work in works:
        folded.take(work)
    folded.advance(part.end, inclusive=False)
    components, shares = _lines(works, service, part, final)
    return Rated(
        components,
        tuple(_outcome(work, shares[work.entry.id]) for work in works if _of_part(work, part)),
        folded.balances(part.end),
        plain(sum((debt.hours for debt in folded.debts), NOTHING)),
    )


def labour_difference(now: Sequence[Component], billed: Sequence[Component], currency: str) -> tuple[Component, ...]:
    """What is to be billed now, as ``difference`` has it; hours that cost nothing (drawn, refused, over a cap) stay, as
    far as they were not shown before."""
    shown: dict[tuple[str, Number | None], Fraction] = defaultdict(Fraction)
    for line in billed:
        shown[line.component, line.unit_price] += Fraction(line.quantity)
    free = []
    for line in now:
        quantity = Fraction(line.quantity) - Fraction(shown[line.component, line.unit_price])
        if quantity and not _costs(line):
            free.append(replace(line, quantity=plain(quantity)))
    return (*difference(now, billed, currency), *free)


def _costs(line: Component) -> bool:
    return bool(line.amount or line.discounts or line.charges)


def _refuse_repeated(ordered: Sequence[Entry]) -> None:
    seen: set[str] = set()
    for entry in ordered:
        if entry.id in seen:
            raise ValueError(f"two time entries have the id {entry.id}; give each its own")
        seen.add(entry.id)


def _of_part(work: Work, part: Part) -> bool:
    days = [work.entry.worked_on, *(piece.day for piece in work.pieces)]
    return any(part.start <= day < part.end for day in days)


def _outcome(work: Work, amount: Decimal) -> Outcome:
    return Outcome(
        work.entry,
        work.state,
        plain(work.worked),
        plain(work.minutes),
        tuple(work.why),
        work.rate.value if work.rate else None,
        tuple(work.pieces),
        amount,
    )


_Share = tuple[Work, Piece]


def _lines(
    works: Sequence[Work], service: Service, part: Part, final: bool
) -> tuple[tuple[Component, ...], dict[str, Decimal]]:
    """The part's lines, and each entry's share of their totals."""
    shares: dict[str, Decimal] = defaultdict(Decimal)
    version = max((v for v in service.versions if v.start < part.end), key=lambda v: v.start, default=None)
    if version is None:
        return (), shares
    terms = version.terms
    groups: dict[tuple[str, str, Number], list[_Share]] = defaultdict(list)
    for work in works:
        for piece in work.pieces:
            if part.start <= piece.day < part.end:
                groups[_key(work.entry, piece, (terms.labour or Labour()).lines == "entry")].append((work, piece))
    step = line_step(terms.rounding, service.currency)
    ordered = sorted(groups.items(), key=lambda item: (item[0][0], item[0][1], Fraction(item[0][2])))
    lines = [_line(key[1], group, service.currency, part, step) for key, group in ordered]
    lines = _within_room(lines, terms, step.scale)
    lefts = [_of_pieces(line, group) for line, (_, group) in zip(lines, ordered, strict=True)]
    lines = _discounted(lines, lefts, service, terms)
    paid = _committed([line for line in lines if _costs(line)], terms, service, part, final)
    totals = {(line.component, line.unit_price): line.total for line in paid}
    for line, left, (_, group) in zip(lines, lefts, ordered, strict=True):
        weights = [max(held, NOTHING) for _, held in left]
        total = totals.get((line.component, line.unit_price), ZERO)
        for (work, _), share in zip(group, split_largest_remainder(total, weights, step.scale), strict=True):
            shares[work.entry.id] += share
    return (*paid, *(line for line in lines if not _costs(line))), shares


def _within_room(lines: Sequence[Component], terms: Terms, scale: int) -> list[Component]:
    """Hours end exactly at a cap in money; several rounded lines may exceed it by cents, which the last gives back."""
    room = _room(terms)
    if room is None:
        return list(lines)
    kept = []
    for line in lines:
        kept.append(line if line.total <= room else _cut(line, line.total - room, scale))
        room -= kept[-1].total
    return kept


_Left = list[tuple[date, Fraction]]  # what each piece of a line still holds of it, exactly, with the piece's day


def _of_pieces(line: Component, group: Sequence[_Share]) -> _Left:
    whole = sum((Fraction(piece.hours) for _, piece in group), NOTHING)
    return [(piece.day, Fraction(line.total) * Fraction(piece.hours) / whole) for _, piece in group]


def _discounted(lines: list[Component], lefts: list[_Left], service: Service, terms: Terms) -> list[Component]:
    """Each discount on what the ones before left of the hours of its own days, percentages before amounts. What it
    takes leaves ``lefts``."""
    step = discount_step(terms.rounding, service.currency)
    held = _held(service, sorted({day for left in lefts for day, _ in left}))
    for ((pct, amount, name), _), days in sorted(held.items(), key=lambda item: item[0][0][0] is None):
        insides = [sum((holds for day, holds in left if day in days), NOTHING) for left in lefts]
        if pct is not None:
            said = f"{figure(pct)} %"
            taken = [round_to(inside * Fraction(pct) / 100, step.scale, step.mode) for inside in insides]
        else:
            weights = [round_to(max(inside, NOTHING), step.scale, step.mode) for inside in insides]
            whole = round_to(min(amount or ZERO, sum(weights, ZERO)), step.scale, step.mode)
            said = f"{figure(whole)} off"
            taken = split(whole, weights, step.scale, terms.split, terms.order)
        for left, inside, off in zip(lefts, insides, taken, strict=True):
            if inside:
                left[:] = [
                    (day, holds - holds * Fraction(off) / inside if day in days else holds) for day, holds in left
                ]
        lines = _less(lines, taken, insides, said, f"{step.mode} {step.scale}", name)
    return lines


_Off = tuple[Decimal | None, Decimal | None, str | None]  # percent, amount, name


def _held(service: Service, days: Sequence[date]) -> dict[tuple[_Off, int], set[date]]:
    """The discounts in contract order, each with the days on which it holds; equal ones of one day are several."""
    found: dict[tuple[_Off, int], set[date]] = defaultdict(set)
    for day in days:
        terms = version_at(service, day).terms
        offs: list[_Off] = [(terms.discount_pct, None, None), (None, terms.discount_amount, None)]
        for discount in terms.discounts:
            if (discount.effective_from or day) <= day and (
                discount.effective_to is None or day < discount.effective_to
            ):
                offs.append((discount.pct, discount.amount, discount.name))
        met: dict[_Off, int] = defaultdict(int)
        for off in offs:
            if off[0] or off[1]:
                met[off] += 1
                found[off, met[off]].add(day)
    return found


def _less(
    lines: Sequence[Component],
    taken: Sequence[Decimal],
    insides: Sequence[Fraction],
    said: str,
    rounding: str,
    name: str | None,
) -> list[Component]:
    return [
        replace(
            line,
            discounts=line.discounts + off,
            steps=(*line.steps, Arithmetic(name or "discount", f"{said} of {figure(plain(inside))}", off, rounding)),
        )
        if off
        else line
        for line, inside, off in zip(lines, insides, taken, strict=True)
    ]


def _committed(
    lines: Sequence[Component], terms: Terms, service: Service, part: Part, final: bool
) -> tuple[Component, ...]:
    """Least and greatest amount of the part, unless they are a scope's."""
    if terms.scope is not None or (terms.minimum_amount is None and terms.maximum_amount is None):
        return tuple(lines)
    return apply_commitment(
        terms.minimum_amount,
        terms.maximum_amount,
        lines,
        fraction(service, part),
        service.currency,
        final,
        part,
        terms.rounding,
    )


def _room(terms: Terms) -> Decimal | None:
    """What the cap in money allows for the part's lines; ``None`` without one, or where it is prorated."""
    return terms.labour.cap_amount if terms.labour and not terms.prorate_allowances else None


def _cut(component: Component, excess: Decimal, scale: int) -> Component:
    step = Arithmetic("cap", f"less {figure(excess)} of rounding beyond the cap", component.total - excess)
    return replace(component, discounts=round_to(excess, scale), steps=(*component.steps, step))


_ORDER: dict[Kind, str] = {"billed": "1", "block": "2", "carried": "3", "refused": "4", "over_cap": "5"}


def _key(entry: Entry, piece: Piece, by_entry: bool) -> tuple[str, str, Number]:
    """(order of the kind, name, rate) of the line that a piece stands on."""
    whose = entry.id if by_entry else ", ".join(text for text in (entry.role, entry.work_type) if text)
    words: tuple[str | None, ...]
    if piece.kind == "billed":
        # An overage rate is the block's, whoever did whatever: its hours are one line.
        whose = whose if piece.block is None or by_entry else ""
        words = ("overage", piece.block, whose) if piece.block else ("hours", whose)
    elif piece.kind == "block":
        words = ("block", piece.block, whose if by_entry else "")
    else:
        words = (piece.kind.replace("_", " "), whose if by_entry else "")
    return _ORDER[piece.kind], " ".join(word for word in words if word), piece.rate if piece.rate is not None else ZERO


_FLAGS: dict[Kind, tuple[str, ...]] = {
    "billed": (),
    "block": (),
    "carried": ("carried",),
    "refused": ("BLOCK_OVERDRAWN",),
    "over_cap": ("OVER_CAP",),
}


def _line(name: str, group: Sequence[_Share], currency: str, part: Part, step: RoundingStep) -> Component:
    kind, rate = group[0][1].kind, group[0][1].rate
    # A block's line counts what was drawn from it; every other what was worked.
    in_block = kind == "block"
    amounts = [(work, Fraction(piece.drawn if in_block else piece.hours)) for work, piece in group]
    quantity = sum((hours for _, hours in amounts), NOTHING)
    records = sorted({work.entry.record for work, _ in group if work.entry.record}, key=lambda source: source.id)
    sources = tuple(records[:SOURCES_MAX])
    steps = [Arithmetic("hours", _sum_text(amounts, quantity), plain(quantity), None, sources, len(records))]
    amount = round_to(quantity * Fraction(rate or 0), step.scale, step.mode)
    if kind == "billed" and rate is not None:
        work = group[0][0]
        if work.rate is not None and group[0][1].block is None and work.rate.formula != price(rate, currency):
            steps.append(Arithmetic("rate", clip(work.rate.formula, SENTENCE), rate))
        formula = f"{figure(plain(quantity))} x {price(rate, currency)}"
        steps.append(Arithmetic("amount", formula, amount, f"{step.mode} {step.scale}"))
    return Component(
        clip(name, LABEL),
        rate,
        plain(quantity),
        amount,
        part.start,
        part.end,
        steps=tuple(steps),
        sources=sources,
        records=len(records),
        flags=_FLAGS[kind],
    )


def _sum_text(amounts: Sequence[tuple[Work, Fraction]], total: Fraction) -> str:
    """``T-1 0.5 + T-2 0.75 = 1.25``."""
    named = [f"{work.entry.id} {figure(plain(hours))}" for work, hours in amounts[:_NAMED]]
    if len(amounts) > _NAMED:
        named.append(f"{len(amounts) - _NAMED} more")
    text = clip(" + ".join(named), SENTENCE - 40)
    return f"{text} = {figure(plain(total))}" if len(amounts) > 1 else text
