"""What a client's period came to, when somebody asked, when it was sent or closed (topic ``statements``).

The live statement is a read model and no record (protocols.md section 10).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shared.events.base import Currency, Data, Exact, Key, Label, Person, Sha256
from shared.events.discrepancies import Basis, Span


class StatementTotals(Data):
    """One currency of a statement: ``billed - expected - explained - broken - pending = 0``, exactly."""

    currency: Currency
    """Of every amount."""
    expected: Exact
    """What should be billed."""
    billed: Exact
    """What is billed."""
    cost: Exact | None = None
    """What vendors billed for it; empty: nothing is known of it."""
    explained: Exact
    """Differences that something absorbs, by name."""
    pending: Exact
    """Differences that cannot be concluded yet."""
    broken: Exact
    """Differences that are discrepancies."""
    residual: Exact
    """What is left: zero."""


class StatementBody(Data):
    """A statement: its totals, and the document that holds its lines."""

    client: Key
    """The client."""
    period: Span
    """The period."""
    totals: tuple[StatementTotals, ...] = Field(max_length=20)
    """By currency; empty: nothing was compared, which is not the same as clean."""
    groups: int = Field(ge=0)
    """Groups of products."""
    lines: int = Field(ge=0)
    """Lines."""
    matched: int = Field(ge=0)
    """Of these, lines that agree."""
    explained: int = Field(ge=0)
    """Lines whose difference something absorbs."""
    pending: int = Field(ge=0)
    """Lines that wait for a side."""
    broken: int = Field(ge=0)
    """Lines that are a discrepancy."""
    document: Sha256
    """The canonical lines: SHA-256 of the document in the vault."""
    digest: Sha256
    """SHA-256 of the canonical lines themselves."""


class StatementDrawn(Data):
    """A statement as it stood when it was asked for, sent, or at most once a day."""

    body: StatementBody
    """What it said."""
    basis: Basis
    """What it was drawn from."""
    why: Literal["asked", "sent", "closed", "daily"] = "asked"
    """Why it was recorded."""


class StatementClosed(Data):
    """The period is closed for the client: what moves in it from now on is late."""

    client: Key
    """The client."""
    period: Span
    """The period."""
    by: Person | None = None
    """Who closed it."""
    reason: Label | None = None
    """Why although something is open."""
    digest: Sha256
    """Digest of the statement that was closed."""
    groups: int = Field(ge=0)
    """How many groups were closed with it."""


class StatementGroupClosed(Data):
    """What a group of products came to when its period was closed: what a late change is measured against."""

    client: Key
    """The client."""
    period: Span
    """The period."""
    item: Key
    """The group."""
    currency: Currency | None = None
    """Of every amount."""
    expected: Exact | None = None
    """What was due then."""
    billed: Exact | None = None
    """What was billed then."""
    quantity: Exact | None = None
    """What was measured then."""
    records: int = Field(default=0, ge=0)
    """By how many records."""
