"""What a comparison answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from shared.events.discrepancies import Code, DiscrepancyBody

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


def material(body: DiscrepancyBody) -> tuple[object, ...]:
    """What makes a change worth a record: code, direction, quantity, amount, currency, tolerance."""
    return (body.code, body.direction, body.quantity, body.amount, body.currency, body.tolerance)
