"""Statements of clients' months, what a mapping would do, and the ledger of what moved after a period was closed.

Everything is read through the ``_api`` pool. What must be drawn anew goes through two narrow doors, which take a tenant
and a question and never hand out their pool: :class:`~services.matching.statements.Statements` and
:class:`~services.matching.preview.Preview`.
"""

from __future__ import annotations

import re
import secrets
from datetime import date
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field
from starlette.responses import Response

from services.matching.api import (
    amount_or_none,
    cursor_of,
    found_by,
    json_answer,
    month_given,
    parse_cursor,
    text_of,
)
from services.matching.preview import Mapped, Preview, TooBusy, shown
from services.matching.readmodel import Board, Found
from services.matching.statements import (
    Busy,
    Close,
    Contended,
    Open,
    Recorded,
    Reused,
    Statements,
    recorded_lines,
)
from shared.access.principal import Principal, operator
from shared.events.base import Data, Key, Label, utc_text
from shared.events.mappings import Exclusion, MappingConfirmed, MappingTarget, MappingWithdrawn
from shared.kernel.canonical import canonical
from shared.kernel.periods import month_of
from shared.reconciliation.statement import LineChange, Statement, Totals, diff, line_document
from shared.runtime.http import Problem
from shared.vault.documents import Documents
from shared.vault.keys import Erased, VaultError

router = APIRouter()

_KEY = re.compile(r"[\x21-\x7e]{1,200}", re.ASCII)
NOTHING = "nothing has been compared yet"
"""What is said of a statement without a compared line: never that it is clean."""
State = Literal["matched", "explained", "pending", "break"]


async def _statements(request: Request) -> Statements:
    statements: Statements = request.app.state.statements
    return statements


async def _preview(request: Request) -> Preview:
    preview: Preview = request.app.state.preview
    return preview


async def _documents(request: Request) -> Documents:
    documents: Documents = request.app.state.documents
    return documents


def _month(period: str) -> date:
    month = month_given(period)
    assert month is not None
    return month


# --- the board -------------------------------------------------------------------------------------------------------
@router.get("/v1/statements")
async def board(
    period: str = Query(description="A month, as 2026-10."),
    state: Literal["nothing_compared", "break", "pending", "settled", "closed"] | None = None,
    cursor: str | None = None,
    limit: int = Query(default=100, ge=1, le=500),
    who: Principal = Depends(operator),
    found: Found = Depends(found_by),
) -> Response:
    """One row a client: totals by currency, lines by state, what is waited for, whether it is closed."""
    after = None if cursor is None else parse_cursor(cursor, str)
    rows = await found.board(who.tenant, _month(period), client=None, state=state, after=after, limit=limit)
    more = cursor_of(rows[-1].row["owner"]) if len(rows) == limit else None
    meta: dict[str, Any] = {"period": period, "next": more}
    if not rows and state is None and cursor is None:
        meta["note"] = NOTHING
    return json_answer({"data": [_board(row) for row in rows], "meta": meta})


@router.get("/v1/statements/{client}/{period}")
async def statement(
    client: str,
    period: str,
    state: State | None = None,
    product: str | None = None,
    steps: bool = Query(default=False, description="With the arithmetic of each line."),
    cursor: str | None = None,
    limit: int = Query(default=100, ge=1, le=500),
    who: Principal = Depends(operator),
    found: Found = Depends(found_by),
) -> Response:
    """A client's month: its totals (``meta.statement``) and a page of its lines."""
    month = _month(period)
    text_of(client, "client")
    heads = await found.board(who.tenant, month, client=client, state=None, after=None, limit=1)
    rows = await found.statement_lines(
        who.tenant,
        client,
        month,
        state=state,
        product=text_of(product, "product"),
        steps=steps,
        after=None if cursor is None else parse_cursor(cursor, lambda item, n: (item, int(n))),
        limit=limit,
    )
    more = cursor_of(rows[-1]["item"], str(rows[-1]["n"])) if len(rows) == limit else None
    head = _board(heads[0]) if heads else _nothing(client)
    meta: dict[str, Any] = {"period": period, "statement": head, "next": more}
    if not head["counts"]["compared"]:
        meta["note"] = NOTHING
    lines = [orjson.loads(row["line"]) | {"group": row["item"]} for row in rows]
    return json_answer({"data": lines, "meta": meta})


