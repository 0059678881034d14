"""Holds everything that a running system did against a fold over its log, and against what was sent and received.

Each check returns a list of violations in words; an empty one means that the invariant holds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from shared.events.discrepancies import DiscrepancyBody
from shared.kernel.canonical import canonical
from shared.kernel.identity import stream_id
from shared.reconciliation.statement import group_lines
from shared.reconciliation.world import Group, World


async def every_violation(admin_url: str, tenant: str, arrivals: Mapping[str, Any]) -> list[str]:
    """All checks, on one connection of an administrator."""
    connection = await asyncpg.connect(admin_url)
    try:
        world = World().fold([orjson.loads(row["body"]) for row in await _log(connection)])
        return [
            *await gapless(connection),
            *await balanced(connection),
            *await folded(connection, tenant, world),
            *await compared(connection, tenant, world),
            *await stated(connection, tenant, world),
            *await told(connection, arrivals),
        ]
    finally:
        await connection.close()


async def _log(connection: asyncpg.Connection) -> list[asyncpg.Record]:
    return await connection.fetch("SELECT topic, body FROM log.record ORDER BY topic, partition, position")


async def gapless(connection: asyncpg.Connection) -> list[str]:
    """I2: positions 1 to head without a gap, one identity a record, streams 1 to n, and no open dead letter."""
    found = []
    rows = await connection.fetch(
        "SELECT h.topic, h.partition, h.position, count(r.position) AS n, coalesce(min(r.position), 1) AS low,"
        " coalesce(max(r.position), 0) AS high FROM log.head h LEFT JOIN log.record r USING (topic, partition)"
        " GROUP BY h.topic, h.partition, h.position"
    )
    for row in rows:
        if not (row["n"] == row["high"] == row["position"] and row["low"] == 1):
            found.append(f"gap in {row['topic']}/{row['partition']}: {dict(row)}")
    records = await connection.fetchval("SELECT count(*) FROM log.record")
    identities = await connection.fetchval("SELECT count(*) FROM log.identity")
    if records != identities:
        found.append(f"{records} records, {identities} identities")
    for row in await connection.fetch(
        "SELECT topic, stream, count(*) AS n, min(version) AS low, max(version) AS high FROM log.stream"
        " GROUP BY topic, stream HAVING count(*) <> max(version) OR min(version) <> 1"
    ):
        found.append(f"stream {row['topic']}/{row['stream']} is not 1..n: {dict(row)}")
    for schema in ("matching", "notification"):
        for row in await connection.fetch(f"SELECT * FROM {schema}.dead_letter WHERE state = 'open'"):
            found.append(f"dead letter of {row['consumer']}: {dict(row)}")
    return found


async def balanced(connection: asyncpg.Connection) -> list[str]:
    """I1: per tenant and source, stored receipts are the records of the log, quarantined ones the quarantine's rows."""
    stored: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    kept: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for row in await connection.fetch(
        "SELECT tenant, source, sum(stored) AS stored, sum(quarantined) AS quarantined FROM ingestion.receipt"
        " GROUP BY tenant, source"
    ):
        stored[row["tenant"], row["source"]][0] = int(row["stored"])
        kept[row["tenant"], row["source"]][0] = int(row["quarantined"])
    facts = ("catalog", "usage", "contracts", "invoices", "vendor-bills", "time-entries", "feeds")
    for row in await connection.fetch(
        "SELECT tenant, convert_from(body, 'UTF8')::jsonb ->> 'source' AS source, count(*) AS n FROM log.record"
        " WHERE topic = ANY($1) AND convert_from(body, 'UTF8')::jsonb ->> 'type' <> 'calendar.advanced.v1'"
        " GROUP BY 1, 2",
        list(facts),
    ):
        stored[row["tenant"], row["source"]][1] = row["n"]
    for row in await connection.fetch("SELECT tenant, source, count(*) AS n FROM ingestion.quarantine GROUP BY 1, 2"):
        kept[row["tenant"], row["source"]][1] = row["n"]
    return [
        f"{what} of {key}: receipts say {pair[0]}, there are {pair[1]}"
        for what, sums in (("records", stored), ("quarantine rows", kept))
        for key, pair in sums.items()
        if pair[0] != pair[1]
    ]


async def folded(connection: asyncpg.Connection, tenant: str, world: World) -> list[str]:
    """I2: matching's registers and maintained sums equal a fold over the log."""
    found = []
    tables: dict[tuple[Any, ...], dict[str, Decimal]] = defaultdict(dict)
    for row in await connection.fetch(
        "SELECT m.*, s.record, s.value FROM matching.meter m JOIN matching.slot s USING (meter) WHERE tenant = $1",
        tenant,
    ):
        key = (*(row[name] for name in ("tenant", "source", "account", "sku", "name", "kind", "unit")),)
        tables[key][row["record"]] = row["value"]
    oracle = {
        tuple(key): {slot.record.id: slot.quantity for slot in slots.values()}
        for key, slots in world.registers.meters.items()
        if key[0] == tenant
    }
    for key in sorted(tables.keys() | oracle.keys(), key=str):
        if dict(tables.get(key, {})) != oracle.get(key, {}):
            found.append(f"meter {key}: the table holds {tables.get(key)}, the fold {oracle.get(key)}")
    wrong = await connection.fetch(
        "SELECT t.meter, t.day, t.value, s.value AS sum FROM matching.total t LEFT JOIN"
        " (SELECT meter, day, sum(value) AS value, count(*) AS n FROM matching.slot GROUP BY meter, day) s"
        " USING (meter, day)"
        " WHERE t.value <> coalesce(s.value, 0) OR t.n <> coalesce(s.n, 0)"
    )
    found += [f"maintained sum differs: {dict(row)}" for row in wrong]
    cells = {
        (row["tenant"], row["kind"], tuple(row["key"])): row["record"]
        for row in await connection.fetch(
            "SELECT tenant, kind, key, record FROM matching.cell WHERE tenant = $1", tenant
        )
    }
    for key, record in cells.items():
        cell = world.registers.cells.get(key)
        if cell is None or cell.record.id != record:
            found.append(f"cell {key}: the table holds {record}, the fold {cell and cell.record.id}")
    kinds = {key[1] for key in cells}
    missing = {key for key in world.registers.cells if key[0] == tenant and key[1] in kinds} - cells.keys()
    return found + [f"cell {key} is missing" for key in missing]


