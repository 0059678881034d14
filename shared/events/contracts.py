"""What was agreed (topic ``contracts``). One record is one line of a contract from one date on."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, model_validator

from shared.events.base import Currency, Data, Day, Exact, Key, Label, ProductId, Zone

RoundingMode = Literal["half_up", "half_even", "down", "up", "floor", "ceiling"]


class RoundingStep(Data):
    """One rounding: how, and to how many decimals."""

    mode: RoundingMode = "half_up"
    """``half_up``: ties away from zero; ``down``: toward zero; ``up``: away from zero."""
    scale: int = Field(ge=0, le=18)
    """Decimals that stay."""


class Rounding(Data):
    """Where figures are rounded (rating.md section 0). Between the steps named here arithmetic is exact."""

    quantity: RoundingStep | None = None
    """The converted quantity."""
    fraction: RoundingStep | None = None
    """The share of a period."""
    day_price: RoundingStep | None = None
    """The price of one day."""
    unit_price: RoundingStep | None = None
    """The prorated, discounted or exchanged price of one unit, before it is multiplied."""
    line: RoundingStep | None = None
    """The amount of one component; empty: half_up at the currency's decimals."""
    discount: RoundingStep | None = None
    """A discount on a line; empty: half_up at the currency's decimals."""
    tax: RoundingStep | None = None
    """Tax; empty: half_up at the currency's decimals."""
    document: RoundingStep | None = None
    """A document's total; empty: half_up at the currency's decimals."""


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


class Tier(Data):
    """One tier of a graduated or volume price: it holds ``(up_to of the tier before, up_to]``."""

    up_to: Exact | None = Field(default=None, gt=0)
    """Its last unit, inclusive; empty: no end (the last tier only)."""
    unit_amount: Exact = Field(default=Decimal(0), ge=0)
    """Price of one unit (with ``size``: of one started block) in it."""
    flat_amount: Exact = Field(default=Decimal(0), ge=0)
    """Due once a period when the tier is entered; the first tier's also at zero use."""
    size: Exact | None = Field(default=None, gt=0)
    """Units of a block; empty: priced unit by unit."""


class GraduatedPrice(Data):
    """Each tier prices the units that lie in it."""

    kind: Literal["graduated"]
    """``graduated``."""
    tiers: tuple[Tier, ...] = Field(min_length=1, max_length=100)
    """Tiers in order of ``up_to``."""


class VolumePrice(Data):
    """The one tier that holds the whole quantity prices all of it."""

    kind: Literal["volume"]
    """``volume``."""
    tiers: tuple[Tier, ...] = Field(min_length=1, max_length=100)
    """Tiers in order of ``up_to``."""


class PackagePrice(Data):
    """An amount for each started package."""

    kind: Literal["package"]
    """``package``."""
    size: Exact = Field(gt=0)
    """Units of one package."""
    amount: Exact = Field(ge=0)
    """Price of one package."""


class PercentagePrice(Data):
    """A share of single transactions (rating.md section 3.2)."""

    kind: Literal["percentage"]
    """``percentage``."""
    rate_pct: Exact = Field(ge=0, le=100)
    """Percent of a transaction's value."""
    fixed: Exact = Field(default=Decimal(0), ge=0)
    """Fixed fee of each transaction that pays."""
    free_events: int | None = Field(default=None, ge=0)
    """Transactions that cost nothing, from the period's first."""
    free_amount: Exact | None = Field(default=None, ge=0)
    """Value that costs nothing, from the period's first transaction."""
    per_event_min: Exact | None = Field(default=None, ge=0)
    """Least fee of a transaction that pays."""
    per_event_max: Exact | None = Field(default=None, ge=0)
    """Greatest fee of a transaction."""


class CostPlusPrice(Data):
    """The vendor's cost times a factor."""

    kind: Literal["cost_plus"]
    """``cost_plus``."""
    factor: Exact = Field(ge=0)
    """``1.25``: cost plus 25 %."""


Price = Annotated[
    FlatPrice | UnitPrice | GraduatedPrice | VolumePrice | PackagePrice | PercentagePrice | CostPlusPrice,
    Field(discriminator="kind"),
]


class BillingPeriod(Data):
    """How often a line is billed, and from which day (rating.md section 1)."""

    unit: Literal["once", "day", "week", "month", "quarter", "year"] = "month"
    """``once``: one charge at the line's start, whole."""
    count: int = Field(default=1, ge=1, le=120)
    """So many units make one period."""
    day: int | None = Field(default=None, ge=1, le=31)
    """Bill-cycle day of the month; empty: the anchor's, else the first."""
    anchor: Day | None = None
    """A day on which a period begins; empty: see rating.md section 1."""


