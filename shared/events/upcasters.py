"""Old payloads stay readable: an upcaster turns the ``data`` of one version of a type into that of the next.

Stored bytes never change; the step is made on reading, chained to the newest version, so that everything above reads
the newest only. An upcaster is pure and total: it knows every payload that its version ever allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Upcaster(NamedTuple):
    """One step from a version of a type to the next."""

    to: str
    """The wire type of the next version."""
    data: Callable[[dict[str, Any]], dict[str, Any]]
    """The old ``data`` as the next version says it."""


UPCASTERS: dict[str, Upcaster] = {}
"""Old wire type -> its step. Empty as long as every type is at its first version."""


def upcast(fields: dict[str, Any], upcasters: Mapping[str, Upcaster] = UPCASTERS) -> dict[str, Any]:
    """``fields`` (a decoded record) with ``type`` and ``data`` of the newest version; the same object if they are."""
    while (step := upcasters.get(fields["type"])) is not None:
        fields = {**fields, "type": step.to, "data": step.data(fields["data"])}
    return fields
