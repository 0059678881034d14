"""What was found, for the tenant who asks; and whether the service can do its work."""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, Literal
from uuid import UUID

import orjson
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from services.matching.findings import Ambiguous, Filters, Findings
from shared.access.principal import Principal, principal
from shared.events.discrepancies import Code
from shared.runtime.http import DATABASE_AWAY, Problem

router = APIRouter()

_ID = re.compile(r"[0-9a-f]{4,32}")


def _findings(request: Request) -> Findings:
    findings: Findings = request.app.state.findings
    return findings


@router.get("/v1/discrepancies")
async def discrepancies(
    state: Literal["open", "cleared", "all"] = "open",
    code: Code | None = None,
    client: str | None = Query(default=None, max_length=200),
    min_: str | None = Query(default=None, alias="min", max_length=40),
    cursor: str | None = Query(default=None, max_length=200),
    limit: int = Query(default=100, ge=1, le=500),
    who: Principal = Depends(principal),
    findings: Findings = Depends(_findings),
) -> Response:
    """Discrepancies, the largest amounts first. ``meta`` says over how many comparisons they were found."""
    filters = Filters(None if state == "all" else state, code, client, None if min_ is None else _decimal("min", min_))
    rows, counts = await findings.page(who.tenant, filters, None if cursor is None else _position(cursor), limit)
    more = _cursor(str(rows[-1]["sorted"]), rows[-1]["stream"].hex) if len(rows) == limit else None
    return _json({"data": [_item(row) for row in rows], "meta": {**counts, "next": more}})


@router.get("/v1/discrepancies/{discrepancy}")
async def discrepancy(
    discrepancy: str, who: Principal = Depends(principal), findings: Findings = Depends(_findings)
) -> Response:
    """One discrepancy by its id, or by the first digits of it (four or more) where they are enough."""
    if not _ID.fullmatch(discrepancy):
        raise Problem(
            400, "Not an id", "A discrepancy's id is 4 to 32 hex digits.", field="id", fix="Take it from the list."
        )
    try:
        row = await findings.one(who.tenant, discrepancy)
    except Ambiguous as error:
        raise Problem(
            409, "Ambiguous id", f"More than one discrepancy begins with {discrepancy}.", fix="Give more digits."
        ) from error
    if row is None:
        raise Problem(404, "No such discrepancy", f"There is no discrepancy {discrepancy}.", fix="Look at the list.")
    history = [{name: step[name] for name in step if name != "basis"} for step in row["history"]]
    return _json({"data": {**_item(row), "basis": row["history"][-1]["basis"], "history": history}, "meta": {}})


@router.get("/v1/groups")
async def groups(
    state: Literal["matched", "break", "not_comparable"] | None = None,
    client: str | None = Query(default=None, max_length=200),
    period: str | None = Query(default=None, pattern=r"^\d{4}-\d{2}$"),
    cursor: str | None = Query(default=None, max_length=2000),
    limit: int = Query(default=100, ge=1, le=500),
    who: Principal = Depends(principal),
    findings: Findings = Depends(_findings),
) -> Response:
    """What was compared: a product of a client in a month, a client's month (``*``), an identifier of a vendor."""
    month = None if period is None else _month(period)
    after = None if cursor is None else _group_position(cursor)
    rows = await findings.groups(who.tenant, (state, client, month), after, limit)
    last = rows[-1] if len(rows) == limit else None
    more = None if last is None else _cursor(last["level"], last["owner"], str(last["month"]), last["item"])
    return _json({"data": [_group(row) for row in rows], "meta": {"next": more}})


@router.get("/health/live")
async def live() -> Response:
    """The process is up."""
    return _json({"live": True})


@router.get("/health/ready")
async def ready(request: Request) -> Response:
    """200 only if the database answers, facts are folded, what is due is drawn and the relay works."""
    app = request.app.state
    try:
        await app.pool.fetchval("SELECT 1", timeout=2)
        database = True
    except DATABASE_AWAY:
        database = False
    messaging, worker = app.messaging.state(), app.worker.state()
    good = bool(database and messaging["ready"] and worker["ok"])
    body = {"ready": good, "database": database, "due": worker["due"], "worker": worker, "messaging": messaging}
    return _json(body, 200 if good else 503)


def _item(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["stream"].hex,
        "state": row["state"],
        "version": row["version"],
        "reopened": row["reopened"],
        "body": orjson.Fragment(row["body"]),
    }


def _group(row: dict[str, Any]) -> dict[str, Any]:
    plain = {name: row[name] for name in ("level", "state", "explained_by", "currency", "owed")}
    money = {
        name: None if row[name] is None else str(row[name]) for name in ("expected", "billed", "explained", "broken")
    }
    month = None if row["level"] in ("account", "sku") else str(row["month"])[:7]
    return {
        **plain,
        **money,
        "owner": row["owner"],
        "period": month,
        "item": row["item"],
        "waiting": orjson.Fragment(row["waiting"]),
    }


def _month(text: str) -> date:
    try:
        return date.fromisoformat(f"{text}-01")
    except ValueError as error:
        raise Problem(422, "Not a month", f"{text} is no month.", field="period", fix="Write it as 2026-10.") from error


def _decimal(field: str, text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise Problem(
            422, "Not a number", f"{text} is not a decimal.", field=field, fix="Write it as 10.50."
        ) from error
    if not value.is_finite():
        raise Problem(422, "Not a number", f"{text} is not finite.", field=field, fix="Write it as 10.50.")
    return value


def _cursor(*parts: str) -> str:
    return urlsafe_b64encode(orjson.dumps(parts)).decode()


def _parts(cursor: str, n: int) -> list[str]:
    try:
        parts = orjson.loads(urlsafe_b64decode(cursor))
        if not isinstance(parts, list) or len(parts) != n or not all(isinstance(part, str) for part in parts):
            raise ValueError(cursor)
    except ValueError as error:
        raise _bad_cursor() from error
    return parts


def _position(cursor: str) -> tuple[Decimal, UUID]:
    amount, stream = _parts(cursor, 2)
    try:
        return Decimal(amount), UUID(hex=stream)
    except (InvalidOperation, ValueError) as error:
        raise _bad_cursor() from error


def _group_position(cursor: str) -> tuple[str, str, Any, str]:
    level, owner, month, item = _parts(cursor, 4)
    try:
        return level, owner, date.min if month == "-infinity" else date.fromisoformat(month), item
    except ValueError as error:
        raise _bad_cursor() from error


def _bad_cursor() -> Problem:
    return Problem(
        400, "Bad cursor", "cursor is not one that this API gave.", field="cursor", fix="Use meta.next as it was."
    )


def _json(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")
