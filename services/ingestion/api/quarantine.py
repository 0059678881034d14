"""``/v1/quarantine``: rejects listed, shown, and sent again."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from services.ingestion.api.common import (
    answer,
    cursor_of,
    invalid,
    of_cursor,
    page,
    read_command,
    reused,
    sender_of,
)
from services.ingestion.domain.facts import Fault
from services.ingestion.domain.repair import BadCorrection, value_at
from services.ingestion.handlers.repair import Ambiguous, Item, Quarantine
from services.ingestion.intake import BatchIdReused
from services.ingestion.parts import Parts, parts
from shared.access.principal import Principal, operator
from shared.eventlog.postgres import TenantLog
from shared.runtime.http import Problem
from shared.vault.keys import VaultError

_SHORT = re.compile(r"[0-9a-f]{8,32}", re.ASCII)

router = APIRouter()


class Resubmission(BaseModel):
    """What to correct before the item is sent again."""

    model_config = ConfigDict(extra="forbid")

    set: dict[str, Any] = Field(default_factory=dict, max_length=100)
    """JSON path in the item (``data.quantity``) -> new value; null takes the field out."""


def _quarantine(here: Parts) -> Quarantine:
    return Quarantine(here.pool, here.master, here.intake)


def _summary(item: Item) -> dict[str, Any]:
    first = item.faults[0]
    return {
        "id": item.id.hex,
        "state": item.state,
        "kind": item.kind,
        "source": item.source,
        "type": item.type,
        "record_id": item.record_id,
        "received_at": item.received_at,
        **first._asdict(),
        "value": value_at(item.item, first.field) if item.kind == "invalid" and first.field else None,
        "resolved_by": str(item.resolved) if item.resolved else None,
    }


@router.get("/v1/quarantine")
async def get_quarantine(
    who: Principal = Depends(operator),
    here: Parts = Depends(parts),
    state: Literal["open", "resolved", "all"] = "open",
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:
    """Rejects, newest first: those that wait, unless another state is asked for."""
    before = of_cursor(cursor, int)[0] if cursor else 2**62
    if not 0 <= before <= 2**62:
        raise invalid(Fault("cursor", "is not one that was answered here", "Send meta.next of the page before."))
    items = await _opened(_quarantine(here).page(who.tenant, state, before, limit))
    return page([_summary(item) for item in items], cursor_of(items[-1].number) if len(items) == limit else None)


async def _opened(opening: Any) -> Any:
    try:
        return await opening
    except VaultError as error:
        raise Problem(500, "Quarantine cannot be opened", str(error), fix="Put the right vault_master back.") from error


async def _find(here: Parts, tenant: str, item_id: str) -> Item:
    short = item_id.replace("-", "").lower()
    try:
        if not _SHORT.fullmatch(short):
            raise LookupError(short)
        found: Item = await _opened(_quarantine(here).find(tenant, short))
        return found
    except Ambiguous as error:
        raise Problem(
            409, "Ambiguous id", "More than one reject begins with this id.", fix="Send more of its digits."
        ) from error
    except LookupError as error:
        raise Problem(
            404,
            "No such reject",
            "There is no reject of yours by this id.",
            fix="Send the id, or its first 8 hex digits or more, as listed.",
        ) from error


@router.get("/v1/quarantine/{item_id}")
async def get_reject(item_id: str, who: Principal = Depends(operator), here: Parts = Depends(parts)) -> Response:
    """One reject whole: the item as it came, everything that is wrong with it, and how it ended."""
    item = await _find(here, who.tenant, item_id)
    first = await TenantLog(here.pool, who.tenant).at(item.first) if item.first else None
    return answer(
        {
            **_summary(item),
            "faults": [{**fault._asdict(), "value": value_at(item.item, fault.field)} for fault in item.faults],
            "item": _json_or_text(item.item),
            "batch": item.batch,
            "index": item.index,
            "actor": item.actor,
            "correlation": item.correlation,
            "document": item.origin_document,
            "locator": item.origin_locator,
            "first": {"place": str(item.first), "record": orjson.Fragment(first.body)} if first else None,
            "resolved_at": item.resolved_at,
        }
    )


def _json_or_text(item: bytes) -> Any:
    try:
        orjson.loads(item)
    except orjson.JSONDecodeError:
        return item.decode(errors="replace")
    return orjson.Fragment(item)


@router.post("/v1/quarantine/{item_id}/resubmit")
async def resubmit(
    item_id: str, request: Request, who: Principal = Depends(operator), here: Parts = Depends(parts)
) -> Response:
    """Send a reject again, as it is or corrected. ``quarantined``: it is not valid yet, and nothing was stored."""
    said = await read_command(request, Resubmission)
    item = await _find(here, who.tenant, item_id)
    try:
        result = await _quarantine(here).resubmit(sender_of(who, request), item, said.set, here.clock.now())
    except BadCorrection as error:
        raise invalid(Fault("set", f"does not fit: {error}", "Send paths such as data.quantity.")) from error
    except BatchIdReused as error:
        raise reused() from error
    told: dict[str, Any] = {"id": item.id.hex, "outcome": result.outcome}
    if result.place is not None:
        told["place"] = str(result.place)
    if result.quarantine is not None:
        told |= {"quarantine": result.quarantine.hex, **result.faults[0]._asdict()}
    return answer(told)
