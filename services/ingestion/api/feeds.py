"""``/v1/feeds``: a sender says that a run of its feed is complete."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import Response

from services.ingestion.api.common import answer, command_id, invalid, read_command, reused, sender_of
from services.ingestion.handlers.observe import Invalid, Observed, observe
from services.ingestion.intake import BatchIdReused
from services.ingestion.parts import Parts, parts
from services.ingestion.store import RunTaken
from shared.access.principal import Principal, principal
from shared.events.base import Key
from shared.runtime.http import Problem

router = APIRouter()


@router.post("/v1/feeds/{source}/{feed}/observed")
async def post_observed(
    source: Annotated[Key, Path()],
    feed: Annotated[Key, Path()],
    request: Request,
    who: Principal = Depends(principal),
    here: Parts = Depends(parts),
) -> Response:
    """Whatever occurred in a span and was to come from this feed, has come."""
    if who.source is not None and who.source != source:
        raise Problem(
            403,
            "Not your source",
            f"This key is of source {who.source!r}.",
            fix="Name your own source, or use a key of that source.",
        )
    said = await read_command(request, Observed)
    try:
        run, result = await observe(
            here.pool,
            here.intake,
            sender_of(who, request),
            source,
            feed,
            command_id(request),
            said,
            here.clock.now(),
        )
    except Invalid as error:
        raise invalid(error.fault._replace(field=error.fault.field.removeprefix("data."))) from error
    except BatchIdReused as error:
        raise reused() from error
    except RunTaken as error:
        raise Problem(
            409, "Run taken", f"{error} was observed before.", fix="Send a number of its own, or none."
        ) from error
    if result.place is None or result.outcome == "quarantined":
        raise Problem(409, "Run taken", f"Run {run} was observed before, otherwise.", fix="Send a number of its own.")
    return answer(
        {"feed": feed, "source": source, "run": run, "outcome": result.outcome, "place": str(result.place)}, 202
    )
