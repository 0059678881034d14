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
from functools import cache
from typing import Literal

Mode = Literal["half_up", "half_even", "down", "up", "floor", "ceiling"]
Split = Literal["largest_remainder", "remainder_to_last"]
Order = Literal["line", "largest_first"]

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
# The active codes of ISO 4217 with two decimals; those above complete the list. Metals, funds of one country, testing
# codes and XXX name no money that anyone is invoiced in.
_TWO_DECIMALS = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP"
    " CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD"
    " KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN"
    " NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC"
    " SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG"
)
# They left use within the last years, and records of those years still bear them.
_WITHDRAWN = "ANG BGN CUC HRK SLL ZWL"
CURRENCIES = frozenset(f"{_TWO_DECIMALS} {_WITHDRAWN}".split()) | frozenset(_EXPONENTS)
"""Currencies whose minor unit is known (ISO 4217); another's must not be guessed."""


def exponent(currency: str) -> int:
    """Decimal places of a currency's minor unit."""
    return _EXPONENTS.get(currency, 2)


def round_to(value: Decimal | Fraction, scale: int, mode: Mode = "half_up") -> Decimal:
    """``value`` at ``scale`` decimals.

    A directed mode (down, up, floor, ceiling) below 9 decimals first rounds half up to 9, so that a factor which was
    itself printed rounded does not lose a cent.
    """
    if not isinstance(value, Decimal):
        value = _CONTEXT.divide(Decimal(value.numerator), Decimal(value.denominator))
    if scale < _GUARD_SCALE and mode not in ("half_up", "half_even"):
        value = value.quantize(Decimal(1).scaleb(-_GUARD_SCALE), rounding=ROUND_HALF_UP, context=_CONTEXT)
    return value.quantize(_unit(scale), rounding=_MODES[mode], context=_CONTEXT)


@cache
def _unit(scale: int) -> Decimal:
    return Decimal(1).scaleb(-scale)


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


def split(
    total: Decimal, weights: Sequence[Decimal], scale: int, how: Split = "largest_remainder", order: Order = "line"
) -> list[Decimal]:
    """``total`` in parts by ``weights`` as a source splits it; the parts stand in the order of the weights.

    ``remainder_to_last``: each part is cut to ``scale``, and the last one takes the whole rest. ``largest_first``: the
    source sorts by weight before it splits, so "earlier" and "last" go by weight.
    """
    places = list(range(len(weights)))
    if order == "largest_first":
        places.sort(key=lambda place: (-weights[place], place))
    ordered = [weights[place] for place in places]
    shares = (_to_last if how == "remainder_to_last" else split_largest_remainder)(total, ordered, scale)
    parts = [Decimal(0)] * len(weights)
    for place, part in zip(places, shares, strict=True):
        parts[place] = part
    return parts


def _to_last(total: Decimal, weights: Sequence[Decimal], scale: int) -> list[Decimal]:
    if not weights:
        return []
    if not any(weights):
        weights = [Decimal(1)] * len(weights)
    whole = sum(map(Fraction, weights))
    shares = [Fraction(total) * Fraction(weight) / whole for weight in weights[:-1]]
    parts = [_cut(exact_share, scale) for exact_share in shares]
    rest = total
    for part in parts:
        rest = _CONTEXT.subtract(rest, part)
    return [*parts, rest]


def _cut(value: Fraction, scale: int) -> Decimal:
    """Toward zero, and without the guard: a share is exact."""
    units = abs(value.numerator) * 10**scale // value.denominator
    return _CONTEXT.scaleb(Decimal(-units if value < 0 else units), -scale)


def amount_text(value: Decimal, currency: str) -> str:
    """An amount with its currency's own decimals, as in ``56.00``; more decimals than that are kept, never cut."""
    places = max(exponent(currency), -int(value.normalize(_CONTEXT).as_tuple().exponent))
    return format(value.quantize(Decimal(1).scaleb(-places), context=_CONTEXT), "f")
