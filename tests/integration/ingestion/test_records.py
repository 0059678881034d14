"""Facts over HTTP: what is answered is what is committed, once, whatever is repeated and whoever asks."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import asyncpg
import orjson
import pytest

from services.ingestion.domain.facts import quarantine_id
from tests.integration.ingestion.conftest import Ingestion, usage

pytestmark = pytest.mark.asyncio(loop_scope="module")

CORRELATED = {"X-Correlation-Id": "corr-7"}


def sums(body: dict[str, Any]) -> tuple[int, int, int, int]:
    receipt = body["receipt"]
    return receipt["accepted"], receipt["stored"], receipt["duplicate"], receipt["quarantined"]


async def test_a_record_is_stored_and_its_place_is_answered(ingestion: Ingestion) -> None:
    answer = await ingestion.send(usage(), **CORRELATED)
    assert answer.status_code == 202, answer.text
    assert sums(answer.json()) == (1, 1, 0, 0)
    [told] = answer.json()["records"]
    [row] = await ingestion.of("log.record", "partition, position, tenant, recorded_at, body")
    assert told == {
        "index": 0,
        "id": "agents/1",
        "outcome": "stored",
        "place": f"usage/{row['partition']}/{row['position']}",
    }
    record = orjson.loads(row["body"])
    assert (row["tenant"], record["tenant"], record["source"]) == (ingestion.tenant, ingestion.tenant, "huntress")
    assert record["correlationid"] == "corr-7" == answer.headers["X-Correlation-Id"]
    assert record["actor"].startswith("key:")
    assert record["recordedat"].startswith(f"{row['recorded_at']:%Y-%m-%dT%H:%M:%S}")


async def test_each_item_of_a_mixed_batch_gets_its_own_answer(ingestion: Ingestion) -> None:
    client = usage(9, type="client.recorded.v1", source="psa", data={"client": "acme", "name": "Acme"})
    batch = [usage(1), client, usage(2), usage(1), usage(2, data__quantity="8"), usage(3, data__quantity=1.5)]
    answer = await ingestion.send(batch, ingestion.operator)
    body = answer.json()
    assert sums(body) == (6, 3, 1, 2)
    assert [told["outcome"] for told in body["records"]] == [
        "stored", "stored", "stored", "duplicate", "quarantined", "quarantined",
    ]  # fmt: skip
    assert body["records"][1]["place"].startswith("catalog/")
    assert body["records"][3]["place"] == body["records"][0]["place"]
    conflict, invalid = body["records"][4:]
    assert (conflict["field"], conflict["place"]) == ("id", body["records"][2]["place"])
    assert invalid["field"] == "data.quantity"
    assert "string" in invalid["fix"]
    kept = await ingestion.of("ingestion.quarantine", "id, kind, index, source", "index")
    assert [(row["id"].hex, row["kind"], row["index"], row["source"]) for row in kept] == [
        (conflict["quarantine"], "conflict", 4, "huntress"),
        (invalid["quarantine"], "invalid", 5, "huntress"),
    ]


async def test_a_record_sent_again_is_a_duplicate_at_its_first_place(ingestion: Ingestion) -> None:
    first = (await ingestion.send([usage(1), usage(2)])).json()
    again = (await ingestion.send([usage(2), usage(3), usage(1)])).json()
    assert sums(again) == (3, 1, 2, 0)
    assert again["records"][0]["place"] == first["records"][1]["place"]
    assert again["records"][2]["place"] == first["records"][0]["place"]


async def test_a_batch_sent_again_under_its_key_gets_the_same_receipt(ingestion: Ingestion) -> None:
    await ingestion.send(usage(5))
    batch = [usage(n) for n in range(1, 7)] + [usage(5, data__quantity="9"), usage(7, data__account=None), 3]
    key = {"Idempotency-Key": "batch-1"}
    first = await ingestion.send(batch, **key)
    assert sums(first.json()) == (9, 5, 1, 3)
    assert first.json()["receipt"]["batch"] == "batch-1"
    for _ in range(3):
        again = await ingestion.send(batch, **key)
        assert (again.status_code, again.json()) == (202, first.json())
    assert await ingestion.of("ingestion.quarantine") == [(3,)]


async def test_the_same_batch_at_once_from_many_callers_is_accepted_once(ingestion: Ingestion) -> None:
    batch = [usage(n) for n in range(50)] + [usage(99, type="nothing.known.v1")]
    answers = await asyncio.gather(*(ingestion.send(batch, **{"Idempotency-Key": "b"}) for _ in range(8)))
    assert {answer.text for answer in answers} == {answers[0].text}
    assert sums(answers[0].json()) == (51, 50, 0, 1)
    await balanced(ingestion)


async def test_a_key_that_stands_for_another_batch_is_refused(ingestion: Ingestion) -> None:
    await ingestion.send(usage(1), **{"Idempotency-Key": "k"})
    for other in ([usage(2)], [usage(1, data__quantity="8")], [], ["x"]):
        answer = await ingestion.send(other, **{"Idempotency-Key": "k"})
        assert answer.status_code == 409, answer.text
    assert await ingestion.of("log.record") == [(1,)]
    assert await ingestion.of("ingestion.quarantine") == [(0,)]


async def test_two_sources_may_use_one_batch_id(ingestion: Ingestion) -> None:
    datto = await ingestion.new_key(ingestion.tenant, "datto")
    key = {"Idempotency-Key": "1"}
    assert sums((await ingestion.send(usage(1), **key)).json()) == (1, 1, 0, 0)
    assert sums((await ingestion.send(usage(1, source="datto"), datto, **key)).json()) == (1, 1, 0, 0)


async def test_what_was_a_day_too_early_is_taken_by_a_later_repetition_as_it_was_answered(ingestion: Ingestion) -> None:
    """The receipt holds, though the same bytes would be judged otherwise now."""
    now = ingestion.parts.clock.now()
    batch = [usage(1), usage(2, time=(now + timedelta(hours=30)).isoformat())]
    first = await ingestion.send(batch, **{"Idempotency-Key": "early"})
    assert sums(first.json()) == (2, 1, 0, 1)
    ingestion.clock.fixed = now + timedelta(hours=12)
    again = await ingestion.send(batch, **{"Idempotency-Key": "early"})
    assert sums(again.json()) == (2, 1, 0, 1)
    assert again.json()["records"][1]["quarantine"] == first.json()["records"][1]["quarantine"]
    await balanced(ingestion)


async def test_a_batch_of_which_a_part_was_accepted_is_completed(ingestion: Ingestion) -> None:
    """As after a crash between two topics: what has its receipt keeps it, the rest is accepted now."""
    client = usage(9, type="client.recorded.v1", data={"client": "acme", "name": "Acme"})
    batch = [client, *(usage(n) for n in range(3)), 7]
    whole = await ingestion.send(batch, **{"Idempotency-Key": "torn"})
    admin = await asyncpg.connect(ingestion.database.admin)
    await admin.execute("DELETE FROM ingestion.receipt WHERE tenant = $1 AND topic IN ('usage', '')", ingestion.tenant)
    await admin.execute("DELETE FROM ingestion.quarantine WHERE tenant = $1", ingestion.tenant)
    await admin.close()
    again = await ingestion.send(batch, **{"Idempotency-Key": "torn"})
    assert [told["outcome"] for told in again.json()["records"]] == [
        "stored", "duplicate", "duplicate", "duplicate", "quarantined",
    ]  # fmt: skip
    assert [told.get("place") for told in again.json()["records"]] == [
        told.get("place") for told in whole.json()["records"]
    ]


async def test_a_bulk_batch_is_accepted_in_pieces_and_answered_whole(ingestion: Ingestion) -> None:
    batch = [usage(n) for n in range(2_500)]
    key = {"Idempotency-Key": "bulk"}
    first = await ingestion.send(batch, **key)
    assert sums(first.json()) == (2_500, 2_500, 0, 0)
    assert [told["index"] for told in first.json()["records"]] == list(range(2_500))
    assert await ingestion.of("ingestion.receipt", "piece, accepted") == [
        (0, 1_000), (1, 1_000), (2, 500),
    ]  # fmt: skip
    assert (await ingestion.send(batch, **key)).json() == first.json()


async def forget(ingestion: Ingestion, condition: str) -> None:
    """As if these receipts had never been committed (their records are duplicates then)."""
    await ingestion.rows(f"DELETE FROM ingestion.receipt WHERE tenant = $1 AND {condition}", ingestion.tenant)


async def test_a_piece_is_a_function_of_the_batch_not_of_what_is_left(ingestion: Ingestion) -> None:
    """So whoever hands in the same items, and whichever pieces came first, no item has two receipts."""
    batch = [usage(n) for n in range(2_500)]
    key = {"Idempotency-Key": "bulk"}
    first = await ingestion.send(batch, **key)
    await forget(ingestion, "piece = 0")
    again = await ingestion.send(batch, **key)
    assert sums(again.json()) == (2_500, 1_500, 1_000, 0)
    assert [told["place"] for told in again.json()["records"]] == [told["place"] for told in first.json()["records"]]
    rows = await ingestion.of("ingestion.receipt", "piece, indexes")
    assert [row["piece"] for row in rows] == [0, 1, 2]
    assert sorted(index for row in rows for index in row["indexes"]) == list(range(2_500))


async def test_an_item_judged_otherwise_the_second_time_gets_a_piece_of_its_own(ingestion: Ingestion) -> None:
    now = ingestion.parts.clock.now()
    batch = [usage(1), usage(2, time=(now + timedelta(hours=30)).isoformat())]
    key = {"Idempotency-Key": "early"}
    assert sums((await ingestion.send(batch, **key)).json()) == (2, 1, 0, 1)
    await forget(ingestion, "topic = ''")
    ingestion.clock.fixed = now + timedelta(hours=12)
    for _ in range(2):
        assert sums((await ingestion.send(batch, **key)).json()) == (2, 2, 0, 0)
    rows = await ingestion.of("ingestion.receipt", "topic, piece, indexes")
    assert [tuple(row) for row in rows] == [("usage", 0, [0]), ("usage", 1, [1])]


async def test_a_batch_of_large_items_is_accepted_in_pieces_that_fit_the_log(ingestion: Ingestion) -> None:
    tags = ["x" * 300] * 50
    large = [
        usage(n, type="client.recorded.v1", data={"client": str(n), "name": "x", "tags": tags}) for n in range(500)
    ]
    bad = [{"x": "y" * 490_000} for _ in range(16)]
    for batch, stored in ((large, 500), (bad, 0)):
        body = json.dumps(batch).encode()
        assert 7_500_000 < len(body) < 8 * 1024 * 1024
        answer = await ingestion.send(batch)
        assert answer.status_code == 202, answer.text
        assert sums(answer.json()) == (len(batch), stored, 0, len(batch) - stored)
    pieces = await ingestion.of("ingestion.receipt", "topic, piece, accepted", "1, 2")
    assert sum(row["accepted"] for row in pieces if row["topic"]) == 500
    assert len([row for row in pieces if row["topic"]]) > 1 < len([row for row in pieces if not row["topic"]])


async def test_an_empty_batch_is_accepted_and_holds_nothing(ingestion: Ingestion) -> None:
    answer = await ingestion.send([])
    assert (answer.status_code, sums(answer.json()), answer.json()["records"]) == (202, (0, 0, 0, 0), [])


async def test_one_event_and_a_list_go_by_their_own_media_types(ingestion: Ingestion) -> None:
    single, many = "application/cloudevents+json", "application/cloudevents-batch+json; charset=UTF-8"
    assert (await ingestion.send(usage(1), **{"Content-Type": single})).status_code == 202
    assert (await ingestion.send([usage(2)], **{"Content-Type": many})).status_code == 202
    assert (await ingestion.send([usage(3)], **{"Content-Type": single})).status_code == 422
    assert (await ingestion.send(usage(3), **{"Content-Type": many})).status_code == 422


async def test_accepted_is_stored_plus_duplicate_plus_quarantined_per_tenant_and_source(ingestion: Ingestion) -> None:
    """I1, after a load with repeats, conflicts, invalid items and concurrent callers of two tenants."""
    tokens = [ingestion.key, ingestion.operator, await ingestion.new_key(ingestion.other, None)]
    sources = ("huntress", "datto")

    def item(seed: int) -> Any:
        made: dict[str, Any] = usage(seed % 60, source=sources[seed % 2], data__quantity=str(seed % 11 % 2))
        if seed % 13 == 0:
            made["data"]["quantity"] = 1.5
        if seed % 17 == 0:
            del made["source"]
        return "no event" if seed % 29 == 0 else made

    sent = 0

    async def caller(number: int) -> None:
        nonlocal sent
        for n in range(12):
            first = (number * 7 + n * 31) % 400
            batch = [item(seed) for seed in range(first, first + 1 + (number + n) * 3)]
            key = {"Idempotency-Key": f"{number % 3}/{first}/{len(batch)}"}
            for _ in range(1 + n % 2):
                answer = await ingestion.send(batch, tokens[number % 3], **key)
                assert answer.status_code == 202, answer.text
                accepted, stored, duplicate, quarantined = sums(answer.json())
                assert accepted == len(batch) == stored + duplicate + quarantined
            sent += 1

    await asyncio.gather(*(caller(number) for number in range(9)))
    assert sent == 9 * 12
    await balanced(ingestion)
    outcomes = await ingestion.of("ingestion.receipt", "sum(stored), sum(duplicate), sum(quarantined)")
    assert all(count > 50 for count in outcomes[0])


async def balanced(ingestion: Ingestion) -> None:
    """Per tenant and source: what receipts call stored are the records, what they call quarantined are the rejects."""
    ours = [ingestion.tenant, ingestion.other]
    receipts = await ingestion.rows(
        "SELECT tenant, source, sum(stored)::int, sum(quarantined)::int FROM ingestion.receipt"
        " WHERE tenant = ANY($1) GROUP BY 1, 2",
        ours,
    )
    records = await ingestion.rows(
        "SELECT tenant, convert_from(body, 'UTF8')::jsonb ->> 'source', count(*)::int FROM log.record"
        " WHERE tenant = ANY($1) GROUP BY 1, 2",
        ours,
    )
    rejects = await ingestion.rows(
        "SELECT tenant, source, count(*)::int FROM ingestion.quarantine WHERE tenant = ANY($1) GROUP BY 1, 2", ours
    )
    assert {(t, s, n) for t, s, n, _ in receipts if n} == {tuple(row) for row in records}
    assert {(t, s, n) for t, s, _, n in receipts if n} == {tuple(row) for row in rejects}


async def test_no_handler_reaches_the_work_pool(ingestion: Ingestion) -> None:
    """All that requests hold was opened as the ``_api`` role, which row-level security binds."""
    users = await ingestion.rows(
        "SELECT DISTINCT usename, rolbypassrls FROM pg_stat_activity JOIN pg_roles ON rolname = usename"
        " WHERE datname = current_database() AND application_name = 'test'"
    )
    assert users == [("plumbline_ingestion_api", False)]
    for part in (ingestion.parts.intake, ingestion.parts.access, ingestion.parts.standing):
        assert part._pool is ingestion.parts.pool  # type: ignore[attr-defined]
    for writer in ingestion.parts.writers.values():
        assert writer._pool is ingestion.parts.pool  # type: ignore[attr-defined]


async def test_a_reject_is_ciphertext_in_the_database(ingestion: Ingestion) -> None:
    canary = "Jane Canary Doe"
    await ingestion.send(usage(1, data__contact=canary))
    [row] = await ingestion.of("ingestion.quarantine q", "q::text AS q, item")
    assert canary not in row["q"]
    assert canary.encode() not in row["item"]


async def test_the_id_of_a_reject_is_the_same_here_and_in_the_database(ingestion: Ingestion) -> None:
    place = (ingestion.tenant, "sörce", "bätch/1", 4_999)
    assert await ingestion.rows("SELECT ingestion.quarantine_id($1, $2, $3, $4)", *place) == [(quarantine_id(*place),)]


@pytest.mark.parametrize("batch", [[usage(1, source=f"s{n}", id=json.dumps(n)) for n in range(300)]])
async def test_a_batch_of_many_sources_has_a_receipt_for_each(ingestion: Ingestion, batch: list[Any]) -> None:
    assert sums((await ingestion.send(batch, ingestion.operator)).json()) == (300, 300, 0, 0)
    assert await ingestion.of("ingestion.receipt", "count(*), sum(stored)::int") == [(300, 300)]
