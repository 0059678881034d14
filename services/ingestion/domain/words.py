"""What is wrong with an item, in words that a person can act on: the field, the reason, the fix.

The words never hold the value itself. It stands in the item, which is sealed; it may be a person's.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydantic import BaseModel

from services.ingestion.domain.facts import Fault
from shared.events.base import DATE_FIRST
from shared.events.catalogue import CATALOGUE, Kind

_PATH_MAX = 200
_DECIMAL_FIX = 'Send a decimal as text, such as "12.40".'
_INSTANT_FIX = 'Send an instant with its offset, such as "2026-09-01T00:00:00Z".'
_DATE_FIX = 'Send a date, such as "2026-09-01".'

_PLAIN: dict[str, tuple[str, str]] = {
    "string_type": ("is not text", "Send it as text, in quotes."),
    "int_type": ("is not a whole number", "Send a whole number."),
    "int_parsing": ("is not a whole number", "Send a whole number."),
    "int_from_float": ("is not a whole number", "Send a whole number."),
    "int_parsing_size": ("is out of range", "Send a smaller number."),
    "bool_type": ("is neither true nor false", "Send true or false."),
    "bool_parsing": ("is neither true nor false", "Send true or false."),
    "decimal_type": ("is not a decimal", _DECIMAL_FIX),
    "decimal_parsing": ("is not a decimal", _DECIMAL_FIX),
    "finite_number": ("is not a number", _DECIMAL_FIX),
    "decimal_max_digits": ("has too many digits", "Send at most 38 digits, 18 of them after the point."),
    "decimal_max_places": ("has too many decimals", "Send at most 18 digits after the point."),
    "decimal_whole_digits": ("has too many digits", "Send at most 20 digits before the point."),
    "timezone_aware": ("has no offset from UTC", _INSTANT_FIX),
    "date_parsing": ("is not a date", _DATE_FIX),
    "date_from_datetime_parsing": ("is not a date", _DATE_FIX),
    "date_from_datetime_inexact": ("is not a date", _DATE_FIX),
    "datetime_parsing": ("is not an instant", _INSTANT_FIX),
    "datetime_from_date_parsing": ("is not an instant", _INSTANT_FIX),
    "datetime_object_invalid": ("is not an instant", _INSTANT_FIX),
    "tuple_type": ("is not a list", "Send a list, in [brackets]."),
    "model_type": ("is not an object", "Send an object, in {braces}."),
    "model_attributes_type": ("is not an object", "Send an object, in {braces}."),
    "dict_type": ("is not an object", "Send an object, in {braces}."),
}

_BOUNDS = {
    "greater_than_equal": ("is below {ge}", "Send {ge} or more."),
    "greater_than": ("is not above {gt}", "Send more than {gt}."),
    "less_than_equal": ("is above {le}", "Send {le} or less."),
    "less_than": ("is not below {lt}", "Send less than {lt}."),
    "string_too_long": ("has more than {max_length} characters", "Shorten it to {max_length} characters."),
    "string_too_short": ("has fewer than {min_length} characters", "Send at least {min_length} characters."),
    "too_long": ("has more than {max_length} entries", "Send at most {max_length} entries."),
    "literal_error": ("is not one of the allowed values", "Send {expected}."),
}


def fault_of(error: Mapping[str, Any], item: Any, sendable: Sequence[str]) -> Fault:
    """One validation error of pydantic about ``item`` (the parsed JSON), in our words."""
    kind, context = error["type"], error.get("ctx", {})
    field = path_of(error["loc"], item)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return unknown_type(item.get("type") if isinstance(item, dict) else None, sendable)
    if not field and kind in ("model_attributes_type", "dict_type", "model_type"):
        return Fault("", "is not an object", "Send a CloudEvent, in {braces}.")
    if kind == "missing":
        return Fault(field, "is missing", f"Add it. {_description(field, item)}".strip())
    if kind == "extra_forbidden":
        return Fault(field, "is not known here", _remove(field, item))
    if kind == "string_pattern_mismatch":
        return Fault(field, *_pattern(str(context.get("pattern"))))
    if kind in _BOUNDS:
        reason, fix = _BOUNDS[kind]
        return Fault(field, reason.format(**context), fix.format(**context))
    if kind == "value_error":
        return _of_a_check(field, str(context["error"]), error["loc"], item)
    reason, fix = _PLAIN.get(kind, (error["msg"][:1].lower() + error["msg"][1:], "Correct it."))
    return Fault(field, reason, fix)


def _of_a_check(field: str, said: str, location: Sequence[str | int], item: Any) -> Fault:
    """What a model's own check says: ``reason; fix``. A reason that begins with a field's name is about that one."""
    reason, _, fix = said.partition("; ")
    name, _, rest = reason.partition(" ")
    if rest and name in _object_at(location, item):
        field, reason = f"{field}.{name}" if field else name, rest
    elif name == "tier" and (number := rest.partition(" ")[0]).isdecimal():
        field = f"{field}.{int(number) - 1}.up_to"
    if not fix:
        fix = "send a later one" if "must lie after" in reason else "correct it"
    return Fault(field, reason, f"{fix[:1].upper()}{fix[1:]}.")


def _object_at(location: Sequence[str | int], item: Any) -> Mapping[str, Any]:
    here = item
    for part in location:
        if isinstance(here, list) and isinstance(part, int):
            here = here[part] if part < len(here) else None
        elif isinstance(here, dict):
            here = here.get(part, here)  # the name of a union's member is not in the sender's JSON
    return here if isinstance(here, dict) else {}


def path_of(location: Sequence[str | int], item: Any) -> str:
    """The JSON path of a location, such as ``data.terms.price.unit_amount``. The names of union members that pydantic
    puts between are left out: they are not in the sender's JSON."""
    parts: list[str] = []
    here: Any = item
    for position, part in enumerate(location):
        if isinstance(part, int):
            if isinstance(here, list) and part < len(here):
                here = here[part]
            parts.append(str(part))
        elif isinstance(here, dict) and part in here:
            here = here[part]
            parts.append(part)
        elif position == len(location) - 1 and isinstance(here, dict):
            parts.append(part)
    return ".".join(parts)[:_PATH_MAX]


