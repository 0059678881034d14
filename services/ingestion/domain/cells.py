"""Cells: from the text that a person or a vendor wrote to a typed value, exactly, or to a reason and a fix.

Nothing is guessed: a figure with a thousands separator, a local time that happens twice, a day without a year are
refused with what to write instead. Nothing is rounded: a decimal keeps every digit of the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any, Literal

from services.ingestion.domain import compound
from services.ingestion.domain.badcell import BadCell
from shared.kernel.money import CURRENCIES, round_to
from shared.kernel.periods import instant_of, zone

__all__ = ["BadCell", "Notation", "Type", "parse"]

Type = Literal[
    "text", "decimal", "int", "bool", "date", "instant", "last day", "hours", "list", "currency",
    "tiers", "shares", "rates", "works", "rounding", "json",
]  # fmt: skip
"""What a column holds. ``hours`` is a duration (decimal, ``h:mm`` or ``h:mm:ss``), read as minutes; ``last day`` is an
inclusive end, read as the instant at which the next day begins; ``list`` is parted by ``;``; the last row's are in
:mod:`~services.ingestion.domain.compound`."""

_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,2})?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_INSTANT = re.compile(
    r"(?P<day>\d{4}-\d{2}-\d{2})"
    r"(?:[T ](?P<time>\d{2}:\d{2}(?::\d{2})?)(?:\.(?P<fraction>\d{1,12}))? ?(?P<offset>Z|UTC|[+-]\d{2}:?\d{2})?)?",
    re.ASCII,
)
_CLOCK = re.compile(r"(\d{1,4}):([0-5]\d)(?::([0-5]\d))?", re.ASCII)
_TIME = re.compile(r"[T ]\d{1,2}:\d{2}.*", re.ASCII)
_MARKS = re.compile(r"[+-]?\d{1,3}[.,]\d{3}", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_YES = frozenset({"true", "yes", "y", "1"})
_NO = frozenset({"false", "no", "n", "0"})
_DIGITS_MAX = 60
_NO_DECIMAL = "is not a decimal"
_MINUTE_DECIMALS = 18
_EXACT = Context(prec=_DIGITS_MAX)
_YEARS = range(1970, 2200)


@dataclass(frozen=True, slots=True)
class Notation:
    """How a file writes figures and dates."""

    decimal_mark: str = "."
    thousands_mark: str = ""
    date_formats: Sequence[str] = ()
    """``strptime`` formats of dates, besides ``YYYY-MM-DD``."""
    time_formats: Sequence[str] = ()
    """``strptime`` formats of a date and a local time, besides ISO 8601."""
    zone: str = "UTC"
    """Where a date or a time without an offset belongs."""


def parse(kind: Type, text: str, notation: Notation) -> Any:
    """The value of a cell that is not empty. Raises :class:`BadCell`."""
    return _PARSERS[kind](text, notation)


def _text(text: str, _: Notation) -> str:
    return text


def _decimal(text: str, notation: Notation) -> Decimal:
    plain = text
    if notation.decimal_mark == "either":
        plain = _either_mark(text)
    elif notation.thousands_mark:
        plain = re.sub(rf"(?<=\d){re.escape(notation.thousands_mark)}(?=\d{{3}}(\D|$))", "", plain)
    if notation.decimal_mark == ",":
        plain = plain.replace(".", "?").replace(notation.decimal_mark, ".")
    if not _DECIMAL.fullmatch(plain):
        raise BadCell(
            "is not a decimal", f"write the figure alone, such as 1204{',' if notation.decimal_mark == ',' else '.'}50"
        )
    value = Decimal(plain)
    if len(value.as_tuple().digits) > _DIGITS_MAX:
        raise BadCell("has more digits than can be kept exactly", "write at most 38 digits")
    return value.normalize(_EXACT)


def _either_mark(text: str) -> str:
    """A figure whose marks are those of any locale, with a point: of two kinds of marks the last is the decimal one."""
    if _MARKS.fullmatch(text):
        raise BadCell(
            "may be a fraction or thousands, nobody can tell",
            "write it without a mark between thousands and with two decimals, such as 1250.00 or 1.25",
        )
    comma, point = text.rfind(","), text.rfind(".")
    decimal, thousands = (",", ".") if comma > point else (".", ",")
    grouped = re.fullmatch(
        rf"[+-]?\d{{1,3}}(?:{re.escape(thousands)}\d{{3}})+(?:{re.escape(decimal)}\d+)?", text, re.ASCII
    )
    plain = text.replace(thousands, "") if grouped else text
    return plain.replace(decimal, ".") if plain.count(decimal) <= 1 else plain


def _int(text: str, _: Notation) -> int:
    if not _WHOLE.fullmatch(text):
        raise BadCell("is not a whole number", "write a whole number, such as 1")
    return int(text)


def _bool(text: str, _: Notation) -> bool:
    low = text.casefold()
    if low in _YES or low in _NO:
        return low in _YES
    raise BadCell("is neither yes nor no", "write true or false")


def _date(text: str, notation: Notation) -> date:
    try:
        if _DAY.fullmatch(text):
            return _in_range(date.fromisoformat(text))
    except ValueError:
        raise BadCell("is no day of the calendar", "write a date that exists, as YYYY-MM-DD") from None
    for form in notation.date_formats:
        try:
            return _in_range(datetime.strptime(text, form).date())
        except ValueError:
            continue
    raise BadCell("is not a date", "write it as YYYY-MM-DD, such as 2026-09-01")


def _in_range(day: date) -> date:
    if day.year not in _YEARS:
        raise BadCell("lies outside 1970 to 2199", "write the year with four digits, and the right one")
    return day


def _instant(text: str, notation: Notation) -> datetime:
    match = _INSTANT.fullmatch(text)
    if match is None:
        for form in notation.time_formats:
            try:
                naive = datetime.strptime(text, form)
            except ValueError:
                continue
            return _local(datetime.combine(_in_range(naive.date()), naive.time()), notation.zone)
        if notation.date_formats:
            return instant_of(_date(text, notation), notation.zone)
        raise BadCell("is not a time", "write it as 2026-09-01T14:00:00Z, or as a date")
    day = _date(match["day"], notation)
    if match["time"] is None:
        return instant_of(day, notation.zone)
    fraction = match["fraction"] or ""
    if fraction[6:].strip("0"):
        raise BadCell("is finer than a microsecond", "write at most six decimals of a second")
    try:
        naive = datetime.fromisoformat(f"{match['day']}T{match['time']}").replace(
            microsecond=int(f"{fraction[:6]:0<6}")
        )
    except ValueError:
        raise BadCell("is no time of the day", "write hours from 00 to 23 and minutes from 00 to 59") from None
    offset = match["offset"]
    if offset is None:
        return _local(naive, notation.zone)
    try:
        return datetime.fromisoformat(naive.isoformat() + offset.replace("UTC", "Z")).astimezone(UTC)
    except ValueError:
        raise BadCell("has an offset that no clock has", "write the offset from UTC, such as +02:00") from None


def _last_day(text: str, notation: Notation) -> datetime:
    return instant_of(_date(_TIME.sub("", text), notation) + timedelta(days=1), notation.zone)


def _local(naive: datetime, name: str) -> datetime:
    """A local time as an instant; one that the clocks skip or run through twice is nobody's to guess."""
    first = naive.replace(tzinfo=zone(name), fold=0).astimezone(UTC)
    second = naive.replace(tzinfo=zone(name), fold=1).astimezone(UTC)
    if first == second:
        return first
    happens = "happens twice" if first < second else "is skipped"
    raise BadCell(f"{happens} in {name}, where the clocks change", "write the offset, such as +02:00")


