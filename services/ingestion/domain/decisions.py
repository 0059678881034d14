"""Mappings and settings as decision streams: what stands, and what a command makes of it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from shared.events.catalogue import CATALOGUE, RecordType, mapping_stream, setting_stream
from shared.events.mappings import MappingConfirmed, MappingWithdrawn
from shared.events.settings import SettingChanged


@dataclass(frozen=True, slots=True)
class Command:
    """What somebody wants decided about one stream. Its content (name, payload, actor) is its identity."""

    name: str
    payload: dict[str, Any]
    actor: str
    topic: str
    stream: UUID
    decide: Callable[[Sequence[dict[str, Any]]], BaseModel | None]
    """From the stream's records, oldest first, to what becomes true; ``None``: it is so already. Raises
    :class:`Refused`."""

    @property
    def content(self) -> dict[str, Any]:
        return {"name": self.name, "payload": self.payload, "actor": self.actor}


class Refused(Exception):
    """The command makes no sense on what stands; the message says why."""


_TYPES: dict[type[BaseModel], RecordType] = {row.model: row for row in CATALOGUE.values()}


def type_of(data: BaseModel) -> RecordType:
    """The record type of a decision's data."""
    return _TYPES[type(data)]


def confirm_mapping(tenant: str, actor: str, wanted: MappingConfirmed) -> Command:
    """An identifier is a client's or a product, or it is not billed."""

    def decide(records: Sequence[dict[str, Any]]) -> MappingConfirmed | None:
        standing = mapping_of(records)
        return None if standing == wanted else wanted

    return Command(
        "confirm_mapping",
        wanted.model_dump(mode="json", exclude_defaults=True),
        actor,
        "mappings",
        mapping_stream(tenant, wanted.kind, wanted.source, wanted.key),
        decide,
    )


def withdraw_mapping(tenant: str, actor: str, wanted: MappingWithdrawn) -> Command:
    """A mapping was wrong."""

    def decide(records: Sequence[dict[str, Any]]) -> MappingWithdrawn:
        if mapping_of(records) is None:
            raise Refused(f"{wanted.kind} {wanted.key!r} of source {wanted.source!r} is not mapped")
        return wanted

    return Command(
        "withdraw_mapping",
        wanted.model_dump(mode="json"),
        actor,
        "mappings",
        mapping_stream(tenant, wanted.kind, wanted.source, wanted.key),
        decide,
    )


def mapping_of(records: Sequence[dict[str, Any]]) -> MappingConfirmed | None:
    """What a mapping's stream says now."""
    if not records or records[-1]["type"] != "mapping.confirmed.v1":
        return None
    return MappingConfirmed.model_validate(records[-1]["data"])


def change_setting(tenant: str, actor: str, wanted: SettingChanged) -> Command:
    """A setting gets a value, or its default again."""

    def decide(records: Sequence[dict[str, Any]]) -> SettingChanged | None:
        standing = setting_of(wanted.key, records)
        return None if standing == wanted else wanted

    return Command(
        "change_setting",
        wanted.model_dump(mode="json", exclude_defaults=True),
        actor,
        "settings",
        setting_stream(tenant, wanted.key),
        decide,
    )


def setting_of(key: str, records: Sequence[dict[str, Any]]) -> SettingChanged:
    """What a setting's stream says now; without a value: the default holds."""
    return SettingChanged.model_validate(records[-1]["data"]) if records else SettingChanged(key=key)


def newest(records: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of each stream its last record: the one of the greatest version, in whatever order they come."""
    last: dict[str, dict[str, Any]] = {}
    for fields in records:
        known = last.get(fields["stream"])
        if known is None or known["streamversion"] < fields["streamversion"]:
            last[fields["stream"]] = fields
    return last
