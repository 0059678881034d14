"""The settings that exist: their meaning, their default, and what a value must be (topic ``settings``).

To add one: add a row here; the service that needs it folds ``setting.changed`` of that key.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
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
    SettingKey("tolerance.quantity.absolute", "Difference in units that is let pass.", _decimal("1000000000"), "0"),
    SettingKey("tolerance.quantity.relative_pct", "The same in percent of what is due.", _decimal("100"), "0"),
    SettingKey(
        "tolerance.unit_price.absolute",
        "Difference in currency a unit that is let pass.",
        _decimal("1000000000"),
        "0.01",
    ),
    SettingKey("tolerance.unit_price.relative_pct", "The same in percent of the agreed price.", _decimal("100"), "0.5"),
)

SETTING_KEYS: dict[str, SettingKey] = {row.key: row for row in _ROWS}
"""Key -> its row."""
