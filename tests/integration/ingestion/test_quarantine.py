"""I10: what is not taken is told with field, reason and fix, kept whole, and can be repaired and sent again, once."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from tests.integration.ingestion.conftest import Ingestion, usage
from tests.integration.ingestion.test_records import balanced

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def rejected(ingestion: Ingestion, event: Any, **headers: str) -> str:
    """The quarantine id of one bad event."""
    [told] = (await ingestion.send([event], **headers)).json()["records"]
    assert told["outcome"] == "quarantined", told
    return str(told["quarantine"])


async def resubmit(ingestion: Ingestion, item: str, corrections: dict[str, Any] | None = None) -> httpx.Response:
    body = {"set": corrections} if corrections is not None else {}
    return await ingestion.call("POST", f"/v1/quarantine/{item}/resubmit", json=body)


async def shown(ingestion: Ingestion, item: str) -> dict[str, Any]:
    answer = await ingestion.call("GET", f"/v1/quarantine/{item}")
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


async def records(ingestion: Ingestion) -> list[dict[str, Any]]:
    return [json.loads(body) for (body,) in await ingestion.of("log.record", "body", "recorded_at, position")]


async def test_a_reject_is_listed_and_shown_whole_with_what_is_wrong(ingestion: Ingestion) -> None:
    event = usage(1, data__quantity=12.5, data__contact="Jane Doe")
    item = await rejected(ingestion, event, **{"X-Correlation-Id": "c-9"})
    [listed] = (await ingestion.call("GET", "/v1/quarantine")).json()["data"]
    assert listed["id"] == item
    assert (listed["state"], listed["kind"], listed["source"], listed["record_id"], listed["type"]) == (
        "open", "invalid", "huntress", "agents/1", "usage.metered.v1",
    )  # fmt: skip
    assert (listed["field"], listed["value"]) == ("data.quantity", "12.5")
    whole = await shown(ingestion, item)
    assert whole["item"] == event
    assert [fault["field"] for fault in whole["faults"]] == ["data.quantity", "data.contact"]
    assert all(fault["reason"] and fault["fix"] for fault in whole["faults"])
    assert (whole["correlation"], whole["index"]) == ("c-9", 0)
    assert (await shown(ingestion, item[:8]))["id"] == item


async def test_the_senders_own_bytes_are_kept(ingestion: Ingestion) -> None:
    body = b'[{ "id" : "x",\n"n": 1.10, "specversion":"1.0" }]'
    answer = await ingestion.http.post(
        "/v1/records",
        content=body,
        headers={**ingestion.bearer(ingestion.key), "Content-Type": "application/cloudevents-batch+json"},
    )
    item = answer.json()["records"][0]["quarantine"]
    text = (await ingestion.call("GET", f"/v1/quarantine/{item}")).content
    assert body[1:-1] in text


async def test_a_repaired_item_is_stored_once_and_names_the_reject(ingestion: Ingestion) -> None:
    item = await rejected(ingestion, usage(1, data__quantity=12.5))
    before = await shown(ingestion, item)
    told = (await resubmit(ingestion, item, {"data.quantity": "12.5"})).json()["data"]
    assert told["outcome"] == "stored"
    [record] = await records(ingestion)
    assert record["data"]["quantity"] == "12.5"
    assert record["causationid"] == f"quarantine/{item}"
    assert record["actor"] != before["actor"]
    for corrections in ({"data.quantity": "12.5"}, {"data.quantity": "99"}, {}):
        again = (await resubmit(ingestion, item, corrections)).json()["data"]
        assert (again["outcome"], again["place"]) == ("duplicate", told["place"])
    assert len(await records(ingestion)) == 1
    after = await shown(ingestion, item)
    assert (after["state"], after["resolved_by"]) == ("resolved", told["place"])
    assert (after["item"], after["faults"]) == (before["item"], before["faults"])
    await balanced(ingestion)


async def test_the_same_repair_at_once_is_stored_once(ingestion: Ingestion) -> None:
    item = await rejected(ingestion, usage(1, data__quantity=12.5))
    answers = await asyncio.gather(*(resubmit(ingestion, item, {"data.quantity": "1"}) for _ in range(6)))
    assert len({answer.json()["data"]["place"] for answer in answers}) == 1
    assert len(await records(ingestion)) == 1
    await balanced(ingestion)


async def test_a_repair_that_does_not_help_stores_nothing_and_says_what_is_left(ingestion: Ingestion) -> None:
    item = await rejected(ingestion, usage(1, data__quantity=12.5, data__x=1))
    told = (await resubmit(ingestion, item, {"data.quantity": "7"})).json()["data"]
    assert (told["outcome"], told["quarantine"], told["field"]) == ("quarantined", item, "data.x")
    assert await records(ingestion) == []
    assert await ingestion.of("ingestion.quarantine") == [(1,)]
    told = (await resubmit(ingestion, item, {"data.quantity": "7", "data.x": None})).json()["data"]
    assert told["outcome"] == "stored"


async def test_an_operator_may_release_what_a_sources_key_could_not_send(ingestion: Ingestion) -> None:
    item = await rejected(ingestion, usage(1, source="datto"))
    told = (await resubmit(ingestion, item)).json()["data"]
    assert told["outcome"] == "stored"
    assert (await records(ingestion))[0]["source"] == "datto"


async def test_a_repair_asserts_what_was_asserted_when_it_first_came(ingestion: Ingestion) -> None:
    """Else it would outrank what the source has said since."""
    ingestion.clock.fixed = datetime(2026, 9, 10, 8, 0, tzinfo=UTC)
    item = await rejected(ingestion, usage(1, data__quantity=12.5))
    ingestion.clock.fixed = None
    await resubmit(ingestion, item, {"data.quantity": "12.5"})
    assert (await records(ingestion))[0]["assertedat"] == "2026-09-10T08:00:00Z"


async def test_a_conflict_shows_both_and_can_be_sent_under_another_id(ingestion: Ingestion) -> None:
    await ingestion.send(usage(1))
    item = await rejected(ingestion, usage(1, data__quantity="8"))
    whole = await shown(ingestion, item)
    assert whole["kind"] == "conflict"
    assert whole["item"]["data"]["quantity"] == "8"
    assert whole["first"]["record"]["data"]["quantity"] == "7"
    again = (await resubmit(ingestion, item)).json()["data"]
    assert (again["outcome"], again["field"]) == ("quarantined", "id")
    assert again["quarantine"] == item
    assert await ingestion.of("ingestion.quarantine") == [(1,)]
    told = (await resubmit(ingestion, item, {"id": "agents/1@2"})).json()["data"]
    assert told["outcome"] == "stored"
    assert (await shown(ingestion, item))["state"] == "resolved"
    await balanced(ingestion)


async def test_an_item_that_is_no_event_can_be_shown_and_not_mended_by_a_field(ingestion: Ingestion) -> None:
    item = await rejected(ingestion, "just text")
    assert (await shown(ingestion, item))["item"] == "just text"
    assert (await resubmit(ingestion, item)).json()["data"]["outcome"] == "quarantined"
    assert (await resubmit(ingestion, item, {"data.x": 1})).status_code == 422


async def test_a_list_goes_page_by_page_newest_first_and_by_state(ingestion: Ingestion) -> None:
    items = [await rejected(ingestion, usage(n, data__quantity=0.5)) for n in range(5)]
    await resubmit(ingestion, items[2], {"data.quantity": "1"})

    async def ids(**query: Any) -> list[str]:
        found: list[str] = []
        while True:
            page = (await ingestion.call("GET", "/v1/quarantine", params={"limit": 2, **query})).json()
            found += [row["id"] for row in page["data"]]
            if page["meta"]["next"] is None:
                return found
            query["cursor"] = page["meta"]["next"]

    assert await ids() == [items[n] for n in (4, 3, 1, 0)]
    assert await ids(state="resolved") == [items[2]]
    assert await ids(state="all") == items[::-1]


async def test_a_tenant_sees_and_repairs_its_own_rejects_only(ingestion: Ingestion) -> None:
    item = await rejected(ingestion, usage(1, data__quantity=12.5))
    rival = ingestion.bearer(await ingestion.new_key(ingestion.other, None))
    assert (await ingestion.http.get("/v1/quarantine", headers=rival)).json()["data"] == []
    assert (await ingestion.http.get(f"/v1/quarantine/{item}", headers=rival)).status_code == 404
    answer = await ingestion.http.post(f"/v1/quarantine/{item}/resubmit", json={}, headers=rival)
    assert answer.status_code == 404


async def test_a_repair_of_which_the_link_was_lost_is_completed(ingestion: Ingestion) -> None:
    """As after a crash between the append and the link."""
    item = await rejected(ingestion, usage(1, data__quantity=12.5))
    first = (await resubmit(ingestion, item, {"data.quantity": "1"})).json()["data"]
    await ingestion.rows(
        "UPDATE ingestion.quarantine SET resolved_at = NULL, resolved_topic = NULL, resolved_partition = NULL,"
        " resolved_position = NULL WHERE tenant = $1",
        ingestion.tenant,
    )
    again = (await resubmit(ingestion, item, {"data.quantity": "1"})).json()["data"]
    assert again == first
    assert (await shown(ingestion, item))["resolved_by"] == first["place"]