def _board(one: Board) -> dict[str, Any]:
    row = one.row
    states = {name: row[name] for name in ("matched", "explained", "pending", "broken")}
    lines = sum(states.values())
    return {
        "client": row["owner"],
        "state": row["state"],
        "totals": [_sums(of) for of in one.totals],
        "counts": {"groups": row["groups"], "lines": lines, "compared": lines - states["pending"], **states},
        "waiting": [{"side": side["side"], "until": side["until"], "groups": side["groups"]} for side in one.sides],
        "closed": None
        if row["record"] is None
        else {"record": row["record"], "digest": row["digest"], "at": utc_text(row["closed_at"])},
    }


def _sums(of: Any) -> dict[str, Any]:
    names = ("expected", "billed", "cost", "explained", "pending", "broken")
    amounts = {name: amount_or_none(of[name]) for name in names}
    # Zero by a CHECK on every row that was added up.
    residual = of["billed"] - of["expected"] - of["explained"] - of["pending"] - of["broken"]
    return {"currency": of["currency"], **amounts, "residual": amount_or_none(residual)}


def _nothing(client: str) -> dict[str, Any]:
    counts = dict.fromkeys(("groups", "lines", "compared", "matched", "explained", "pending", "broken"), 0)
    return {
        "client": client,
        "state": "nothing_compared",
        "totals": [],
        "counts": counts,
        "waiting": [],
        "closed": None,
    }


# --- what has changed ------------------------------------------------------------------------------------------------
@router.get("/v1/statements/{client}/{period}/diff")
async def statement_diff(
    client: str,
    period: str,
    against: Annotated[str, Query(description="closed, drawn (the last record), or a record's id.")] = "closed",
    cursor: str | None = None,
    limit: int = Query(default=100, ge=1, le=500),
    who: Principal = Depends(operator),
    found: Found = Depends(found_by),
    documents: Documents = Depends(_documents),
) -> Response:
    """Line by line, what the statement says now and did not say when it was recorded."""
    month = _month(period)
    text_of(client, "client")
    record, recorded_at = await _recorded(found, who.tenant, client, month, against)
    body = record["data"]["body"]
    try:
        before = await recorded_lines(found.pool, documents, who.tenant, body["document"])
    except Erased as error:
        raise Problem(410, "Erased", f"The lines of record {record['id']} were erased for ever.") from error
    except VaultError as error:
        raise Problem(
            503,
            "Cannot be opened",
            f"The lines of record {record['id']} cannot be opened: {error}.",
            fix="Start the service with the master key that they were sealed under.",
        ) from error
    now = await found.live(who.tenant, client, month)
    changes = diff(before, now)
    after = None if cursor is None else parse_cursor(cursor, lambda item, *key: (item, tuple(key)))
    rest = [change for change in changes if after is None or (change.item, change.key) > after]
    more = cursor_of(rest[limit - 1].item, *rest[limit - 1].key) if len(rest) > limit else None
    said = {
        "against": {
            "record": record["id"],
            "why": record["data"].get("why", "asked"),
            "recorded_at": recorded_at,
            "digest": body["digest"],
            "totals": _totals(before),
        },
        "now": {"digest": now.digest, "totals": _totals(now)},
        "changed": len(changes),
        "next": more,
    }
    return _document({"data": [_change(change) for change in rest[:limit]], "meta": said})


async def _recorded(found: Found, tenant: str, client: str, month: date, against: str) -> tuple[dict[str, Any], str]:
    stored, closed = await found.statement_records(tenant, client, month)
    records = [(orjson.loads(one.body), utc_text(one.recorded_at)) for one in stored]
    wanted = closed if against == "closed" else against
    for n in reversed(range(len(records))):
        record, recorded_at = records[n]
        if record["type"] == "statement.closed.v1" and record["id"] == wanted:
            return records[n - 1]  # what was drawn for it stands right before
        if record["type"] == "statement.drawn.v1" and (against == "drawn" or record["id"] == wanted):
            return record, recorded_at
    if against in ("closed", "drawn"):
        what = "closed" if against == "closed" else "recorded"
        raise Problem(
            404,
            "Nothing to compare with",
            f"The statement of {client[:80]!r} for {month_of(month)} was never {what}.",
            fix="plumbline statement close, or POST .../draw, records one.",
        )
    raise Problem(
        404, "No such record", f"No statement of this period has the id {against[:80]!r}.", fix="See .../draw"
    )


