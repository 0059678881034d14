"""What was told to whom, for the tenant who asks; and whether the service can do its work."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from services.notification.store import Shown
from shared.access.principal import Principal, operator
from shared.events.base import utc_text
from shared.runtime.http import DATABASE_AWAY, Problem

State = Literal["unrouted", "planned", "sending", "sent", "failed"]
_NEWEST = (datetime(9999, 12, 31, tzinfo=UTC), "")

router = APIRouter()


async def _shown(request: Request) -> Shown:
    shown: Shown = request.app.state.shown
    return shown


@router.get("/v1/notifications")
async def notifications(
    state: State | None = None,
    cursor: str | None = None,
    limit: int = Query(default=100, ge=1, le=500),
    who: Principal = Depends(operator),
    shown: Shown = Depends(_shown),
) -> Response:
    """Messages, the newest first, each with its attempts. ``unrouted``: found before the tenant's webhook was set."""
    rows = await shown.page(who.tenant, state, _NEWEST if cursor is None else _position(cursor), limit)
    more = _cursor(rows[-1]["recorded_at"], rows[-1]["intent"]) if len(rows) == limit else None
    return _json({"data": [_message(row) for row in rows], "meta": {"next": more}})


@router.get("/health/live")
async def live() -> Response:
    """The process is up."""
    return _json({"live": True})


@router.get("/health/ready")
async def ready(request: Request) -> Response:
    """200 only if the database answers, alerts are folded, the sender sends and the relay works."""
    app = request.app.state
    try:
        await app.pool.fetchval("SELECT 1", timeout=2)
        database = True
    except DATABASE_AWAY:
        database = False
    messaging, sender = app.messaging.state(), app.sender.state()
    good = bool(database and messaging["ready"] and sender["ok"])
    return _json({"ready": good, "database": database, "sender": sender, "messaging": messaging}, 200 if good else 503)


def _message(row: dict[str, Any]) -> dict[str, Any]:
    """One intent as it is shown; ``due_at`` only while another attempt is to come."""
    return {
        "intent": row["intent"],
        "state": row["state"],
        "discrepancy": row["stream"].hex,
        "version": row["version"],
        "type": row["type"],
        "record": row["place"],
        "recorded_at": utc_text(row["recorded_at"]),
        "attempt": row["attempt"],
        "due_at": utc_text(row["due_at"]) if row["state"] == "planned" else None,
        "message": orjson.Fragment(row["payload"]),
        "attempts": row["attempts"],
    }


def _cursor(recorded_at: datetime, intent: str) -> str:
    return urlsafe_b64encode(f"{recorded_at.isoformat()} {intent}".encode()).decode()


def _position(cursor: str) -> tuple[datetime, str]:
    try:
        at, _, intent = urlsafe_b64decode(cursor).decode().partition(" ")
        position = datetime.fromisoformat(at), intent
        if position[0].tzinfo is None or "\x00" in intent:
            raise ValueError(cursor)
    except ValueError as error:
        raise Problem(
            400, "Bad cursor", "cursor is not one that this API gave.", field="cursor", fix="Use meta.next as it was."
        ) from error
    return position


def _json(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")
