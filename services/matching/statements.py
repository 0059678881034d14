"""Statements that become records: drawn whole from one snapshot, kept in the vault, closed by somebody's decision.

The live statement is what ``matching.drawn`` keeps (docs/decisions/0106). A record is drawn anew, all groups from one
snapshot, so that its basis gives it back. Requests reach these two commands and not the pool of the ``_work`` role.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

import asyncpg
import orjson
import structlog

from services.matching.compare import Comparer
from services.matching.expand import Key
from services.matching.inputs import Snapshot
from services.matching.resolver import DEFECTS
from services.matching.store import SOURCE, Before, Drawn, draw_level
from shared.eventlog.model import Verdict as Outcome
from shared.eventlog.postgres import append_in
from shared.events.catalogue import CATALOGUE, statement_stream
from shared.events.discrepancies import Span
from shared.events.record import Context, Draft, draft_decision, draft_derived
from shared.events.statements import (
    StatementBody,
    StatementClosed,
    StatementDrawn,
    StatementGroupClosed,
    StatementTotals,
)
from shared.kernel.canonical import canonical
from shared.kernel.identity import content_hash, decision_id, derived_id
from shared.kernel.periods import Period, month_of
from shared.reconciliation.client_level import LEVEL
from shared.reconciliation.statement import Statement, Totals, read_statement, statement
from shared.reconciliation.verdict import Verdict
from shared.runtime.clock import Clock
from shared.vault.documents import Documents

_log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/json"
ACTOR = "service:matching"
DAILY_EVERY_S = 30.0
"""Between two looks for statements of an earlier day."""
DAILY_AT_ONCE = 20
_TRIES = 5
_WAIT_S, _WAITS = 0.05, 100
"""How long a client's month may stay due before it is said to be: five seconds."""


class Busy(Exception):
    """Records of the month are folded and not yet compared: what would be drawn is not what stands."""


class Open(Exception):
    """The statement cannot be closed without a reason; the message says what is open."""


class Reused(Exception):
    """The command id stands for another command."""


class Contended(Exception):
    """The stream moved under each of five tries."""


@dataclass(frozen=True)
class Whole:
    """A client's month, drawn from one snapshot."""

    snapshot: Snapshot
    statement: Statement
    verdicts: Mapping[str, Verdict | None]
    """By item."""
    marks: str
    """What the digests of its groups come to in the tables, by which a change is seen without drawing."""


@dataclass(frozen=True)
class Recorded:
    """What a command left behind."""

    outcome: Literal["stored", "duplicate", "unchanged"]
    record: str
    """The id of ``statement.drawn``, or of ``statement.closed``."""
    digest: str
    statement: Statement | None = None
    """What was drawn; ``None`` of a duplicate."""
    groups: int = 0
    """How many were closed."""