def _totals(of: Statement) -> list[dict[str, Any]]:
    return [_total(one) for one in of.totals]


def _total(one: Totals) -> dict[str, Any]:
    names = ("currency", "expected", "billed", "cost", "explained", "pending", "broken", "residual")
    return {name: getattr(one, name) for name in names}


def _change(change: LineChange) -> dict[str, Any]:
    return {
        "kind": change.kind,
        "group": change.item,
        "key": list(change.key),
        "fields": list(change.fields),
        "by": change.by,
        "before": None if change.before is None else line_document(change.before),
        "after": None if change.after is None else line_document(change.after),
    }


# --- what becomes a record -------------------------------------------------------------------------------------------
class CloseSent(Data):
    """Why a period is closed although something is open."""

    reason: Annotated[Label, Field(min_length=1)] | None = None
    """Needed while a line is pending or broken. No person's name."""


@router.post("/v1/statements/{client}/{period}/draw")
async def draw(
    client: str, period: str, who: Principal = Depends(operator), statements: Statements = Depends(_statements)
) -> Response:
    """Record the statement as it stands; nothing is recorded if the last record says the same."""
    month = _named(client, period)
    try:
        done = await statements.draw(who.tenant, client, month, who.actor)
    except (Busy, Contended) as error:
        raise _busy(error) from error
    return _document({"data": _done(done)})


@router.post("/v1/statements/{client}/{period}/close")
async def close(
    client: str,
    period: str,
    request: Request,
    said: CloseSent | None = None,
    who: Principal = Depends(operator),
    statements: Statements = Depends(_statements),
) -> Response:
    """Close a client's month. What moves in it from now on is late, and is measured against what it came to."""
    month = _named(client, period)
    reason = said.reason if said else None
    command = Close(who.tenant, client, month, reason, who.actor, _command_id(request))
    try:
        done = await statements.close(command)
    except Open as error:
        raise Problem(
            409,
            "Something is open",
            f"The statement is not settled: {error}.",
            field="reason",
            fix="Settle it, or say in reason why it is closed all the same.",
        ) from error
    except Reused as error:
        raise Problem(
            409,
            "Idempotency-Key used before",
            "Something else was sent under this Idempotency-Key.",
            fix="Use a new key for each new request; repeat a request with the same bytes.",
        ) from error
    except (Busy, Contended) as error:
        raise _busy(error) from error
    return _document({"data": _done(done) | {"groups": done.groups}})


def _named(client: str, period: str) -> date:
    text_of(client, "client")
    if len(client) > 200:
        raise Problem(422, "Invalid request", "client: longer than 200 characters", field="client")
    return _month(period)


def _command_id(request: Request) -> str:
    key = request.headers.get("idempotency-key")
    if key is not None and not _KEY.fullmatch(key):
        raise Problem(
            400,
            "Unusable Idempotency-Key",
            "The header Idempotency-Key is not 1 to 200 visible ASCII characters.",
            fix="Send a key such as a UUID.",
        )
    return key or secrets.token_hex(16)


def _busy(error: Exception) -> Problem:
    return Problem(
        503,
        "Being compared",
        f"Records of this period are still being compared ({error}).",
        fix="Repeat the same request in a moment; plumbline discrepancies waiting shows what cannot be compared.",
        headers={"Retry-After": "1"},
    )


def _done(done: Recorded) -> dict[str, Any]:
    said: dict[str, Any] = {"outcome": done.outcome, "record": done.record, "digest": done.digest}
    if done.statement is not None:
        counts = done.statement.counts
        said |= {"state": done.statement.state, "totals": _totals(done.statement), "counts": counts._asdict()}
    return said


