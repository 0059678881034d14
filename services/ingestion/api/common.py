"""What the routes share: bodies within bounds, commands as models, lists with a cursor."""

from __future__ import annotations

import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.responses import Response

from services.ingestion.domain.facts import Fault, Receipt, Sender
from services.ingestion.domain.words import fault_of
from services.ingestion.intake import BatchIdReused
from shared.access.principal import Principal
from shared.runtime.http import Problem, correlation_id, trace_parent

MAX_COMMAND_BYTES = 64 * 1024
_KEY = re.compile(r"[\x21-\x7e]{1,200}", re.ASCII)
M = TypeVar("M", bound=BaseModel)


def sender_of(who: Principal, request: Request) -> Sender:
    """The sender of a request's batch."""
    return Sender(who.tenant, who.source, who.actor, correlation_id(request), trace_parent(request))


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


def command_id(request: Request) -> str:
    """The id of a command: the caller's, or made here, once."""
    return idempotency_key(request) or secrets.token_hex(16)


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body, never holding more than ``limit`` bytes of it. Raises :class:`Problem` 413, 415."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(415, "Compressed body", "The body is compressed.", fix="Send it without Content-Encoding.")
    too_large = Problem(
        413, "Body too large", f"The body is over {limit:,} bytes.", fix="Send less at once.", limit_bytes=limit
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


async def read_command(request: Request, model: type[M]) -> M:
    """The body as a command. Raises :class:`Problem` 400, 413, 415, 422; the latter names the field and the fix."""
    body = await read_body(request, MAX_COMMAND_BYTES)
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise Problem(
            415,
            "Unsupported media type",
            "The body is not declared as JSON.",
            fix="Send Content-Type: application/json.",
        )
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Problem(400, "Not JSON", f"The body is not JSON in UTF-8: {error}.", fix="Send valid JSON.") from error
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]
        raise invalid(fault_of(detail, value, ())) from error


def invalid(fault: Fault) -> Problem:
    """422 for one field."""
    subject = fault.field or "The body"
    return Problem(422, "Invalid request", f"{subject} {fault.reason}.", field=fault.field, fix=fault.fix)


async def accepted(accepting: Callable[[], Awaitable[Receipt]]) -> Receipt:
    """The receipt of a batch; 409 if its id belongs to another one."""
    try:
        return await accepting()
    except BatchIdReused as error:
        raise reused() from error


def reused() -> Problem:
    """409: the Idempotency-Key stands for something else."""
    return Problem(
        409,
        "Idempotency-Key used before",
        "Something else was sent under this Idempotency-Key.",
        fix="Use a new key for each new request; repeat a request with the same bytes.",
    )


def answer(data: Any, status: int = 200, meta: Mapping[str, Any] | None = None) -> Response:
    """``{"data": ...}``, with ``meta`` for lists."""
    body = {"data": data} if meta is None else {"data": data, "meta": meta}
    return Response(orjson.dumps(body), status, media_type="application/json")


def page(data: Sequence[Any], cursor: str | None) -> Response:
    """A list: its ``meta.next`` is the next page's ``cursor``, or null at the end."""
    return answer(data, meta={"next": cursor})


def cursor_of(*values: Any) -> str:
    """An opaque cursor."""
    return urlsafe_b64encode(orjson.dumps(values)).decode().rstrip("=")


def of_cursor(cursor: str, *types: type) -> list[Any]:
    """What a cursor of ours holds; raises :class:`Problem` 422 for any other text."""
    try:
        values = orjson.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if isinstance(values, list) and [type(value) for value in values] == list(types):
            return values
    except ValueError:
        pass
    raise invalid(Fault("cursor", "is not one that was answered here", "Send meta.next of the page before, unchanged."))
