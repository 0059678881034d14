"""One value, one sequence of bytes.

Records are compared, hashed and sealed by their bytes, so every JSON document that this system writes goes through
:func:`canonical`: keys sorted, UTF-8, no spaces, decimals as plain strings, instants in UTC with a ``Z``.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Any

import orjson

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z


def decimal_text(value: Decimal) -> str:
    """The shortest plain notation of a finite decimal: ``7.10`` -> ``7.1``, ``1E+3`` -> ``1000``, ``-0`` -> ``0``.

    >>> decimal_text(Decimal("0.00000080000"))
    '0.0000008'
    """
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _default(value: Any) -> Any:
    if isinstance(value, Decimal):
        return decimal_text(value)
    raise TypeError(f"{type(value).__name__} has no canonical form")


def canonical(value: Any) -> bytes:
    """Canonical JSON of dicts with string keys, lists, strings, ints, bools, None, Decimals, dates and instants.

    Raises ``TypeError`` for anything else. Floats never belong here: models refuse them at the door.
    """
    return orjson.dumps(value, default=_default, option=_OPTIONS)


def sha256_hex(data: bytes) -> str:
    """SHA-256 as 64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()
