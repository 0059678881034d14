"""Tax, totals, credit notes, exchange and tolerance of a document (rating.md section 9).

Arithmetic and rate are checked against what was agreed; tax law is not decided here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Literal, NamedTuple

from shared.events.contracts import Rounding, RoundingStep
from shared.kernel.money import Order, Split, exponent, round_to
from shared.kernel.money import split as split_total
from shared.reconciliation.exact import exact
from shared.reconciliation.rating.model import Arithmetic, Number

_HUNDRED = Decimal(100)


class TaxedLine(NamedTuple):
    """A document's line as it was issued."""

    key: str
    """Its place in the order of lines: ties go to the earlier."""
    net: Decimal
    """Rounded; credits and discounts are negative."""
    rate_pct: Decimal = Decimal(0)
    jurisdiction: str = ""
    taxable: bool = True
    discount: bool = False


class TaxGroup(NamedTuple):
    """The tax of one rate and jurisdiction."""

    rate_pct: Decimal
    jurisdiction: str
    base: Decimal
    tax: Decimal


class DocumentTax(NamedTuple):
    """A document computed again."""

    groups: tuple[TaxGroup, ...]
    """By rate and jurisdiction."""
    taxes: dict[str, Decimal]
    """Tax of each line by its key."""
    net: Decimal
    tax: Decimal
    total: Decimal
    """Rounded nets plus rounded taxes: a gross amount is never rounded."""


@exact
def document_tax(
    lines: Iterable[TaxedLine],
    currency: str,
    *,
    level: Literal["document", "line"] = "document",
    discount_reduces_base: bool = True,
    split: Split = "largest_remainder",
    order: Order = "line",
    rounding: RoundingStep | None = None,
) -> DocumentTax:
    """Tax of an invoice or credit note from the net of its lines.

    Level ``document``: one tax per rate and jurisdiction, split over the lines that carry the base's sign. Level
    ``line``: each line's tax rounded, then summed. ``rounding``: the step ``tax``. Raises ``ValueError`` for two
    lines of one key.
    """
    ordered = sorted(lines, key=lambda line: line.key)
    taxes = {line.key: Decimal(0) for line in ordered}
    if len(taxes) != len(ordered):
        raise ValueError("two lines of a document have one key")
    step = rounding or RoundingStep(scale=exponent(currency))
    together: dict[tuple[Decimal, str], list[TaxedLine]] = defaultdict(list)
    for line in ordered:
        if line.taxable and (discount_reduces_base or not line.discount):
            together[(line.rate_pct, line.jurisdiction)].append(line)
    groups = []
    for (rate, jurisdiction), members in sorted(together.items()):
        base = sum((line.net for line in members), Decimal(0))
        if level == "line":
            parts = [_tax(line.net, rate, step) for line in members]
            taxes.update((line.key, part) for line, part in zip(members, parts, strict=True))
            tax = sum(parts, Decimal(0))
        else:
            tax = _tax(base, rate, step)
            bearing = [line for line in members if line.net * base > 0]
            parts = split_total(tax, [abs(line.net) for line in bearing], step.scale, split, order)
            taxes.update((line.key, part) for line, part in zip(bearing, parts, strict=True))
        groups.append(TaxGroup(rate, jurisdiction, base, tax))
    net, tax = sum((line.net for line in ordered), Decimal(0)), sum((group.tax for group in groups), Decimal(0))
    return DocumentTax(tuple(groups), taxes, net, tax, net + tax)


def _tax(net: Decimal, rate_pct: Decimal, step: RoundingStep) -> Decimal:
    return round_to(net * rate_pct / _HUNDRED, step.scale, step.mode)


class NetTax(NamedTuple):
    """Net and tax of one line, or what was credited of it (with the line's sign)."""

    net: Decimal
    tax: Decimal


@exact
def credit_note(
    invoiced: Mapping[str, NetTax],
    credited: Mapping[str, NetTax],
    wanted: Mapping[str, Decimal],
    currency: str,
    rounding: RoundingStep | None = None,
) -> dict[str, NetTax]:
    """What a credit note takes of each line: ``wanted`` nets, never more than is left of the line.

    ``credited`` sums the notes before it. Whoever takes all that is left of a net takes all that is left of its tax,
    so that several notes end at zero. Raises ``KeyError`` for a line that was not invoiced.
    """
    step = rounding or RoundingStep(scale=exponent(currency))
    nothing = NetTax(Decimal(0), Decimal(0))
    taken = {}
    for key in sorted(wanted):
        line, before = invoiced[key], credited.get(key, nothing)
        left = NetTax(line.net - before.net, line.tax - before.tax)
        net = _within(wanted[key], left.net)
        if net == left.net:
            taken[key] = left
        else:
            tax = round_to(Fraction(line.tax) * Fraction(net) / Fraction(line.net), step.scale, step.mode)
            taken[key] = NetTax(net, _within(tax, left.tax))
    return taken


