"""``/v1/admin``: tenants and API keys, for the administrator alone."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import AfterValidator, Field
from starlette.responses import Response

from services.ingestion.api.common import answer, cursor_of, of_cursor, page, read_command
from services.ingestion.calendar import begin
from services.ingestion.domain.envelope import OWN_SOURCES
from services.ingestion.parts import Parts, parts
from shared.access import directory
from shared.access.principal import administrator
from shared.events.base import Data, Key, Label, Zone
from shared.runtime.http import Problem

router = APIRouter(dependencies=[Depends(administrator)])

TenantId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class TenantSent(Data):
    """A new tenant."""

    tenant: TenantId
    """Its id: lower-case letters, digits and hyphens."""
    name: Annotated[Label, Field(min_length=1)]
    """The organisation's name."""
    time_zone: Zone = "UTC"
    """The zone in which its days begin."""


def _not_ours(source: str) -> str:
    if source.startswith(OWN_SOURCES):
        raise ValueError(f"begins with {OWN_SOURCES!r}, which is ours; send the vendor's own name")
    return source


class KeySent(Data):
    """A new API key."""

    tenant: TenantId
    """Whose it is."""
    source: Annotated[Key, AfterValidator(_not_ours)] | None = None
    """The only source that it may send as; left out: an operator's key, for any source."""


@router.post("/v1/admin/tenants")
async def add_tenant(request: Request, here: Parts = Depends(parts)) -> Response:
    """Make a tenant, and begin its calendar. Repeating it changes nothing."""
    said = await read_command(request, TenantSent)
    made = await directory.add_tenant(here.pool, said.tenant, said.name, said.time_zone)
    tenant = await directory.find_tenant(here.pool, said.tenant)
    assert tenant is not None
    if (tenant.name, tenant.time_zone) != (said.name, said.time_zone):
        raise Problem(
            409,
            "Tenant exists",
            f"There is a tenant {said.tenant} already, with another name or time zone.",
            fix="Choose another id.",
        )
    # On a repetition too: the process may have died between the two.
    await begin(here.writers["feeds"], tenant, here.clock.now())
    return answer(asdict(tenant), 201 if made else 200)


@router.get("/v1/admin/tenants")
async def get_tenants(
    here: Parts = Depends(parts),
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:
    """Tenants by id."""
    after = of_cursor(cursor, str)[0] if cursor else ""
    rows = await directory.tenants(here.pool, after, limit)
    return page([asdict(row) for row in rows], cursor_of(rows[-1].tenant) if len(rows) == limit else None)


@router.post("/v1/admin/keys")
async def add_key(request: Request, here: Parts = Depends(parts)) -> Response:
    """Make a key. Its token is answered once, here, and never again."""
    said = await read_command(request, KeySent)
    try:
        made = await directory.add_key(here.pool, here.access.pepper, said.tenant, said.source)
    except LookupError as error:
        raise _no_tenant(said.tenant) from error
    data = {"prefix": made.prefix, "tenant": said.tenant, "source": said.source, "ending": made.ending}
    return answer({**data, "token": made.token}, 201)


@router.get("/v1/admin/keys")
async def get_keys(tenant: Annotated[TenantId, Query()], here: Parts = Depends(parts)) -> Response:
    """A tenant's keys, oldest first, without their secrets."""
    if await directory.find_tenant(here.pool, tenant) is None:
        raise _no_tenant(tenant)
    return page([_key(row) for row in await directory.keys(here.pool, tenant)], None)


def _key(row: directory.Key) -> dict[str, Any]:
    return asdict(row)


@router.delete("/v1/admin/keys/{prefix}")
async def revoke_key(
    prefix: Annotated[Key, Field()], tenant: Annotated[TenantId, Query()], here: Parts = Depends(parts)
) -> Response:
    """Revoke a key for good; it stops working within a second."""
    revoked_at = await directory.revoke_key(here.pool, tenant, prefix)
    if revoked_at is None:
        raise Problem(404, "No such key", "The tenant has no key by this prefix.", fix="plumbline keys list")
    return answer({"prefix": prefix, "revoked_at": revoked_at})


def _no_tenant(tenant: str) -> Problem:
    return Problem(404, "No such tenant", f"There is no tenant {tenant!r}.", fix="plumbline tenants add")
