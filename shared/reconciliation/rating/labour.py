"""What hours cost (rating.md section 7): billable minutes, the rate of an hour, prepaid blocks, caps.

The whole history is folded at every asking, in order of work date and id: an entry that arrives or changes late moves
whatever was drawn after it, and the difference to what was billed is the correction. docs/decisions/0101 says how
blocks are drawn.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Literal, NamedTuple

from shared.events.contracts import Discount, Labour, PrepaidBlock, RateRow, RoundingStep, Terms, UnitPrice
from shared.events.discrepancies import Source
from shared.kernel.money import round_to, split, split_largest_remainder
from shared.reconciliation.rating.apply import apply_commitment, discount_step, fraction, line_step
from shared.reconciliation.rating.billed import difference
from shared.reconciliation.rating.model import ZERO, Arithmetic, Component, Number, Part, Service, Version
from shared.reconciliation.words import LABEL, SENTENCE, clip, price

When = Literal["out_of_hours", "weekend", "holiday"]
State = Literal["rated", "pending", "not_billable", "excluded", "outside", "no_rate"]
Kind = Literal["billed", "block", "carried", "refused", "over_cap"]

SOURCES_MAX = 20
_NOTHING = Fraction(0)
_NAMED = 8  # entries that a line's arithmetic names; it counts the rest


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


class Piece(NamedTuple):
    """Hours of an entry that met one fate. An entry that crosses a block's end or a cap has several."""

    kind: Kind
    """``carried``: owed until a block pays; ``refused``: BLOCK_OVERDRAWN; ``over_cap``: OVER_CAP."""
    day: date
    """On which they count: the work's, or the start of the block that paid for carried hours."""
    hours: Number
    """Billable hours."""
    rate: Number | None = None
    """Price of an hour; ``None`` unless billed."""
    block: str | None = None
    """The block drawn on, or whose overage rate holds."""
    drawn: Number = ZERO
    """What it took from the block: hours times the role's factor, or money."""


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


class Balance(NamedTuple):
    """A block, or a lot that rolled over into one, at the end of the part."""

    block: str
    start: date
    end: date
    unit: Literal["hours", "money"]
    held: Number
    """At its start."""
    drawn: Number
    rolled_over: Number
    """What moved into the next block."""
    expired: Number
    left: Number
    rolled_from: str | None = None
    """The block that a rolled-over lot comes from."""


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
    folded = _Fold(service.versions, service.currency, (*earlier, part), tenant_rates)
    since = date.min if folded.blocks else part.start  # without blocks nothing comes over from before
    ordered = sorted((e for e in entries if since <= e.worked_on < part.end), key=lambda e: (e.worked_on, e.id))
    _refuse_repeated(ordered)
    works = [folded.seen(entry) for entry in ordered]
    _bill_minutes(works)
    for work in works:
        folded.take(work)
    folded.advance(part.end, inclusive=False)
    components, shares = _lines(works, service, part, final)
    return Rated(
        components,
        tuple(_outcome(work, shares[work.entry.id]) for work in works if _of_part(work, part)),
        folded.balances(part.end),
        _plain(sum((debt.hours for debt in folded.debts), _NOTHING)),
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
            free.append(replace(line, quantity=_plain(quantity)))
    return (*difference(now, billed, currency), *free)


def _costs(line: Component) -> bool:
    return bool(line.amount or line.discounts or line.charges)


def worked_minutes(entry: Entry) -> Number:
    """Minutes worked: as entered, else end less start less breaks by instants; never below zero."""
    return _plain(_worked(entry))


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
    return _plain(minutes)


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
        value, formula = value * Fraction(rule.value), f"{formula} x {_text(rule.value)} for {rule.work_type}"
    factors = {
        "out_of_hours": rules.out_of_hours_factor,
        "weekend": rules.weekend_factor,
        "holiday": rules.holiday_factor,
    }
    # The name decides nothing but which of two equal factors is shown.
    largest = max(((factors[when], when) for when in entry.when), default=None)
    if largest is not None and largest[0] != 1:
        value, formula = value * Fraction(largest[0]), f"{formula} x {_text(largest[0])} {largest[1].replace('_', ' ')}"
    if terms.rounding.unit_price is not None:
        value = Fraction(round_to(value, terms.rounding.unit_price.scale, terms.rounding.unit_price.mode))
    return Rate(_plain(value), formula)


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


@dataclass(slots=True)
class _Work:
    """An entry on its way through the fold."""

    entry: Entry
    state: State
    worked: Fraction
    version: Version | None = None
    rate: Rate | None = None
    minutes: Fraction = _NOTHING
    why: list[str] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)

    @property
    def rules(self) -> Labour:
        return (self.version.terms.labour if self.version else None) or Labour()