def _within(value: Decimal, limit: Decimal) -> Decimal:
    """``value`` between zero and ``limit``, whichever side of zero that is."""
    return max(min(value, limit), Decimal(0)) if limit >= 0 else min(max(value, limit), Decimal(0))


class ExchangeRate(NamedTuple):
    """One unit of ``source`` is ``rate`` units of ``target``, as somebody published it."""

    source: str
    target: str
    rate: Decimal
    on: date
    origin: str
    """Who published it: ``ECB``, ``PCToBCExchangeRate``."""


class Exchanged(NamedTuple):
    """An amount in another currency, and how it came about."""

    amount: Number
    step: Arithmetic


@exact
def exchange(
    amount: Decimal, rate: ExchangeRate, step: Literal["unit_price", "line"] | None, rounding: Rounding | None = None
) -> Exchanged:
    """``amount x rate``, rounded at the named step; ``None``: exact. Without a setting a line is rounded half up at
    the currency's decimals and a unit price not at all."""
    chosen = getattr(rounding, step) if rounding is not None and step is not None else None
    if chosen is None and step == "line":
        chosen = RoundingStep(scale=exponent(rate.target))
    value = amount * rate.rate
    result = value if chosen is None else round_to(value, chosen.scale, chosen.mode)
    formula = f"{amount:f} {rate.source} x {rate.rate:f} ({rate.origin}, {rate.on}) in {rate.target}"
    return Exchanged(
        result, Arithmetic("exchange", formula, result, f"{chosen.mode} {chosen.scale}" if chosen else None)
    )


@exact
def explained_by_rate(
    amount: Decimal, billed: Decimal, used: ExchangeRate, published: Iterable[ExchangeRate]
) -> ExchangeRate | None:
    """The other published rate of the same day and currencies that gives ``billed``: then the difference is CURRENCY
    and not PRICE. The first by origin, if several do."""
    for other in sorted(published, key=lambda rate: (rate.origin, rate.rate)):
        same_day = (other.source, other.target, other.on) == (used.source, used.target, used.on)
        if same_day and other.rate != used.rate and round_to(amount * other.rate, exponent(used.target)) == billed:
            return other
    return None


ToleranceClass = Literal["exact", "rounding", "unit_price", "proration", "restated", "time"]


class Tolerance(NamedTuple):
    """How far two figures may lie apart without being a break."""

    applies_to: str
    absolute: Decimal = Decimal(0)
    per: Literal["once", "rounded line", "unit", "day"] = "once"
    """``rounded line``: in minor units, for each; ``unit``: for each unit; ``day``: or one day's price."""
    relative_pct: Decimal = Decimal(0)
    """Percent of the reference."""


TOLERANCES: Mapping[ToleranceClass, Tolerance] = {
    "exact": Tolerance("quantities, our own arithmetic, folds"),
    "rounding": Tolerance("tax, currency, totals, vendor lines", Decimal(1), "rounded line"),
    "unit_price": Tolerance("price, cost", Decimal("0.01"), "unit", Decimal("0.5")),
    "proration": Tolerance("partial periods", Decimal("0.01"), "day"),
    "restated": Tolerance("late or restated usage", relative_pct=Decimal(1)),
    "time": Tolerance("labour, in hours", Decimal("0.25")),
}


@exact
def absorbs(
    name: ToleranceClass,
    difference: Number,
    reference: Number,
    *,
    currency: str = "",
    lines: int = 1,
    units: Number = Decimal(1),
    day_price: Number = Decimal(0),
    tolerances: Mapping[ToleranceClass, Tolerance] = TOLERANCES,
) -> bool:
    """Whether a tolerance absorbs ``difference``: a break exceeds both its absolute and its relative width.

    ``reference`` is the figure compared with (price, amount, the closed day's quantity). ``lines``: how many rounded
    lines the difference sums over; ``units``: the quantity, where the difference is an amount and not a price;
    ``day_price``: what one day of the prorated line costs.
    """
    tolerance = tolerances[name]
    absolute = Fraction(tolerance.absolute)
    if tolerance.per == "rounded line":
        absolute *= Fraction(lines, 10 ** exponent(currency))
    elif tolerance.per == "unit":
        absolute *= abs(Fraction(units))
    elif tolerance.per == "day":
        absolute = max(absolute, abs(Fraction(day_price)))
    relative = abs(Fraction(reference)) * Fraction(tolerance.relative_pct) / 100
    return abs(Fraction(difference)) <= max(absolute, relative)
