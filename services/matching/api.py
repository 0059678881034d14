"""What was found and what is not yet comparable, for the tenant who asks; and whether the service can do its work."""

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

from services.matching.readmodel import Found, Sums
from shared.access.principal import Principal, operator
from shared.eventlog.model import Stored
from shared.events.base import utc_text
from shared.events.discrepancies import Code
from shared.kernel.canonical import decimal_text
from shared.kernel.periods import month_of
from shared.runtime.http import DATABASE_AWAY, Problem

_ID = re.compile(r"[0-9a-f]{8,32}", re.ASCII)
_MONTH = re.compile(r"(?!0000)(\d{4})-(0[1-9]|1[0-2])", re.ASCII)

router = APIRouter()


async def found_by(request: Request) -> Found:
    return Found(request.app.state.pool)


@router.get("/v1/discrepancies")
async def discrepancies(
    state: Literal["open", "cleared", "all"] = "open",
    code: Code | None = None,
    client: str | None = None,
    least: Decimal | None = Query(default=None, alias="min", ge=0, max_digits=38, decimal_places=18),
    cursor: str | None = None,
    limit: int = Query(default=100, ge=1, le=500),
    who: Principal = Depends(operator),
    found: Found = Depends(found_by),
) -> Response:
    """What has come apart, the largest amounts first. ``meta`` says over how many comparisons the list speaks."""
    after = None if cursor is None else parse_cursor(cursor, lambda size, stream: (Decimal(size), UUID(stream)))
    rows, sums = await found.discrepancies(
        who.tenant, state=state, code=code, client=text_of(client, "client"), least=least, after=after, limit=limit
    )
    last = rows[-1] if len(rows) == limit else None
    more = None if last is None else cursor_of(decimal_text(last["size"]), last["stream"].hex)
    return json_answer({"data": [_discrepancy(row) for row in rows], "meta": _meta(rows, sums, more)})


@router.get("/v1/discrepancies/sums")
async def discrepancy_sums(
    by: Literal["client", "code", "direction", "standing"] = "direction",
    client: str | None = None,
    period: str | None = Query(default=None, description="A month, as 2026-10."),
    cursor: str | None = None,
    limit: int = Query(default=100, ge=1, le=500),
    who: Principal = Depends(operator),
    found: Found = Depends(found_by),
) -> Response:
    """What the open discrepancies come to: owed (it stands on a document), at risk (the next one will repeat it), lost.
    By direction, never netted, and by currency, never added up."""
    after = None if cursor is None else parse_cursor(cursor, _three)
    rows = await found.money(
        who.tenant, by, client=text_of(client, "client"), month=month_given(period), after=after, limit=limit
    )
    last = rows[-1] if len(rows) == limit else None
    more = None if last is None else cursor_of(last["value"], last["direction"], last["currency"])
    return json_answer({"data": [_money(by, row) for row in rows], "meta": {"by": by, "next": more}})


@router.get("/v1/discrepancies/{discrepancy}")
async def discrepancy(
    discrepancy: str, who: Principal = Depends(operator), found: Found = Depends(found_by)
) -> Response:
    """One, by its id or as much of its beginning as is unique: what holds, what it was drawn from, its history."""
    if not _ID.fullmatch(discrepancy):
        raise Problem(
            404,
            "No such discrepancy",
            f"{discrepancy[:80]!r} is no id: 8 to 32 hexadecimal digits.",
            fix="plumbline discrepancies list shows them.",
        )
    first, last = UUID(hex=discrepancy.ljust(32, "0")), UUID(hex=discrepancy.ljust(32, "f"))
    rows = await found.discrepancy(who.tenant, first, last)
    if not rows:
        raise Problem(
            404,
            "No such discrepancy",
            f"There is none whose id begins with {discrepancy}.",
            fix="plumbline discrepancies list --state all shows them.",
        )
    if len(rows) > 1:
        raise Problem(409, "Not unique", f"More than one id begins with {discrepancy}.", fix="Give more digits.")
    history = await found.history(who.tenant, rows[0]["stream"])
    records = [(stored, orjson.loads(stored.body)) for stored in history]
    return json_answer(
        {
            "data": _discrepancy(rows[0])
            | {
                # What the basis gives: the body above may have grown since, in what makes no record.
                "recorded": records[-1][1]["data"]["body"] if records else None,
                "basis": records[-1][1]["data"]["basis"] if records else None,
                "history": [_step(stored, record) for stored, record in records],
            }
        }
    )


