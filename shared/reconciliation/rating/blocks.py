"""Hours through caps, prepaid blocks and overdraw, folded in order of work date and id (rating.md section 7, 4-7).

docs/decisions/0101 says how blocks are drawn, and why nothing of it is kept between askings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Literal, NamedTuple

from shared.events.contracts import Labour, PrepaidBlock, RateRow, Terms
from shared.reconciliation.rating.hours import NOTHING, Entry, Rate, billable_minutes, figure, plain, rate_of, worked
from shared.reconciliation.rating.model import ZERO, Number, Part, Version

State = Literal["rated", "pending", "not_billable", "excluded", "outside", "no_rate"]
Kind = Literal["billed", "block", "carried", "refused", "over_cap"]


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


@dataclass(slots=True)
class Work:
    """An entry on its way through the fold."""

    entry: Entry
    state: State
    worked: Fraction
    version: Version | None = None
    rate: Rate | None = None
    minutes: Fraction = NOTHING
    why: list[str] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)

    @property
    def rules(self) -> Labour:
        return (self.version.terms.labour if self.version else None) or Labour()


def bill_minutes(works: Sequence[Work]) -> None:
    """Round each entry, or what a ticket's entries of one day come to; their difference goes to the last of them."""
    groups: dict[tuple[str, date, str], list[Work]] = defaultdict(list)
    for work in works:
        if work.state == "rated":
            together = work.rules.group == "ticket_day" and work.entry.ticket is not None
            key = ("ticket", work.entry.worked_on, str(work.entry.ticket)) if together else None
            groups[key or ("entry", work.entry.worked_on, work.entry.id)].append(work)
    for group in groups.values():
        worked = sum((work.worked for work in group), NOTHING)
        billable = Fraction(billable_minutes(worked, group[0].rules))
        rest = billable - worked
        for work in reversed(group):
            # What rounding down or a maximum takes away comes off the last entry first, and off none twice.
            work.minutes = max(work.worked + rest, NOTHING)
            rest -= work.minutes - work.worked
        if billable != worked:
            whose = f" on {group[0].entry.ticket} that day" if len(group) > 1 else ""
            for work in group:
                work.why.append(f"{figure(plain(worked))} min{whose} become {figure(plain(billable))}")


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
    drawn: Fraction = NOTHING
    rolled_over: Fraction = NOTHING
    expired: Fraction = NOTHING

    @property
    def order(self) -> tuple[bool, date, date, str]:
        return (self.into is None, self.end, self.start, self.block.block)

    def draw(self, hours: Fraction, rate: Fraction, role: str | None) -> tuple[Fraction, Fraction]:
        """(hours covered, what they took from it)."""
        if self.left <= 0:
            return NOTHING, NOTHING
        each = rate if self.block.hours is None else Fraction(self.block.role_factors.get(role or "", Decimal(1)))
        covered = hours if each == 0 else min(hours, self.left / each)
        self.left -= covered * each
        self.drawn += covered * each
        return covered, covered * each


class _Debt(NamedTuple):
    """Hours worked with nothing left in any block, to be paid by the next."""

    work: Work
    hours: Fraction


class Fold:
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

    def seen(self, entry: Entry) -> Work:
        """The entry with its terms and rate, or the reason why it is worth nothing."""
        version = next((v for v in self.versions if v.start <= entry.worked_on and _open(v, entry.worked_on)), None)
        work = Work(entry, "rated", worked(entry), version)
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

    def take(self, work: Work) -> None:
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
            work.pieces.append(Piece("refused", day, plain(hours)))
        elif blocked and work.rules.overdraw == "carry":
            self.debts.append(_Debt(work, hours))
            work.pieces.append(Piece("carried", day, plain(hours)))
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
                plain(lot.held),
                plain(lot.drawn),
                plain(lot.rolled_over),
                plain(lot.expired if lot.into is None else (lot.left if lot.end < day else NOTHING)),
                plain(lot.left if lot.into is None or lot.end >= day else NOTHING),
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
        moved = min(lot.left, Fraction(lot.block.roll_over_cap or 0)) if after is not None else NOTHING
        lot.rolled_over, lot.expired, lot.left = moved, lot.left - moved, NOTHING
        if after is not None and moved > 0:
            start = max(lot.end, after.start)
            self.lots.append(_Lot(lot.block, start, after.end, moved, moved, after.block.block))

    def _draw(self, work: Work, hours: Fraction, day: date) -> Fraction:
        """Draw on the lots valid on ``day``; answers the hours that none covered."""
        rate = Fraction(work.rate.value) if work.rate else NOTHING
        for lot in sorted((lot for lot in self.lots if lot.start <= day < lot.end), key=lambda lot: lot.order):
            covered, drawn = lot.draw(hours, rate, work.entry.role)
            if covered > 0:
                work.pieces.append(
                    Piece("block", day, plain(covered), None, lot.block.block, plain(drawn)),
                )
                hours -= covered
            if hours <= 0:
                break
        return hours

    def _bill(self, work: Work, hours: Fraction) -> None:
        day = work.entry.worked_on
        valid = sorted((b for b in self.blocks if b.start <= day < b.end), key=lambda lot: lot.order)
        block = next((b.block for b in reversed(valid) if b.block.overage_rate is not None), None)
        rate = block.overage_rate if block else (work.rate.value if work.rate else None)
        if rate is None:
            return
        hours = self._within_cap(work, hours, Fraction(rate))
        if hours > 0:
            work.pieces.append(Piece("billed", day, plain(hours), rate, block.block if block else None))

    def _within_cap(self, work: Work, hours: Fraction, rate: Fraction | None) -> Fraction:
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
        within = min(hours, max(Fraction(cap) * share - self.capped[key], NOTHING) / each)
        self.capped[key] += within * each
        if within < hours:
            work.pieces.append(Piece("over_cap", work.entry.worked_on, plain(hours - within)))
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
