"""The spellings of a rating document that rating.md itself uses."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

_UNITS = {
    "daily": "day",
    "weekly": "week",
    "monthly": "month",
    "quarterly": "quarter",
    "yearly": "year",
    "annual": "year",
    "annually": "year",
    "one-off": "once",
}
_MEASURES = {
    "levels": "gauge",
    "segments": "gauge",
    "amounts": "counter",
    "marks": "peak",
    "vendor_cost": "cost",
    "time_entries": "entries",
    "time": "entries",
}
_ZONES = {"tz": "time_zone", "timezone": "time_zone"}
_ITEM = {"from": "at", "to": "until", "value": "quantity", "amount": "quantity", "cost": "quantity"}
_TIER = {"unit": "unit_amount", "flat": "flat_amount"}
_VERSION = {"from": "effective_from", "to": "effective_to"}
_IN_PERIOD = ("unit", "count", "day", "anchor")


def respelled(document: Any) -> Any:
    """A parsed document as the models want it, from ``"half_up 2"``, ``"period": "month"``, ``"overdraw"`` beside the
    price and the like. Whatever it does not know it leaves alone."""
    if not isinstance(document, dict):
        return document
    spelled = _renamed(document, _ZONES)
    terms = spelled.get("terms")
    count = (
        {name: spelled["period"][name] for name in _IN_PERIOD if name in spelled["period"]}
        if isinstance(spelled.get("period"), dict)
        else {}
    )
    if isinstance(terms, dict):
        terms = _terms(terms)
        if count:
            terms = {"period": count, **terms}
            spelled["period"] = {name: value for name, value in spelled["period"].items() if name not in count}
            if not spelled["period"]:
                del spelled["period"]
        spelled["terms"] = terms
    elif isinstance(terms, list):
        spelled["terms"] = [
            _terms(_renamed(version, _VERSION)) if isinstance(version, dict) else version for version in terms
        ]
    for name in ("period", "part"):
        if isinstance(spelled.get(name), str):
            spelled[name] = _month(spelled[name])
    if "measured" in spelled:
        spelled["measured"] = _measure(spelled["measured"])
    return spelled


def _renamed(given: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """The first spelling of a name holds; another stays as it is, and is refused as unknown."""
    renamed: dict[str, Any] = {}
    for name, value in given.items():
        other = names.get(name, name)
        taken = other in renamed or (other != name and other in given)
        renamed[name if taken else other] = value
    return renamed


def _terms(given: dict[str, Any]) -> dict[str, Any]:
    terms = _renamed(given, _ZONES)
    period = terms.get("period")
    period = {"unit": period} if isinstance(period, str) else dict(period) if isinstance(period, dict) else period
    loose = {name: terms.pop(name) for name in _IN_PERIOD if name in terms}
    if loose and (period is None or isinstance(period, dict)):
        period = {**loose, **(period or {})}
    if isinstance(period, dict) and isinstance(period.get("unit"), str):
        period["unit"] = _UNITS.get(period["unit"], period["unit"])
    if period is not None:
        terms["period"] = period
    if isinstance(terms.get("rounding"), dict):
        terms["rounding"] = {step: _step(value) for step, value in terms["rounding"].items()}
    if isinstance(terms.get("refund"), list):
        terms["refund"] = [{"credit": rule} if isinstance(rule, str) else rule for rule in terms["refund"]]
    if "overdraw" in terms and isinstance(terms.get("labour"), dict):
        terms["labour"] = {"overdraw": terms.pop("overdraw"), **terms["labour"]}
    price = terms.get("price")
    if isinstance(price, dict) and isinstance(price.get("tiers"), list):
        tiers = [_renamed(tier, _TIER) if isinstance(tier, dict) else tier for tier in price["tiers"]]
        terms["price"] = {**price, "tiers": tiers}
    return terms


def _step(value: Any) -> Any:
    """``"half_up 2"``, ``"(half_up, 2)"``, ``["half_up", 2]`` or ``2``."""
    if isinstance(value, str):
        value = value.strip("()").replace(",", " ").split()
    if isinstance(value, list) and len(value) == 2:
        scale = int(value[1]) if isinstance(value[1], str) and value[1].isascii() and value[1].isdigit() else value[1]
        return {"mode": value[0], "scale": scale}
    return {"scale": value} if isinstance(value, int) and not isinstance(value, bool) else value


def _month(text: str) -> Any:
    """``2026-06`` is a month."""
    try:
        start = date.fromisoformat(f"{text}-01")
    except ValueError:
        return text
    after = (start + timedelta(days=32)).replace(day=1)
    return {"from": start.isoformat(), "to": after.isoformat()}


def _measure(given: Any) -> Any:
    """A bare figure is what a counter showed."""
    if isinstance(given, str | int) and not isinstance(given, bool):
        return {"counter": [{"quantity": given}]}
    if not isinstance(given, dict):
        return given
    measured = _renamed(given, _MEASURES)
    for name, items in measured.items():
        if name in ("unit", "entries"):
            continue
        if isinstance(items, str | int) and not isinstance(items, bool):
            items = [{"quantity": items}]
        if isinstance(items, list):
            measured[name] = [_renamed(item, _ITEM) if isinstance(item, dict) else item for item in items]
    return measured
