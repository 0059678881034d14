"""The envelope, and the way from a typed record to the bytes of the log and back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from pydantic import BaseModel

from shared.events.base import utc_text
from shared.events.catalogue import CATALOGUE, PARTITIONS, Kind, RecordType
from shared.kernel.canonical import canonical
from shared.kernel.identity import content_hash, id_hash, partition_of

MAX_BYTES = 65_535
"""A record's canonical bytes fit a transparency-log entry."""
_PLACEHOLDER = "0000-00-00T00:00:00.000000Z"
_STAMP = b'"recordedat":"' + _PLACEHOLDER.encode() + b'"'
_STAMP_LEAD = len(b'"recordedat":"')


class RecordTooLarge(ValueError):
    """The record's canonical bytes are over :data:`MAX_BYTES`."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A record ready to be appended: its bytes with 27 placeholder bytes where the database stamps ``recordedat``."""

    topic: str
    partition: int
    tenant: str
    id_hash: UUID
    content_hash: UUID
    body: bytes
    stamp_offset: int
    """1-based byte offset of the placeholder in ``body``."""
    stream: UUID | None = None
    expected: int | None = None
    """Expected version of the stream before the command (decisions and derived records)."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a record carries besides what its source says. None of it is part of its identity."""

    actor: str
    """``service:ingestion``, ``key:<prefix>`` or ``person:<uuid>``."""
    correlation_id: str | None = None
    causation_id: str | None = None
    trace_parent: str | None = None


@dataclass(frozen=True, slots=True)
class Assertion:
    """What a source says of its own version: the rank of a fact (protocols.md section 7)."""

    asserted_at: datetime
    run: int = 0


def _envelope(
    record_type: RecordType, tenant: str, source: str, record_id: str, subject: str, time: datetime, context: Context
) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "specversion": "1.0",
        "id": record_id,
        "source": source,
        "type": record_type.name,
        "subject": subject,
        "time": utc_text(time),
        "tenant": tenant,
        "recordedat": _PLACEHOLDER,
        "actor": context.actor,
    }
    if context.correlation_id:
        fields["correlationid"] = context.correlation_id
    if context.causation_id:
        fields["causationid"] = context.causation_id
    if context.trace_parent:
        fields["traceparent"] = context.trace_parent
    return fields


def _draft(
    record_type: RecordType, fields: dict[str, Any], content: bytes, key: str, stream: UUID | None, expected: int | None
) -> Draft:
    body = canonical(fields)
    if len(body) > MAX_BYTES:
        raise RecordTooLarge(f"{len(body):,} bytes; a record holds at most {MAX_BYTES:,}")
    # rindex: "recordedat" sorts after "data", so a look-alike inside the data comes first.
    offset = body.rindex(_STAMP) + _STAMP_LEAD + 1
    tenant = fields["tenant"]
    return Draft(
        topic=record_type.topic,
        partition=partition_of(tenant, key, PARTITIONS),
        tenant=tenant,
        id_hash=id_hash(tenant, fields["source"], fields["id"]),
        content_hash=content_hash(content),
        body=body,
        stamp_offset=offset,
        stream=stream,
        expected=expected,
    )


def draft_fact(
    record_type: RecordType,
    *,
    tenant: str,
    source: str,
    record_id: str,
    time: datetime,
    data: BaseModel,
    assertion: Assertion,
    context: Context,
    subject: str | None = None,
    origin_document: str | None = None,
    origin_locator: str | None = None,
) -> Draft:
    """A fact. Its content is ``{tenant, source, type, subject, time, data}``: the same line sent on another day, from
    another document, by another run is the same fact."""
    assert record_type.key is not None
    dumped = data.model_dump(mode="json", exclude_defaults=True)
    fields = _envelope(
        record_type, tenant, source, record_id, subject or record_type.subject(data), time, context
    )
    fields["data"] = dumped
    content = canonical({name: fields[name] for name in ("tenant", "source", "type", "subject", "time", "data")})
    fields["assertedat"] = utc_text(assertion.asserted_at)
    fields["run"] = assertion.run
    if origin_document:
        fields["origindocument"] = origin_document
    if origin_locator:
        fields["originlocator"] = origin_locator
    return _draft(record_type, fields, content, record_type.key(source, data), None, None)


def draft_decision(
    record_type: RecordType,
    *,
    tenant: str,
    source: str,
    record_id: str,
    time: datetime,
    data: BaseModel,
    command: dict[str, Any],
    stream: UUID,
    expected: int,
    n: int = 1,
    context: Context,
) -> Draft:
    """The n-th record of a command. Its content is the *command* (name, payload, actor), not the result."""
    content = canonical(command)
    fields = _envelope(record_type, tenant, source, record_id, record_type.subject(data), time, context)
    fields["data"] = data.model_dump(mode="json", exclude_defaults=True)
    fields["commandhash"] = content_hash(content).hex
    fields["stream"] = stream.hex
    fields["streamversion"] = expected + n
    return _draft(record_type, fields, content, stream.hex, stream, expected)


def draft_derived(
    record_type: RecordType,
    *,
    tenant: str,
    source: str,
    record_id: str,
    time: datetime,
    data: BaseModel,
    stream: UUID,
    expected: int,
    context: Context,
) -> Draft:
    """A derived record ``{body, basis}``. Its content is its body."""
    dumped = data.model_dump(mode="json", exclude_defaults=True)
    fields = _envelope(record_type, tenant, source, record_id, record_type.subject(data), time, context)
    fields["data"] = dumped
    fields["stream"] = stream.hex
    fields["streamversion"] = expected + 1
    content = canonical(dumped["body"])
    return _draft(record_type, fields, content, stream.hex, stream, expected)


def content_of(body: bytes) -> UUID | None:
    """The content hash of a stored record, from its bytes alone; ``None`` for a type this release does not know."""
    fields = orjson.loads(body)
    record_type = CATALOGUE.get(fields["type"])
    if record_type is None:
        return None
    if record_type.kind is Kind.DECISION:
        return UUID(hex=fields["commandhash"])
    if record_type.kind is Kind.DERIVED:
        return content_hash(canonical(fields["data"]["body"]))
    return content_hash(
        canonical({name: fields[name] for name in ("tenant", "source", "type", "subject", "time", "data")})
    )
