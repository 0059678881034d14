"""Records read back over HTTP: exactly the bytes of the log, and a tenant's own only."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.ingestion.conftest import Ingestion, usage

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def get(ingestion: Ingestion, path: str = "/v1/records", **params: Any) -> dict[str, Any]:
    answer = await ingestion.call("GET", path, params=params)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def ids(page: dict[str, Any]) -> list[str]:
    return [row["record"]["id"] for row in page["data"]]


async def test_a_record_is_read_by_place_by_identity_and_by_correlation(ingestion: Ingestion) -> None:
    told = (await ingestion.send(usage(1), **{"X-Correlation-Id": "c-1"})).json()["records"][0]
    await ingestion.send(usage(2), **{"X-Correlation-Id": "c-2"})
    at = await ingestion.call("GET", f"/v1/records/{told['place']}")
    [(body,)] = await ingestion.rows(
        "SELECT body FROM log.record WHERE tenant = $1 AND position('c-1'::bytea IN body) > 0", ingestion.tenant
    )
    assert body in at.content
    by_id = await get(ingestion, type="usage.metered.v1", source="huntress", id="agents/1")
    together = await get(ingestion, correlation="c-1")
    assert by_id["data"] == together["data"] == [at.json()["data"]]
    assert together["meta"] == {"next": None, "more": False}
    assert (await get(ingestion, type="usage.metered.v1", source="datto", id="agents/1"))["data"] == []


async def test_a_tail_is_followed_from_its_cursor(ingestion: Ingestion) -> None:
    await ingestion.send([usage(n) for n in range(25)])
    seen: list[str] = []
    page = await get(ingestion, topic="usage", limit=10)
    while page["data"]:
        seen += ids(page)
        page = await get(ingestion, topic="usage", limit=10, after=page["meta"]["next"])
    assert sorted(seen) == sorted(f"agents/{n}" for n in range(25))
    await ingestion.send([usage(25), usage(26)])
    more = await get(ingestion, topic="usage", after=page["meta"]["next"])
    assert sorted(ids(more)) == ["agents/25", "agents/26"]


async def test_the_last_records_come_oldest_first_and_then_what_follows(ingestion: Ingestion) -> None:
    for n in range(6):
        await ingestion.send(usage(n))
    page = await get(ingestion, topic="usage", last=3)
    assert ids(page) == ["agents/3", "agents/4", "agents/5"]
    assert ids(await get(ingestion, topic="usage", after=page["meta"]["next"])) == []
    await ingestion.send(usage(6))
    assert ids(await get(ingestion, topic="usage", after=page["meta"]["next"])) == ["agents/6"]
    assert ids(await get(ingestion, topic="usage", last=0)) == []


async def test_a_tenant_reads_its_own_records_only(ingestion: Ingestion) -> None:
    told = (await ingestion.send(usage(1), **{"X-Correlation-Id": "shared"})).json()["records"][0]
    rival = ingestion.bearer(await ingestion.new_key(ingestion.other, None))
    place = await ingestion.http.get(f"/v1/records/{told['place']}", headers=rival)
    assert place.status_code == 404
    for params in (
        {"topic": "usage"},
        {"topic": "usage", "last": 10},
        {"correlation": "shared"},
        {"type": "usage.metered.v1", "source": "huntress", "id": "agents/1"},
    ):
        answer = await ingestion.http.get("/v1/records", params=params, headers=rival)
        assert answer.json()["data"] == [], params
    mine = (await get(ingestion, topic="usage"))["meta"]["next"]
    other = await ingestion.http.get("/v1/records", params={"topic": "usage", "after": mine}, headers=rival)
    assert other.json()["data"] == []


async def test_the_cursor_of_another_topic_is_refused(ingestion: Ingestion) -> None:
    cursor = (await get(ingestion, topic="usage"))["meta"]["next"]
    answer = await ingestion.call("GET", "/v1/records", params={"topic": "invoices", "after": cursor})
    assert answer.status_code == 422