def _worked(entry: Entry) -> Fraction:
    if entry.minutes is not None:
        return max(Fraction(entry.minutes), _NOTHING)
    if entry.start is None or entry.end is None or entry.end <= entry.start:
        return _NOTHING
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


def _bill_minutes(works: Sequence[_Work]) -> None:
    """Round each entry, or what a ticket's entries of one day come to; their difference goes to the last of them."""
    groups: dict[tuple[str, date, str], list[_Work]] = defaultdict(list)
    for work in works:
        if work.state == "rated":
            together = work.rules.group == "ticket_day" and work.entry.ticket is not None
            key = ("ticket", work.entry.worked_on, str(work.entry.ticket)) if together else None
            groups[key or ("entry", work.entry.worked_on, work.entry.id)].append(work)
    for group in groups.values():
        worked = sum((work.worked for work in group), _NOTHING)
        billable = Fraction(billable_minutes(worked, group[0].rules))
        rest = billable - worked
        for work in reversed(group):
            # What rounding down or a maximum takes away comes off the last entry first, and off none twice.
            work.minutes = max(work.worked + rest, _NOTHING)
            rest -= work.minutes - work.worked
        if billable != worked:
            whose = f" on {group[0].entry.ticket} that day" if len(group) > 1 else ""
            for work in group:
                work.why.append(f"{_text(_plain(worked))} min{whose} become {_text(_plain(billable))}")


@dataclass(slots=True)
class _Lot:
    """Something to draw on: a block, or what rolled over from one."""

    block: PrepaidBlock
    start: date
    end: date
    held: Fraction
    left: Fraction
    into: str | None = None
    """The block that a rolled-over lot moved into."""
    drawn: Fraction = _NOTHING
    rolled_over: Fraction = _NOTHING
    expired: Fraction = _NOTHING

    @property
    def order(self) -> tuple[bool, date, date, str]:
        return (self.into is None, self.end, self.start, self.block.block)

    def draw(self, hours: Fraction, rate: Fraction, role: str | None) -> tuple[Fraction, Fraction]:
        """(hours covered, what they took from it)."""
        if self.left <= 0:
            return _NOTHING, _NOTHING
        each = rate if self.block.hours is None else Fraction(self.block.role_factors.get(role or "", Decimal(1)))
        covered = hours if each == 0 else min(hours, self.left / each)
        self.left -= covered * each
        self.drawn += covered * each
        return covered, covered * each


class _Debt(NamedTuple):
    """Hours worked with nothing left in any block, to be paid by the next."""

    work: _Work
    hours: Fraction


