"""``/health``: whether the process lives, and whether it can do its work."""

from __future__ import annotations

import orjson
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from services.ingestion.parts import Parts, parts
from shared.runtime.http import DATABASE_AWAY

router = APIRouter()


@router.get("/health/live")
async def live() -> Response:
    """The process is up."""
    return Response(b'{"live":true}', media_type="application/json")


@router.get("/health/ready")
async def ready(request: Request, here: Parts = Depends(parts)) -> Response:
    """200 only if the database answers, the relays work and the calendar keeps up; what does not stands in the body."""
    service = request.app.state.service
    try:
        await here.pool.fetchval("SELECT 1", timeout=2)
        database = True
    except DATABASE_AWAY:
        database = False
    messaging = service.messaging.state()
    good = bool(database and messaging["ready"] and service.calendar.fault is None)
    body = {"ready": good, "database": database, "calendar": service.calendar.fault, "messaging": messaging}
    return Response(orjson.dumps(body), 200 if good else 503, media_type="application/json")
