"""What a service asks of the database before it writes, and the room that it keeps ahead of the heads."""

from __future__ import annotations

from typing import Any

import asyncpg
import structlog

from shared.events.catalogue import PARTITIONS, WRITERS
from shared.runtime.clock import Clock

BLOCK = 1 << 22
"""Positions in a block of ``log.record``; ``log.ensure_room()`` makes blocks of this size."""
_ROOM_EVERY_S = 30.0
_GIB = 1 << 30

_log = structlog.get_logger(__name__)


class SettingsRefused(Exception):
    """The database cannot keep the log's promises as it is set up; the message says what to change."""


# Without these a committed record can be lost, or an append cannot see what was committed before it.
_REQUIRED: dict[str, tuple[str, ...]] = {
    "fsync": ("on",),
    "full_page_writes": ("on",),
    "synchronous_commit": ("on", "remote_apply"),
    "default_transaction_isolation": ("read committed",),
    "server_encoding": ("UTF8",),
}
_SETTINGS = """
SELECT name, setting, CASE unit WHEN 'MB' THEN setting::bigint * 1048576 WHEN '8kB' THEN setting::bigint * 8192
                                WHEN 's' THEN setting::bigint END AS amount
  FROM pg_catalog.pg_settings
 WHERE name = ANY($1) OR name IN ('max_wal_size', 'checkpoint_timeout', 'shared_buffers')"""
_TIMELINE = """
SELECT m.timeline, ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int, m.partitions
  FROM log.meta m"""
_IDENTITY_INDEX = """
SELECT coalesce(sum(pg_relation_size(i.indexrelid)), 0)::bigint FROM pg_catalog.pg_inherits h
  JOIN pg_catalog.pg_index i ON i.indrelid = h.inhrelid WHERE h.inhparent = 'log.identity'::regclass"""


async def check_settings(connection: Any) -> list[str]:
    """Refuse a database on which a committed record could be lost or doubled; advise on one that would merely be slow.

    Returns the advice, a sentence each, for the log. Raises :class:`SettingsRefused`.
    """
    rows = {row["name"]: row for row in await connection.fetch(_SETTINGS, list(_REQUIRED))}
    for name, allowed in _REQUIRED.items():
        value = rows[name]["setting"]
        if value not in allowed:
            raise SettingsRefused(
                f"PostgreSQL runs with {name} = {value}; the log needs {' or '.join(allowed)}. Set it and start again"
            )
    await _check_log(connection)
    advice = []
    if rows["max_wal_size"]["amount"] < 8 * _GIB:
        advice.append("max_wal_size is below 8 GB: checkpoints will be frequent, and appends slower after each")
    if rows["checkpoint_timeout"]["amount"] < 900:
        advice.append("checkpoint_timeout is below 15 minutes: appends are slower after each checkpoint")
    if rows["shared_buffers"]["amount"] < await connection.fetchval(_IDENTITY_INDEX):
        advice.append("shared_buffers is smaller than the index of identities: appends will wait for the disk")
    return advice


async def _check_log(connection: Any) -> None:
    timeline, actual, partitions = await connection.fetchrow(_TIMELINE)
    if timeline != actual:
        raise SettingsRefused(
            f"this database was restored to an earlier point or failed over: it is on timeline {actual}, its log was"
            f" written on timeline {timeline}. Positions may have been given away twice; do not write until the restore"
            " is completed and the epoch raised"
        )
    if partitions != PARTITIONS:
        raise SettingsRefused(f"this log has {partitions} partitions a topic; this release works with {PARTITIONS}")
    topics = {row["topic"]: row["writer"] for row in await connection.fetch("SELECT topic, writer FROM log.topic")}
    missing = sorted(WRITERS.keys() - topics.keys())
    if missing:
        raise SettingsRefused(f"the log lacks the topics {', '.join(missing)}; run the migrations of this release")


async def keep_room(pool: asyncpg.Pool, clock: Clock) -> None:
    """Make blocks ahead of the heads, for ever; each service runs it as a task, beside its relays.

    A block lasts four million records of one partition, and one is always made ahead, so a failed turn is only logged.
    """
    while True:
        try:
            left = await pool.fetchval("SELECT log.ensure_room()")
            if left < BLOCK // 2:
                _log.error("log_room_short", positions_left=left)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            _log.warning("log_room_failed", reason=str(error))
        await clock.sleep(_ROOM_EVERY_S)
