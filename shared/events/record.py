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
from shared.events.upcasters import upcast
from shared.kernel.canonical import canonical
from shared.kernel.identity import content_hash, id_hash, partition_of

MAX_BYTES = 65_535
"""A record's canonical bytes fit a transparency-log entry."""
_PLACEHOLDER = b"0000-00-00T00:00:00.000000Z"
_STAMP = b'"recordedat":"' + _PLACEHOLDER + b'"'
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
        "recordedat": _PLACEHOLDER.decode(),
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
    body = _sized(canonical(fields))
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


class FactDrafter:
    """Makes the drafts of many facts that share a tenant, a context and (unless one says more) an assertion.

    This is the hot path of ingestion: the data is serialised once, and both the content and the body are put together
    from canonical pieces, in the order of their keys. A test compares the bytes with those of the plain way.
    """

    def __init__(self, tenant: str, context: Context, assertion: Assertion) -> None:
        self._tenant = tenant
        self._context = context
        self._assertion = assertion
        self._actor = b'{"actor":' + orjson.dumps(context.actor) + b',"assertedat":"'
        self._causes = _optional("causationid", context.causation_id) + _optional(
            "correlationid", context.correlation_id
        )
        self._asserted = utc_text(assertion.asserted_at).encode()
        self._tenant_text = b',"tenant":' + orjson.dumps(tenant) + b',"time":"'

    def draft(
        self,
        record_type: RecordType,
        *,
        source: str,
        record_id: str,
        time: datetime,
        data: BaseModel,
        subject: str | None = None,
        assertion: Assertion | None = None,
        trace_parent: str | None = None,
        origin_document: str | None = None,
        origin_locator: str | None = None,
    ) -> Draft:
        """A fact. Its content is ``{tenant, source, type, subject, time, data}``: the same line sent on another day,
        from another document, by another run is the same fact. Raises :class:`RecordTooLarge`."""
        assert record_type.key is not None
        text = orjson.dumps
        said = b'"data":' + canonical(data.model_dump(mode="json", exclude_defaults=True))
        source_text = text(source)
        about = b'"subject":' + text(subject or record_type.subject(data))
        when = self._tenant_text + utc_text(time).encode() + b'"'
        what = b',"type":' + text(record_type.name) + b"}"
        content = b"".join((b"{", said, b',"source":', source_text, b",", about, when, what))
        trace = trace_parent or self._context.trace_parent
        head = b"".join((
            self._actor,
            utc_text(assertion.asserted_at).encode() if assertion else self._asserted,
            b'"',
            self._causes,
            b",",
            said,
            b',"id":',
            text(record_id),
            _optional("origindocument", origin_document) if origin_document else b"",
            _optional("originlocator", origin_locator) if origin_locator else b"",
            b',"recordedat":"',
        ))  # fmt: skip
        body = b"".join((
            head,
            _PLACEHOLDER,
            b'","run":',
            str((assertion or self._assertion).run).encode(),
            b',"source":',
            source_text,
            b',"specversion":"1.0",',
            about,
            when,
            _optional("traceparent", trace) if trace else b"",
            what,
        ))  # fmt: skip
        return Draft(
            record_type.topic,
            partition_of(self._tenant, record_type.key(source, data), PARTITIONS),
            self._tenant,
            id_hash(self._tenant, source, record_id),
            content_hash(content),
            _sized(body),
            len(head) + 1,
        )


def _optional(name: str, value: str | None) -> bytes:
    return b',"' + name.encode() + b'":' + orjson.dumps(value) if value else b""


def _sized(body: bytes) -> bytes:
    if len(body) > MAX_BYTES:
        raise RecordTooLarge(f"{len(body):,} bytes; a record holds at most {MAX_BYTES:,}")
    return body


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
    """One fact; for many of one tenant, see :class:`FactDrafter`."""
    return FactDrafter(tenant, context, assertion).draft(
        record_type,
        source=source,
        record_id=record_id,
        time=time,
        data=data,
        subject=subject,
        origin_document=origin_document,
        origin_locator=origin_locator,
    )


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
    """The content hash of a stored record, from its bytes alone, as the newest version of its type says it; ``None``
    for a type that this release does not know."""
    fields = upcast(orjson.loads(body))
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