def _hours(text: str, notation: Notation) -> Decimal:
    clock = _CLOCK.fullmatch(text)
    if clock:
        seconds = int(clock[1]) * 3600 + int(clock[2]) * 60 + int(clock[3] or 0)
        # Down: a third of a minute must not, added up, reach into the next increment of the contract.
        return round_to(Fraction(seconds, 60), _MINUTE_DECIMALS, "down").normalize(_EXACT)
    try:
        return _EXACT.multiply(_decimal(text, notation), Decimal(60))
    except BadCell as bad:
        if bad.reason != _NO_DECIMAL:
            raise
        raise BadCell("is not a duration", "write hours, as 1.25 or as 1:15") from None


def _list(text: str, _: Notation) -> list[str]:
    return [part.strip() for part in text.split(";") if part.strip()]


def _currency(text: str, _: Notation) -> str:
    code = text.upper()
    if not _CURRENCY.fullmatch(code):
        raise BadCell("is no currency code", "write the three letters of ISO 4217, such as EUR")
    if code not in CURRENCIES:
        raise BadCell("is no currency that there is", "write a code that ISO 4217 has, such as EUR")
    return code


_PARSERS: dict[Type, Callable[[str, Notation], Any]] = {
    "text": _text,
    "decimal": _decimal,
    "int": _int,
    "bool": _bool,
    "date": _date,
    "instant": _instant,
    "last day": _last_day,
    "hours": _hours,
    "list": _list,
    "currency": _currency,
    "tiers": lambda text, _: compound.tiers(text),
    "shares": lambda text, _: compound.shares(text),
    "rates": lambda text, _: compound.rates(text),
    "works": lambda text, _: compound.works(text),
    "rounding": lambda text, _: compound.rounding(text),
    "json": lambda text, _: compound.obj(text),
}
