"""``/v1/mappings`` and ``/v1/settings``: what people decide, and what stands."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field, StrictInt, StrictStr, model_validator
from starlette.responses import Response

from services.ingestion.api.common import (
    answer,
    command_id,
    cursor_of,
    invalid,
    of_cursor,
    page,
    read_command,
    reused,
)
from services.ingestion.domain import decisions
from services.ingestion.domain.decisions import Command, Refused
from services.ingestion.domain.facts import Fault
from services.ingestion.handlers.decide import Contended, Decided, Reused, decide
from services.ingestion.parts import Parts, parts
from shared.access.principal import Principal, operator
from shared.eventlog.postgres import TenantLog
from shared.events.base import Data, Day, Key
from shared.events.mappings import Exclusion, MappingConfirmed, MappingTarget, MappingWithdrawn
from shared.events.setting_keys import SETTING_KEYS, SettingKey, setting_key
from shared.events.settings import SettingChanged
from shared.runtime.http import Problem, correlation_id

router = APIRouter()


class ExclusionSent(Data):
    """Why an identifier is not billed."""

    reason: Literal["internal", "not_billed", "test", "other"]
    """Why."""
    until: Day | None = None
    """When to look again."""
    note: Annotated[str, Field(max_length=4_000)] | None = None
    """Free text; it goes to the vault."""


class MappingSent(Data):
    """What an identifier is: a client or product, or not billed."""

    kind: Literal["account", "sku"]
    """What is mapped."""
    source: Key
    """The source whose identifier it is."""
    key: Key
    """The identifier, as the source spells it."""
    target: Key | None = None
    """The client (of an account) or product (of a sku)."""
    exclude: ExclusionSent | None = None
    """Instead of a target: it goes nowhere."""

    @model_validator(mode="after")
    def _one_of_both(self) -> MappingSent:
        if (self.target is None) == (self.exclude is None):
            raise ValueError("gives neither target nor exclude, or both; send one of them")
        return self


class SettingSent(Data):
    """A setting's new value."""

    value: StrictStr | StrictInt | None = None
    """The value; null: the default again."""
    secret: Annotated[str, Field(min_length=1, max_length=4_096)] | None = None
    """The value of a secret setting."""


async def _carry_out(command: Command, request: Request, who: Principal, here: Parts) -> Decided:
    try:
        return await decide(
            command,
            command_id(request),
            who.tenant,
            log=TenantLog(here.pool, who.tenant),
            writer=here.writers[command.topic],
            now=here.clock.now(),
            correlation_id=correlation_id(request),
        )
    except Reused as error:
        raise reused() from error
    except Contended as error:
        raise Problem(
            409, "Others decide the same", "The same thing is being decided by others.", fix="Look again, then repeat."
        ) from error
    except Refused as error:
        raise Problem(404, "Nothing to withdraw", f"{error}.", fix="plumbline mappings list shows what is.") from error


def _told(decided: Decided, **data: Any) -> Response:
    return answer({**data, "outcome": decided.outcome, "place": str(decided.place) if decided.place else None})


# --- mappings ---


@router.post("/v1/mappings")
async def confirm_mapping(
    request: Request, who: Principal = Depends(operator), here: Parts = Depends(parts)
) -> Response:
    """Confirm what an identifier is; usage that is there already is compared again."""
    said = await read_command(request, MappingSent)
    excluded = None
    if said.exclude is not None:
        note = said.exclude.note
        document = note and await here.documents.put(here.pool, who.tenant, note.encode(), "text/plain; charset=utf-8")
        excluded = Exclusion(reason=said.exclude.reason, until=said.exclude.until, note=document or None)
    wanted = MappingConfirmed(
        kind=said.kind,
        source=said.source,
        key=said.key,
        targets=(MappingTarget(id=said.target),) if said.target else (),
        excluded=excluded,
    )
    decided = await _carry_out(decisions.confirm_mapping(who.tenant, who.actor, wanted), request, who, here)
    return _told(decided, **wanted.model_dump(mode="json"))


