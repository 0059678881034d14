"""``/v1/records``: facts in, as CloudEvents; records out, as they stand in the log."""

from __future__ import annotations

import re
import secrets
from typing import Any

import orjson
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from services.ingestion.domain.envelope import NotEvents, NotJson, TooDeep, read
from services.ingestion.domain.facts import Fact, Receipt, Rejected, Sender
from services.ingestion.intake import BatchIdReused, digest_of
from services.ingestion.parts import Parts, parts
from shared.access.principal import Principal, principal
from shared.runtime.http import Problem, correlation_id

MAX_BODY_BYTES = 8 * 1024 * 1024
MAX_RECORDS = 5_000
_MEDIA = {"application/cloudevents+json": b"{", "application/cloudevents-batch+json": b"[", "application/json": b"{["}
_KEY = re.compile(r"[\x21-\x7e]{1,200}", re.ASCII)

router = APIRouter()


def sender_of(who: Principal, request: Request) -> Sender:
    """The sender of a request's batch."""
    return Sender(who.tenant, who.source, who.actor, correlation_id(request))


def idempotency_key(request: Request) -> str | None:
    """The header ``Idempotency-Key``; raises :class:`Problem` 400 for one that cannot be kept."""
    key = request.headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise Problem(
            400,
            "Unusable Idempotency-Key",
            "The header Idempotency-Key is not 1 to 200 visible ASCII characters.",
            fix="Send a key such as a UUID.",
        )
    return key


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body, never holding more than ``limit`` bytes of it. Raises :class:`Problem` 400, 413, 415."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "Compressed body", "The body is compressed.", fix="Send it without Content-Encoding.")
    too_large = Problem(
        413,
        "Body too large",
        f"The body is over {limit:,} bytes.",
        fix="Send it in smaller batches.",
        limit_bytes=limit,
    )
    declared = request.headers.get("content-length")
    if declared is not None and declared.isdecimal() and int(declared) > limit:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise too_large
    return bytes(body)


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


def _read(body: bytes, sender: Sender, now: Any) -> list[Fact | Rejected]:
    try:
        items = read(body, sender, now)
    except NotJson as error:
        raise Problem(400, "Not JSON", f"The body is not JSON in UTF-8: {error}.", fix="Send valid JSON.") from error
    except TooDeep as error:
        raise Problem(400, "Nested too deeply", f"The JSON is {error}.", fix="Send flat data.") from error
    except NotEvents as error:
        raise Problem(
            422, "Not events", f"The JSON is {error}.", fix="Send a CloudEvent, or a list of CloudEvents."
        ) from error
    if len(items) > MAX_RECORDS:
        raise Problem(
            413,
            "Too many records",
            f"The batch holds {len(items):,} records; at most {MAX_RECORDS:,} are taken.",
            fix="Send them in smaller batches.",
            limit_records=MAX_RECORDS,
        )
    return items


@router.post("/v1/records")
async def post_records(request: Request, who: Principal = Depends(principal), here: Parts = Depends(parts)) -> Response:
    """Accept a batch of facts; 202 once what is stored is committed."""
    key = idempotency_key(request)
    body = await read_body(request, MAX_BODY_BYTES)
    _check_media(request, body)
    sender, now = sender_of(who, request), here.clock.now()
    items = _read(body, sender, now)
    try:
        receipt = await here.intake.accept(
            sender,
            key or secrets.token_hex(16),
            items,
            digest=digest_of(body),
            received_at=now,
            may_repeat=key is not None,
        )
    except BatchIdReused as error:
        raise Problem(
            409,
            "Idempotency-Key used before",
            "Another batch was sent under this Idempotency-Key.",
            fix="Send each batch under a key of its own; repeat a batch with the same bytes.",
        ) from error
    return Response(orjson.dumps(answer(receipt, items)), 202, media_type="application/json")


def answer(receipt: Receipt, items: list[Fact | Rejected]) -> dict[str, Any]:
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
