"""The settings that exist: their meaning, their default, and what a value must be (topic ``settings``).

Tolerances are read by their pattern, so that one can be set for a single currency or unit.

To add one: add a row here; the service that needs it folds ``setting.changed`` of that key.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from urllib.parse import urlsplit

from shared.kernel.canonical import decimal_text


@dataclass(frozen=True, slots=True)
class SettingKey:
    """One setting of a tenant."""

    key: str
    description: str
    """Meaning and unit, for people."""
    check: Callable[[str], str]
    """The value as it is kept; raises ``ValueError`` with ``<reason>; <fix>``."""
    default: str | None = None
    """The value while none is set; ``None``: nothing happens without one."""
    secret: bool = False
    """True: the value goes to the vault, and only the document's name into the record."""


def _web_address(text: str) -> str:
    """https anywhere, http to this machine only: an alert names clients and amounts."""
    text = text.strip()
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port  # reading the port refuses one that is no number
    except ValueError as error:
        raise ValueError("is not a web address; send one such as https://example.com/hook") from error
    if len(text) > 2_000 or not text.isascii() or any(c <= " " or c in '\\"<>' for c in text):
        raise ValueError("is not a web address; send at most 2,000 visible ASCII characters")
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError("is not a web address; send one that begins with https://")
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds a user name or password; leave it out, what is sent is signed instead")
    if parts.fragment:
        raise ValueError("holds a fragment, which is never sent; leave out what follows #")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ValueError("is http to another machine; use https")
    return text


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _webhook_secret(text: str) -> str:
    """As Standard Webhooks has it: ``whsec_`` and the base64 of 24 to 64 random bytes."""
    fix = "send whsec_ and the base64 of 24 to 64 random bytes"
    prefix, _, encoded = text.strip().partition("_")
    try:
        length = len(base64.b64decode(encoded, validate=True))
    except binascii.Error as error:
        raise ValueError(f"is not a webhook secret; {fix}") from error
    if prefix != "whsec" or not 24 <= length <= 64:
        raise ValueError(f"is not a webhook secret; {fix}")
    return text.strip()


def _days(most: int) -> Callable[[str], str]:
    def check(text: str) -> str:
        text = text.strip()
        if not (text.isascii() and text.isdecimal() and len(text) <= 4 and int(text) <= most):
            raise ValueError(f"is not a number of days; send a whole number from 0 to {most}")
        return str(int(text))

    return check


def _decimal(most: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        try:
            value = Decimal(text.strip()) if text.isascii() and len(text) <= 40 else Decimal("NaN")
        except InvalidOperation:
            value = Decimal("NaN")
        if not value.is_finite() or not 0 <= value <= Decimal(most) or -int(value.as_tuple().exponent) > 18:
            raise ValueError(f"is out of range or no decimal; send one from 0 to {most}, such as 0.5")
        return decimal_text(value)

    return check


_ROWS = (
    SettingKey("notification.webhook.url", "Where discrepancies are sent: one https address.", _web_address),
    SettingKey(
        "notification.webhook.secret",
        "What they are signed with (Standard Webhooks): whsec_ and base64.",
        _webhook_secret,
        secret=True,
    ),
    SettingKey(
        "invoice.grace_days", "Days after a period's end before a missing invoice is an error.", _days(366), "5"
    ),
    SettingKey(
        "margin.floor_pct",
        "Least margin in percent of what a client is billed; empty: only what is sold below cost is told.",
        _decimal("100"),
    ),
    SettingKey("time.stale_days", "Days after which billable time must be approved and invoiced.", _days(3660), "30"),
    SettingKey("backbill.days", "Days after a period's end from which nothing is billed for it.", _days(3660), "365"),
)
_MOST = {"absolute": "1000000000", "relative_pct": "100"}
_CLASSES: dict[str, tuple[str, str, str | None, str]] = {
    # class: (unit of the absolute width, what the relative one is a percentage of, defaults of the two)
    "quantity": ("in units", "what is due", "0", "0"),
    "unit_price": ("in currency a unit", "the agreed price", "0.01", "0.5"),
    "cost": ("in currency a unit", "the agreed cost", "0.01", "0.5"),
    "proration": ("in currency", "what is due for the part of a period", "0.01", "0"),
    "restated": ("in units", "the closed period's quantity", "0", "1"),
    "time": ("in hours", "the hours that are due", "0.25", "0"),
    "rounding": ("in currency a rounded line; empty: one minor unit", "what is due", None, "0"),
    "tax": ("in currency a rounded line; empty: one minor unit", "the tax that is due", None, "0"),
}


def _tolerance(cls: str, kind: str, of: str | None = None) -> SettingKey:
    unit, share, absolute, relative_pct = _CLASSES[cls]
    what = f"Difference of {cls.replace('_', ' ')} that is let pass, "
    what += unit if kind == "absolute" else f"in percent of {share}"
    key, default = f"tolerance.{cls}.{kind}", absolute if kind == "absolute" else relative_pct
    if of is None:
        return SettingKey(key, f"{what}.", _decimal(_MOST[kind]), default)
    return SettingKey(f"{key}.{of}", f"{what}; for {of} only.", _decimal(_MOST[kind]))


_TOLERANCES = tuple(_tolerance(cls, kind) for cls in _CLASSES for kind in _MOST)

SETTING_KEYS: dict[str, SettingKey] = {row.key: row for row in (*_ROWS, *_TOLERANCES)}
"""Key -> its row, of the keys that always exist; :func:`setting_key` knows those of one currency or unit too."""

_UNIT = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_ -]{0,39}")
"""A currency such as ``JPY`` or a unit such as ``GiB``: a key is a part of a web address."""


def tolerance_key(key: str) -> SettingKey | None:
    """The row of a tolerance: ``tolerance.<class>.<absolute or relative_pct>``, and for one currency or unit alone
    ``.<currency or unit>`` behind it. ``None`` for any other key."""
    prefix, _, rest = key.partition(".")
    cls, _, rest = rest.partition(".")
    kind, dot, of = rest.partition(".")
    if prefix != "tolerance" or cls not in _CLASSES or kind not in _MOST:
        return None
    if not dot:
        return SETTING_KEYS[key]
    return _tolerance(cls, kind, of) if _UNIT.fullmatch(of) and of == of.strip() else None


def setting_key(key: str) -> SettingKey | None:
    """The row of a setting; ``None``: there is no such setting."""
    return SETTING_KEYS.get(key) or tolerance_key(key)
