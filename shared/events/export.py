"""Writes what every record looks like: a JSON Schema of each type's whole record, and one table of all types.

``python -m shared.events.export`` writes ``docs/events``. A test compares the folder with the models, so a change of
shape cannot pass unseen.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import orjson

from shared.events.catalogue import CATALOGUE, Kind, RecordType

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "events"

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string", "minLength": 1}
_INSTANT: Schema = {"type": "string", "format": "date-time"}
_HEX_16: Schema = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
_HEX_32: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}


def _said(schema: Schema, description: str) -> Schema:
    return {**schema, "description": description}


_EVERY: dict[str, Schema] = {
    "specversion": _said({"const": "1.0"}, "CloudEvents version."),
    "id": _said(_TEXT, "The source's id of the record; with tenant and source it is the record's identity, for ever."),
    "source": _said(_TEXT, "Who says it."),
    "subject": _said({"type": "string"}, "What it is about, from the identifiers in the data."),
    "time": _said(_INSTANT, "When it happened or holds from, as the source says."),
    "tenant": _said(_TEXT, "The MSP whose record it is."),
    "recordedat": _said(
        {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"},
        "When the log recorded it: stamped by the database, never decreasing along a topic, never before a cause.",
    ),
    "actor": _said(_TEXT, "Who sent it: service:<name>, key:<prefix> or person:<uuid>."),
}
_MAY: dict[str, Schema] = {
    "correlationid": _said(_TEXT, "Shared by all records that one request set off."),
    "causationid": _said(_TEXT, "Id of the record that this one follows from."),
    "traceparent": _said(_TEXT, "W3C trace context of the request."),
}
_STREAM: dict[str, Schema] = {
    "stream": _said(_HEX_16, "The stream of the entity that it is about."),
    "streamversion": _said({"type": "integer", "minimum": 1}, "Its version in the stream, counted from 1."),
}
# What a kind adds: (always there, may be there).
_BY_KIND: dict[Kind, tuple[dict[str, Schema], dict[str, Schema]]] = {
    Kind.FACT: (
        {
            "assertedat": _said(_INSTANT, "The source's own stamp of this version of the fact: it ranks versions."),
            "run": _said({"type": "integer", "minimum": 0}, "The feed's run that brought it; ranks after assertedat."),
        },
        {
            "origindocument": _said(_HEX_32, "SHA-256 of the encrypted document that it was read from."),
            "originlocator": _said(_TEXT, "Where in that document, such as row 17."),
        },
    ),
    Kind.DECISION: (
        {**_STREAM, "commandhash": _said(_HEX_16, "Hash of the command that was decided; it is the record's content.")},
        {},
    ),
    Kind.DERIVED: (_STREAM, {}),
}


def schema(record_type: RecordType) -> Schema:
    """JSON Schema (2020-12) of the whole record as its bytes are stored."""
    always, may = _BY_KIND[record_type.kind]
    data = record_type.model.model_json_schema(mode="serialization", by_alias=True)
    definitions = data.pop("$defs", {})
    required = {**_EVERY, **always}
    properties = {**required, **_MAY, **may, "type": {"const": record_type.name}, "data": data}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": record_type.name,
        "description": data.get("description", ""),
        "type": "object",
        "properties": properties,
        "required": sorted([*required, "type", "data"]),
        "additionalProperties": False,
        **({"$defs": definitions} if definitions else {}),
    }


def table() -> str:
    """Every type in one Markdown table."""
    lines = [
        "# Record types",
        "",
        "Written by `make schemas` from `shared/events`; do not edit. Each name leads to the JSON Schema of the whole",
        "record, field by field. A version of a type is never edited: a new shape is a new version.",
        "",
        "| type | topic | written by | kind | says |",
        "|---|---|---|---|---|",
    ]
    for name, row in sorted(CATALOGUE.items()):
        says = (row.model.__doc__ or "").strip().splitlines()[0]
        lines.append(f"| [{name}]({name}.json) | {row.topic} | {row.writer} | {row.kind} | {says} |")
    return "\n".join(lines) + "\n"


def files() -> dict[str, bytes]:
    """File name -> contents, the same on every run."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    schemas = {f"{name}.json": orjson.dumps(schema(row), option=options) for name, row in CATALOGUE.items()}
    return {**schemas, "README.md": table().encode()}


def export(folder: Path) -> None:
    """Make ``folder`` hold these files, and no schema of a type that is gone."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = files()
    for stale in folder.glob("*.json"):
        if stale.name not in wanted:
            stale.unlink()
    for name, contents in wanted.items():
        (folder / name).write_bytes(contents)


if __name__ == "__main__":
    export(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
