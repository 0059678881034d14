"""Tenants and keys, for the administrator alone."""

from __future__ import annotations

import secrets
from typing import Any

import httpx
import pytest

from services.ingestion.domain.days import due_dates
from shared.runtime.clock import SystemClock
from tests.integration.ingestion.conftest import Ingestion, usage

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def admin(ingestion: Ingestion, method: str, path: str, **options: Any) -> httpx.Response:
    return await ingestion.http.request(
        method, f"/v1/admin{path}", headers=ingestion.bearer(ingestion.admin_token), **options
    )


async def test_a_new_tenants_calendar_begins_at_once(ingestion: Ingestion) -> None:
    name = f"new-{secrets.token_hex(4)}"
    body = {"tenant": name, "name": "New MSP", "time_zone": "Pacific/Auckland"}
    answer = await admin(ingestion, "POST", "/tenants", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.json()["data"] | {"created_at": ""} == body | {"created_at": ""}
    assert (await admin(ingestion, "POST", "/tenants", json=body)).status_code == 200
    assert (await admin(ingestion, "POST", "/tenants", json=body | {"name": "Other"})).status_code == 409
    rows = await ingestion.rows(
        "SELECT convert_from(body, 'UTF8')::jsonb -> 'data' ->> 'date' FROM log.record WHERE tenant = $1", name
    )
    today = due_dates(None, SystemClock().now(), "Pacific/Auckland")
    assert [row[0] for row in rows] == [day.isoformat() for day in today]


async def test_tenants_are_listed_page_by_page(ingestion: Ingestion) -> None:
    found, cursor = [], None
    while True:
        params = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await admin(ingestion, "GET", "/tenants", params=params)).json()
        found += [row["tenant"] for row in page["data"]]
        cursor = page["meta"]["next"]
        if cursor is None:
            break
    assert found == sorted(found)
    assert {ingestion.tenant, ingestion.other} <= set(found)


async def test_a_key_is_shown_once_works_and_is_revoked_for_good(ingestion: Ingestion) -> None:
    made = await admin(ingestion, "POST", "/keys", json={"tenant": ingestion.tenant, "source": "datto"})
    assert made.status_code == 201
    token, prefix = made.json()["data"]["token"], made.json()["data"]["prefix"]
    assert (await ingestion.send(usage(1, source="datto"), token)).status_code == 202
    listed = await admin(ingestion, "GET", "/keys", params={"tenant": ingestion.tenant})
    assert token not in listed.text
    [row] = [row for row in listed.json()["data"] if row["prefix"] == prefix]
    assert (row["source"], row["ending"], row["revoked_at"]) == ("datto", token[-4:], None)
    gone = await admin(ingestion, "DELETE", f"/keys/{prefix}", params={"tenant": ingestion.tenant})
    again = await admin(ingestion, "DELETE", f"/keys/{prefix}", params={"tenant": ingestion.tenant})
    assert gone.json() == again.json()
    ingestion.clock.ahead_s = 1
    assert (await ingestion.send(usage(1, source="datto"), token)).status_code == 401


async def test_a_key_is_revoked_in_its_own_tenant_only(ingestion: Ingestion) -> None:
    prefix = ingestion.key.split("_")[1]
    gone = await admin(ingestion, "DELETE", f"/keys/{prefix}", params={"tenant": ingestion.other})
    assert gone.status_code == 404
    ingestion.clock.ahead_s = 1
    assert (await ingestion.send(usage(1))).status_code == 202


async def test_the_secret_of_a_key_is_not_in_the_database(ingestion: Ingestion) -> None:
    secret = ingestion.key.split("_", 2)[2]
    rows = await ingestion.rows("SELECT k::text, encode(mac, 'hex') FROM access.key k")
    assert rows
    assert all(secret not in row[0] and secret.encode().hex() not in row[0] for row in rows)


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("/tenants", {"tenant": "Big", "name": "x"}, 422, "tenant"),
        ("/tenants", {"tenant": "-x", "name": "x"}, 422, "tenant"),
        ("/tenants", {"tenant": "x", "name": ""}, 422, "name"),
        ("/tenants", {"tenant": "x", "name": "a\x00"}, 422, "name"),
        ("/tenants", {"tenant": "x", "name": "x", "time_zone": "Mars/Olympus"}, 422, "time_zone"),
        ("/tenants", {"tenant": "x", "name": "x", "time_zone": "../../etc/passwd"}, 422, "time_zone"),
        ("/keys", {"tenant": "nobody-here"}, 404, None),
        ("/keys", {"tenant": "x", "source": "plumbline.matching"}, 422, "source"),
        ("/keys", {"tenant": "x", "source": ""}, 422, "source"),
    ],
)
async def test_what_cannot_be_made_is_told(
    ingestion: Ingestion, path: str, body: Any, status: int, field: str | None
) -> None:
    answer = await admin(ingestion, "POST", path, json=body)
    assert (answer.status_code, answer.json().get("field")) == (status, field), answer.text


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/tenants"), ("GET", "/tenants"), ("GET", "/keys"), ("POST", "/keys")]
)
async def test_nobody_else_does_this(ingestion: Ingestion, method: str, path: str) -> None:
    for token, status in (
        (ingestion.operator, 403),
        (ingestion.key, 403),
        ("x" * 43, 401),
        (ingestion.admin_token + "x", 401),
    ):
        answer = await ingestion.http.request(method, f"/v1/admin{path}", headers=ingestion.bearer(token), json={})
        assert answer.status_code == status
    assert (await ingestion.http.request(method, f"/v1/admin{path}")).status_code == 401