def unknown_type(given: Any, sendable: Sequence[str]) -> Fault:
    """The answer to a ``type`` that cannot be sent."""
    if not isinstance(given, str):
        return Fault("type", "is missing or not text", f"Send one of {', '.join(sendable)}.")
    row = CATALOGUE.get(given)
    if row is None:
        close = _closest(given[:_PATH_MAX], tuple(sendable))
        fix = f"Did you mean {close}?" if close else f"Send one of {', '.join(sendable)}."
        return Fault("type", "is no record type", fix)
    if row.kind is Kind.DERIVED:
        return Fault("type", "is computed here and not sent", "Remove the item.")
    if row.kind is Kind.DECISION:
        where = {"mappings": "POST /v1/mappings", "settings": "PUT /v1/settings/{key}"}.get(row.topic)
        return Fault("type", "is a decision, not a fact", f"Use {where}." if where else "Remove the item.")
    return Fault("type", "is written by the service itself", "Remove the item.")


@lru_cache(maxsize=4096)  # a file with a wrong column has it in every row
def _closest(name: str, names: tuple[str, ...]) -> str | None:
    return next(iter(difflib.get_close_matches(name, names, 1)), None)


def _model_of(item: Any) -> type[BaseModel] | None:
    row = CATALOGUE.get(str(item.get("type"))) if isinstance(item, dict) else None
    return row.model if row else None


def _description(field: str, item: Any) -> str:
    model, (head, _, name) = _model_of(item), field.partition(".")
    if head == "data" and model is not None and name in model.model_fields:
        return model.model_fields[name].description or ""
    return ""


def _remove(field: str, item: Any) -> str:
    model, (head, _, name) = _model_of(item), field.rpartition(".")
    if head == "data" and model is not None:
        close = _closest(name, tuple(model.model_fields))
        return f"Did you mean {close}?" if close else f"Remove it; there are {', '.join(model.model_fields)}."
    return "Remove it."


_PATTERNS = {
    DATE_FIRST: ("does not begin with a date", f'{_DATE_FIX[:-1]}, or an instant, such as "2026-09-01T00:00:00Z".'),
    r"^[A-Z]{3}$": ("is not a currency", 'Send an ISO 4217 code, such as "EUR".'),
    r"^[0-9a-f]{64}$": ("is not a SHA-256", "Send 64 lower-case hex digits."),
    r"^person:[0-9a-f-]{36}$": ("is not a person's id", 'Send "person:<uuid>", never a name.'),
}


def _pattern(pattern: str) -> tuple[str, str]:
    return _PATTERNS.get(pattern, ("has another form than it should", f"Send text of the form {pattern}."))
