"""Amounts are ``Decimal``; this module is the only one that rounds (rating.md section 0)."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import (
    ROUND_CEILING,
    ROUND_DOWN,
    ROUND_FLOOR,
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    ROUND_UP,
    Context,
    Decimal,
)
from fractions import Fraction
from typing import Literal

Mode = Literal["half_up", "half_even", "down", "up", "floor", "ceiling"]

_MODES: dict[str, str] = {
    "half_up": ROUND_HALF_UP,
    "half_even": ROUND_HALF_EVEN,
    "down": ROUND_DOWN,
    "up": ROUND_UP,
    "floor": ROUND_FLOOR,
    "ceiling": ROUND_CEILING,
}
_GUARD_SCALE = 9
# Sources send up to 15 decimals; products of two such figures stay exact well below this.
_CONTEXT = Context(prec=60)

# ISO 4217 minor units that differ from 2 (rating.md section 9).
_NO_DECIMALS = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE_DECIMALS = "BHD IQD JOD KWD LYD OMR TND"
_FOUR_DECIMALS = "CLF UYW"
_EXPONENTS: dict[str, int] = {
    **dict.fromkeys(_NO_DECIMALS.split(), 0),
    **dict.fromkeys(_THREE_DECIMALS.split(), 3),
    **dict.fromkeys(_FOUR_DECIMALS.split(), 4),
}


def exponent(currency: str) -> int:
    """Decimal places of a currency's minor unit."""
    return _EXPONENTS.get(currency, 2)


def round_to(value: Decimal | Fraction, scale: int, mode: Mode = "half_up") -> Decimal:
    """``value`` at ``scale`` decimals.

    A directed mode (down, up, floor, ceiling) below 9 decimals first rounds half up to 9, so that a factor which was
    itself printed rounded does not lose a cent.
    """
    if isinstance(value, Fraction):
        value = _CONTEXT.divide(Decimal(value.numerator), Decimal(value.denominator))
    if scale < _GUARD_SCALE and mode not in ("half_up", "half_even"):
        value = value.quantize(Decimal(1).scaleb(-_GUARD_SCALE), rounding=ROUND_HALF_UP, context=_CONTEXT)
    return value.quantize(Decimal(1).scaleb(-scale), rounding=_MODES[mode], context=_CONTEXT)


def money(value: Decimal | Fraction, currency: str, mode: Mode = "half_up") -> Decimal:
    """``value`` in whole minor units of ``currency``."""
    return round_to(value, exponent(currency), mode)


def split_largest_remainder(total: Decimal, weights: Sequence[Decimal | Fraction], scale: int) -> list[Decimal]:
    """``total`` (already at ``scale``) in parts by ``weights``; the parts sum to it exactly.

    Each part gets the floor of its share in minor units, then one unit goes to each of the largest fractions, ties to
    the earlier part. All weights zero: equal weights.
    """
    if not weights:
        return []
    sign = -1 if total < 0 else 1
    units = int(_CONTEXT.scaleb(_CONTEXT.abs(total), scale))
    shares = [Fraction(w) for w in weights]
    whole = sum(shares)
    if whole == 0:
        shares, whole = [Fraction(1)] * len(weights), Fraction(len(weights))
    exact = [share * units / whole for share in shares]
    parts = [int(e) for e in exact]
    order = sorted(range(len(parts)), key=lambda i: (parts[i] - exact[i], i))
    for i in order[: units - sum(parts)]:
        parts[i] += 1
    return [_CONTEXT.scaleb(Decimal(sign * p), -scale) for p in parts]


def amount_text(value: Decimal, currency: str) -> str:
    """An amount with its currency's own decimals, as in ``56.00``; more decimals than that are kept, never cut."""
    places = max(exponent(currency), -int(value.normalize(_CONTEXT).as_tuple().exponent))
    return format(value.quantize(Decimal(1).scaleb(-places), context=_CONTEXT), "f")
