"""What the rules of labour see: the expected hours of a contract line's part, what became of its entries, and what the
invoice bills for them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

from shared.events.discrepancies import Side, Source
from shared.kernel.money import round_to
from shared.kernel.periods import Period
from shared.reconciliation import words
from shared.reconciliation.bodies import Frame
from shared.reconciliation.chains import Chain
from shared.reconciliation.inputs import Product, TimeEntry
from shared.reconciliation.rating.labour import Outcome, Piece, Rated
from shared.reconciliation.rating.model import Number, Part

ZERO = Decimal(0)
_DIGEST = re.compile("[0-9a-f]{32}")
_HOURS = 9
"""Decimals of hours: a quotient of minutes by sixty is cut here for showing, never for an amount."""


def hours(value: Number | Fraction) -> Decimal:
    """Hours as a figure with a last digit."""
    return words.field(value) if isinstance(value, Decimal) else round_to(value, _HOURS)


@dataclass(frozen=True, slots=True)
class LabourLine:
    """A part of a contract line that bills hours: an expected line like any other. Without a contract line
    (``chain is None``): approved, billable time that no terms price; its amount is not known."""

    key: tuple[str, ...]
    """``("contract", source, contract, line, part start)``, or ``("time", product)``."""
    product: Product
    chain: Chain | None
    part: Part | None
    period: Period
    entries: tuple[TimeEntry, ...]
    """Those whose work lies in the part, by day, source and id."""
    rated: Rated | None
    would: Decimal
    """What the line would come to with its entries that wait for approval, beyond what it comes to."""
    hours: Decimal
    """Hours that the invoice must bill."""
    unit_price: Number | None
    """The rate, where all hours have the same."""
    amount: Decimal | None
    """What is due, with flat parts, discounts and least amounts."""
    currency: str | None

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        return self.rated.outcomes if self.rated is not None else ()

    @property
    def ref(self) -> str | None:
        return self.chain.ref if self.chain is not None else None

    @property
    def stream(self) -> tuple[str, ...]:
        """Finest business identifiers: of the contract line, else the product."""
        return (self.product.id, *self.chain.key) if self.chain is not None else (self.product.id,)

    @property
    def break_key(self) -> tuple[str, ...]:
        """Of a break of this part: the contract line and the part's first day."""
        return self.stream if self.part is None else (*self.stream, self.part.start.isoformat())

    @property
    def side(self) -> Side:
        """What is due, as a break shows it."""
        price = None if self.unit_price is None else words.shown(self.unit_price)
        return Side(quantity=self.hours, unit_price=price, amount=self.amount, ref=self.ref)

    def pieces(self, kind: str) -> list[tuple[Outcome, Piece]]:
        """The hours in this part that met one fate, with their entry's outcome."""
        return [
            (outcome, piece)
            for outcome in self.outcomes
            for piece in outcome.pieces
            if piece.kind == kind and self.period.contains(piece.day)
        ]

    def rates(self) -> list[Fraction]:
        return sorted(Fraction(piece.rate) for _, piece in self.pieces("billed") if piece.rate is not None)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the invoice bills for a line."""

    hours: Decimal
    amount: Decimal
    ref: str = ""
    records: tuple[Source, ...] = ()

    @property
    def side(self) -> Side:
        """What is billed, as a break shows it."""
        return Side(quantity=words.field(self.hours), amount=self.amount, ref=self.ref or None)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Hours of a line that, by their entries, stand on an invoice that bills nothing else of the group's month."""

    hours: Decimal
    amount: Decimal
    """Signed like what explains billed less expected: negative."""
    by: str
    """``billed on INV-20977``."""


@dataclass(frozen=True, slots=True)
class LabourCase:
    """The labour of a group."""

    frame: Frame
    lines: tuple[LabourLine, ...]
    answers: dict[tuple[str, ...], Answer]
    """By the line's key."""
    elsewhere: dict[tuple[str, ...], Elsewhere]
    """By the line's key."""
    invoiced: bool
    """Whether the month has been invoiced: before, what is not billed is not missing."""
    overlooked: bool
    """Whether the month should have been invoiced by now and nothing else says that it was not: its documents are not
    all here, or of another span."""

    def answer(self, line: LabourLine) -> Answer:
        return self.answers.get(line.key, Answer(ZERO, ZERO))

    def unbilled_hours(self, line: LabourLine) -> Decimal:
        """Approved billable hours beyond those billed; an invoice without hours is read by its amount."""
        answer = self.answer(line)
        billed = answer.hours
        if answer.hours == 0 and answer.amount > 0 and line.amount:
            billed = hours(Fraction(line.hours) * Fraction(answer.amount) / Fraction(line.amount))
        elsewhere = self.elsewhere.get(line.key)
        short = line.hours - billed - (elsewhere.hours if elsewhere else ZERO)
        return max(min(short, line.hours), ZERO)  # hours credited beyond those billed were never worked

    def stale_before(self) -> date | None:
        as_of = self.frame["as_of"]
        return None if as_of is None else as_of - timedelta(days=self.frame["settings"].time_stale_days)


def entry_name(one: TimeEntry) -> str:
    """``T-1``; of a tool that gives its entries no ids, so that a digest stands for one, ``2026-10-18 (639b60)``."""
    return f"{one.worked_on} ({one.entry[:6]})" if _DIGEST.fullmatch(one.entry) else one.entry


def entry_names(entries: Sequence[TimeEntry]) -> str:
    """``T-1, T-2 and 3 more``."""
    names = [entry_name(one) for one in entries]
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return words.clip(", ".join(names[:3]) + rest, 120)


def worked(entries: Sequence[TimeEntry]) -> Decimal:
    return hours(sum((Fraction(one.minutes) for one in entries), Fraction(0)) / 60)
