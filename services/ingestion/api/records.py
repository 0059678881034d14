"""``/v1/records``: facts in, as CloudEvents; records out, as they stand in the log."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from services.ingestion import store
from services.ingestion.api.common import (
    accepted,
    answer,
    cursor_of,
    idempotency_key,
    invalid,
    of_cursor,
    read_body,
    sender_of,
)
from services.ingestion.domain.envelope import MAX_RECORDS, ItemTooLarge, NotEvents, NotJson, TooDeep, TooMany, read
from services.ingestion.domain.facts import Fact, Fault, Receipt, Rejected, Sender
from services.ingestion.intake import digest_of
from services.ingestion.parts import Parts, parts
from shared.access.principal import Principal, operator, principal
from shared.eventlog.model import Place, Stored
from shared.eventlog.postgres import TenantLog
from shared.events.catalogue import CATALOGUE, PARTITIONS, WRITERS
from shared.events.record import MAX_BYTES
from shared.kernel.identity import id_hash
from shared.runtime.database import tenant_transaction
from shared.runtime.http import Problem

MAX_BODY_BYTES = 8 * 1024 * 1024
_MEDIA = {"application/cloudevents+json": b"{", "application/cloudevents-batch+json": b"[", "application/json": b"{["}

router = APIRouter()


def _check_media(request: Request, body: bytes) -> None:
    media, _, parameters = request.headers.get("content-type", "").partition(";")
    begins = _MEDIA.get(media.strip().lower())
    charset = re.search(r'charset\s*=\s*"?([^";\s]+)', parameters, re.IGNORECASE)
    if begins is None or (charset and charset[1].lower() not in ("utf-8", "utf8", "us-ascii")):
        raise Problem(
            415,
            "Unsupported media type",
            "The body is not declared as CloudEvents in JSON and UTF-8.",
            fix=f"Send Content-Type: {' or '.join(_MEDIA)}.",
        )
    first = body.lstrip(b" \t\r\n")[:1]
    if first and first in b"{[" and first not in begins:
        raise Problem(
            422,
            "Not what was declared",
            f"{media.strip()} is {'one event' if begins == b'{' else 'a list of events'}; the body is not.",
            fix="Send one event as application/cloudevents+json, a list as application/cloudevents-batch+json.",
        )


def _read(body: bytes, sender: Sender, now: datetime) -> list[Fact | Rejected]:
    try:
        return read(body, sender, now)
    except NotJson as error:
        raise Problem(400, "Not JSON", f"The body is not JSON in UTF-8: {error}.", fix="Send valid JSON.") from error
    except TooDeep as error:
        raise Problem(400, "Nested too deeply", f"The JSON is {error}.", fix="Send flat data.") from error
    except NotEvents as error:
        raise Problem(
            422, "Not events", f"The JSON is {error}.", fix="Send a CloudEvent, or a list of CloudEvents."
        ) from error
    except TooMany as error:
        raise Problem(
            413,
            "Too many records",
            f"The batch holds {error}; at most {MAX_RECORDS:,} are taken.",
            fix="Send them in smaller batches.",
            limit_records=MAX_RECORDS,
        ) from error
    except ItemTooLarge as error:
        raise Problem(
            413,
            "Record too large",
            f"The batch holds {error}; a record has at most {MAX_BYTES:,}.",
            fix="Send large documents as lines, or as a file.",
            limit_bytes=MAX_BYTES,
        ) from error


@router.post("/v1/records")
async def post_records(request: Request, who: Principal = Depends(principal), here: Parts = Depends(parts)) -> Response:
    """Accept a batch of facts; 202 once what is stored is committed."""
    key = idempotency_key(request)
    body = await read_body(request, MAX_BODY_BYTES)
    _check_media(request, body)
    sender, now = sender_of(who, request), here.clock.now()
    items = _read(body, sender, now)
    batch = key or secrets.token_hex(16)
    receipt = await accepted(
        lambda: here.intake.accept(
            sender, batch, items, digest=digest_of(body), received_at=now, may_repeat=key is not None
        )
    )
    return Response(orjson.dumps(told(receipt, items)), 202, media_type="application/json")


def told(receipt: Receipt, items: Sequence[Fact | Rejected]) -> dict[str, Any]:
    """The JSON of a receipt: the sums, and what became of each item."""
    records = []
    for index, (item, result) in enumerate(zip(items, receipt.results, strict=True)):
        entry: dict[str, Any] = {"index": index, "id": item.record_id, "outcome": result.outcome}
        if result.place is not None:
            topic, partition, position = result.place
            entry["place"] = f"{topic}/{partition}/{position}"
        if result.quarantine is not None:
            entry["quarantine"] = result.quarantine.hex
            entry |= result.faults[0]._asdict()
        records.append(entry)
    return {
        "receipt": {
            "batch": receipt.batch,
            "accepted": receipt.accepted,
            "stored": receipt.stored,
            "duplicate": receipt.duplicate,
            "quarantined": receipt.quarantined,
        },
        "records": records,
    }


# --- reading ---

Limit = Annotated[int, Query(ge=1, le=1_000)]


def _shown(record: Stored) -> dict[str, Any]:
    return {
        "place": str(record.place),
        "recorded_at": record.recorded_at,
        "record": orjson.Fragment(record.body),  # exactly the bytes of the log
    }


def _topic(name: str) -> str:
    if name not in WRITERS:
        raise invalid(Fault("topic", "is no topic", f"Send one of {', '.join(WRITERS)}."))
    return name


@router.get("/v1/records")
async def get_records(
    who: Principal = Depends(operator),
    here: Parts = Depends(parts),
    topic: str | None = None,
    after: str | None = None,
    last: Annotated[int | None, Query(ge=0, le=1_000)] = None,
    type_: Annotated[str | None, Query(alias="type")] = None,
    id_: Annotated[str | None, Query(alias="id")] = None,
    source: str | None = None,
    correlation: str | None = None,
    limit: Limit = 100,
) -> Response:
    """Records of the tenant: a topic from a cursor on (``topic``, ``after``) or its last ones (``last``), one by
    identity (``type``, ``source``, ``id``), or what belongs together (``correlation``)."""
    log = TenantLog(here.pool, who.tenant)
    if correlation is not None:
        return await _correlated(log, who.tenant, correlation, limit)
    if id_ is not None or type_ is not None:
        return await _by_identity(log, who.tenant, type_, source, id_)
    if topic is None:
        fix = "Send topic; or type, source and id; or correlation."
        raise invalid(Fault("topic", "is missing, and so is any other choice", fix))
    if last is not None:
        async with tenant_transaction(here.pool, who.tenant) as connection:
            records, positions = await store.last_of(connection, _topic(topic), last)
    else:
        start = _positions(topic, after) if after else [0] * PARTITIONS
        records, positions = await log.tail(_topic(topic), start, limit)
    # A tail has no end: there is always a place to go on from.
    return answer([_shown(record) for record in records], meta={"next": cursor_of(topic, positions)})


def _positions(topic: str, after: str) -> list[int]:
    of_topic, positions = of_cursor(after, str, list)
    good = len(positions) == PARTITIONS and all(type(p) is int and 0 <= p < 2**62 for p in positions)
    if of_topic != topic or not good:
        raise invalid(Fault("after", "is a cursor of another list", "Send meta.next of the page before, unchanged."))
    return [int(position) for position in positions]


async def _correlated(log: TenantLog, tenant: str, correlation: str, limit: int) -> Response:
    found: list[Stored] = []
    async for record in log.correlated(tenant, correlation):
        if len(found) == limit:
            return answer([_shown(record) for record in found], meta={"next": None, "more": True})
        found.append(record)
    return answer([_shown(record) for record in found], meta={"next": None, "more": False})


async def _by_identity(
    log: TenantLog, tenant: str, type_: str | None, source: str | None, record_id: str | None
) -> Response:
    row = CATALOGUE.get(type_ or "")
    if row is None or source is None or record_id is None:
        fix = "Send type (a record type), source and id together."
        raise invalid(Fault("type" if row is None else "id", "is missing or unknown", fix))
    found = await log.by_identity(row.topic, id_hash(tenant, source, record_id))
    return answer([_shown(found)] if found else [], meta={"next": None})


@router.get("/v1/records/{topic}/{partition}/{position}")
async def get_record(
    topic: str, partition: int, position: int, who: Principal = Depends(operator), here: Parts = Depends(parts)
) -> Response:
    """The record at a place."""
    known = topic in WRITERS and 0 <= partition < PARTITIONS and 0 < position < 2**62
    found = await TenantLog(here.pool, who.tenant).at(Place(topic, partition, position)) if known else None
    if found is None:
        raise Problem(404, "No such record", f"There is no record of yours at {topic}/{partition}/{position}.")
    return answer(_shown(found))