class Held:
    """A pool of the one connection that a transaction is open on: who asks it is part of that transaction."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Any]:
        yield self._connection


# --- drawing ---------------------------------------------------------------------------------------------------------
# What is raw may be of any client: it is a matter of milliseconds, unless a bulk load is under way.
_DUE = """
SELECT EXISTS (SELECT FROM matching.due d WHERE d.tenant = $1)
    OR EXISTS (SELECT FROM matching.due_key k WHERE k.tenant = $1 AND k.level IN ('product', 'client') AND k.owner = $2
                  AND k.month = $3)"""
_ITEMS = """
SELECT k.level, k.item FROM matching.compare_key k
 WHERE k.tenant = $1 AND k.level IN ('product', 'client') AND k.owner = $2 AND k.month = $3"""
_MARKS = """
SELECT coalesce(md5(string_agg(d.item || '/' || d.digest, ' ' ORDER BY d.item COLLATE "C")), '')
  FROM matching.drawn d
 WHERE d.tenant = $1 AND d.level IN ('product', 'client') AND d.owner = $2 AND d.month = $3"""
_NO_CAUSE = canonical({"record": "", "recorded_at": "", "type": ""}).decode()


async def draw_month(pool: Any, tenant: str, client: str, month: date) -> Whole:
    """Every group of a client's month, from one snapshot in which nothing of it is due. Raises :class:`Busy`."""
    for _ in range(_WAITS):
        async with (
            pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            if not await connection.fetchval(_DUE, tenant, client, month):
                return await _draw_all(connection, tenant, client, month)
        await asyncio.sleep(_WAIT_S)
    raise Busy(f"{client}, {month_of(month)}")


async def _draw_all(connection: Any, tenant: str, client: str, month: date) -> Whole:
    unit = Key(tenant, "client", client, month, LEVEL)
    rows = await connection.fetch(_ITEMS, tenant, client, month)
    causes = dict.fromkeys((unit, *(Key(tenant, level, client, month, item) for level, item in rows)), _NO_CAUSE)
    drawn: Drawn = await Comparer(Held(connection)).draw(unit, causes)
    if drawn.snapshot.incomplete:
        raise Busy(f"{client}, {month_of(month)}: too many records could not be read")
    draw_level(drawn, Before())
    verdicts = {key.item: verdict for key, verdict in drawn.verdicts.items()}
    marks = await connection.fetchval(_MARKS, tenant, client, month)
    return Whole(drawn.snapshot, statement(client, month_of(month), verdicts), verdicts, marks)


# --- what becomes a record -------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Stream:
    """The statements of one client's period, as the log has them."""

    id: UUID
    records: tuple[dict[str, Any], ...]

    @property
    def version(self) -> int:
        return len(self.records)

    def last(self, *types: str) -> dict[str, Any] | None:
        return next((record for record in reversed(self.records) if record["type"] in types), None)


def body_of(one: Statement, document: str) -> StatementBody:
    """What a record says of a statement whose lines are ``document`` in the vault."""
    counts = one.counts
    return StatementBody(
        client=one.client,
        period=_span(one.period),
        totals=tuple(_totals(of) for of in one.totals),
        groups=len(one.groups),
        lines=counts.lines,
        matched=counts.matched,
        explained=counts.explained,
        pending=counts.pending,
        broken=counts.broken,
        document=document,
        digest=one.digest,
    )


def _span(period: Period) -> Span:
    return Span(from_=period.start, to=period.end)


def _totals(of: Totals) -> StatementTotals:
    return StatementTotals(
        currency=of.currency,
        expected=of.expected,
        billed=of.billed,
        cost=of.cost,
        explained=of.explained,
        pending=of.pending,
        broken=of.broken,
        residual=of.residual,
    )


def open_lines(one: Statement) -> str | None:
    """What keeps a statement from being closed without a reason, in words; ``None``: nothing does."""
    counts = one.counts
    if not counts.lines:
        return "nothing has been compared"
    said = [f"{n} {word}" for n, word in ((counts.broken, "broken"), (counts.pending, "pending")) if n]
    return f"{' and '.join(said)} of {counts.lines} lines" if said else None


@dataclass(frozen=True)
class Close:
    """Somebody closes a client's period."""

    tenant: str
    client: str
    month: date
    reason: str | None
    actor: str
    id: str
    """The command's: the caller's Idempotency-Key."""

    @property
    def content(self) -> dict[str, Any]:
        payload = {"client": self.client, "period": str(month_of(self.month)), "reason": self.reason}
        return {"name": "close_statement", "payload": payload, "actor": self.actor}


def decide_close(
    command: Close, whole: Whole, stream: UUID, version: int, now: datetime
) -> list[tuple[Draft, StatementClosed | StatementGroupClosed]]:
    """The decision that a period is closed, and of each group what it came to. Raises :class:`Open`.

    They follow ``statement.drawn``, which is version ``version + 1`` of the stream.
    """
    still = open_lines(whole.statement)
    if still is not None and not command.reason:
        raise Open(still)
    span = _span(month_of(command.month))
    groups = [
        StatementGroupClosed(
            client=command.client,
            period=span,
            item=item,
            currency=verdict.currency,
            expected=verdict.expected,
            billed=verdict.billed,
            quantity=verdict.measured,
            records=verdict.records,
        )
        for item, verdict in sorted(whole.verdicts.items())
        if verdict is not None and item != LEVEL
    ]
    person = command.actor if command.actor.startswith("person:") else None
    closed = StatementClosed(
        client=command.client,
        period=span,
        by=person,
        reason=command.reason,
        digest=whole.statement.digest,
        groups=len(groups),
    )
    said: tuple[StatementClosed | StatementGroupClosed, ...] = (closed, *groups)
    return [
        (
            draft_decision(
                CATALOGUE["statement.closed.v1" if n == 1 else "statement.group_closed.v1"],
                tenant=command.tenant,
                source=SOURCE,
                record_id=decision_id(command.id, n),
                time=now,
                data=data,
                command=command.content,
                stream=stream,
                expected=version,
                n=n + 1,
                context=Context(command.actor),
            ),
            data,
        )
        for n, data in enumerate(said, 1)
    ]


# --- the commands ----------------------------------------------------------------------------------------------------
_STREAM = """
SELECT r.body FROM log.stream s JOIN log.record r USING (topic, partition, position)
 WHERE s.topic = 'statements' AND s.stream = $1 AND r.topic = 'statements' ORDER BY s.version"""
_FORGET_CLOSED = "DELETE FROM matching.closed_group WHERE tenant = $1 AND owner = $2 AND month = $3"
_KEEP_CLOSED = """
INSERT INTO matching.closed_group (tenant, owner, month, item, currency, expected, billed, quantity, record)
SELECT $1, $2, $3, * FROM unnest($4::text[], $5::text[], $6::numeric[], $7::numeric[], $8::numeric[], $9::text[])"""
_CLOSE = """
INSERT INTO matching.closing (tenant, owner, month, record, drawn, digest, closed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (tenant, month, owner) DO UPDATE SET
  record = excluded.record, drawn = excluded.drawn, digest = excluded.digest, closed_at = excluded.closed_at"""


_KEEP_RECORDED = """
INSERT INTO matching.recorded (tenant, owner, month, as_of, marks) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (tenant, owner, month) DO UPDATE SET as_of = excluded.as_of, marks = excluded.marks"""
# Of every tenant some that were recorded on an earlier day, and what their groups come to now.
_OF_YESTERDAY = """
SELECT r.tenant, r.owner, r.month, k.as_of, r.marks, (
  SELECT coalesce(md5(string_agg(d.item || '/' || d.digest, ' ' ORDER BY d.item COLLATE "C")), '')
    FROM matching.drawn d
   WHERE d.tenant = r.tenant AND d.level IN ('product', 'client') AND d.owner = r.owner AND d.month = r.month) AS now
  FROM matching.calendar k
 CROSS JOIN LATERAL (
   SELECT * FROM matching.recorded o WHERE o.tenant = k.tenant AND o.as_of < k.as_of ORDER BY o.as_of LIMIT $1) r
 LIMIT $1"""
_STILL = """
UPDATE matching.recorded r SET as_of = u.as_of
  FROM unnest($1::text[], $2::text[], $3::date[], $4::date[]) AS u(tenant, owner, month, as_of)
 WHERE (r.tenant, r.owner, r.month) = (u.tenant, u.owner, u.month) AND r.as_of < u.as_of"""


class _Moved(Exception):
    """Somebody else has written to the stream meanwhile; nothing of ours was."""


class Statements:
    """Draws and closes the statements of any tenant that it is told; ``pool`` is one of the ``_work`` role."""

    def __init__(
        self, pool: Any, documents: Documents, clock: Clock, appended: Callable[[], None] = lambda: None
    ) -> None:
        self._pool = pool
        self._documents = documents
        self._clock = clock
        self._appended = appended

    async def draw(
        self, tenant: str, client: str, month: date, actor: str, why: Literal["asked", "sent", "daily"] = "asked"
    ) -> Recorded:
        """Record the statement as it stands, unless the last one says the same. Raises :class:`Busy`,
        :class:`Contended`."""

        async def attempt(a: Any, whole: Whole, stream: _Stream) -> Recorded:
            last, digest = stream.last("statement.drawn.v1"), whole.statement.digest
            await _keep_recorded(a, tenant, whole)
            if last is not None and last["data"]["body"]["digest"] == digest:
                return Recorded("unchanged", last["id"], digest, whole.statement)
            draft, record = await self._drawn(a, tenant, whole, stream, actor, why)
            await _append(a, [draft], whole)
            return Recorded("stored", record, digest, whole.statement)

        return await self._carry_out(tenant, client, month, attempt)

    async def close(self, command: Close) -> Recorded:
        """Close the period: the statement as it stands, the decision, and what each group came to, in one command.

        Raises :class:`Open`, :class:`Busy`, :class:`Reused`, :class:`Contended`.
        """

        async def attempt(a: Any, whole: Whole, stream: _Stream) -> Recorded:
            before = _found(command, whole, stream)
            if before is not None:
                return before
            now, digest = self._clock.now(), whole.statement.digest
            decided = decide_close(command, whole, stream.id, stream.version, now)
            drawn, record = await self._drawn(a, command.tenant, whole, stream, command.actor, "closed")
            await _keep_recorded(a, command.tenant, whole)
            await _keep_closing(a, command, decided, (decision_id(command.id, 1), record, digest, now))
            await _append(a, [drawn, *(draft for draft, _ in decided)], whole)
            return Recorded("stored", decision_id(command.id, 1), digest, whole.statement, len(decided) - 1)

        return await self._carry_out(command.tenant, command.client, command.month, attempt)

    async def daily(self, at_most: int = DAILY_AT_ONCE) -> int:
        """Record again what was recorded on an earlier day and has moved since; how many statements were looked at."""
        rows = await self._pool.fetch(_OF_YESTERDAY, at_most)
        done = []
        for tenant, owner, month, as_of, marks, now in rows:
            if marks != now:
                try:
                    await self.draw(tenant, owner, month, ACTOR, "daily")
                    continue
                except DEFECTS as error:
                    _log.exception("statement cannot be drawn", client=owner, month=str(month), error=repr(error))
                except (Busy, Contended) as error:
                    _log.info("statement of the day is left out", reason=repr(error))
            # One that cannot be drawn keeps nobody else waiting: it is looked at again on the next day.
            done.append((tenant, owner, month, as_of))
        if done:
            await self._pool.execute(_STILL, *zip(*done, strict=True))
        return len(rows)

    async def keep_daily(self) -> None:
        """:meth:`daily` for ever; a database that is away is asked again at the next turn."""
        while True:
            try:
                looked_at = await self.daily()
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                _log.warning("statements of the day wait", reason=repr(error))
                looked_at = 0
            await self._clock.sleep(0 if looked_at else DAILY_EVERY_S)

    async def _carry_out(
        self,
        tenant: str,
        client: str,
        month: date,
        attempt: Callable[[Any, Whole, _Stream], Awaitable[Recorded]],
    ) -> Recorded:
        for _ in range(_TRIES):
            whole = await draw_month(self._pool, tenant, client, month)
            try:
                async with self._pool.acquire() as a, a.transaction():
                    done = await attempt(a, whole, await _stream(a, tenant, client, month))
            except _Moved:
                continue
            if done.outcome == "stored":
                self._appended()
            return done
        raise Contended(f"{client}, {month_of(month)}")

    async def _drawn(
        self, a: Any, tenant: str, whole: Whole, stream: _Stream, actor: str, why: Any
    ) -> tuple[Draft, str]:
        """``statement.drawn``, the stream's next record, and its id; its lines are in the vault then."""
        one, record = whole.statement, derived_id(stream.id, stream.version + 1)
        document = await self._documents.put(a, tenant, one.document, MEDIA_TYPE)
        draft = draft_derived(
            CATALOGUE["statement.drawn.v1"],
            tenant=tenant,
            source=SOURCE,
            record_id=record,
            time=self._clock.now(),
            data=StatementDrawn(body=body_of(one, document), basis=whole.snapshot.basis, why=why),
            stream=stream.id,
            expected=stream.version,
            context=Context(actor),
        )
        return draft, record


async def _stream(a: Any, tenant: str, client: str, month: date) -> _Stream:
    stream = statement_stream(tenant, client, str(month_of(month)))
    return _Stream(stream, tuple(orjson.loads(body) for (body,) in await a.fetch(_STREAM, stream)))


def _found(command: Close, whole: Whole, stream: _Stream) -> Recorded | None:
    """What the command left behind when it came before, or the last closing if nothing has changed since."""
    record_id = decision_id(command.id, 1)
    for record in stream.records:
        if record["id"] == record_id:
            if record["commandhash"] != content_hash(canonical(command.content)).hex:
                raise Reused(command.id)
            return Recorded("duplicate", record_id, record["data"]["digest"], groups=record["data"]["groups"])
    last = stream.last("statement.closed.v1")
    if last is not None and last["data"]["digest"] == whole.statement.digest:
        return Recorded("unchanged", last["id"], last["data"]["digest"], whole.statement, last["data"]["groups"])
    return None


async def _append(a: Any, drafts: list[Draft], whole: Whole) -> None:
    """All of the drafts, as one command; the last statement before COMMIT."""
    outcomes = await append_in(a, drafts, whole.snapshot.floor)
    if any(outcome.verdict is not Outcome.STORED for outcome in outcomes):
        raise _Moved


async def _keep_recorded(a: Any, tenant: str, whole: Whole) -> None:
    """That it was recorded, and of which day. Before the first day of a calendar there is none."""
    if whole.snapshot.as_of is not None:
        one = whole.statement
        row = (tenant, one.client, one.period.start, whole.snapshot.as_of, whole.marks)
        await a.execute(_KEEP_RECORDED, *row)


async def _keep_closing(
    a: Any, command: Close, decided: Sequence[tuple[Draft, Any]], closing: tuple[str, str, str, datetime]
) -> None:
    """What the requests read of a closing: written with its records or not at all."""
    group = (command.tenant, command.client, command.month)
    await a.execute(_FORGET_CLOSED, *group)
    rows = [
        (one.item, one.currency, one.expected, one.billed, one.quantity, decision_id(command.id, n))
        for n, (_, one) in enumerate(decided, 1)
        if isinstance(one, StatementGroupClosed)
    ]
    if rows:
        await a.execute(_KEEP_CLOSED, *group, *zip(*rows, strict=True))
    await a.execute(_CLOSE, *group, *closing)


# --- what was recorded -----------------------------------------------------------------------------------------------
async def recorded_lines(pool: Any, documents: Documents, tenant: str, document: str) -> Statement:
    """The statement whose lines a record names. Raises what :meth:`Documents.get` raises."""
    return read_statement(await documents.get(pool, tenant, document))