class Conversion(Data):
    """From the unit that is measured to the unit that is priced, on the cumulative quantity."""

    from_unit: Label
    """The measured unit, checked and never guessed: ``GiB`` is 1,073,741,824 bytes, ``GB`` is 10^9."""
    to_unit: Label
    """The priced unit."""
    multiply: Exact | None = Field(default=None, gt=0)
    """Factor; give this or ``divide``."""
    divide: Exact | None = Field(default=None, gt=0)
    """Divisor."""
    rounding: RoundingStep | None = None
    """Rounding of the converted quantity; empty: none."""


class Discount(Data):
    """A discount on what the ones before it left, percentages before amounts."""

    pct: Exact | None = Field(default=None, ge=0, le=100)
    """Percent of each line's amount; give this or ``amount``."""
    amount: Exact | None = Field(default=None, ge=0)
    """An amount over all lines, at most what is left."""
    effective_from: Day | None = None
    """First day on which it holds."""
    effective_to: Day | None = None
    """First day on which it no longer does."""
    name: Label | None = None
    """What it is called."""


class RefundRule(Data):
    """What a cancellation gives back; the first rule that matches holds."""

    within: int | None = Field(default=None, ge=1, le=3_700)
    """Matches when fewer days have passed since the purchase or last renewal; empty: always."""
    credit: Literal["full", "unused", "none"]
    """``full``: the period's lines; ``unused``: the rest of the period; ``none``: nothing, billing goes on."""


class RateRow(Data):
    """The price of an hour for a role and a kind of work."""

    role: Label | None = None
    """Empty: any role."""
    work_type: Label | None = None
    """Empty: any work type."""
    rate: Exact = Field(ge=0)
    """Price of one hour, in the line's currency."""
    effective_from: Day | None = None
    """First day of work at this rate."""
    effective_to: Day | None = None
    """First day of work no longer at it."""


class WorkTypeRule(Data):
    """What a kind of work does to the rate, or that it is not covered."""

    work_type: Label
    """The work type."""
    effect: Literal["custom", "add", "multiply", "excluded"]
    """``custom`` replaces the rate, ``add`` and ``multiply`` change it, ``excluded``: out of the contract's scope."""
    value: Exact | None = Field(default=None, ge=0)
    """The rate, the surcharge an hour, or the factor."""


class PrepaidBlock(Data):
    """Hours (or money) paid before they are worked."""

    block: Key
    """Its id."""
    start: Day
    """First day of work that may draw on it."""
    end: Day
    """First day that may not."""
    hours: Exact | None = Field(default=None, gt=0)
    """Hours in it; give this or ``amount``."""
    amount: Exact | None = Field(default=None, gt=0)
    """Money in it."""
    overage_rate: Exact | None = Field(default=None, ge=0)
    """Price of an hour beyond it; empty: the rate of the role and work type."""
    roll_over_cap: Exact | None = Field(default=None, ge=0)
    """Hours that move into the next block when this one ends; empty: they expire."""
    role_factors: dict[Label, Exact] = Field(default_factory=dict, max_length=100)
    """Role -> hours drawn for one hour worked."""


class Labour(Data):
    """How hours are billed (rating.md section 7)."""

    increment_minutes: Exact = Field(default=Decimal(0), ge=0, le=1440)
    """Minutes are rounded to a multiple of this; 0: not at all."""
    increment_mode: Literal["up", "nearest", "down"] = "up"
    """``nearest``: ties up."""
    minimum_minutes: Exact = Field(default=Decimal(0), ge=0)
    """Least billable minutes of an entry that has any."""
    maximum_minutes: Exact | None = Field(default=None, gt=0)
    """Greatest billable minutes of an entry."""
    group: Literal["entry", "ticket_day"] = "entry"
    """What is rounded: each entry, or a ticket's entries of one day together."""
    rate: Exact | None = Field(default=None, ge=0)
    """Price of an hour where no row below says another."""
    rates: tuple[RateRow, ...] = Field(default=(), max_length=500)
    """Rates by role and work type."""
    work_types: tuple[WorkTypeRule, ...] = Field(default=(), max_length=200)
    """What kinds of work change."""
    out_of_hours_factor: Exact = Field(default=Decimal(1), ge=0)
    """Factor for work out of hours; of several factors the largest holds."""
    weekend_factor: Exact = Field(default=Decimal(1), ge=0)
    """Factor for work at weekends."""
    holiday_factor: Exact = Field(default=Decimal(1), ge=0)
    """Factor for work on holidays."""
    blocks: tuple[PrepaidBlock, ...] = Field(default=(), max_length=200)
    """Prepaid blocks, drawn earliest end first."""
    overdraw: Literal["bill", "carry", "refuse"] = "bill"
    """What happens when no block has anything left."""
    cap_hours: Exact | None = Field(default=None, ge=0)
    """Hours a period beyond which work is worth nothing (OVER_CAP)."""
    cap_amount: Exact | None = Field(default=None, ge=0)
    """The same in money."""
    lines: Literal["entry", "rate"] = "rate"
    """One line an entry, or one for each role, work type and rate."""


