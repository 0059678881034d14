"""Whatever is sent, the answer is clear, it is never a 500, and what can be repaired is kept."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.access import directory
from tests.integration.ingestion.conftest import Ingestion, usage

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = {"Content-Type": "application/json"}


async def post(ingestion: Ingestion, body: Any, **headers: str) -> Any:
    return await ingestion.http.post(
        "/v1/records", content=body, headers={**ingestion.bearer(ingestion.key), **JSON, **headers}
    )


async def nothing_stored(ingestion: Ingestion) -> None:
    for table in ("log.record", "ingestion.quarantine", "ingestion.receipt"):
        assert await ingestion.of(table) == [(0,)]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "not JSON"),
        (b"not json", 400, "not JSON"),
        (b'[{"id": "1"', 400, "not JSON"),
        (b'[{"id": "\xff"}]', 400, "not UTF-8 at byte 9"),
        (b'[{"id": "a\x00b"}]', 400, "control character"),
        (b'[{"quantity": NaN}]', 400, "not JSON"),
        (b"[" * 1_000 + b"]" * 1_000, 400, "deeper than 32"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, 400, "deeper than 32"),
        (b"[" * 200_000, 400, "not JSON"),
        (b'"text"', 422, "neither an object nor a list"),
        (b"17", 422, "neither an object nor a list"),
        (b"[" + b"1," * 5_000 + b"1]", 413, "5,001 records"),
        (b"[" + b" " * 8 * 1024 * 1024 + b"]", 413, "8,388,608 bytes"),
        (b'[{"id": "' + b"x" * 600_000 + b'"}]', 413, "600,010 bytes"),
    ],
)
async def test_what_cannot_be_read_is_refused_whole(ingestion: Ingestion, body: bytes, status: int, words: str) -> None:
    answer = await post(ingestion, body)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert words in problem["detail"]
    assert problem["fix"]
    assert problem["correlation"] == answer.headers["X-Correlation-Id"]
    await nothing_stored(ingestion)


async def test_a_body_is_measured_while_it_comes(ingestion: Ingestion) -> None:
    taken = 0

    async def endless() -> Any:
        nonlocal taken
        while taken < 64:
            taken += 1
            yield b" " * 1024 * 1024

    answer = await post(ingestion, endless())
    assert answer.status_code == 413
    await nothing_stored(ingestion)


async def test_a_body_that_declares_too_much_is_not_read(ingestion: Ingestion) -> None:
    read = False

    async def body() -> Any:
        nonlocal read
        read = True
        yield b"[]"

    answer = await post(ingestion, body(), **{"Content-Length": str(10 * 1024 * 1024)})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/csv"},
        {"Content-Type": ""},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Encoding": "gzip"},
    ],
)
async def test_other_media_are_refused(ingestion: Ingestion, headers: dict[str, str]) -> None:
    answer = await post(ingestion, b"[]", **headers)
    assert answer.status_code == 415
    assert answer.json()["fix"]


@pytest.mark.parametrize(
    "authorization",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer pl_aaaaaaaaaa_" + "x" * 43},
        {"Authorization": "Bearer " + "x" * 10_000},
        {"Authorization": b"Bearer \xff\xfe"},
    ],
)
async def test_without_a_live_key_nothing_is_answered(ingestion: Ingestion, authorization: dict[str, Any]) -> None:
    answer = await ingestion.http.post("/v1/records", json=[usage()], headers=authorization)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert "Authorization" in answer.json()["fix"]
    await nothing_stored(ingestion)


async def test_a_key_with_another_secret_is_refused(ingestion: Ingestion) -> None:
    forged = ingestion.key[:-1] + ("A" if ingestion.key[-1] != "A" else "B")
    assert (await ingestion.send(usage(), forged)).status_code == 401


async def test_a_key_acts_for_its_own_tenant_only(ingestion: Ingestion) -> None:
    answer = await ingestion.send(usage(), **{"Plumbline-Tenant": ingestion.other})
    assert answer.status_code == 403
    assert (await ingestion.send(usage(), **{"Plumbline-Tenant": ingestion.tenant})).status_code == 202


async def test_a_record_of_another_tenant_is_kept_for_its_sender_to_repair(ingestion: Ingestion) -> None:
    told = (await ingestion.send(usage(tenant=ingestion.other))).json()["records"][0]
    assert (told["outcome"], told["field"]) == ("quarantined", "tenant")
    assert await ingestion.of("ingestion.quarantine", "source") == [("huntress",)]


async def test_a_revoked_key_stops_within_a_second(ingestion: Ingestion) -> None:
    assert (await ingestion.send(usage(1))).status_code == 202
    prefix = ingestion.key.split("_")[1]
    await directory.revoke_key(ingestion.parts.pool, ingestion.tenant, prefix)
    ingestion.clock.ahead_s = 0.99
    assert (await ingestion.send(usage(2))).status_code == 401
    assert await ingestion.of("log.record") == [(1,)]


async def test_the_administrator_names_the_tenant(ingestion: Ingestion) -> None:
    token = ingestion.admin_token
    assert (await ingestion.send(usage(), token)).status_code == 400
    assert (await ingestion.send(usage(), token, **{"Plumbline-Tenant": "nobody"})).status_code == 404
    assert (await ingestion.send(usage(), token, **{"Plumbline-Tenant": "x\x01"})).status_code == 404
    answer = await ingestion.send(usage(), token, **{"Plumbline-Tenant": ingestion.other})
    assert answer.status_code == 202
    rows = await ingestion.rows("SELECT count(*) FROM log.record WHERE tenant = $1", ingestion.other)
    assert rows == [(1,)]


@pytest.mark.parametrize("key", ["", "x" * 201, "with blank", "t\tab"])
async def test_an_idempotency_key_that_cannot_be_kept_is_refused(ingestion: Ingestion, key: str) -> None:
    assert (await ingestion.send(usage(), **{"Idempotency-Key": key})).status_code == 400
    await nothing_stored(ingestion)


async def test_a_key_that_is_not_ascii_is_refused(ingestion: Ingestion) -> None:
    answer = await ingestion.http.post(
        "/v1/records", json=[usage()], headers={**ingestion.bearer(ingestion.key), "Idempotency-Key": b"\xe4\xff"}
    )
    assert answer.status_code == 400


@pytest.mark.parametrize("given", ["", "x" * 101, "a b", "<script>", "ä".encode()])
async def test_an_unusable_correlation_id_is_replaced(ingestion: Ingestion, given: Any) -> None:
    answer = await ingestion.send(usage(), **{"X-Correlation-Id": given})
    assert answer.status_code == 202
    assert len(answer.headers["X-Correlation-Id"]) == 32


async def test_the_trace_of_the_caller_is_the_correlation(ingestion: Ingestion) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = await ingestion.send(usage(), traceparent=trace)
    assert answer.headers["X-Correlation-Id"] == "0af7651916cd43dd8448eb211c80319c"
    [(body,)] = await ingestion.of("log.record", "body")
    assert json.loads(body)["traceparent"] == trace


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("PATCH", "/v1/records", 405),
        ("GET", "/v1/records?topic=nothing", 422),
        ("GET", "/v1/records?topic=usage%00", 422),
        ("GET", "/v1/records?topic=usage&limit=0", 422),
        ("GET", "/v1/records?topic=usage&limit=x", 422),
        ("GET", "/v1/records?topic=usage&after=%00", 422),
        ("GET", "/v1/records?topic=usage&after=W10", 422),
        ("GET", "/v1/records?topic=usage&after=WyJ1c2FnZSIsWzFdXQ", 422),
        ("GET", "/v1/records?type=usage.metered.v1&source=a%00&id=b", 200),
        ("GET", "/v1/records?type=usage.metered.v1", 422),
        ("GET", "/v1/records?correlation=%00", 200),
        ("GET", "/v1/records", 422),
        ("GET", "/v1/records/usage/0/1", 404),
        ("GET", "/v1/records/usage/99999999999/1", 404),
        ("GET", "/v1/records/usage/0/99999999999999999999999", 404),
        ("GET", "/v1/records/us%00age/0/1", 404),
        ("GET", "/v1/records/usage/x/1", 422),
        ("GET", "/v1/quarantine/nothing", 404),
        ("GET", "/v1/quarantine/%00", 404),
        ("GET", "/v1/quarantine?cursor=WyJ4Il0", 422),
        ("GET", "/v1/quarantine?cursor=WzFlMzBd", 422),
        ("GET", "/v1/quarantine?state=odd", 422),
        ("GET", "/v1/mappings?cursor=WzFd", 422),
        ("DELETE", "/v1/mappings?kind=account&source=a%00&key=b", 422),
        ("DELETE", "/v1/mappings?kind=odd&source=a&key=b", 422),
        ("DELETE", "/v1/mappings?kind=account&source=a&key=b", 404),
        ("PUT", "/v1/settings/nothing", 404),
        ("POST", "/v1/settings", 405),
    ],
)
async def test_a_request_that_makes_no_sense_gets_a_problem(
    ingestion: Ingestion, method: str, path: str, status: int
) -> None:
    answer = await ingestion.http.request(method, path, headers=ingestion.bearer(ingestion.operator))
    assert answer.status_code == status, answer.text
    if status >= 400:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["detail"]
        assert answer.json()["correlation"]


async def test_a_sources_key_only_sends(ingestion: Ingestion) -> None:
    for method, path in [
        ("GET", "/v1/records?topic=usage"),
        ("GET", "/v1/records/usage/0/1"),
        ("GET", "/v1/quarantine"),
        ("GET", "/v1/mappings"),
        ("POST", "/v1/mappings"),
        ("GET", "/v1/settings"),
        ("PUT", "/v1/settings/invoice.grace_days"),
        ("GET", "/v1/admin/tenants"),
    ]:
        answer = await ingestion.http.request(method, path, headers=ingestion.bearer(ingestion.key))
        assert answer.status_code == 403, path


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_SENT = st.one_of(
    st.binary(max_size=60),
    _VALUES.map(lambda value: json.dumps(value).encode()),
    st.lists(
        st.dictionaries(st.sampled_from([*usage(), "tenant", "run", "x"]), _VALUES, max_size=3).map(
            lambda damage: usage(data__account="fuzz") | damage
        ),
        max_size=3,
    ).map(lambda events: json.dumps(events).encode()),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(
        ["/v1/records", "/v1/mappings", "/v1/feeds/huntress/usage/observed", "/v1/quarantine/abcdef12/resubmit",
         "/v1/admin/tenants", "/v1/admin/keys"]
    ),
    body=_SENT,
    media=st.sampled_from(["application/json", "application/cloudevents+json", "text/plain"]),
    key=st.none() | st.text(st.characters(max_codepoint=255, blacklist_characters="\r\n\x00"), max_size=5),
)  # fmt: skip
async def test_whatever_is_sent_is_no_defect_of_ours(
    ingestion: Ingestion, path: str, body: bytes, media: str, key: str | None
) -> None:
    token = ingestion.admin_token if "admin" in path else ingestion.operator
    headers: dict[str, Any] = {**ingestion.bearer(token), "Content-Type": media}
    if key is not None:
        headers["Idempotency-Key"] = key.encode("latin-1")
    answer = await ingestion.http.post(path, content=body, headers=headers)
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.headers["Content-Type"] == "application/problem+json"
