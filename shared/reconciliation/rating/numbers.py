"""Arithmetic between rounding points: ``Decimal`` as long as a figure has a last digit, ``Fraction`` from there on."""

from __future__ import annotations

from decimal import Context, Decimal
from fractions import Fraction
from math import ceil

from shared.reconciliation.rating.model import Number

_ONE = Decimal(1)
_WIDE = Context(prec=200)
_TEN_POWER = 10**30


def figure(value: Number | int) -> Number:
    return Decimal(value) if isinstance(value, int) else value


def times(one: Number, other: Number) -> Number:
    if isinstance(one, Decimal) and isinstance(other, Decimal):
        return one * other
    return _narrow(Fraction(one) * Fraction(other))


def plus(one: Number, other: Number) -> Number:
    if isinstance(one, Decimal) and isinstance(other, Decimal):
        return one + other
    return _narrow(Fraction(one) + Fraction(other))


def minus(one: Number, other: Number) -> Number:
    if isinstance(one, Decimal) and isinstance(other, Decimal):
        return one - other
    return _narrow(Fraction(one) - Fraction(other))


def share(value: Number, numerator: Number | int, denominator: Number | int) -> Number:
    """``value x numerator / denominator``: multiplied first, divided last. Raises ``ZeroDivisionError``."""
    if denominator == 1:
        return times(value, figure(numerator))
    (a, b), (c, d), (e, f) = value.as_integer_ratio(), numerator.as_integer_ratio(), denominator.as_integer_ratio()
    return _narrow(Fraction(a * c * f, b * d * e))


def started(value: Number, size: Decimal) -> Decimal:
    """How many blocks of ``size`` are started by ``value`` units: none by nothing."""
    if not isinstance(value, Decimal):
        return Decimal(ceil(value / Fraction(size)))
    whole, rest = divmod(value, size)
    return whole + _ONE if rest > 0 else whole


def _narrow(value: Fraction) -> Number:
    """A quotient that has a last digit is a plain figure again (a divisor of 2^30 takes thirty of them)."""
    if _TEN_POWER % value.denominator:
        return value
    return _WIDE.divide(Decimal(value.numerator), Decimal(value.denominator))
