"""Mappings and settings over HTTP: decided once, listed as they stand, secrets never shown."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest

from tests.integration.ingestion.conftest import Ingestion

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAPPING = {"kind": "account", "source": "huntress", "key": "a-1", "target": "acme"}


async def confirm(ingestion: Ingestion, body: Any = MAPPING, key: str | None = None) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    return await ingestion.call("POST", "/v1/mappings", json=body, headers=headers)


async def bodies(ingestion: Ingestion, topic: str) -> list[dict[str, Any]]:
    rows = await ingestion.rows(
        "SELECT body FROM log.record WHERE tenant = $1 AND topic = $2 ORDER BY recorded_at", ingestion.tenant, topic
    )
    return [json.loads(body) for (body,) in rows]


async def mappings(ingestion: Ingestion, limit: int = 100) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor = None
    while True:
        params = {"limit": limit} | ({"cursor": cursor} if cursor else {})
        page = (await ingestion.call("GET", "/v1/mappings", params=params)).json()
        rows += page["data"]
        cursor = page["meta"]["next"]
        if cursor is None:
            return rows


async def test_a_mapping_is_confirmed_listed_and_withdrawn(ingestion: Ingestion) -> None:
    told = (await confirm(ingestion)).json()["data"]
    assert told["outcome"] == "stored"
    assert told["place"].startswith("mappings/")
    [row] = await mappings(ingestion)
    assert (row["kind"], row["source"], row["key"], row["targets"]) == (
        "account", "huntress", "a-1", [{"id": "acme", "share": "1"}],
    )  # fmt: skip
    gone = await ingestion.call("DELETE", "/v1/mappings", params={k: MAPPING[k] for k in ("kind", "source", "key")})
    assert gone.json()["data"]["outcome"] == "stored"
    assert await mappings(ingestion) == []
    assert [body["type"] for body in await bodies(ingestion, "mappings")] == [
        "mapping.confirmed.v1", "mapping.withdrawn.v1",
    ]  # fmt: skip


async def test_a_repeated_command_is_answered_as_before_and_another_under_its_key_is_refused(
    ingestion: Ingestion,
) -> None:
    first = (await confirm(ingestion, key="k")).json()["data"]
    again = (await confirm(ingestion, key="k")).json()["data"]
    assert again == first | {"outcome": "duplicate"}
    assert (await confirm(ingestion, MAPPING | {"target": "other"}, key="k")).status_code == 409
    assert (await confirm(ingestion)).json()["data"]["outcome"] == "unchanged"
    assert len(await bodies(ingestion, "mappings")) == 1


async def test_commands_at_once_on_one_mapping_follow_each_other(ingestion: Ingestion) -> None:
    answers = await asyncio.gather(*(confirm(ingestion, MAPPING | {"target": f"c-{n}"}) for n in range(4)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    records = await bodies(ingestion, "mappings")
    assert [record["streamversion"] for record in records] == list(range(1, len(records) + 1))
    assert len(records) == sum(answer.status_code == 200 for answer in answers)


async def test_the_note_of_an_exclusion_is_not_in_the_log(ingestion: Ingestion) -> None:
    note = "Jane asked for it"
    body = {"kind": "sku", "source": "huntress", "key": "edr", "exclude": {"reason": "internal", "note": note}}
    told = (await confirm(ingestion, body, key="n")).json()["data"]
    assert (await confirm(ingestion, body, key="n")).json()["data"]["place"] == told["place"]
    [record] = await bodies(ingestion, "mappings")
    document = record["data"]["excluded"]["note"]
    assert note not in json.dumps(record)
    kept = await ingestion.parts.documents.get(ingestion.parts.pool, ingestion.tenant, document)
    assert kept.decode() == note


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "kind"),
        (MAPPING | {"kind": "client"}, "kind"),
        (MAPPING | {"key": "x\x00"}, "key"),
        (MAPPING | {"target": None}, ""),
        (MAPPING | {"exclude": {"reason": "test"}}, ""),
        ({**MAPPING, "target": None, "exclude": {"reason": "why not"}}, "exclude.reason"),
        (MAPPING | {"more": 1}, "more"),
        ([], ""),
    ],
)
async def test_a_command_that_makes_no_sense_names_the_field(ingestion: Ingestion, body: Any, field: str) -> None:
    answer = await confirm(ingestion, body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["field"] == field
    assert answer.json()["fix"]


async def test_mappings_are_listed_in_order_page_by_page(ingestion: Ingestion) -> None:
    keys = [f"a-{n:02d}" for n in range(7)]
    for key in reversed(keys):
        await confirm(ingestion, MAPPING | {"key": key})
    assert [row["key"] for row in await mappings(ingestion, limit=3)] == keys
    await confirm(ingestion, MAPPING | {"key": "a-00", "target": "moved"})
    assert (await mappings(ingestion, limit=3))[0]["targets"][0]["id"] == "moved"


# --- settings ---


async def put(ingestion: Ingestion, key: str, body: Any) -> Any:
    return await ingestion.call("PUT", f"/v1/settings/{key}", json=body)


async def setting(ingestion: Ingestion, key: str) -> dict[str, Any]:
    rows = (await ingestion.call("GET", "/v1/settings")).json()["data"]
    return next(row for row in rows if row["key"] == key)


async def test_a_setting_is_changed_listed_and_given_its_default_again(ingestion: Ingestion) -> None:
    key = "invoice.grace_days"
    assert await setting(ingestion, key) == {
        "key": key,
        "value": None,
        "is_set": False,
        "default": "5",
        "is_secret": False,
        "description": "Days after a period's end before a missing invoice is an error.",
    }
    told = (await put(ingestion, key, {"value": 10})).json()["data"]
    assert (told["outcome"], told["value"]) == ("stored", "10")
    assert (await setting(ingestion, key))["value"] == "10"
    assert (await put(ingestion, key, {"value": "010"})).json()["data"]["outcome"] == "unchanged"
    assert (await put(ingestion, key, {"value": None})).json()["data"]["outcome"] == "stored"
    assert (await setting(ingestion, key))["is_set"] is False
    assert [body["data"] for body in await bodies(ingestion, "settings")] == [
        {"key": key, "value": "10"}, {"key": key},
    ]  # fmt: skip


async def test_a_tolerance_of_one_currency_or_unit_is_a_setting_of_its_own(ingestion: Ingestion) -> None:
    key = "tolerance.quantity.absolute.GiB"
    assert (await put(ingestion, key, {"value": "0.50"})).json()["data"]["value"] == "0.5"
    assert (await setting(ingestion, key))["description"] == (
        "Difference of quantity that is let pass, in units; for GiB only."
    )
    assert (await put(ingestion, "tolerance.speed.absolute.GiB", {"value": "1"})).status_code == 404


async def test_a_secret_goes_to_the_vault_and_is_never_shown(ingestion: Ingestion) -> None:
    key, secret = "notification.webhook.secret", "whsec_" + base64.b64encode(b"canary-canary-canary-canary").decode()
    answer = await put(ingestion, key, {"secret": secret})
    assert answer.status_code == 200
    listed = (await ingestion.call("GET", "/v1/settings")).text
    [record] = await bodies(ingestion, "settings")
    for text in (answer.text, listed, json.dumps(record)):
        assert secret not in text
    assert (await setting(ingestion, key))["is_set"] is True
    kept = await ingestion.parts.documents.get(ingestion.parts.pool, ingestion.tenant, record["data"]["secret"])
    assert kept.decode() == secret


@pytest.mark.parametrize(
    ("key", "body", "field", "words"),
    [
        ("invoice.grace_days", {"value": "many"}, "value", "not a number of days"),
        ("invoice.grace_days", {"value": 1.5}, "value", ""),
        ("invoice.grace_days", {"value": True}, "value", ""),
        ("invoice.grace_days", {"secret": "x"}, "secret", "not how"),
        ("notification.webhook.secret", {"value": "x"}, "value", "not how"),
        ("notification.webhook.secret", {"secret": "x"}, "secret", "webhook secret"),
        ("notification.webhook.url", {"value": "http://example.com"}, "value", "another machine"),
        ("notification.webhook.url", {"value": "https://me@example.com"}, "value", "user name"),
        ("tolerance.unit_price.absolute", {"value": "-1"}, "value", "out of range"),
    ],
)
async def test_a_value_that_cannot_be_names_reason_and_fix(
    ingestion: Ingestion, key: str, body: Any, field: str, words: str
) -> None:
    answer = await put(ingestion, key, body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["field"].split(".")[0] == field
    assert words in answer.json()["detail"]
    assert await bodies(ingestion, "settings") == []


async def test_a_value_refused_is_not_told_back(ingestion: Ingestion) -> None:
    answer = await put(ingestion, "notification.webhook.secret", {"secret": "whsec_hunter2"})
    assert "hunter2" not in answer.text
