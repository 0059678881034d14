"""Sends files, and reads back what became of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from tests.integration.ingestion.conftest import Ingestion


async def send(here: Ingestion, profile: str, content: str | bytes, *, token: str | None = None, **options: str) -> Any:
    """Ingest a file as the operator; the answer's JSON. Fails on any other status than 202."""
    answer = await post(here, profile, content, token=token, **options)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def post(here: Ingestion, profile: str, content: Any, *, token: str | None = None, **options: str) -> Any:
    """The response itself."""
    body = content.encode() if isinstance(content, str) else content
    headers = {**here.bearer(token or here.operator), "Content-Type": "text/csv"}
    return await here.http.post("/v1/files", params={"profile": profile, **options}, content=body, headers=headers)


def sums(answer: Mapping[str, Any]) -> tuple[int, int, int]:
    """Stored, duplicate, quarantined; checks that they add up."""
    receipt = answer["receipt"]
    assert receipt["accepted"] == receipt["stored"] + receipt["duplicate"] + receipt["quarantined"]
    return receipt["stored"], receipt["duplicate"], receipt["quarantined"]


async def records(here: Ingestion, topic: str) -> list[dict[str, Any]]:
    """Every record of the tenant in a topic, as it stands in the log."""
    rows = await here.rows(
        "SELECT body FROM log.record WHERE tenant = $1 AND topic = $2 ORDER BY partition, position", here.tenant, topic
    )
    return [orjson.loads(row["body"]) for row in rows]


async def count(here: Ingestion) -> int:
    [row] = await here.of("log.record")
    return int(row["count"])


async def balanced(here: Ingestion) -> None:
    """I1: what the receipts say was stored and quarantined is what is there."""
    [row] = await here.rows(
        "SELECT coalesce(sum(stored), 0) AS stored, coalesce(sum(quarantined), 0) AS quarantined FROM ingestion.receipt"
        " WHERE tenant = $1",
        here.tenant,
    )
    [there] = await here.rows(
        "SELECT (SELECT count(*) FROM log.record WHERE tenant = $1 AND topic <> 'mappings') AS stored,"
        " (SELECT count(*) FROM ingestion.quarantine WHERE tenant = $1) AS quarantined",
        here.tenant,
    )
    assert (row["stored"], row["quarantined"]) == (there["stored"], there["quarantined"])


def table(header: str, rows: Iterable[Iterable[object]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(header.split(","))
    writer.writerows(rows)
    return out.getvalue()
