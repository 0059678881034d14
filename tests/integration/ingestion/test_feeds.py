"""Runs of feeds: each gets one number, whatever is repeated and whoever comes at once."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.integration.ingestion.conftest import Ingestion
from tests.integration.ingestion.test_decisions import bodies
from tests.integration.ingestion.test_records import balanced

pytestmark = pytest.mark.asyncio(loop_scope="module")

AUGUST = {"covers_from": "2026-08-01T00:00:00Z", "covers_to": "2026-09-01T00:00:00Z"}


async def observed(ingestion: Ingestion, body: Any = AUGUST, key: str | None = None, path: str = "") -> httpx.Response:
    return await ingestion.http.post(
        f"/v1/feeds/{path or 'huntress/usage'}/observed",
        json=body,
        headers={**ingestion.bearer(ingestion.key), **({"Idempotency-Key": key} if key else {})},
    )


async def test_a_complete_run_is_a_record_with_its_number(ingestion: Ingestion) -> None:
    answer = await observed(ingestion, AUGUST | {"keys": 12})
    assert answer.status_code == 202, answer.text
    told = answer.json()["data"]
    assert (told["feed"], told["run"], told["outcome"]) == ("usage", 1, "stored")
    [record] = await bodies(ingestion, "feeds")
    assert record["data"] | {"asserted_at": ""} == {"feed": "usage", "run": 1, "asserted_at": "", **AUGUST, "keys": 12}
    assert record["data"]["asserted_at"] == record["assertedat"] == record["time"]
    assert record["run"] == 1
    assert (await observed(ingestion)).json()["data"]["run"] == 2
    assert (await observed(ingestion, path="huntress/seats")).json()["data"]["run"] == 1
    await balanced(ingestion)


async def test_a_repeated_command_has_the_run_it_had(ingestion: Ingestion) -> None:
    first = (await observed(ingestion, key="k")).json()["data"]
    await observed(ingestion)
    again = (await observed(ingestion, key="k")).json()["data"]
    assert again == first
    assert len(await bodies(ingestion, "feeds")) == 2
    other = await observed(ingestion, AUGUST | {"keys": 1}, key="k")
    assert other.status_code == 409


async def test_a_run_whose_record_was_lost_is_completed_by_the_same_command(ingestion: Ingestion) -> None:
    """As after a crash between the number and the record."""
    await ingestion.rows("INSERT INTO ingestion.feed VALUES ($1, 'huntress', 'usage', 1)", ingestion.tenant)
    await ingestion.rows(
        "INSERT INTO ingestion.feed_run VALUES ($1, 'huntress', 'usage', 1, 'k', '2026-09-03T00:00:00Z')",
        ingestion.tenant,
    )
    assert (await observed(ingestion, key="other")).json()["data"]["run"] == 2
    assert (await observed(ingestion, key="k")).json()["data"]["run"] == 1
    assert (await bodies(ingestion, "feeds"))[1]["assertedat"] == "2026-09-03T00:00:00Z"


async def test_runs_at_once_get_a_number_each(ingestion: Ingestion) -> None:
    answers = await asyncio.gather(*(observed(ingestion, key=f"k{n % 4}") for n in range(12)))
    runs = [answer.json()["data"]["run"] for answer in answers]
    assert sorted(set(runs)) == [1, 2, 3, 4]
    assert len(await bodies(ingestion, "feeds")) == 4


async def test_a_source_may_number_its_runs_itself(ingestion: Ingestion) -> None:
    assert (await observed(ingestion, AUGUST | {"run": 70})).json()["data"]["run"] == 70
    assert (await observed(ingestion)).json()["data"]["run"] == 71
    assert (await observed(ingestion, AUGUST | {"run": 3})).json()["data"]["run"] == 3
    assert (await observed(ingestion, AUGUST | {"run": 70})).status_code == 409


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "covers_from"),
        (AUGUST | {"covers_to": "2026-07-01T00:00:00Z"}, "covers_to"),
        (AUGUST | {"covers_to": "2999-01-01T00:00:00Z"}, "covers_to"),
        (AUGUST | {"asserted_at": "2999-01-01T00:00:00Z"}, "asserted_at"),
        (AUGUST | {"covers_to": "yesterday"}, "covers_to"),
        (AUGUST | {"run": 0}, "run"),
        (AUGUST | {"more": 1}, "more"),
    ],
)
async def test_what_cannot_be_gets_no_number(ingestion: Ingestion, body: Any, field: str) -> None:
    answer = await observed(ingestion, body)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert (await observed(ingestion)).json()["data"]["run"] == 1


async def test_a_key_speaks_for_its_own_feeds_only(ingestion: Ingestion) -> None:
    assert (await observed(ingestion, path="datto/usage")).status_code == 403