class _Fold:
    """Blocks, debts and caps as the entries are read in order."""

    def __init__(
        self, versions: Sequence[Version], currency: str, parts: Sequence[Part], tenant_rates: Sequence[RateRow]
    ) -> None:
        self.versions = sorted(versions, key=lambda version: version.start)
        self.currency = currency
        self.parts = sorted(parts)
        self.tenant_rates = tenant_rates
        self.debts: list[_Debt] = []
        self.lots: list[_Lot] = []
        self.coming = sorted(_blocks(self.versions), key=lambda lot: (lot.start, lot.order))
        self.blocks = list(self.coming)
        self.capped: dict[tuple[date, str], Fraction] = defaultdict(Fraction)

    def seen(self, entry: Entry) -> _Work:
        """The entry with its terms and rate, or the reason why it is worth nothing."""
        version = next((v for v in self.versions if v.start <= entry.worked_on and _open(v, entry.worked_on)), None)
        work = _Work(entry, "rated", _worked(entry), version)
        effects = {rule.work_type: rule.effect for rule in work.rules.work_types}
        if version is None:
            work.state = "outside"
        elif effects.get(entry.work_type or "") == "excluded":
            work.state = "excluded"
        elif not entry.billable:
            work.state = "not_billable"
        elif not entry.approved:
            work.state = "pending"
        else:
            work.rate = rate_of(version.terms, self.currency, entry, self.tenant_rates)
            work.state = "rated" if work.rate is not None else "no_rate"
        return work

    def take(self, work: _Work) -> None:
        """Cap, blocks, then money: each takes what it can of the entry's hours."""
        self.advance(work.entry.worked_on, inclusive=True)
        if work.state != "rated" or work.rate is None:
            return
        day = work.entry.worked_on
        hours = self._within_cap(work, work.minutes / 60, None)
        hours = self._draw(work, hours, day)
        if hours <= 0:
            return
        blocked = bool(self.blocks)
        if blocked and work.rules.overdraw == "refuse":
            work.pieces.append(Piece("refused", day, _plain(hours)))
        elif blocked and work.rules.overdraw == "carry":
            self.debts.append(_Debt(work, hours))
            work.pieces.append(Piece("carried", day, _plain(hours)))
        else:
            self._bill(work, hours)

    def advance(self, day: date, *, inclusive: bool) -> None:
        """Blocks that begin pay what is owed; those that end expire or roll over; in order of date, ends first."""
        while True:
            begins = self.coming[0].start if self.coming else None
            ending = [lot for lot in self.lots if lot.into is None and lot.left > 0]
            first = min(ending, key=lambda lot: lot.order[1:], default=None)
            reached = [at for at in (begins, first.end if first else None) if at is not None]
            at = min(reached, default=None)
            if at is None or at > day or (at == day and not inclusive):
                return
            if first is not None and first.end == at:
                self._end(first)
            else:
                self.lots.append(self.coming.pop(0))
                owed, self.debts = self.debts, []
                for debt in owed:
                    rest = self._draw(debt.work, debt.hours, at)
                    if rest > 0:
                        self.debts.append(_Debt(debt.work, rest))

    def balances(self, day: date) -> tuple[Balance, ...]:
        """Every lot that began before ``day``."""
        return tuple(
            Balance(
                lot.into or lot.block.block,
                lot.start,
                lot.end,
                "money" if lot.block.hours is None else "hours",
                _plain(lot.held),
                _plain(lot.drawn),
                _plain(lot.rolled_over),
                _plain(lot.expired if lot.into is None else (lot.left if lot.end < day else _NOTHING)),
                _plain(lot.left if lot.into is None or lot.end >= day else _NOTHING),
                lot.block.block if lot.into else None,
            )
            for lot in sorted(self.lots, key=lambda lot: (lot.start, lot.order))
            if lot.start < day
        )

    def _end(self, lot: _Lot) -> None:
        """What is left moves into the next block up to the cap, as a lot that ends with it and moves no further."""
        after = min(
            (b for b in self.blocks if b.end > lot.end and b is not lot),
            key=lambda b: (b.start, b.end, b.block.block),
            default=None,
        )
        moved = min(lot.left, Fraction(lot.block.roll_over_cap or 0)) if after is not None else _NOTHING
        lot.rolled_over, lot.expired, lot.left = moved, lot.left - moved, _NOTHING
        if after is not None and moved > 0:
            start = max(lot.end, after.start)
            self.lots.append(_Lot(lot.block, start, after.end, moved, moved, after.block.block))

    def _draw(self, work: _Work, hours: Fraction, day: date) -> Fraction:
        """Draw on the lots valid on ``day``; answers the hours that none covered."""
        rate = Fraction(work.rate.value) if work.rate else _NOTHING
        for lot in sorted((lot for lot in self.lots if lot.start <= day < lot.end), key=lambda lot: lot.order):
            covered, drawn = lot.draw(hours, rate, work.entry.role)
            if covered > 0:
                work.pieces.append(
                    Piece("block", day, _plain(covered), None, lot.block.block, _plain(drawn)),
                )
                hours -= covered
            if hours <= 0:
                break
        return hours

    def _bill(self, work: _Work, hours: Fraction) -> None:
        day = work.entry.worked_on
        valid = sorted((b for b in self.blocks if b.start <= day < b.end), key=lambda lot: lot.order)
        block = next((b.block for b in reversed(valid) if b.block.overage_rate is not None), None)
        rate = block.overage_rate if block else (work.rate.value if work.rate else None)
        if rate is None:
            return
        hours = self._within_cap(work, hours, Fraction(rate))
        if hours > 0:
            work.pieces.append(Piece("billed", day, _plain(hours), rate, block.block if block else None))

    def _within_cap(self, work: _Work, hours: Fraction, rate: Fraction | None) -> Fraction:
        """The hours within the period's cap; the rest of the crossing entry is over it. ``rate`` is ``None`` for the
        cap in hours, which counts before blocks; the cap in money counts what is billed."""
        rules, terms = work.rules, work.version.terms if work.version else None
        cap = rules.cap_hours if rate is None else rules.cap_amount
        if cap is None or rate == 0 or hours <= 0:
            return hours
        part = self._part(work.entry.worked_on)
        each = Fraction(1) if rate is None else rate
        share = Fraction(1)
        if terms is not None and terms.prorate_allowances:
            share = Fraction((part.end - part.start).days, (part.full_end - part.full_start).days)
        key = (part.full_start, "hours" if rate is None else "money")
        within = min(hours, max(Fraction(cap) * share - self.capped[key], _NOTHING) / each)
        self.capped[key] += within * each
        if within < hours:
            work.pieces.append(Piece("over_cap", work.entry.worked_on, _plain(hours - within)))
        return within

    def _part(self, day: date) -> Part:
        """The part that holds ``day``. Before the first known one all days count as one period: it is over."""
        held = next((part for part in self.parts if part.start <= day < part.end), None)
        return held or Part(date.min, self.parts[0].start, date.min, self.parts[0].start)


