from __future__ import annotations

import base64
from decimal import Decimal

import pytest

from shared.events.setting_keys import SETTING_KEYS, setting_key
from shared.reconciliation.settings import Settings, is_setting, settings_of


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
    told = {key: row.default for key, row in SETTING_KEYS.items() if row.default is not None}
    assert settings_of({key: value for key, value in told.items() if not key.startswith("tolerance.")}) == default
    for key, value in told.items():
        if key.startswith("tolerance."):
            _, cls, kind = key.split(".")
            assert getattr(default.tolerance(cls), kind) == Decimal(value)  # type: ignore[arg-type]


def test_every_default_would_be_accepted_as_a_value() -> None:
    for row in SETTING_KEYS.values():
        assert row.default is None or row.check(row.default) == row.default


def test_a_tolerance_of_one_currency_or_unit_comes_before_the_classs() -> None:
    values = {"tolerance.unit_price.absolute": "0.02", "tolerance.unit_price.absolute.JPY": "3"}
    found = settings_of(values | {"tolerance.quantity.absolute.GiB": "0.5"})
    assert found.tolerance("unit_price", currency="JPY").absolute == 3
    assert found.tolerance("unit_price", currency="EUR").absolute == Decimal("0.02")
    assert found.tolerance("quantity", unit="GiB").absolute == Decimal("0.5")
    assert found.tolerance("quantity", unit="agent").name == "exact"


def test_rounding_is_one_minor_unit_a_rounded_line_unless_set() -> None:
    assert Settings().tolerance("rounding", currency="EUR", lines=3).absolute == Decimal("0.03")
    assert Settings().tolerance("tax", currency="JPY", lines=2).absolute == 2
    assert settings_of({"tolerance.tax.absolute": "0"}).tolerance("tax", currency="EUR").name == "exact"


def test_settings_do_not_depend_on_the_order_of_their_values() -> None:
    values = {"tolerance.time.absolute": "0.5", "tolerance.cost.absolute.EUR": "1", "backbill.days": "90"}
    assert settings_of(values) == settings_of(dict(reversed(values.items())))


@pytest.mark.parametrize(
    "key",
    ["tolerance.speed.absolute", "tolerance.cost", "tolerance.cost.width", "tolerance.cost.absolute.", "tolerance.",
     "tolerance.cost.absolute.a.b", "tolerance.cost.absolute. EUR", "margin",
     "tolerance.cost.absolute.GB/month", "notification.webhook.address"],
)  # fmt: skip
def test_other_keys_are_no_settings(key: str) -> None:
    assert setting_key(key) is None
    assert not is_setting(key)


def test_a_key_of_one_unit_is_checked_and_described_like_its_class() -> None:
    row = setting_key("tolerance.quantity.relative_pct.GB month")
    assert row is not None
    assert row.description == "Difference of quantity that is let pass, in percent of what is due; for GB month only."
    with pytest.raises(ValueError, match="from 0 to 100"):
        row.check("101")


def test_what_is_sent_to_whom_changes_no_verdict() -> None:
    assert not is_setting("notification.webhook.url")
