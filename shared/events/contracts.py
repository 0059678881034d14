"""What was agreed (topic ``contracts``). One record is one line of a contract from one date on."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, model_validator

from shared.events.base import Currency, Data, Day, Exact, Key, ProductId


class FlatPrice(Data):
    """A fixed amount a period, whatever was used."""

    kind: Literal["flat"]
    """``flat``."""
    amount: Exact = Field(ge=0)
    """Amount of a whole period, in the line's currency."""


class UnitPrice(Data):
    """An amount for each billable unit."""

    kind: Literal["unit"]
    """``unit``."""
    unit_amount: Exact = Field(ge=0)
    """Price of one unit for a whole period, in the line's currency."""


class Terms(Data):
    """How a line is rated (rating.md section 0). Periods are whole calendar months in the client's zone."""

    price: Annotated[FlatPrice | UnitPrice, Field(discriminator="kind")]
    """The price model."""
    meter: Key | None = None
    """The meter that is billed; empty when the product has one."""
    included: Exact = Field(default=Decimal(0), ge=0)
    """Units that the price covers already; they come off before pricing."""


class Recurring(Data):
    """What the PSA is set to bill for the line until an invoice says otherwise."""

    quantity: Exact
    """Recurring quantity of the agreement's line."""
    unit_price: Exact
    """Price of one unit on the agreement's line, in the line's currency."""


class ContractLine(Data):
    """A contract line's terms, in force from ``effective_from`` until a later record of the same line."""

    contract: Key
    """The contract's id in the PSA."""
    line: Key
    """The line's id in the contract."""
    client: Key
    """The client that the contract is with."""
    product: ProductId
    """The product that the line sells."""
    effective_from: Day
    """First local day on which these terms hold."""
    effective_to: Day | None = None
    """First local day on which they no longer do; empty: open."""
    currency: Currency
    """Currency of every amount of the line."""
    terms: Terms
    """How the line is rated."""
    recurring: Recurring | None = None
    """What the agreement is set to bill; empty when the PSA does not say."""

    @model_validator(mode="after")
    def _dates_in_order(self) -> ContractLine:
        if self.effective_to is not None and self.effective_to <= self.effective_from:
            raise ValueError("effective_to is exclusive and must lie after effective_from")
        return self


class ContractAgreed(ContractLine):
    """A line was agreed."""


class ContractAmended(ContractLine):
    """A line's terms or recurring quantity change from ``effective_from`` on."""


class ContractEnded(Data):
    """A line ends: nothing of it is in force from ``effective_from`` on."""

    contract: Key
    """The contract's id in the PSA."""
    line: Key
    """The line's id in the contract."""
    client: Key
    """The client that the contract is with."""
    product: ProductId
    """The product that the line sold."""
    effective_from: Day
    """First local day without the line."""