def _open(version: Version, day: date) -> bool:
    return version.end is None or day < version.end


def _blocks(versions: Sequence[Version]) -> list[_Lot]:
    """Every block of any version, as its last version has it."""
    latest: dict[str, tuple[PrepaidBlock, Terms]] = {}
    for version in versions:
        for block in version.terms.labour.blocks if version.terms.labour else ():
            latest[block.block] = (block, version.terms)
    lots = []
    for block, terms in latest.values():
        held = Fraction(block.hours if block.hours is not None else block.amount or 0)
        if terms.prorate_allowances and block.hours is not None:
            since = max(block.start, versions[0].start)
            until = min(block.end, versions[-1].end or block.end)
            held *= Fraction(max((until - since).days, 0), (block.end - block.start).days)
        lots.append(_Lot(block, block.start, block.end, held, held))
    return lots


def _refuse_repeated(ordered: Sequence[Entry]) -> None:
    seen: set[str] = set()
    for entry in ordered:
        if entry.id in seen:
            raise ValueError(f"two time entries have the id {entry.id}; give each its own")
        seen.add(entry.id)


def _of_part(work: _Work, part: Part) -> bool:
    days = [work.entry.worked_on, *(piece.day for piece in work.pieces)]
    return any(part.start <= day < part.end for day in days)


def _outcome(work: _Work, amount: Decimal) -> Outcome:
    return Outcome(
        work.entry,
        work.state,
        _plain(work.worked),
        _plain(work.minutes),
        tuple(work.why),
        work.rate.value if work.rate else None,
        tuple(work.pieces),
        amount,
    )


_Share = tuple[_Work, Piece]


