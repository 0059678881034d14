"""Where delivery, contract and bill have come apart (topic ``discrepancies``): derived records ``{body, basis}``.

The body is a function of the set of facts: no position, no clock, no version. The basis says what it was drawn from.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from shared.events.base import Currency, Data, Day, Exact, Instant, Key, Label


class Code(StrEnum):
    """The field's words for what has come apart (domain.md section 2)."""

    QTY_UNDER = "QTY_UNDER"
    QTY_OVER = "QTY_OVER"
    UNBILLED_SERVICE = "UNBILLED_SERVICE"
    UNBILLED_CLIENT = "UNBILLED_CLIENT"
    MISSING_LINE = "MISSING_LINE"
    PHANTOM_LINE = "PHANTOM_LINE"
    PRICE_MISMATCH = "PRICE_MISMATCH"
    UNMAPPED_CLIENT = "UNMAPPED_CLIENT"
    UNMAPPED_PRODUCT = "UNMAPPED_PRODUCT"
    DUPLICATE = "DUPLICATE"
    EXPIRED_AGREEMENT = "EXPIRED_AGREEMENT"
    OUT_OF_SCOPE = "OUT_OF_SCOPE"
    PRORATION = "PRORATION"
    TIER_CROSS = "TIER_CROSS"
    MIN_COMMIT = "MIN_COMMIT"
    COST_MISMATCH = "COST_MISMATCH"
    ASSIGNED_NE_PURCHASED = "ASSIGNED_NE_PURCHASED"
    MARGIN_FLOOR = "MARGIN_FLOOR"
    TIME_UNBILLED = "TIME_UNBILLED"
    STALE_TIME = "STALE_TIME"
    OVER_CAP = "OVER_CAP"
    BLOCK_OVERDRAWN = "BLOCK_OVERDRAWN"
    TAX = "TAX"
    CURRENCY = "CURRENCY"
    ROUNDING = "ROUNDING"
    LATE_USAGE = "LATE_USAGE"
    RESTATED = "RESTATED"
    STALE_FEED = "STALE_FEED"


class Direction(StrEnum):
    """Who owes whom. Stored, never read from a sign: amounts are unsigned."""

    CLIENT_OWES_US = "client_owes_us"
    WE_OWE_CLIENT = "we_owe_client"
    VENDOR_OWES_US = "vendor_owes_us"
    WE_OWE_VENDOR = "we_owe_vendor"


class Reached(StrEnum):
    """How far the error has got."""

    CLIENT_INVOICE = "client_invoice"
    VENDOR_BILL = "vendor_bill"
    NOWHERE = "nowhere"


class Standing(StrEnum):
    """What kind of money a discrepancy is."""

    OWED = "owed"
    """It stands on an issued invoice or a vendor's bill: somebody has to pay it back or be billed for it."""
    AT_RISK = "at_risk"
    """Nowhere yet: it is set wrong, and the next document will repeat it."""
    LOST = "lost"
    """Nobody owes it: sold below cost as agreed, written off by the contract, or too old to be billed."""


class Span(Data):
    """A half-open span of local dates, ``from`` and ``to`` on the wire."""

    from_: Day = Field(alias="from", serialization_alias="from")
    """First day."""
    to: Day
    """Day after the last."""


class Source(Data):
    """A record that a figure rests on, by its identity."""

    type: Key
    """Its type, such as ``usage.metered.v1``."""
    source: Key
    """Its source."""
    id: Key
    """Its id."""


class Step(Data):
    """One step of a derivation, as it was computed: nothing computes it again for showing."""

    label: Label
    """What is computed: ``expected``, ``billed``, ``difference``."""
    formula: str = Field(max_length=500)
    """The arithmetic with its figures, such as ``53 - 5 included = 48; 48 x 4.20``."""
    result: Exact
    """Its result."""
    rounding: Label | None = None
    """The rounding applied, such as ``half_up 2``; empty: none."""
    sources: tuple[Source, ...] = Field(default=(), max_length=20)
    """Records that it rests on: the first twenty by id; ``records`` has the count of all."""
    records: int = Field(default=0, ge=0)
    """How many records it rests on."""


class Side(Data):
    """One side of the comparison."""

    quantity: Exact | None = None
    """Billable units; empty for a flat amount."""
    unit_price: Exact | None = None
    """Price of one unit."""
    amount: Exact | None = None
    """Amount in the discrepancy's currency."""
    ref: Label | None = None
    """Where it stands, such as ``C-1042 line 3`` or ``INV-20931 line 7``."""