@router.delete("/v1/mappings")
async def withdraw_mapping(
    request: Request,
    kind: Literal["account", "sku"],
    source: Annotated[Key, Query()],
    key: Annotated[Key, Query()],
    who: Principal = Depends(operator),
    here: Parts = Depends(parts),
) -> Response:
    """Take a mapping back: the identifier is unmapped again."""
    wanted = MappingWithdrawn(kind=kind, source=source, key=key)
    decided = await _carry_out(decisions.withdraw_mapping(who.tenant, who.actor, wanted), request, who, here)
    return _told(decided, **wanted.model_dump(mode="json"))


@router.get("/v1/mappings")
async def get_mappings(
    who: Principal = Depends(operator),
    here: Parts = Depends(parts),
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> Response:
    """What is mapped, by kind, source and key."""
    after = tuple(of_cursor(cursor, str, str, str)) if cursor else ("", "", "")
    stand = [
        fields for fields in await here.standing.of(who.tenant, "mappings") if fields["type"] == "mapping.confirmed.v1"
    ]
    rows = sorted((_mapping_key(fields["data"]), fields) for fields in stand if _mapping_key(fields["data"]) > after)
    shown = [
        {
            **MappingConfirmed.model_validate(fields["data"]).model_dump(mode="json"),
            "version": fields["streamversion"],
            "confirmed_at": fields["recordedat"],
            "actor": fields["actor"],
        }
        for _, fields in rows[:limit]
    ]
    return page(shown, cursor_of(*rows[limit - 1][0]) if len(rows) > limit else None)


def _mapping_key(data: dict[str, Any]) -> tuple[str, str, str]:
    return data["kind"], data["source"], data["key"]


# --- settings ---


@router.put("/v1/settings/{key}")
async def change_setting(
    key: str, request: Request, who: Principal = Depends(operator), here: Parts = Depends(parts)
) -> Response:
    """Change a setting, or give it its default again."""
    row = setting_key(key)
    if row is None:
        raise Problem(404, "No such setting", f"There is no setting {key[:100]!r}.", fix="plumbline settings list")
    said = await read_command(request, SettingSent)
    value, secret = _checked(row, said)
    document = None
    if secret is not None:
        document = await here.documents.put(here.pool, who.tenant, secret.encode(), "text/plain; charset=utf-8")
    wanted = SettingChanged(key=key, value=value, secret=document)
    decided = await _carry_out(decisions.change_setting(who.tenant, who.actor, wanted), request, who, here)
    return _told(decided, **_setting(row, wanted))


def _checked(row: SettingKey, said: SettingSent) -> tuple[str | None, str | None]:
    """(value, secret) as they are kept; raises :class:`Problem` 422."""
    field = "secret" if row.secret else "value"
    given = said.secret if row.secret else said.value
    if (said.value if row.secret else said.secret) is not None:
        other = "value" if row.secret else "secret"
        raise invalid(Fault(other, f"is not how {row.key} is set", f"Send {field}."))
    if given is None:
        return None, None
    try:
        kept = row.check(str(given))
    except ValueError as error:
        reason, _, fix = str(error).partition("; ")
        raise invalid(Fault(field, reason, f"{fix[:1].upper()}{fix[1:]}.")) from error
    return (None, kept) if row.secret else (kept, None)


def _setting(row: SettingKey, stands: SettingChanged) -> dict[str, Any]:
    return {
        "key": row.key,
        "value": stands.value,
        "is_set": stands.value is not None or stands.secret is not None,
        "default": row.default,
        "is_secret": row.secret,
        "description": row.description,
    }


@router.get("/v1/settings")
async def get_settings(who: Principal = Depends(operator), here: Parts = Depends(parts)) -> Response:
    """Every setting that there is, with its value and default. Secrets are never shown."""
    stand = {fields["data"]["key"]: fields for fields in await here.standing.of(who.tenant, "settings")}
    of_one = (setting_key(key) for key in sorted(stand) if key not in SETTING_KEYS)
    rows = [
        _setting(
            row,
            SettingChanged.model_validate(stand[row.key]["data"]) if row.key in stand else SettingChanged(key=row.key),
        )
        for row in (*SETTING_KEYS.values(), *(row for row in of_one if row is not None))
    ]
    return page(rows, None)
