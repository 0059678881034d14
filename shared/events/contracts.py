"""What was agreed (topic ``contracts``). One record is one line of a contract from one date on."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from shared.events.base import Currency, Data, Day, Exact, Key, Label, ProductId, Zone
from shared.kernel.money import CURRENCIES


def _not_below(value: Any, info: ValidationInfo, least: str) -> Any:
    """``value`` unless it lies below the field ``least``, which was read before it."""
    floor = info.data.get(least)
    if value is not None and floor is not None and value < floor:
        raise ValueError(f"is {value}, below {least} of {floor}; send one that is not")
    return value


def _after(value: Any, info: ValidationInfo, start: str) -> Any:
    """``value`` unless the time that ends with it is empty."""
    first = info.data.get(start)
    if value is not None and first is not None and value <= first:
        raise ValueError(f"is exclusive and must lie after {start}; send a later day")
    return value


def _one_of(value: Any, info: ValidationInfo, other: str) -> Any:
    """``value`` if exactly one of it and the field ``other``, which was read before it, is there."""
    if other in info.data and (value is None) == (info.data[other] is None):
        both = "is there beside" if value is not None else "is missing, and so is"
        raise ValueError(f"{both} {other}; send one of {other} and {info.field_name}")
    return value


def _has_decimals(value: str) -> str:
    if value not in CURRENCIES:
        raise ValueError(f"{value} is no currency of ISO 4217, so its decimals are unknown; send one such as EUR")
    return value


KnownCurrency = Annotated[Currency, AfterValidator(_has_decimals)]
"""A currency whose minor unit is known."""

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


def _in_order(tiers: tuple[Tier, ...]) -> tuple[Tier, ...]:
    """Tiers that follow each other without overlap, the open one last."""
    floor = Decimal(0)
    for number, tier in enumerate(tiers, start=1):
        if tier.up_to is None:
            if number < len(tiers):
                raise ValueError(f"tier {number} has no up_to and is not the last; send its last unit, or send it last")
        elif tier.up_to <= floor:
            raise ValueError(
                f"tier {number} ends at {tier.up_to}, and the one before it at {floor}; send tiers in order of up_to"
            )
        else:
            floor = tier.up_to
    return tiers


Tiers = Annotated[tuple[Tier, ...], Field(min_length=1, max_length=100), AfterValidator(_in_order)]


class GraduatedPrice(Data):
    """Each tier prices the units that lie in it."""

    kind: Literal["graduated"]
    """``graduated``."""
    tiers: Tiers
    """Tiers in order of ``up_to``."""


class VolumePrice(Data):
    """The one tier that holds the whole quantity prices all of it."""

    kind: Literal["volume"]
    """``volume``."""
    tiers: Tiers
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

    @field_validator("per_event_max")
    @classmethod
    def _bounds(cls, value: Any, info: ValidationInfo) -> Any:
        return _not_below(value, info, "per_event_min")


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

    @field_validator("day")
    @classmethod
    def _of_a_month(cls, value: int | None, info: ValidationInfo) -> int | None:
        unit = info.data.get("unit")
        if value is not None and unit in ("day", "week"):
            raise ValueError(f"is a day of the month, and the period is counted by the {unit}; send an anchor")
        return value


class Conversion(Data):
    """From the unit that is measured to the unit that is priced, on the cumulative quantity."""

    from_unit: Label
    """The measured unit, checked and never guessed: ``GiB`` is 1,073,741,824 bytes, ``GB`` is 10^9."""
    to_unit: Label
    """The priced unit."""
    multiply: Exact | None = Field(default=None, gt=0)
    """Factor; give this or ``divide``."""
    divide: Exact | None = Field(default=None, gt=0, validate_default=True)
    """Divisor."""
    rounding: RoundingStep | None = None
    """Rounding of the converted quantity; empty: none."""

    @field_validator("divide")
    @classmethod
    def _one_factor(cls, value: Any, info: ValidationInfo) -> Any:
        return _one_of(value, info, "multiply")


class Discount(Data):
    """A discount on what the ones before it left, percentages before amounts."""

    pct: Exact | None = Field(default=None, ge=0, le=100)
    """Percent of each line's amount; give this or ``amount``."""
    amount: Exact | None = Field(default=None, ge=0, validate_default=True)
    """An amount over all lines, at most what is left."""
    effective_from: Day | None = None
    """First day on which it holds."""
    effective_to: Day | None = None
    """First day on which it no longer does."""
    name: Label | None = None
    """What it is called."""

    @field_validator("amount")
    @classmethod
    def _one_kind(cls, value: Any, info: ValidationInfo) -> Any:
        return _one_of(value, info, "pct")

    @field_validator("effective_to")
    @classmethod
    def _in_order(cls, value: Any, info: ValidationInfo) -> Any:
        return _after(value, info, "effective_from")


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

    @field_validator("effective_to")
    @classmethod
    def _in_order(cls, value: Any, info: ValidationInfo) -> Any:
        return _after(value, info, "effective_from")