@router.get("/v1/groups")
async def groups(
    state: Literal["matched", "break", "not_comparable"] | None = None,
    client: str | None = None,
    period: str | None = Query(default=None, description="A month, as 2026-10."),
    cursor: str | None = None,
    limit: int = Query(default=100, ge=1, le=500),
    who: Principal = Depends(operator),
    found: Found = Depends(found_by),
) -> Response:
    """What was compared, month by month, and what each group waits for. Product ``*`` is the client's own level."""
    after = (
        None
        if cursor is None
        else parse_cursor(cursor, lambda one, month, item: (one, date.fromisoformat(month), item))
    )
    rows, sums = await found.groups(
        who.tenant, state=state, client=text_of(client, "client"), month=month_given(period), after=after, limit=limit
    )
    last = rows[-1] if len(rows) == limit else None
    more = None if last is None else cursor_of(last["owner"], str(last["month"]), last["item"])
    return json_answer({"data": [_group(row) for row in rows], "meta": _meta(rows, sums, more)})


@router.get("/health/live")
async def live() -> Response:
    """The process is up."""
    return json_answer({"live": True})


@router.get("/health/ready")
async def ready(request: Request) -> Response:
    """200 only if the database answers, records are folded, groups are drawn and the relay works."""
    app = request.app.state
    try:
        await app.pool.fetchval("SELECT 1", timeout=2)
        database = True
    except DATABASE_AWAY:
        database = False
    messaging, workers = app.messaging.state(), app.workers.state()
    good = bool(database and messaging["ready"] and workers["ready"])
    body = {"ready": good, "database": database, "due": app.workers.due, "workers": workers, "messaging": messaging}
    return json_answer(body, 200 if good else 503)


# --- shapes --------------------------------------------------------------------------------------------------------
def _discrepancy(row: Any) -> dict[str, Any]:
    return {
        "id": row["stream"].hex,
        "state": row["state"],
        "version": row["version"],
        "reopened": row["reopened"],
        "body": orjson.Fragment(row["body"]),
    }


def _money(by: str, row: Any) -> dict[str, Any]:
    names = ("owed", "at_risk", "lost", "unplaced")
    return {
        by: row["value"] or None,
        "direction": row["direction"],
        "currency": row["currency"] or None,
        **{name: decimal_text(row[name]) for name in names},
        "count": row["n"],
        "without_amount": row["unknown"],
    }


def _step(stored: Stored, record: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": record["streamversion"],
        "type": record["type"],
        "place": str(stored.place),
        "recorded_at": utc_text(stored.recorded_at),
        "amount": record["data"]["body"].get("amount"),
    }


def _group(row: Any) -> dict[str, Any]:
    month = month_of(row["month"])
    return {
        "client": row["owner"],
        "period": {"from": month.start, "to": month.end},
        "product": row["item"],
        "state": row["state"],
        **{name: amount_or_none(row[name]) for name in ("expected", "billed", "explained", "pending", "broken")},
        "explained_by": row["explained_by"],
        "currency": row["currency"],
        "waiting": orjson.Fragment(row["waiting"]),
    }


def amount_or_none(value: Decimal | None) -> str | None:
    return None if value is None else decimal_text(value)


def _meta(rows: Any, sums: Sums, more: str | None) -> dict[str, Any]:
    meta: dict[str, Any] = {**sums._asdict(), "next": more}
    if not rows and not sums.compared_groups:
        # An empty list over nothing must not read as "clean".
        meta["note"] = "nothing has been compared yet"
    return meta


def text_of(value: str | None, field: str) -> str | None:
    if value is not None and "\x00" in value:
        raise Problem(422, "Invalid request", f"{field}: holds a NUL character", field=field)
    return value


def month_given(period: str | None) -> date | None:
    match = None if period is None else _MONTH.fullmatch(period)
    if period is not None and match is None:
        raise Problem(422, "Invalid request", "period: not a month, such as 2026-10", field="period")
    return None if match is None else date(int(match[1]), int(match[2]), 1)


def cursor_of(*parts: str) -> str:
    return urlsafe_b64encode(orjson.dumps(parts)).decode()


def _three(value: str, direction: str, currency: str) -> tuple[str, str, str]:
    return value, direction, currency


def parse_cursor(cursor: str, of: Any) -> Any:
    try:
        parts = orjson.loads(urlsafe_b64decode(cursor))
        if not isinstance(parts, list) or any(not isinstance(part, str) or "\x00" in part for part in parts):
            raise ValueError(cursor)
        return of(*parts)
    except (ValueError, TypeError, InvalidOperation) as error:
        raise Problem(
            400, "Bad cursor", "cursor is not one that this API gave.", field="cursor", fix="Use meta.next as it was."
        ) from error


def json_answer(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")
