from __future__ import annotations

import secrets
from typing import Any

import pytest

from shared.access import principal as module
from shared.access.principal import Access, AccessSecrets
from shared.access.tokens import mac_of, new_token
from shared.runtime.clock import SystemClock
from shared.runtime.http import Problem

PEPPER, ADMIN = bytes(32), "a" * 43


class Hand(SystemClock):
    at_s = 100.0

    def monotonic(self) -> float:
        return self.at_s


class Rows:
    """What the database would answer, and how often it was asked."""

    def __init__(self) -> None:
        self.keys: dict[str, dict[str, Any]] = {}
        self.asked = 0

    async def fetchrow(self, query: str, name: str) -> dict[str, Any] | None:
        self.asked += 1
        return self.keys.get(name) if "find_key" in query else {"tenant": name}


@pytest.fixture
def rows() -> Rows:
    return Rows()


def access(rows: Rows, clock: Hand) -> Access:
    return Access(rows, AccessSecrets(PEPPER, ADMIN), clock)


def key(rows: Rows, source: str | None = "huntress") -> str:
    made = new_token(secrets.token_bytes)
    rows.keys[made.prefix] = {"tenant": "t", "source": source, "mac": mac_of(PEPPER, made.token)}
    return f"Bearer {made.token}"


async def status_of(verifying: Access, authorization: str, tenant: str | None = None) -> int:
    try:
        await verifying.verify(authorization, tenant)
    except Problem as problem:
        return problem.status
    return 200


async def test_a_busy_key_is_read_twice_a_second(rows: Rows) -> None:
    clock = Hand()
    verifying, token = access(rows, clock), key(rows)
    for _ in range(20):
        assert await status_of(verifying, token) == 200
    assert rows.asked == 1
    clock.at_s += 0.5
    assert await status_of(verifying, token) == 200
    assert rows.asked == 2


async def test_a_revoked_key_is_believed_for_half_a_second_more(rows: Rows) -> None:
    clock = Hand()
    verifying, token = access(rows, clock), key(rows)
    assert await status_of(verifying, token) == 200
    rows.keys.clear()
    clock.at_s += 0.49
    assert await status_of(verifying, token) == 200
    clock.at_s += 0.02
    assert await status_of(verifying, token) == 401


async def test_what_is_remembered_is_bounded(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 10)
    verifying = access(rows, Hand())
    for _ in range(30):
        assert await status_of(verifying, f"Bearer {new_token(secrets.token_bytes).token}") == 401
    assert len(verifying._keys) == 10


async def test_what_is_no_token_costs_no_question(rows: Rows) -> None:
    for text in ("", "Bearer", "Bearer x", "Basic pl_a", f"Bearer {ADMIN}x"):
        assert await status_of(access(rows, Hand()), text) == 401
    assert rows.asked == 0


async def test_the_principal_says_who_acts(rows: Rows) -> None:
    verifying, token = access(rows, Hand()), key(rows)
    who = await verifying.verify(token, None)
    prefix = token.split("_")[1]
    assert (who.tenant, who.source, who.actor, who.admin) == ("t", "huntress", f"key:{prefix}", False)
    admin = await verifying.verify(f"bearer {ADMIN}", "other")
    assert (admin.tenant, admin.source, admin.actor, admin.admin) == ("other", None, "key:admin", True)


async def test_a_key_of_another_pepper_is_unknown(rows: Rows) -> None:
    token = key(rows)
    assert await status_of(Access(rows, AccessSecrets(b"x" * 32, ADMIN), Hand()), token) == 401


def test_only_the_administrator_is_the_administrator(rows: Rows) -> None:
    verifying, token = access(rows, Hand()), key(rows, None)
    verifying.require_administrator(f"Bearer {ADMIN}")
    for text, status in ((token, 403), ("Bearer x", 401), (None, 401)):
        with pytest.raises(Problem) as raised:
            verifying.require_administrator(text)
        assert raised.value.status == status
