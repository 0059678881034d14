from __future__ import annotations

from tests.integration.ingestion.conftest import Ingestion, usage


async def test_a_usage_record_is_stored_and_its_place_is_answered(ingestion: Ingestion) -> None:
    answer = await ingestion.send(usage())
    assert answer.status_code == 202, answer.text
    body = answer.json()
    assert body["receipt"] | {"batch": ""} == {
        "batch": "",
        "accepted": 1,
        "stored": 1,
        "duplicate": 0,
        "quarantined": 0,
    }
    assert body["records"][0]["outcome"] == "stored"
    topic, partition, position = body["records"][0]["place"].split("/")
    [row] = await ingestion.rows("SELECT topic, partition, position, body FROM log.record")
    assert (row["topic"], row["partition"], row["position"]) == (topic, int(partition), int(position))
