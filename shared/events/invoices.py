"""What clients were invoiced (topic ``invoices``), and what vendors billed (topic ``vendor-bills``).

A document is a header and its lines, in any order and many transactions; until all the lines that the header counts
are there (and their digest agrees, if it has one) the document is not compared (protocols.md section 19).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field, model_validator

from shared.events.base import Currency, Data, Day, Exact, Instant, Key, Label, ProductId, Sha256, check_span
from shared.kernel.canonical import sha256_hex

Version = Field(default=1, ge=1)


def lines_digest(line_digests: Iterable[str]) -> str:
    """The digest of a header over its lines: SHA-256 of the sorted hex SHA-256 of each line's canonical ``data``."""
    return sha256_hex("\n".join(sorted(line_digests)).encode())


class InvoiceIssued(Data):
    """The header of a client invoice or credit note."""

    invoice: Key
    """The document's number."""
    version: int = Version
    """Version of the document at its source; a later one replaces the earlier."""
    kind: Literal["invoice", "credit_note"] = "invoice"
    """A credit note's lines carry negative amounts."""
    client: Key
    """Who was invoiced."""
    issued_on: Day
    """Date of the document."""
    due_on: Day | None = None
    """Date by which it is to be paid."""
    period_from: Day
    """First day of the service period."""
    period_to: Day
    """Day after its last day."""
    currency: Currency
    """Currency of every amount."""
    lines: int = Field(ge=0)
    """How many lines the document has."""
    lines_digest: Sha256 | None = None
    """Digest over the lines, see :func:`lines_digest`."""
    total: Exact | None = None
    """Net total as printed."""
    tax_total: Exact | None = None
    """Tax as printed."""
    gross_total: Exact | None = None
    """Net and tax as printed."""
    corrects: Key | None = None
    """The invoice that a credit note corrects."""
    exchange_rate: Exact | None = Field(default=None, gt=0)
    """What one unit of ``exchange_from`` came to in ``currency``, where the contract is in another currency."""
    exchange_from: Currency | None = None
    """The contract's currency."""
    exchange_on: Day | None = None
    """The day of the rate."""

    @model_validator(mode="after")
    def _period(self) -> InvoiceIssued:
        check_span(self.period_from, self.period_to, "period_from", "period_to")
        return self


class InvoiceLine(Data):
    """One line of a client invoice or credit note."""

    invoice: Key
    """The document's number."""
    version: int = Version
    """Version of the document."""
    line: Key
    """Number of the line in the document."""
    product: ProductId
    """What is charged."""
    contract: Key | None = None
    """The contract that the line bills, if the PSA says so."""
    contract_line: Key | None = None
    """Its line."""
    period_from: Day | None = None
    """First day of the line's service period; empty: the document's."""
    period_to: Day | None = None
    """Day after its last day; empty: the document's."""
    quantity: Exact
    """Units charged."""
    unit_price: Exact
    """Price of one unit."""
    amount: Exact
    """Net amount of the line as printed."""
    tax: Exact | None = None
    """Tax of the line, if printed."""
    tax_pct: Exact | None = Field(default=None, ge=0, le=100)
    """The tax rate, if printed."""
    discount: bool = False
    """True for a line that is a discount."""

    @model_validator(mode="after")
    def _period(self) -> InvoiceLine:
        if (self.period_from is None) != (self.period_to is None):
            raise ValueError("give period_from and period_to together, or neither")
        if self.period_from is not None:
            check_span(self.period_from, self.period_to, "period_from", "period_to")
        return self


class InvoiceVoided(Data):
    """All versions of an invoice up to ``version`` were never billed."""

    invoice: Key
    """The document's number."""
    version: int = Version
    """The last version that is void."""


class VendorBillReceived(Data):
    """The header of a vendor's bill to the MSP."""

    issuer: Key
    """Who bills."""
    bill: Key
    """The bill's number, or billing account and period where it has none."""
    version: int = Version
    """Version of the document at its source."""
    period_from: Instant
    """Start of the billing period."""
    period_to: Instant
    """Its end, exclusive."""
    currency: Currency
    """Currency of every amount."""
    lines: int = Field(ge=0)
    """How many lines the bill has."""
    lines_digest: Sha256 | None = None
    """Digest over the lines, see :func:`lines_digest`."""
    total: Exact | None = None
    """Sum of the billed costs as printed."""

    @model_validator(mode="after")
    def _period(self) -> VendorBillReceived:
        check_span(self.period_from, self.period_to, "period_from", "period_to")
        return self


class VendorBillLine(Data):
    """One charge on a vendor's bill."""

    issuer: Key
    """Who bills."""
    bill: Key
    """The bill's number."""
    version: int = Version
    """Version of the document."""
    line: Key
    """Number of the line in the bill."""
    account: Key
    """The vendor's id of the customer account."""
    account_name: Label | None = None
    """Its name at the vendor."""
    sku: Key
    """The vendor's id of the product."""
    sku_name: Label | None = None
    """Its name at the vendor."""
    category: Label | None = None
    """Kind of charge, such as FOCUS ``Usage``, ``Purchase``, ``Tax``, ``Credit``, ``Adjustment``."""
    correction: bool = False
    """True for a correction of an earlier billing period (FOCUS ``ChargeClass`` = Correction)."""
    charge_from: Instant
    """Start of the span that is charged."""
    charge_to: Instant
    """Its end, exclusive."""
    quantity: Exact | None = None
    """Units charged; empty when the charge has none (empty is not zero)."""
    unit: Label | None = None
    """Unit of ``quantity``."""
    unit_price: Exact | None = None
    """Price of one unit."""
    billed_cost: Exact
    """What the bill charges, with all the decimals of the source."""
    list_cost: Exact | None = None
    """Cost at list prices."""
    contracted_cost: Exact | None = None
    """Cost at contracted prices."""
    effective_cost: Exact | None = None
    """Cost with commitments amortised."""
    currency: Currency
    """Currency of every amount of the line."""