# --- restatements ----------------------------------------------------------------------------------------------------
@router.get("/v1/restatements")
async def restatements(
    period: str | None = Query(default=None, description="A month, as 2026-10."),
    client: str | None = None,
    cursor: str | None = None,
    limit: int = Query(default=100, ge=1, le=500),
    who: Principal = Depends(operator),
    found: Found = Depends(found_by),
) -> Response:
    """The ledger: what closed groups came to when they were closed, what was billed on that figure, what they come to
    now, and the code that says why."""
    after = (
        None
        if cursor is None
        else parse_cursor(cursor, lambda month, owner, item: (date.fromisoformat(month), owner, item))
    )
    rows = await found.restatements(
        who.tenant, month=month_given(period), client=text_of(client, "client"), after=after, limit=limit
    )
    last = rows[-1] if len(rows) == limit else None
    more = None if last is None else cursor_of(str(last["month"]), last["owner"], last["item"])
    return json_answer({"data": [_restated(row) for row in rows], "meta": {"period": period, "next": more}})


def _restated(row: Any) -> dict[str, Any]:
    month = month_of(row["month"])
    names = ("expected", "billed", "quantity")
    then = {name: amount_or_none(row[name]) for name in names} | {"currency": row["currency"]}
    now = {name: amount_or_none(row[f"now_{name}"]) for name in names} | {"currency": row["now_currency"]}
    same = row["currency"] == row["now_currency"] and None not in (row["expected"], row["now_expected"])
    return {
        "client": row["owner"],
        "period": {"from": month.start, "to": month.end},
        "group": row["item"],
        "closed_at": utc_text(row["closed_at"]),
        "record": row["record"],
        "closed": then,
        "now": now,
        "moved": amount_or_none(row["now_expected"] - row["expected"]) if same else None,
        "codes": row["codes"] or [],
        "discrepancies": [stream.hex for stream in row["streams"] or []],
    }


# --- what a mapping would do -----------------------------------------------------------------------------------------
class PreviewSent(Data):
    """A mapping that nobody has confirmed yet, or the withdrawal of one that stands."""

    kind: Literal["account", "sku"]
    """What is mapped."""
    source: Key
    """The source whose identifier it is."""
    key: Key
    """The identifier, as the source spells it."""
    targets: Annotated[tuple[MappingTarget, ...], Field(max_length=20)] = ()
    """Where it would go."""
    excluded: Exclusion | None = None
    """Instead of targets: it would go nowhere."""
    withdraw: bool = False
    """Instead of both: it would be unmapped again."""

    def wanted(self) -> Mapped:
        """The decision. Raises :class:`Problem` 422."""
        if self.withdraw:
            if self.targets or self.excluded:
                raise Problem(
                    422, "Invalid request", "withdraw: beside targets or excluded", field="withdraw", fix="Send one."
                )
            return MappingWithdrawn(kind=self.kind, source=self.source, key=self.key)
        try:
            return MappingConfirmed(
                kind=self.kind, source=self.source, key=self.key, targets=self.targets, excluded=self.excluded
            )
        except ValueError as error:
            reason = str(error).splitlines()[2:3] or [str(error)]
            detail = reason[0].strip().removeprefix("Value error, ").partition(" [")[0]
            raise Problem(
                422, "Invalid request", f"targets: {detail}", field="targets", fix="Correct targets in the request."
            ) from error


@router.post("/v1/mappings/preview")
async def preview_mapping(
    said: PreviewSent, who: Principal = Depends(operator), preview: Preview = Depends(_preview)
) -> Response:
    """What confirming or withdrawing a mapping would detect, change and clear, over all periods. Nothing is written."""
    wanted = said.wanted()
    try:
        effect = await preview.of_mapping(who.tenant, wanted)
    except TooBusy as error:
        raise Problem(
            503,
            "Being decided",
            "The same mapping is being changed at this moment.",
            fix="Repeat the same request in a moment.",
            headers={"Retry-After": "1"},
        ) from error
    return _document({"data": shown(wanted, effect)})


def _document(body: Any) -> Response:
    """JSON with amounts as text."""
    return Response(canonical(body), media_type="application/json")
