"""A rejected item as a person sees it, and as a person corrects it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from services.ingestion.domain.envelope import MAX_DEPTH, Envelope

_SENT = frozenset(Envelope.model_fields) | {"type", "data"}
_VALUE_MAX = 200


class BadCorrection(ValueError):
    """A correction names no place in the item; the message says which."""


def as_sent(draft: bytes) -> bytes:
    """The event behind a draft that met a conflict: without what ingestion added, and so fit to be sent again."""
    fields = orjson.loads(draft)
    return orjson.dumps({name: value for name, value in fields.items() if name in _SENT})


def corrected(item: bytes, corrections: Mapping[str, Any]) -> bytes:
    """``item`` with each value put at its JSON path (``data.quantity``); ``None`` takes the field out.

    Raises :class:`BadCorrection`.
    """
    if not corrections:
        return item
    try:
        value = orjson.loads(item)
    except orjson.JSONDecodeError as error:
        raise BadCorrection("the item is no JSON, so no field of it can be corrected") from error
    for path, new in corrections.items():
        parts = path.split(".")
        if not all(parts) or len(parts) > MAX_DEPTH:
            raise BadCorrection(f"{path!r} is no path such as data.quantity")
        _put(value, parts, new, path)
    return orjson.dumps(value)


def _put(value: Any, parts: list[str], new: Any, path: str) -> None:
    here = value
    for part, following in zip(parts, [*parts[1:], None], strict=True):
        key: Any = int(part) if isinstance(here, list) and part.isdecimal() else part
        if isinstance(here, list) and not (isinstance(key, int) and key < len(here)):
            raise BadCorrection(f"{path!r}: there is no entry {part!r} in the list")
        if not isinstance(here, (dict, list)):
            raise BadCorrection(f"{path!r}: there is no field {part!r} in a single value")
        if following is not None:
            here = here.setdefault(key, {}) if isinstance(here, dict) else here[key]
        elif new is not None:
            here[key] = new
        elif isinstance(here, list):
            del here[key]
        else:
            here.pop(key, None)


def value_at(item: bytes, path: str) -> str | None:
    """What stands at a path, cut to 200 characters, for the person who repairs it; ``None``: nothing."""
    try:
        here = orjson.loads(item)
    except orjson.JSONDecodeError:
        return None
    for part in path.split(".") if path else []:
        if isinstance(here, dict) and part in here:
            here = here[part]
        elif isinstance(here, list) and part.isdecimal() and int(part) < len(here):
            here = here[int(part)]
        else:
            return None
    text = here if isinstance(here, str) else orjson.dumps(here).decode()
    return text[:_VALUE_MAX]
