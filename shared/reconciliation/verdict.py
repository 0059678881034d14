"""What a comparison answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from shared.events.discrepancies import Code, Direction, DiscrepancyBody, Source, Step
from shared.kernel.canonical import canonical
from shared.kernel.periods import Period
from shared.reconciliation.inputs import ScopeTotal

RULES = 2
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
    Code.DUPLICATE: "PHANTOM",
    Code.EXPIRED_AGREEMENT: "UNBILLED",
    Code.OUT_OF_SCOPE: "SCOPE",
    Code.PRORATION: "QTY",
    Code.TIER_CROSS: "PRICE",
    Code.MIN_COMMIT: "COMMIT",
    Code.COST_MISMATCH: "COST",
    Code.ASSIGNED_NE_PURCHASED: "ASSIGNED",
    Code.MARGIN_FLOOR: "MARGIN",
    Code.TIME_UNBILLED: "TIME",
    Code.STALE_TIME: "STALE_TIME",
    Code.OVER_CAP: "CAP",
    Code.BLOCK_OVERDRAWN: "BLOCK",
    Code.TAX: "TAX",
    Code.CURRENCY: "CURRENCY",
    Code.ROUNDING: "ROUNDING",
    Code.LATE_USAGE: "LATE",
    Code.RESTATED: "LATE",
    Code.STALE_FEED: "STALE_FEED",
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
    side: Literal["client", "vendor", "none"] = "client"
    """Whose residual its amount is a part of: what the client is billed, what the vendor bills, or neither."""

    @property
    def stream_key(self) -> tuple[str, ...]:
        """Entity of the discrepancy's stream: (family, client, period, key...)."""
        period = f"{self.body.period.from_}/{self.body.period.to}" if self.body.period else ""
        return (self.body.family, self.body.client or "", period, *self.key)


class LineState(StrEnum):
    """What holds for a line of a statement."""

    MATCHED = "matched"
    EXPLAINED = "explained"
    PENDING = "pending"
    BREAK = "break"


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One line of the statement: ``billed - expected - explained - pending - broken = 0``, exactly.

    An amount that is not known is ``None``; then nothing of the line is added up.
    """

    key: tuple[str, ...]
    """Its business identifiers: ``("contract", source, contract, line, part start)``, ``("invoice", source, invoice,
    line)``, ``("usage", product)``, with the bundle where a bundle covers it, ``("commitment", ...)``; unique in the
    group."""
    product: str
    service: Period
    """The service period that it is about."""
    state: LineState
    currency: str | None = None
    expected: Decimal | None = None
    billed: Decimal | None = None
    explained: Decimal = Decimal(0)
    pending: Decimal = Decimal(0)
    broken: Decimal = Decimal(0)
    cost: Decimal | None = None
    """What vendors billed for it, where that is known."""
    cost_currency: str | None = None
    quantity_expected: Decimal | None = None
    quantity_billed: Decimal | None = None
    price_expected: Decimal | None = None
    price_billed: Decimal | None = None
    contract_ref: str | None = None
    """``C-1042 line 3``."""
    billed_ref: str | None = None
    """``INV-20931 line 7``, or ``C-1042 line 3, recurring``."""
    by: str | None = None
    """What absorbed the difference (``rounding``, ``tolerance unit_price``, ``covered by bundle M365``), or which side
    is missing."""
    until: date | None = None
    """When the missing side is due, if that is known."""
    codes: tuple[Code, ...] = ()
    """Of the breaks that it is a part of."""
    steps: tuple[Step, ...] = ()
    """The arithmetic, as it was computed."""

    def __post_init__(self) -> None:
        if self.expected is None or self.billed is None:
            return
        residual = self.billed - self.expected - self.explained - self.pending - self.broken
        if residual != 0:
            raise ArithmeticError(f"line {self.key}: residual {residual} is not zero")


@dataclass(frozen=True, slots=True)
class VendorTotals:
    """The vendor's side of a group in one currency: ``billed - expected - explained - broken = 0``."""

    currency: str
    expected: Decimal | None
    """Usage at the agreed cost; ``None``: no agreed cost is known."""
    billed: Decimal
    explained: Decimal = Decimal(0)
    broken: Decimal = Decimal(0)


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
    lines: tuple[StatementLine, ...] = ()
    """The group's lines of the statement, by key; their sums are the figures above (``explained`` of the verdict is
    the lines' ``explained`` and ``pending`` together)."""
    vendor: tuple[VendorTotals, ...] = ()
    """The vendors' side, by currency."""
    measured: Decimal | None = None
    """The quantity measured, if it is one: what a closed period is measured against."""
    scope: tuple[ScopeTotal, ...] = ()
    """What its contract lines come to, for commitments that cover several."""

    def __post_init__(self) -> None:
        if self.expected is None or self.billed is None:
            return
        residual = self.billed - self.expected - self.explained - self.broken
        signed = sum(
            (
                -one.body.amount if one.body.direction is Direction.CLIENT_OWES_US else one.body.amount
                for one in self.breaks
                if one.body.amount is not None and one.side == "client"
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