async def compared(connection: asyncpg.Connection, tenant: str, world: World) -> list[str]:
    """The open verdicts equal a draw over the whole log, body for body, and so do the last records of their streams."""
    oracle = {
        stream_id("discrepancies", tenant, "discrepancy", *key): canonical(
            body.model_dump(mode="json", exclude_defaults=True)
        )
        for key, body in world.draw_all(tenant).items()
    }
    table = {}
    for row in await connection.fetch(
        "SELECT stream, body FROM matching.verdict WHERE tenant = $1 AND state = 'open'", tenant
    ):
        body = DiscrepancyBody.model_validate(orjson.loads(row["body"]))
        table[UUID(str(row["stream"]))] = canonical(body.model_dump(mode="json", exclude_defaults=True))
    found = [
        f"verdict {stream}: the table holds {table.get(stream)!r}, the fold says {oracle.get(stream)!r}"
        for stream in table.keys() | oracle.keys()
        if table.get(stream) != oracle.get(stream)
    ]
    last: dict[str, str] = {}
    for row in await connection.fetch(
        "SELECT convert_from(r.body, 'UTF8') AS body"
        " FROM log.stream s JOIN log.record r USING (topic, partition, position)"
        " WHERE s.topic = 'discrepancies' AND r.tenant = $1 ORDER BY s.stream, s.version",
        tenant,
    ):
        fields = orjson.loads(row["body"])
        last[fields["stream"]] = fields["type"]
    open_in_log = {UUID(hex=stream) for stream, kind in last.items() if kind != "discrepancy.cleared.v1"}
    if open_in_log != table.keys():
        found.append(f"open by the log but not by the table, or the reverse: {open_in_log ^ table.keys()}")
    return found


async def stated(connection: asyncpg.Connection, tenant: str, world: World) -> list[str]:
    """The live statements, kept group by group, equal those drawn from scratch over the whole log, byte for byte."""
    oracle: dict[tuple[Any, ...], list[bytes]] = {}
    for key, verdict in world.verdicts(tenant).items():
        if isinstance(key, Group):
            lines = group_lines(key.product, verdict, key.period).document()["lines"]
            oracle[key.client, key.period.start, key.product] = [canonical(line) for line in lines]
    table = {
        (row["owner"], row["month"], row["item"]): [canonical(line) for line in orjson.loads(row["lines"])]
        for row in await connection.fetch(
            "SELECT owner, month, item, lines FROM matching.drawn WHERE tenant = $1 AND level IN ('product', 'client')",
            tenant,
        )
    }
    return [
        f"statement of {key}: the table holds {table.get(key)!r}, from scratch it is {oracle.get(key)!r}"
        for key in sorted(table.keys() | oracle.keys())
        if (table.get(key) or []) != (oracle.get(key) or [])
    ]


async def told(connection: asyncpg.Connection, arrivals: Mapping[str, Any]) -> list[str]:
    """Each discrepancy record has one intent, which was sent, recorded once as sent, and received under one id."""
    found = []
    records = {
        f"{row['topic']}/{row['partition']}/{row['position']}"
        for row in await connection.fetch(
            "SELECT topic, partition, position FROM log.record WHERE topic = 'discrepancies'"
        )
    }
    intents = await connection.fetch("SELECT intent, place, state FROM notification.intent")
    if sorted(row["place"] for row in intents) != sorted(records):
        found.append(f"{len(records)} discrepancy records, {len(intents)} intents")
    found += [f"intent {row['intent']} is {row['state']}" for row in intents if row["state"] != "sent"]
    if {row["intent"] for row in intents} != set(arrivals):
        found.append(f"{len(intents)} intents, {len(arrivals)} distinct messages arrived")
    sent: dict[str, int] = defaultdict(int)
    for row in await connection.fetch(
        "SELECT convert_from(body, 'UTF8')::jsonb AS body FROM log.record WHERE topic = 'notifications'"
    ):
        fields = orjson.loads(row["body"])
        if fields["type"] == "notification.sent.v1":
            sent[fields["data"]["intent"]] += 1
    if any(n != 1 for n in sent.values()) or set(sent) != {row["intent"] for row in intents}:
        found.append(
            f"{len(sent)} intents recorded as sent, {sum(n > 1 for n in sent.values())} of them more than once"
        )
    return found
