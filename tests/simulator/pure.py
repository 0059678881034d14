"""The synthetic MSP through the pure engine: its files and events as records, folded in memory, with no service."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import orjson

from services.ingestion.domain.reader import Made, fields_of, read
from shared.kernel.periods import Period
from shared.reconciliation.compare import draw_group
from shared.reconciliation.verdict import Verdict, body_bytes
from shared.reconciliation.world import World
from tests.simulator.business import PSA, SOURCES, TENANT_ZONE, utc
from tests.simulator.driver import as_csv
from tests.simulator.msp import Msp

Record = dict[str, Any]


def files(msp: Msp) -> Iterator[tuple[str, str, str]]:
    """(profile, source, content) of everything that comes as a file."""
    made = [
        ("products", PSA, msp.product_rows()),
        ("clients", PSA, msp.client_rows()),
        ("mappings", PSA, msp.mapping_rows()),
        ("invoices", PSA, msp.invoice_rows()),
        ("contracts", PSA, msp.contract_rows()),
        ("time-entries", PSA, msp.time_rows()),
        *(("vendor-bills", source, msp.vendor_bill_rows(source)) for source in SOURCES),
    ]
    for profile, source, rows in made:
        kept = list(rows)
        if kept:
            yield profile, source, as_csv(kept)


class BadRow(Exception):
    """A row of the simulator's own that the product refuses."""


def records(msp: Msp) -> Iterator[Record]:
    """All records of the MSP but those that come after a month was closed."""
    for profile, source, content in files(msp):
        asserted = msp.now - timedelta(hours=1)
        for row, one in read(profile, content.splitlines(keepends=True), asserted_at=asserted, zone=TENANT_ZONE):
            if not isinstance(one, Made):
                raise BadRow(f"{profile} row {row}: {one}")
            yield fields_of(one, tenant=msp.tenant, source=source, asserted_at=asserted)
    for source in msp.sources:
        for event in msp.usage(source, repeat=0, late=0):
            yield {**event, "tenant": msp.tenant, "run": 0}
    start, end = msp.covers()
    for source in SOURCES:
        yield _feed(msp, "feed.observed.v1", source, covers_from=utc(start), covers_to=utc(end), asserted_at=utc(end))
    for source in msp.sources[len(SOURCES) :]:
        yield _feed(msp, "feed.missed.v1", source, due_at=utc(msp.now - timedelta(hours=2)))
    yield _fact(msp, "calendar.advanced.v1", "plumbline", {"zone": TENANT_ZONE, "date": msp.today.isoformat()})
    for version, (key, value) in enumerate(msp.settings.items(), 1):
        data = {"key": key, "value": value}
        yield {**_fact(msp, "setting.changed.v1", "plumbline", data), "id": key, "streamversion": version}


def _fact(msp: Msp, name: str, source: str, data: dict[str, Any]) -> Record:
    at = utc(msp.now)
    envelope = {"type": name, "source": source, "tenant": msp.tenant, "id": name, "time": at, "assertedat": at}
    return {**envelope, "run": 1, "data": data}


def _feed(msp: Msp, name: str, source: str, **data: Any) -> Record:
    return _fact(msp, name, source, {"feed": "usage", "run": 1, **data})


def closings(msp: Msp, world: World) -> Iterator[Record]:
    """The closed month is closed for those clients of which something comes late."""
    period = Period(msp.closed.start, msp.closed.end)
    late = {client.id for client in msp.closings}
    drawn: dict[str, dict[str, Verdict]] = {client: {} for client in sorted(late)}
    for group in world.groups(msp.tenant):
        if group.client in late and group.period == period:
            verdict = draw_group(world.inputs(msp.tenant, group))
            if verdict is not None:
                drawn[group.client][group.product] = verdict
    for client, verdicts in drawn.items():
        said = {"client": client, "period": {"from": period.start.isoformat(), "to": period.end.isoformat()}}
        for version, (item, verdict) in enumerate(sorted(verdicts.items()), 1):
            data = {**said, "item": item, **_closed(verdict)}
            record = _fact(msp, "statement.group_closed.v1", "plumbline.matching", data)
            yield {**record, "id": f"{client}/{item}", "streamversion": version}


def _closed(verdict: Verdict) -> dict[str, Any]:
    figures = {"expected": verdict.expected, "billed": verdict.billed, "quantity": verdict.measured}
    known = {name: format(value, "f") for name, value in figures.items() if value is not None}
    return {**known, "currency": verdict.currency, "records": verdict.records}


def reconciled(msp: Msp) -> tuple[World, list[dict[str, Any]]]:
    """The world at the end, and the body of each discrepancy that is open in it."""
    world = World().fold(records(msp))
    late = [{**event, "tenant": msp.tenant, "run": 1} for event in msp.late_usage()]
    world.fold([*closings(msp, world), *late])
    return world, [orjson.loads(body_bytes(body)) for body in world.draw_all(msp.tenant).values()]
