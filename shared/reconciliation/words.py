"""Figures and dates in words, each within the length that a record's field allows."""

from __future__ import annotations

from calendar import monthrange
from datetime import date
from decimal import Decimal
from fractions import Fraction

from shared.kernel.canonical import decimal_text
from shared.kernel.money import amount_text, round_to
from shared.kernel.periods import Period, month_of

# The standard library's names follow the process's locale; a body must not.
_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
LABEL, SENTENCE = 300, 500
_DECIMALS = 18
_PRICE_DECIMALS = 6


def month(period: Period) -> str:
    """``October 2026``; a period that is no whole month by its dates."""
    if month_of(period.start) == period:
        return f"{_MONTHS[period.start.month - 1]} {period.start.year}"
    return f"{period.start} to {period.end}"


def clip(text: str, length: int = LABEL) -> str:
    """``text``, cut with an ellipsis where a field could not hold it."""
    return text if len(text) <= length else text[: length - 1] + "…"


def quantity(value: Decimal | Fraction) -> str:
    """A quantity without needless zeros; a quotient as :func:`shown`."""
    return decimal_text(shown(value))


def price(value: Decimal | Fraction, currency: str) -> str:
    """A unit price with at least its currency's decimals: ``4.20``."""
    return amount_text(shown(value), currency)


def field(value: Decimal) -> Decimal:
    """``value`` as a record's decimal field can hold it: 18 decimals (shares of shares may have more)."""
    places = -int(value.as_tuple().exponent)
    return round_to(value, _DECIMALS) if places > _DECIMALS else value


def shown(value: Decimal | Fraction) -> Decimal:
    """A unit price for showing: a quotient has no last digit, so it is cut at six decimals and never computed with."""
    return field(value) if isinstance(value, Decimal) else round_to(value, _PRICE_DECIMALS)


def more(texts: list[str]) -> str:
    """``INV-7 line 2 and 3 more``."""
    return clip(texts[0] if len(texts) == 1 else f"{texts[0]} and {len(texts) - 1} more") if texts else ""


def next_cycle_day(after: date, day_of_month: int) -> date:
    """The first bill-cycle day after ``after``; the 31st falls on a shorter month's last day."""
    candidate = _clipped(after.replace(day=1), day_of_month)
    return candidate if candidate > after else _clipped(month_of(after).end, day_of_month)


def _clipped(first: date, day_of_month: int) -> date:
    return first.replace(day=min(day_of_month, monthrange(first.year, first.month)[1]))
