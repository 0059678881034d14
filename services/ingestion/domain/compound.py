"""Cells that hold more than one value: tiers, shares, rates, kinds of work, a rounding, JSON.

Each has a little grammar, told in ``docs/formats.md``. Values come out as the records' models read them. Figures are
written plainly here (``4.00``), whatever the decimal mark of the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from services.ingestion.domain.badcell import BadCell

PARTS_MAX = 500
"""Parts of one cell: as many as the longest list of a contract's terms."""
_JSON_DEPTH_MAX = 16
_FIGURE = r"\d{1,20}(?:\.\d{1,18})?"
_TIER = re.compile(
    rf"(?P<up_to>\*|{_FIGURE})\s*@\s*(?P<unit>{_FIGURE})(?:\s*/\s*(?P<size>{_FIGURE}))?(?:\s*\+\s*(?P<flat>{_FIGURE}))?",
    re.ASCII,
)
_SHARE = re.compile(
    rf"(?P<id>.+?)(?:\s*=\s*(?:(?P<share>0?\.\d{{1,18}}|1(?:\.0{{1,18}})?)|(?P<percent>{_FIGURE})\s*%))?", re.ASCII
)
_RATE = re.compile(rf"(?P<role>[^/@]+?)\s*(?:/\s*(?P<work>[^@]+?))?\s*@\s*(?P<rate>{_FIGURE})", re.ASCII)
_WORK = re.compile(rf"(?P<work>.+?)\s+(?:(?P<excluded>excluded)|(?P<sign>[=+x*])\s*(?P<value>{_FIGURE}))", re.ASCII)
_EFFECTS = {"=": "custom", "+": "add", "x": "multiply", "*": "multiply"}
_ROUNDING = re.compile(r"(?P<mode>half_up|half_even|down|up|floor|ceiling)?\s*(?P<scale>\d{1,2})", re.ASCII)


def tiers(text: str) -> list[dict[str, str]]:
    """``8@4.00+9; 20@3.25; *@2.50+15``: up to 8 at 4.00 and a flat 9, up to 20 at 3.25, all beyond at 2.50 and a flat
    15. ``200@3.00/50``: 3.00 for each started block of 50. Raises :class:`BadCell`."""
    found = []
    for part in _parts(text):
        tier = _TIER.fullmatch(part)
        if tier is None:
            raise BadCell("is not a list of tiers", "write each as `up to@price`, such as 8@4.00+9;20@3.25;*@2.50")
        one = {"up_to": tier["up_to"], "unit_amount": tier["unit"], "flat_amount": tier["flat"], "size": tier["size"]}
        found.append({name: figure for name, figure in one.items() if figure not in (None, "*")})
    return found


def shares(text: str) -> list[dict[str, str]]:
    """``northwind=0.6; aster=40%``: ids with their shares; one alone has the whole. Raises :class:`BadCell`."""
    found = []
    for part in _parts(text):
        target = _SHARE.fullmatch(part)
        assert target is not None  # any text is an id
        one = {"id": target["id"]}
        if target["share"] or target["percent"]:
            one["share"] = target["share"] or _hundredth(target["percent"])
        found.append(one)
    if len(found) > 1 and any("share" not in one for one in found):
        raise BadCell(
            "names several without their shares", "write each with its share, such as northwind=0.6;aster=0.4"
        )
    return found


def rates(text: str) -> list[dict[str, str]]:
    """``Engineer@120; Engineer/On-site@150; */Travel@60``: the price of an hour by role and work type, ``*`` for any.
    Raises :class:`BadCell`."""
    found = []
    for part in _parts(text):
        rate = _RATE.fullmatch(part)
        if rate is None:
            raise BadCell("is not a list of rates", "write each as `role@rate` or `role/work type@rate`")
        one = {"role": rate["role"], "work_type": rate["work"], "rate": rate["rate"]}
        found.append({name: word for name, word in one.items() if word not in (None, "*")})
    return found


def works(text: str) -> list[dict[str, str]]:
    """``Travel excluded; Night x1.5; On-site +25; Audit =140``: what kinds of work do to the rate. Raises
    :class:`BadCell`."""
    found = []
    for part in _parts(text):
        work = _WORK.fullmatch(part)
        if work is None:
            raise BadCell("is not a list of kinds of work", "write each as `Night x1.5`, `On-site +25`, `Audit =140`")
        if work["excluded"]:
            found.append({"work_type": work["work"], "effect": "excluded"})
        else:
            found.append({"work_type": work["work"], "effect": _EFFECTS[work["sign"]], "value": work["value"]})
    return found


def rounding(text: str) -> dict[str, Any]:
    """``half_even 4``, or ``2`` (half_up): how, and to how many decimals. Raises :class:`BadCell`."""
    step = _ROUNDING.fullmatch(text)
    if step is None:
        raise BadCell("is no rounding", "write the mode and the decimals, such as half_up 2")
    return {"mode": step["mode"] or "half_up", "scale": int(step["scale"])}


def obj(text: str) -> dict[str, Any]:
    """An object in JSON; its figures stay text, exact. Raises :class:`BadCell`."""
    try:
        # A decimal of a person's JSON means what it says; as a binary float it would not.
        found = json.loads(text, parse_float=str, parse_constant=_no_constant, object_pairs_hook=_distinct)
    except RecursionError:
        raise BadCell("is nested too deeply", f"nest at most {_JSON_DEPTH_MAX} levels") from None
    except ValueError:
        raise BadCell("is not JSON", 'write an object in {braces}, such as {"prorate_first": false}') from None
    if not isinstance(found, dict):
        raise BadCell("is not an object in JSON", 'write an object in {braces}, such as {"prorate_first": false}')
    if _deeper(found, _JSON_DEPTH_MAX):
        raise BadCell("is nested too deeply", f"nest at most {_JSON_DEPTH_MAX} levels")
    try:
        orjson.dumps(found)
    except TypeError:
        # A reject is kept as JSON too: halves of characters and figures of more than 64 bits are none there.
        raise BadCell("holds text or a whole number that cannot be kept", "write figures in quotes") from None
    return found


def _parts(text: str) -> Iterator[str]:
    parts = [part.strip() for part in text.split(";") if part.strip()]
    if len(parts) > PARTS_MAX:
        raise BadCell("has too many parts", f"write at most {PARTS_MAX}")
    return iter(parts)


def _hundredth(figure: str) -> str:
    whole, _, rest = figure.partition(".")
    digits = whole.zfill(3)
    return f"{digits[:-2]}.{digits[-2:]}{rest}"


def _no_constant(_: str) -> None:
    raise ValueError("NaN and Infinity are no JSON")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name comes twice")
    return found


def _deeper(value: Any, depth: int) -> bool:
    if not isinstance(value, (dict, list)):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return depth == 0 or any(_deeper(one, depth - 1) for one in inner)