class Scope(Data):
    """What a commitment covers besides its own line (rating.md section 4)."""

    contract: bool = False
    """Every line of this contract."""
    products: tuple[ProductId, ...] = Field(default=(), max_length=200)
    """The client's lines of these products."""


class Terms(Data):
    """How a line is rated (rating.md). Whatever is left out has the default that rating.md names."""

    price: Price
    """The price model."""
    meter: Key | None = None
    """The meter that is billed; empty when the product has one."""
    billing: Literal["advance", "arrears"] = "arrears"
    """When a period is billed: at its start or at its end."""
    period: BillingPeriod = Field(default_factory=BillingPeriod)
    """How often; calendar months unless said otherwise."""
    time_zone: Zone | None = None
    """Zone of the period's dates; empty: the client's."""
    proration: Literal["none", "daily", "thirty_day", "seconds"] = "daily"
    """What a part of a period costs."""
    prorate_first: bool = True
    """False: a leading part is billed as a whole period."""
    prorate_last: bool = True
    """False: a trailing part is billed as a whole period."""
    prorate_allowances: bool = False
    """True: included, free, minimum and maximum quantities and block hours shrink with a part of a period."""
    last_day_billed: bool = False
    """True: the day of termination is billed."""
    trial_end: Day | None = None
    """First day that is charged, where a trial comes before."""
    statistic: Literal["prorated", "max", "last", "first", "time_weighted"] = "prorated"
    """What of a gauge is priced: each level for as long as it stood, or one quantity for the whole part."""
    change: Literal["delta", "remaining", "replace"] = "delta"
    """How a change inside a period billed in advance is booked."""
    refund: tuple[RefundRule, ...] = Field(default=(), max_length=10)
    """What a cancellation gives back; empty: ``unused``."""
    convert: Conversion | None = None
    """From the measured to the priced unit."""
    included: Exact = Field(default=Decimal(0), ge=0)
    """Units that the price covers already; they come off before pricing."""
    free: Exact = Field(default=Decimal(0), ge=0)
    """Units given away, by name of a discount; they come off before pricing too."""
    minimum_quantity: Exact | None = Field(default=None, ge=0)
    """Least billable quantity, after included and free."""
    maximum_quantity: Exact | None = Field(default=None, ge=0)
    """Greatest billable quantity."""
    minimum_amount: Exact | None = Field(default=None, ge=0)
    """Least amount of a whole period: the rest is a line of its own (MIN_COMMIT)."""
    maximum_amount: Exact | None = Field(default=None, ge=0)
    """Greatest amount of a whole period: what exceeds it is a discount."""
    scope: Scope | None = None
    """What minimum and maximum amount cover; empty: this line alone."""
    discount_pct: Exact | None = Field(default=None, ge=0, le=100)
    """A discount in percent."""
    discount_amount: Exact | None = Field(default=None, ge=0)
    """A discount in the line's currency, after the percentage."""
    discounts: tuple[Discount, ...] = Field(default=(), max_length=20)
    """Further discounts, in order."""
    labour: Labour | None = None
    """How hours are billed; set for lines that bill time entries, whose ``price`` is the rate of an hour."""
    lines: Literal["period", "segment"] = "period"
    """One line for the period, or one for each segment of a gauge."""
    interim: Literal["cumulative", "none"] | None = None
    """Whether a running period may be billed; empty: ``none`` for volume tiers and the statistics that can fall."""
    booking: Literal["current", "original"] = "current"
    """Where corrections stand: on the period now billed, or on the one that they correct."""
    rounding: Rounding = Field(default_factory=Rounding)
    """Where figures are rounded."""
    split: Literal["largest_remainder", "remainder_to_last"] = "largest_remainder"
    """How a rounded total is split over lines."""
    order: Literal["line", "largest_first"] = "line"
    """In which order."""
    tax_pct: Exact | None = Field(default=None, ge=0, le=100)
    """The tax rate that was agreed; empty: not checked."""
    excluded: bool = False
    """True: the contract names the product to exclude it (OUT_OF_SCOPE); the price is not asked for."""
    cost: Exact | None = Field(default=None, ge=0)
    """Agreed cost of one unit at the vendor, in the line's currency; empty: the product's."""
    margin_floor_pct: Exact | None = Field(default=None, ge=0, le=100)
    """Least margin in percent of what is billed; empty: the tenant's setting."""


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
