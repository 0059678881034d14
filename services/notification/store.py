"""The SQL of webhooks and intents. All of it runs on the ``_work`` role but :class:`Shown`, which serves requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from services.notification.domain.attempts import Sending, Settled
from shared.eventlog.model import Verdict
from shared.eventlog.postgres import append_in
from shared.events.catalogue import notification_stream
from shared.runtime.database import tenant_transaction

CHANGE_OVER = timedelta(hours=24)
"""How long the former secret signs as well after a new one was set."""

# --- the fold: within the consumer's transaction ---


@dataclass(frozen=True, slots=True)
class Intent:
    """A message that shall go out, as it is planned."""

    tenant: str
    intent: str
    stream: UUID
    version: int
    type: str
    place: str
    recorded_at: datetime
    record_id: str
    correlation_id: str | None
    payload: str


async def plan(tx: Any, intents: Sequence[Intent]) -> None:
    """Plan messages; one that is planned already stays as it is."""
    await tx.executemany(
        "INSERT INTO notification.intent (tenant, intent, stream, version, type, place, recorded_at, record_id,"
        " correlation_id, payload, due_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $7) ON CONFLICT DO NOTHING",
        [tuple(asdict(intent).values()) for intent in intents],
    )


async def set_url(tx: Any, tenant: str, url: str | None, version: int, recorded_at: datetime) -> None:
    """Fold version ``version`` of the setting ``notification.webhook.url``."""
    await tx.execute(
        "INSERT INTO notification.webhook AS w (tenant, url, url_version, url_since)"
        " VALUES ($1, $2, $3, CASE WHEN $2::text IS NOT NULL THEN $4::timestamptz END)"
        " ON CONFLICT (tenant) DO UPDATE SET url = EXCLUDED.url, url_version = EXCLUDED.url_version,"
        " url_since = CASE WHEN EXCLUDED.url IS NOT NULL THEN coalesce(w.url_since, EXCLUDED.url_since) END"
        " WHERE w.url_version < EXCLUDED.url_version",
        tenant,
        url,
        version,
        recorded_at,
    )


async def set_secret(tx: Any, tenant: str, secret: str | None, version: int, recorded_at: datetime) -> None:
    """Fold version ``version`` of the setting ``notification.webhook.secret`` (a document in the vault)."""
    await tx.execute(
        "INSERT INTO notification.webhook AS w (tenant, secret, secret_version, secret_since)"
        " VALUES ($1, $2, $3, CASE WHEN $2::text IS NOT NULL THEN $4::timestamptz END)"
        " ON CONFLICT (tenant) DO UPDATE SET secret = EXCLUDED.secret, secret_version = EXCLUDED.secret_version,"
        " secret_since ="
        "   CASE WHEN EXCLUDED.secret IS NOT NULL THEN coalesce(w.secret_since, EXCLUDED.secret_since) END,"
        " former_secret = CASE WHEN EXCLUDED.secret IS NOT NULL THEN w.secret END, former_until = $4 + $5::interval"
        " WHERE w.secret_version < EXCLUDED.secret_version",
        tenant,
        secret,
        version,
        recorded_at,
        CHANGE_OVER,
    )


# --- the sender's ---

_SENDING = (
    "i.tenant, i.intent, i.stream AS discrepancy, i.version, i.attempt, i.started_at, i.recorded_at, i.record_id,"
    " i.correlation_id, i.payload, coalesce(w.url, '') AS url,"
    " array_remove(ARRAY[w.secret, CASE WHEN w.former_until > $1 THEN w.former_secret END], NULL) AS secrets"
)

# Per tenant the oldest that are due, but of each discrepancy only the first that is open: a message never overtakes an
# earlier one of its stream. due_at repeats the bound of recorded_at for the index: no due date lies before its record.
# The later of two clocks: recorded_at is PostgreSQL's, and a slower clock here must not hold an alert back.
_CLAIM = f"""
WITH due AS (
  SELECT i.tenant, i.intent
    FROM notification.webhook w
    LEFT JOIN unnest($3::text[], $4::int[]) AS r(tenant, room) ON r.tenant = w.tenant
   CROSS JOIN LATERAL (
     SELECT i.tenant, i.intent, i.due_at FROM notification.intent i
      WHERE i.tenant = w.tenant AND i.state = 'planned'
        AND i.recorded_at >= w.since AND i.due_at >= w.since AND i.due_at <= greatest($1, statement_timestamp())
        AND NOT EXISTS (
          SELECT 1 FROM notification.intent e
           WHERE e.tenant = i.tenant AND e.stream = i.stream AND e.version < i.version
             AND (e.state = 'sending' OR (e.state = 'planned' AND e.recorded_at >= w.since)))
      ORDER BY i.due_at, i.version LIMIT coalesce(r.room, $5) FOR UPDATE SKIP LOCKED) i
   WHERE w.since IS NOT NULL AND coalesce(r.room, $5) > 0
   ORDER BY i.due_at LIMIT $2)
UPDATE notification.intent i SET state = 'sending', attempt = i.attempt + 1, started_at = $1
  FROM due, notification.webhook w
 WHERE i.tenant = due.tenant AND i.intent = due.intent AND w.tenant = i.tenant