def _lines(
    works: Sequence[_Work], service: Service, part: Part, final: bool
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
    lines = _discounted(_within_room(lines, terms, step.scale), terms, service.currency, part)
    paid = _committed([line for line in lines if _costs(line)], terms, service, part, final)
    totals = {(line.component, line.unit_price): line.total for line in paid}
    for line, (_, group) in zip(lines, ordered, strict=True):
        weights = [Fraction(piece.hours) for _, piece in group]
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


def _discounted(lines: list[Component], terms: Terms, currency: str, part: Part) -> list[Component]:
    """Each discount on what the ones before left, percentages before amounts. One that begins or ends inside the part
    holds for it if it holds on its first day."""
    step = discount_step(terms.rounding, currency)
    held = [*terms.discounts]
    if terms.discount_amount is not None:
        held.insert(0, Discount(amount=terms.discount_amount))
    if terms.discount_pct is not None:
        held.insert(0, Discount(pct=terms.discount_pct))
    held = [d for d in held if (d.effective_from or part.start) <= part.start < (d.effective_to or part.end)]
    for discount in held:
        if discount.pct:
            exact = [Fraction(line.total) * Fraction(discount.pct) / 100 for line in lines]
            taken = [round_to(value, step.scale, step.mode) for value in exact]
            lines = _less(lines, taken, f"{_text(discount.pct)} %", f"{step.mode} {step.scale}", discount.name)
    for discount in held:
        if discount.amount:
            lefts = [max(line.total, ZERO) for line in lines]
            whole = round_to(min(discount.amount, sum(lefts, ZERO)), step.scale, step.mode)
            taken = split(whole, lefts, step.scale, terms.split, terms.order)
            lines = _less(lines, taken, f"{_text(whole)} off", f"{step.mode} {step.scale}", discount.name)
    return lines


def _less(
    lines: Sequence[Component], taken: Sequence[Decimal], said: str, rounding: str, name: str | None
) -> list[Component]:
    return [
        replace(
            line,
            discounts=line.discounts + off,
            steps=(*line.steps, Arithmetic(name or "discount", f"{said} of {_text(line.total)}", off, rounding)),
        )
        if off
        else line
        for line, off in zip(lines, taken, strict=True)
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
    step = Arithmetic("cap", f"less {_text(excess)} of rounding beyond the cap", component.total - excess)
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
    quantity = sum((hours for _, hours in amounts), _NOTHING)
    records = sorted({work.entry.record for work, _ in group if work.entry.record}, key=lambda source: source.id)
    sources = tuple(records[:SOURCES_MAX])
    steps = [Arithmetic("hours", _sum_text(amounts, quantity), _plain(quantity), None, sources, len(records))]
    amount = round_to(quantity * Fraction(rate or 0), step.scale, step.mode)
    if kind == "billed" and rate is not None:
        work = group[0][0]
        if work.rate is not None and group[0][1].block is None and work.rate.formula != price(rate, currency):
            steps.append(Arithmetic("rate", clip(work.rate.formula, SENTENCE), rate))
        formula = f"{_text(_plain(quantity))} x {price(rate, currency)}"
        steps.append(Arithmetic("amount", formula, amount, f"{step.mode} {step.scale}"))
    return Component(
        clip(name, LABEL),
        rate,
        _plain(quantity),
        amount,
        part.start,
        part.end,
        steps=tuple(steps),
        sources=sources,
        records=len(records),
        flags=_FLAGS[kind],
    )


def _sum_text(amounts: Sequence[tuple[_Work, Fraction]], total: Fraction) -> str:
    """``T-1 0.5 + T-2 0.75 = 1.25``."""
    named = [f"{work.entry.id} {_text(_plain(hours))}" for work, hours in amounts[:_NAMED]]
    if len(amounts) > _NAMED:
        named.append(f"{len(amounts) - _NAMED} more")
    text = clip(" + ".join(named), SENTENCE - 40)
    return f"{text} = {_text(_plain(total))}" if len(amounts) > 1 else text


def _plain(value: Fraction) -> Number:
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


def _text(value: Number) -> str:
    """A figure without needless zeros; a quotient at six decimals."""
    if isinstance(value, Fraction):
        value = round_to(value, 6)
    text = format(value, "f")
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"