class WorkTypeRule(Data):
    """What a kind of work does to the rate, or that it is not covered."""

    work_type: Label
    """The work type."""
    effect: Literal["custom", "add", "multiply", "excluded"]
    """``custom`` replaces the rate, ``add`` and ``multiply`` change it, ``excluded``: out of the contract's scope."""
    value: Exact | None = Field(default=None, ge=0, validate_default=True)
    """The rate, the surcharge an hour, or the factor; empty where it is ``excluded``."""

    @field_validator("value")
    @classmethod
    def _needed(cls, value: Any, info: ValidationInfo) -> Any:
        effect = info.data.get("effect")
        if value is None and effect in ("custom", "add", "multiply"):
            raise ValueError(f"is missing; send the figure that the effect {effect} takes")
        return value


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
    amount: Exact | None = Field(default=None, gt=0, validate_default=True)
    """Money in it."""
    overage_rate: Exact | None = Field(default=None, ge=0)
    """Price of an hour beyond it; empty: the rate of the role and work type."""
    roll_over_cap: Exact | None = Field(default=None, ge=0)
    """Hours that move into the next block when this one ends; empty: they expire."""
    role_factors: dict[Label, Exact] = Field(default_factory=dict, max_length=100)
    """Role -> hours drawn for one hour worked."""

    @field_validator("end")
    @classmethod
    def _dates_in_order(cls, value: Any, info: ValidationInfo) -> Any:
        return _after(value, info, "start")

    @field_validator("amount")
    @classmethod
    def _hours_or_money(cls, value: Any, info: ValidationInfo) -> Any:
        return _one_of(value, info, "hours")

    @field_validator("role_factors")
    @classmethod
    def _factors(cls, value: dict[str, Decimal]) -> dict[str, Decimal]:
        for role, factor in value.items():
            if factor <= 0:
                raise ValueError(f"draw {factor} hours for one of {role}; send a factor above 0")
        return value


def _repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


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

    @field_validator("maximum_minutes")
    @classmethod
    def _minutes(cls, value: Any, info: ValidationInfo) -> Any:
        return _not_below(value, info, "minimum_minutes")

    @field_validator("blocks")
    @classmethod
    def _named_once(cls, value: tuple[PrepaidBlock, ...]) -> tuple[PrepaidBlock, ...]:
        twice = _repeated(block.block for block in value)
        if twice is not None:
            raise ValueError(f"name {twice} twice; send each block once")
        return value


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
    measured_by: Literal["usage", "vendor_bill"] | None = None
    """What says how much was used: meters, or the units that the vendor's bill charges. Empty: meters where the product
    has any or its source declares complete runs, else the bill; licences that were bought by the bill, too."""
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

    @field_validator("measured_by")
    @classmethod
    def _without_meter(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value == "vendor_bill" and info.data.get("meter") is not None:
            raise ValueError("counts what the bill charges, and meter names a meter; send one of the two")
        return value

    @field_validator("proration")
    @classmethod
    def _months_only(cls, value: str, info: ValidationInfo) -> str:
        period = info.data.get("period")
        if value == "thirty_day" and period is not None and period.unit in ("day", "week"):
            raise ValueError(f"thirty_day counts months, and the period is counted by the {period.unit}; send daily")
        return value

    @field_validator("maximum_quantity")
    @classmethod
    def _quantities(cls, value: Any, info: ValidationInfo) -> Any:
        return _not_below(value, info, "minimum_quantity")

    @field_validator("maximum_amount")
    @classmethod
    def _amounts(cls, value: Any, info: ValidationInfo) -> Any:
        return _not_below(value, info, "minimum_amount")


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
    currency: KnownCurrency
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
