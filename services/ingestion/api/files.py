"""``/v1/files``: a CSV in, by a declared profile. ``/v1/profiles``: what the profiles are."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from datetime import datetime
from typing import Any, Literal

import orjson
from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from services.ingestion.api.common import idempotency_key, page, reused, sender_of
from services.ingestion.domain.cells import BadCell, Notation, parse
from services.ingestion.domain.envelope import AHEAD, OWN_SOURCES
from services.ingestion.domain.profiles import (
    BadHeader,
    Profile,
    UnknownProfile,
    as_json,
    profile,
    profiles,
    template,
)
from services.ingestion.domain.rows import TooManyDocuments
from services.ingestion.domain.table import BadTable
from services.ingestion.files import Upload, ingest
from services.ingestion.handlers.decide import Contended
from services.ingestion.intake import BatchIdReused
from services.ingestion.parts import Parts, parts
from services.ingestion.runs import OutOfOrder
from services.ingestion.spool import NotText, Spool, TooLarge
from shared.access.directory import find_tenant
from shared.access.principal import Principal, operator, principal
from shared.runtime.http import Problem, unavailable

AT_ONCE = 4
"""Files that one process takes in at the same time: each is held whole beside memory, and in it for a moment."""
_SOURCE_MAX = 200
_NOT_CSV = ("multipart/", "application/json", "application/cloudevents", "application/xml", "image/", "application/pdf")
_OPTIONS = {"profile", "source", "complete", "filename", "asserted_at", "covers_from", "covers_to"}

router = APIRouter()
_places = asyncio.Semaphore(AT_ONCE)


@router.post("/v1/files")
async def post_file(request: Request, who: Principal = Depends(principal), here: Parts = Depends(parts)) -> Response:
    """Ingest the body, a CSV, by ``?profile=``; 202 once what is stored is committed.

    Options: ``source``, ``complete`` (``true``, or ``force`` although rows wait in quarantine), ``asserted_at``,
    ``covers_from``, ``covers_to``, ``filename``.
    """
    tenant = await find_tenant(here.pool, who.tenant)
    assert tenant is not None, "the principal's tenant exists"
    upload = _upload(request, who, tenant.time_zone, here.clock.now())
    if upload.profile.decides:
        await operator(request)
    if _places.locked():
        raise unavailable("Busy", f"{AT_ONCE} files are being taken in already.")
    here.intake.check_room()
    async with _places:
        with Spool(here.file_bytes_max) as spool:
            await _receive(request, spool)
            answer = await _ingest(here, upload, spool, tenant.time_zone)
    return Response(orjson.dumps(answer), 202, media_type="application/json")


@router.get("/v1/profiles")
async def get_profiles(_: Principal = Depends(principal)) -> Response:
    """Every profile: its columns, its records, its source."""
    return page([as_json(declared) for declared in profiles().values()], None)


@router.get("/v1/profiles/{name}/template")
async def get_template(name: str, _: Principal = Depends(principal)) -> Response:
    """A CSV to start from."""
    try:
        text = template(name)
    except UnknownProfile as error:
        raise _unknown(error, 404) from error
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return Response(text, media_type="text/csv", headers=headers)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _unknown(error: UnknownProfile, status: int) -> Problem:
    return Problem(status, "Unknown profile", _sentence(str(error)), fix="Name one of those.", field="profile")


def _upload(request: Request, who: Principal, zone: str, now: datetime) -> Upload:
    """The options of a request, checked. Raises :class:`Problem` 400, 403, 415, 422."""
    media = request.headers.get("content-type", "").lower()
    if media.startswith(_NOT_CSV) or request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem(
            415,
            "Not a CSV body",
            "The body is declared as something else than the bytes of a CSV file.",
            fix="Send the file itself as the body, with Content-Type: text/csv and no Content-Encoding.",
        )
    given = request.query_params
    if unknown := sorted(set(given) - _OPTIONS):
        raise Problem(
            400,
            "Unknown option",
            f"There is no option {unknown[0][:50]!r}.",
            fix=f"There are {', '.join(sorted(_OPTIONS))}.",
            field=unknown[0][:50],
        )
    declared = _profile(given.get("profile"))
    key = idempotency_key(request)
    times = {name: _instant(name, given.get(name), zone) for name in ("asserted_at", "covers_from", "covers_to")}
    if times["asserted_at"] is not None and times["asserted_at"] > now + AHEAD:
        raise Problem(
            422, "Ahead of time", "asserted_at lies more than one day ahead.", fix="Correct it.", field="asserted_at"
        )
    start, end = times["covers_from"], times["covers_to"]
    if start is not None and end is not None and start >= end:
        raise Problem(
            422,
            "Reversed span",
            "covers_to is exclusive and must lie after covers_from.",
            fix="Send the span that the file covers, such as covers_from=2026-09-01&covers_to=2026-10-01.",
            field="covers_to",
        )
    return Upload(
        declared,
        _source(given.get("source"), who, declared),
        sender_of(who, request),
        hashlib.sha256(key.encode()).hexdigest()[:32] if key else secrets.token_hex(16),
        given.get("filename"),
        _complete(given.get("complete"), declared),
        **times,
    )


def _profile(name: str | None) -> Profile:
    if not name:
        raise Problem(
            400,
            "No profile named",
            f"The query names no profile; there are {', '.join(profiles())}.",
            fix="Add ?profile=<name>.",
        )
    try:
        return profile(name)
    except UnknownProfile as error:
        raise _unknown(error, 400) from error


def _source(given: str | None, who: Principal, declared: Profile) -> str:
    source = given or who.source or declared.source
    if who.source is not None and source != who.source:
        raise Problem(
            403,
            "Not your source",
            "This API key speaks for another source than the one that the request names.",
            fix="Leave source out, or use a key of that source or an operator's.",
            field="source",
        )
    if len(source) > _SOURCE_MAX or not source.isprintable() or source.startswith(OWN_SOURCES):
        raise Problem(
            422,
            "Unusable source",
            f"A source is 1 to {_SOURCE_MAX} printable characters and does not begin with {OWN_SOURCES!r}.",
            fix="Name the vendor, such as huntress.",
            field="source",
        )
    return source


def _complete(given: str | None, declared: Profile) -> Literal["no", "yes", "force"]:
    choice: Any = {None: "no", "": "no", "false": "no", "true": "yes", "force": "force"}.get(given)
    if choice is None:
        raise Problem(
            400, "Unusable option", "complete is none of true, false, force.", fix="Send true.", field="complete"
        )
    if choice != "no" and declared.complete is None:
        named = ", ".join(name for name, other in profiles().items() if other.complete)
        raise Problem(
            422,
            "Nothing to complete",
            f"A file of profile {declared.name} says nothing about usage, so it cannot be complete.",
            fix=f"Leave complete out; it is for {named}.",
            field="complete",
        )
    return choice  # type: ignore[no-any-return]


def _instant(name: str, given: str | None, zone: str) -> datetime | None:
    if not given:
        return None
    try:
        value: datetime = parse("instant", given, Notation(zone=zone))
    except BadCell as bad:
        raise Problem(400, "Unusable option", f"{name} {bad.reason}.", fix=_sentence(bad.fix), field=name) from bad
    return value


async def _receive(request: Request, spool: Spool) -> None:
    too_large = Problem(
        413,
        "File too large",
        f"The file is over {spool.limit_bytes:,} bytes.",
        fix="Split it: by month, by client, or by document.",
        limit_bytes=spool.limit_bytes,
    )
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > spool.limit_bytes:
        raise too_large
    try:
        await spool.receive(request.stream())
    except TooLarge as error:
        raise too_large from error
    except NotText as error:
        raise Problem(400, "Not UTF-8 text", _sentence(error.reason), fix=_sentence(error.fix)) from error
    except OSError as error:
        raise unavailable("No room", "There is no room to hold the file while it is read.") from error


async def _ingest(here: Parts, upload: Upload, spool: Spool, zone: str) -> dict[str, Any]:
    try:
        return await ingest(here, upload, spool, zone)
    except (BadTable, BadHeader) as error:
        raise Problem(
            422,
            "Not a table of this profile",
            _sentence(error.reason),
            fix=_sentence(error.fix),
        ) from error
    except TooManyDocuments as error:
        raise Problem(422, "Too many documents", _sentence(str(error)), fix="Split the file.") from error
    except OutOfOrder as error:
        raise Problem(
            409,
            "Older than what is known",
            f"A later file already said something else of {error}.",
            fix="Ingest files in the order of their writing; if this one is the latest word, leave asserted_at out.",
            field="asserted_at",
        ) from error
    except BatchIdReused as error:
        raise reused() from error
    except Contended as error:
        raise unavailable("Others decide the same", "Mappings of the file are being decided by others.") from error
