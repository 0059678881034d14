"""What a comparison answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from shared.events.discrepancies import Code, Direction, DiscrepancyBody, Source
from shared.kernel.canonical import canonical

RULES = 1
"""Version of the rules: raised whenever a golden body changes."""

FAMILIES: dict[Code, str] = {
    Code.QTY_UNDER: "QTY",
    Code.QTY_OVER: "QTY",
    Code.PHANTOM_LINE: "PHANTOM",
    Code.UNBILLED_SERVICE: "UNBILLED",
    Code.UNBILLED_CLIENT: "UNBILLED",
    Code.MISSING_LINE: "UNBILLED",
    Code.PRICE_MISMATCH: "PRICE",
    Code.UNMAPPED_CLIENT: "UNMAPPED",
    Code.UNMAPPED_PRODUCT: "UNMAPPED",
}
"""Codes that turn into each other share a family, and so a stream (protocols.md section 9)."""


class State(StrEnum):
    """What holds for a group. An empty group (nothing to compare) has no verdict at all."""

    MATCHED = "matched"
    BREAK = "break"
    NOT_COMPARABLE = "not_comparable"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A side that has not arrived."""

    side: str
    """``invoice``, ``invoice_lines``, ``usage_complete``, ``mapping``, ``partial_period``, ``price``, ``unit`` or
    ``terms``."""
    what: str
    """In words, with names: ``Huntress has not declared October complete``."""
    until: date | None
    """When it is due, if that is known."""


@dataclass(frozen=True, slots=True)
class Break:
    """One discrepancy: the stream's key (finest business identifiers) and the body."""

    key: tuple[str, ...]
    body: DiscrepancyBody

    @property
    def stream_key(self) -> tuple[str, ...]:
        """Entity of the discrepancy's stream: (family, client, period, key...)."""
        period = f"{self.body.period.from_}/{self.body.period.to}" if self.body.period else ""
        return (self.body.family, self.body.client or "", period, *self.key)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer for one group: billed - expected - explained - broken = 0, exactly (None where no price is known)."""

    state: State
    breaks: tuple[Break, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    """What is not yet comparable. A group may be a break and wait for more."""
    expected: Decimal | None = None
    billed: Decimal | None = None
    explained: Decimal = Decimal(0)
    explained_by: str | None = None
    broken: Decimal = Decimal(0)
    currency: str | None = None
    next_change: date | None = None
    """The next date whose coming may change the answer by itself."""
    owed: bool = False
    """True if something is due that no invoice answers: what the client's level adds up."""
    sources: tuple[Source, ...] = ()
    """The records that what is due rests on, the first twenty by id..."""
    records: int = 0
    """...of so many."""

    def __post_init__(self) -> None:
        if self.expected is None or self.billed is None:
            return
        residual = self.billed - self.expected - self.explained - self.broken
        signed = sum(
            (
                -one.body.amount if one.body.direction is Direction.CLIENT_OWES_US else one.body.amount
                for one in self.breaks
                if one.body.amount is not None
            ),
            Decimal(0),
        )
        if residual != 0 or signed != self.broken:
            raise ArithmeticError(
                f"residual {residual} is not zero: billed {self.billed}, expected {self.expected}, "
                f"explained {self.explained}, broken {self.broken}, of which breaks say {signed}"
            )


def body_bytes(body: DiscrepancyBody) -> bytes:
    """The canonical bytes of a body: what a replay compares."""
    return canonical(body.model_dump(mode="json", exclude_defaults=True))


def material(body: DiscrepancyBody) -> tuple[object, ...]:
    """What makes a change worth a record: code, direction, quantity, amount, currency, tolerance."""
    return (body.code, body.direction, body.quantity, body.amount, body.currency, body.tolerance)
