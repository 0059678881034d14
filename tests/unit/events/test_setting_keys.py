from __future__ import annotations

import base64

import pytest

from shared.events.setting_keys import SETTING_KEYS
from shared.reconciliation.inputs import Settings


def kept(key: str, text: str) -> str:
    return SETTING_KEYS[key].check(text)


@pytest.mark.parametrize(
    "address",
    [
        "https://example.com/hook",
        "https://10.0.0.7:8443/x?y=1",
        "http://localhost:9000/hook",
        "http://127.0.0.1:9000",
        "http://127.9.9.9/",
        "http://[::1]:9000/",
        "HTTPS://EXAMPLE.com/",
    ],
)
def test_an_alert_goes_by_https_anywhere_and_by_http_to_this_machine(address: str) -> None:
    assert kept("notification.webhook.url", f" {address} ") == address


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://example.com/", "http to another machine; use https"),
        ("http://localhost.example.com/", "another machine"),
        ("http://0.0.0.0/", "another machine"),
        ("https://user:pass@example.com/", "user name or password"),
        ("https://user@example.com/", "user name or password"),
        ("https://@example.com/", "user name or password"),
        ("https://example.com/#x", "fragment"),
        ("ftp://example.com/", "begins with https"),
        ("example.com", "begins with https"),
        ("https://", "begins with https"),
        ("https://example.com:port/", "not a web address"),
        ("https://[::1", "not a web address"),
        ("https://exam ple.com/", "not a web address"),
        ("https://example.com/\\@evil.example", "not a web address"),
        ("https://exämple.com/", "not a web address"),
        ("https://example.com/" + "x" * 2_000, "not a web address"),
        ("", "begins with https"),
    ],
)
def test_other_addresses_are_refused_with_the_reason(address: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        kept("notification.webhook.url", address)


def test_a_webhook_secret_is_as_the_standard_has_it() -> None:
    good = "whsec_" + base64.b64encode(bytes(32)).decode()
    assert kept("notification.webhook.secret", good) == good
    assert SETTING_KEYS["notification.webhook.secret"].secret
    for bad in ("", "whsec_", "whsec_!!!!", good[6:], "whsec_" + base64.b64encode(bytes(23)).decode()):
        with pytest.raises(ValueError, match="24 to 64"):
            kept("notification.webhook.secret", bad)


def test_numbers_are_kept_in_their_shortest_form() -> None:
    assert kept("invoice.grace_days", " 007 ") == "7"
    assert kept("tolerance.unit_price.relative_pct", "0.50") == "0.5"
    assert kept("tolerance.quantity.absolute", "1E+2") == "100"


@pytest.mark.parametrize("text", ["", "-1", "1.5", "367", "seven", "\u0667", "1_0", "99999"])
def test_days_are_whole_and_within_a_year(text: str) -> None:
    with pytest.raises(ValueError, match="whole number"):
        kept("invoice.grace_days", text)


@pytest.mark.parametrize("text", ["", "-0.1", "100.1", "NaN", "Infinity", "1e-19", "half", "1,5", "\u0661", "1" * 50])
def test_a_tolerance_is_a_decimal_within_bounds(text: str) -> None:
    with pytest.raises(ValueError, match="from 0 to 100"):
        kept("tolerance.quantity.relative_pct", text)


def test_the_defaults_told_are_those_that_reconciliation_uses() -> None:
    default = Settings()
    assert SETTING_KEYS["invoice.grace_days"].default == str(default.invoice_grace_days)
    for name in ("quantity", "unit_price"):
        for kind in ("absolute", "relative_pct"):
            assert SETTING_KEYS[f"tolerance.{name}.{kind}"].default == str(getattr(default, f"{name}_{kind}"))


def test_every_default_would_be_accepted_as_a_value() -> None:
    for row in SETTING_KEYS.values():
        assert row.default is None or row.check(row.default) == row.default