class Tolerance(Data):
    """The tolerance that was exceeded: a break exceeds both widths."""

    name: Label
    """Its class, such as ``exact`` or ``unit_price``."""
    absolute: Exact
    """Absolute width, in units (exact) or in currency a unit (unit_price)."""
    relative_pct: Exact
    """Relative width in percent."""


class Candidate(Data):
    """What an unmapped identifier probably is."""

    id: Key
    """The client or product."""
    name: Label
    """Its name."""
    score: Exact
    """0 to 1."""
    why: Label
    """Why it is a candidate."""


class DiscrepancyBody(Data):
    """What has come apart, by how much, and why."""

    code: Code
    """The kind of discrepancy."""
    family: Key
    """Codes that turn into each other share a family, and so a stream."""
    client: Key | None = None
    """The client; empty for an unmapped account."""
    client_name: Label | None = None
    """Its name at the time of the facts."""
    product: Key | None = None
    """The product; empty for an unmapped sku or a whole client."""
    product_name: Label | None = None
    """Its name."""
    vendor_source: Key | None = None
    """Source of the unmapped identifier."""
    account: Key | None = None
    """The vendor's account, for UNMAPPED_CLIENT."""
    sku: Key | None = None
    """The vendor's sku, for UNMAPPED_PRODUCT."""
    period: Span | None = None
    """The service period; empty for an unmapped identifier."""
    direction: Direction
    """Who owes whom."""
    amount: Exact | None = Field(default=None, ge=0)
    """How much, unsigned; empty when no price is known."""
    currency: Currency | None = None
    """Currency of every amount."""
    quantity: Exact | None = Field(default=None, ge=0)
    """By how many units, unsigned."""
    standing: Standing | None = None
    """Owed, at risk or lost; empty where there is no amount."""
    remedy: Label | None = None
    """What is usually done about it."""
    cost: Side | None = None
    """The vendor's side: what its bill charges."""
    expected: Side | None = None
    """What is due."""
    billed: Side | None = None
    """What is billed, or set to be billed."""
    tolerance: Tolerance | None = None
    """The tolerance that was exceeded."""
    reached: Reached
    """How far the error has got."""
    deadline: Day | None = None
    """The client's next bill-cycle day: the last chance before it repeats."""
    why: str = Field(max_length=500)
    """One sentence with its figures."""
    contract_ref: Label | None = None
    """The contract line that it is measured against."""
    derivation: tuple[Step, ...] = Field(default=(), max_length=20)
    """The arithmetic, step by step."""
    candidates: tuple[Candidate, ...] = Field(default=(), max_length=5)
    """For an unmapped identifier: what it probably is, best first."""


class Cause(Data):
    """The record whose arrival made this verdict due."""

    record: Label
    """Its place, ``topic/partition/position``."""
    type: Key
    """Its type."""
    recorded_at: Instant
    """When it arrived."""


class Basis(Data):
    """What a derived record was drawn from: enough to draw it again."""

    cut: dict[str, tuple[int, ...]]
    """For each topic the last position of each partition that was folded."""
    epoch: int
    """The epoch of those positions."""
    excluded: tuple[Label, ...] = Field(default=(), max_length=100)
    """Places of open dead letters below the cut."""
    as_of: Day | None
    """The date that the calendar had reached; empty before its first day."""
    rules: int
    """Version of the rules."""
    cause: Cause | None = None
    """What made it due."""


class Discrepancy(Data):
    """A derived record: the body, and the basis that it was drawn from."""

    body: DiscrepancyBody
    """What holds."""
    basis: Basis
    """What it was drawn from."""


class DiscrepancyDetected(Discrepancy):
    """A break was found, or found again."""

    reopened: int = Field(default=0, ge=0)
    """How often it had been cleared before."""


class DiscrepancyChanged(Discrepancy):
    """Code, direction, quantity, amount, currency or tolerance of an open break differ from the last verdict."""

    previous_amount: Exact | None = None
    """The amount of the last verdict."""


class DiscrepancyCleared(Data):
    """The break is gone. The body is the last open one."""

    body: DiscrepancyBody
    """What held until now."""
    basis: Basis
    """What no longer shows it."""
    verdict: Literal["matched", "not_comparable"] = "matched"
    """What holds instead."""