RETURNING {_SENDING}"""  # noqa: S608 - constants only

_STARTED = f"""
SELECT {_SENDING} FROM notification.intent i LEFT JOIN notification.webhook w ON w.tenant = i.tenant
 WHERE i.state = 'sending' AND i.started_at <= $2 ORDER BY i.started_at LIMIT 500"""  # noqa: S608 - constants only

_LOCK_UNSETTLED = """
SELECT i.tenant, i.intent
  FROM notification.intent i JOIN unnest($1::text[], $2::text[], $3::int[]) AS r(tenant, intent, attempt)
       ON i.tenant = r.tenant AND i.intent = r.intent AND i.attempt = r.attempt
 WHERE i.state = 'sending' ORDER BY i.tenant, i.intent FOR UPDATE OF i"""

_SETTLE = """
UPDATE notification.intent i SET state = r.state, due_at = r.due_at
  FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[]) AS r(tenant, intent, state, due_at)
 WHERE i.tenant = r.tenant AND i.intent = r.intent"""


class Outbox:
    """What is to be sent, on a pool of the ``_work`` role. Two processes may work on it at once."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def claim(self, now: datetime, limit: int, per_tenant: int, room: Mapping[str, int]) -> list[Sending]:
        """Take what is due at ``now``: at most ``limit``, and of each tenant ``room`` or else ``per_tenant``.

        Each is ``sending`` with its next attempt, committed when this returns.
        """
        rows = await self._pool.fetch(_CLAIM, now, limit, list(room), list(room.values()), per_tenant)
        return [_sending(row) for row in rows]

    async def started(self, before: datetime, now: datetime) -> list[Sending]:
        """Attempts under way that began at or before ``before``, the oldest 500."""
        return [_sending(row) for row in await self._pool.fetch(_STARTED, now, before)]

    async def settle(self, results: Sequence[Settled]) -> None:
        """Write what came of attempts, with their records, in one transaction.

        An attempt that is not under way any more (settled before, or taken for lost and repeated) is left out.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(
                _LOCK_UNSETTLED,
                [r.sending.tenant for r in results],
                [r.sending.intent for r in results],
                [r.sending.attempt for r in results],
            )
            open_ = {(row["tenant"], row["intent"]) for row in rows}
            live = [r for r in results if (r.sending.tenant, r.sending.intent) in open_]
            await connection.execute(
                _SETTLE,
                [r.sending.tenant for r in live],
                [r.sending.intent for r in live],
                [r.state for r in live],
                [r.due_at for r in live],
            )
            floor = max((r.sending.recorded_at for r in live), default=None)
            outcomes = await append_in(connection, [r.draft for r in live], floor)
            refused = [o for o in outcomes if o.verdict not in (Verdict.STORED, Verdict.DUPLICATE)]
            if refused:
                raise RuntimeError(f"the log holds other attempts than these intents: {refused[:3]}")


def _sending(row: Any) -> Sending:
    return Sending(**{**row, "secrets": tuple(row["secrets"])})


# --- what is shown ---

_LIST = """
SELECT * FROM (
  SELECT i.intent, i.stream, i.version, i.type, i.place, i.recorded_at, i.attempt, i.due_at, i.payload,
         CASE WHEN i.state = 'planned' AND (w.since IS NULL OR i.recorded_at < w.since) THEN 'unrouted' ELSE i.state END
           AS state
    FROM notification.intent i LEFT JOIN notification.webhook w ON w.tenant = i.tenant
   WHERE i.tenant = $1 AND (i.recorded_at, i.intent) < ($2, $3)) s
 WHERE $4::text IS NULL OR s.state = $4
 ORDER BY s.recorded_at DESC, s.intent DESC LIMIT $5"""

_ATTEMPTS = """
SELECT s.stream, s.version, r.partition, r.position, r.body
  FROM log.stream s JOIN log.record r USING (topic, partition, position)
 WHERE s.topic = 'notifications' AND s.stream = ANY($1::uuid[]) ORDER BY s.stream, s.version"""


class Shown:
    """Intents and attempts as a tenant sees them, on a pool of the ``_api`` role."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def page(
        self, tenant: str, state: str | None, before: tuple[datetime, str], limit: int
    ) -> list[dict[str, Any]]:
        """Intents older than ``before`` (recorded_at, intent), the newest first, each with its attempts."""
        async with tenant_transaction(self._pool, tenant) as connection:
            rows = await connection.fetch(_LIST, tenant, *before, state, limit)
            streams = {notification_stream(tenant, row["intent"]): row["intent"] for row in rows}
            attempts: dict[str, list[dict[str, Any]]] = {intent: [] for intent in streams.values()}
            for row in await connection.fetch(_ATTEMPTS, list(streams)):
                attempts[streams[row["stream"]]].append(_attempt(row))
        return [{**row, "attempts": attempts[row["intent"]]} for row in rows]


def _attempt(row: Any) -> dict[str, Any]:
    record = orjson.loads(row["body"])
    data = record["data"]
    told = ("attempt", "attempted_at", "duration_ms", "status_code", "reason", "final", "next_attempt_at")
    return {
        "place": f"notifications/{row['partition']}/{row['position']}",
        "type": record["type"],
        **{name: data[name] for name in told if name in data},
    }
