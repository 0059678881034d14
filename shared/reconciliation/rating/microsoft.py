"""Microsoft's own arithmetic (rating.md section 8): three files round in three ways, and a price that is a result.

Names are those of the columns of the reconciliation files (Partner Center documentation, CC BY 4.0).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal, NamedTuple

from shared.events.contracts import RefundRule, RoundingStep, Terms, UnitPrice
from shared.kernel.money import round_to
from shared.reconciliation.exact import exact

File = Literal["usage", "licence", "daily"]
"""Invoice reconciliation file, usage or licence lines; daily-rated usage file."""
Kind = Literal["first", "cycle", "renewal", "change", "upgrade", "credit", "usage", "discount", "adjustment"]

ONE = Decimal(1)
EUP_SCALE = 15
ROW_TOLERANCE = Decimal("0.01")
"""What a recomputed row may differ by: daily rows need not sum to the invoice's."""


@exact
def pretax(
    file: File, effective_unit_price: Decimal, quantity: Decimal, exchange_rate: Decimal = ONE, scale: int = 2
) -> Decimal:
    """The pre-tax amount of one row, as its file rounds: each of the three loses a cent elsewhere.

    ``exchange_rate`` is PCToBCExchangeRate, fixed for the month. ``scale``: decimals of the billing currency's file.
    """
    if file == "usage":
        priced = round_to(effective_unit_price * quantity, scale, "down")
        return round_to(priced * exchange_rate, scale, "down")
    if file == "licence":
        return round_to(effective_unit_price * exchange_rate, scale, "down") * quantity
    return round_to(effective_unit_price * quantity * exchange_rate, scale, "floor")


class Check(NamedTuple):
    """A row, or rows of one meter, computed again."""

    expected: Decimal
    billed: Decimal
    difference: Decimal
    """Billed less expected."""
    within: bool
    """At most 0.01 a row."""


def check(expected: Decimal, billed: Decimal, rows: int = 1) -> Check:
    """``billed`` against what was computed again from ``rows`` rows."""
    difference = billed - expected
    return Check(expected, billed, difference, abs(difference) <= ROW_TOLERANCE * rows)


@exact
def billable_cost(
    quantity: Decimal,
    unit_price: Decimal,
    earned_credit_pct: Decimal = Decimal(0),
    other_adjustments: Decimal = Decimal(0),
) -> Decimal:
    """Billable cost of a meter in the open period: ``floor(quantity x UnitPrice x (1 - PEC) - other, 2)``."""
    share = 1 - earned_credit_pct / 100
    return round_to(quantity * unit_price * share - other_adjustments, 2, "floor")


def effective_unit_price(cost: Decimal, quantity: Decimal) -> Decimal:
    """``cost / quantity`` at 15 decimals, 0 for no quantity. One page of the documentation prints the quotient upside
    down. Printed rounded, so amounts made of it need the guard of ``round_to``."""
    return round_to(Fraction(cost) / Fraction(quantity), EUP_SCALE) if quantity else Decimal(0)


class Consumed(NamedTuple):
    """A meter's use on one day."""

    meter: str
    quantity: Decimal
    unit_price: Decimal
    earned_credit_pct: Decimal = Decimal(0)
    """The partner earned credit: a day has it whole or not at all."""
    other_adjustments: Decimal = Decimal(0)


@exact
def effective_unit_prices(rows: Iterable[Consumed]) -> dict[tuple[str, Decimal, Decimal], Decimal]:
    """(meter, UnitPrice, earned credit) -> EffectiveUnitPrice: days with and without the credit are two lines."""
    sums: dict[tuple[str, Decimal, Decimal], tuple[Decimal, Decimal]] = defaultdict(lambda: (Decimal(0), Decimal(0)))
    for row in rows:
        key = (row.meter, row.unit_price, row.earned_credit_pct)
        quantity, other = sums[key]
        sums[key] = quantity + row.quantity, other + row.other_adjustments
    return {
        key: effective_unit_price(billable_cost(quantity, key[1], key[2], other), quantity)
        for key, (quantity, other) in sorted(sums.items())
    }


CHARGE_TYPES: Mapping[str, Kind] = {
    "Activation fee": "first",
    "Prorate fees when purchase": "first",
    "Prorate fees when activate": "first",
    "purchase": "first",
    "New": "first",
    "Cycle fee": "cycle",
    "CycleCharge": "cycle",
    "Renew": "renewal",
    "Renew fee": "renewal",
    "Prorate fee when renew": "renewal",
    "Cycle instance prorate": "change",
    "addQuantity": "change",
    "removeQuantity": "change",
    "Convert": "upgrade",
    "Prorate fees when convert away from current offering": "upgrade",
    "Prorate fees when convert to a new offering": "upgrade",
    "Cancel": "credit",
    "CancelImmediate": "credit",
    "Cancel fee": "credit",
    "Cancel instance prorate": "credit",
    "Prorate fees when cancel": "credit",
    "Assess usage fee for current cycle": "usage",
    "Assess usage fee when cancel": "usage",
    "Activation discount": "discount",
    "Cycle discount": "discount",
    "Renew discount": "discount",
    "Cancel discount": "discount",
    "Offset a line item": "adjustment",
}
"""ChargeType -> ours. ``change`` and ``upgrade`` come in pairs (both halves carry one type; ReferenceId joins them);
an ``adjustment`` is never matched to usage."""


def charge_kind(charge_type: str) -> Kind | None:
    """What a ChargeType means, whatever its spaces and case; ``None`` for one that is not in the table."""
    return _BY_SPELLING.get(_spelling(charge_type))


def _spelling(name: str) -> str:
    return "".join(name.split()).casefold()


_BY_SPELLING = {_spelling(name): kind for name, kind in CHARGE_TYPES.items()}

_CENT = RoundingStep(mode="half_up", scale=2)
PRESETS: Mapping[str, Mapping[str, Any]] = {
    # Cancel or reduce within 168 hours of purchase or renewal; later the seats stay until the term ends. Added seats
    # pay the rest of the cycle by days.
    "new_commerce": {
        "billing": "advance",
        "proration": "daily",
        "change": "delta",
        "refund": (RefundRule(within=7, credit="unused"), RefundRule(credit="none")),
        "rounding": {"unit_price": _CENT},
    },
    # Suspended in the first month: everything back; later the unused rest. A change books the whole line again.
    "legacy": {
        "billing": "advance",
        "proration": "daily",
        "change": "replace",
        "refund": (RefundRule(within=30, credit="full"), RefundRule(credit="unused")),
    },
    # Public sources disagree on whether the 30 days give back all or by days; this is "all".
    "one_time": {
        "billing": "advance",
        "proration": "daily",
        "change": "remaining",
        "refund": (RefundRule(within=30, credit="full"), RefundRule(credit="none")),
        "rounding": {"unit_price": _CENT},
    },
}
"""How Microsoft sells licences, as fields of ``Terms``."""


def licence_terms(preset: Literal["new_commerce", "legacy", "one_time"], unit_amount: Decimal, **more: Any) -> Terms:
    """Terms of a licence at ``unit_amount`` a seat and period, as Microsoft sells it; ``more`` overrides."""
    price = UnitPrice(kind="unit", unit_amount=unit_amount)
    return Terms.model_validate({"price": price, **PRESETS[preset], **more})
