"""What a mapping would do is what it then does; and asking leaves everything as it was."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import asyncpg
import orjson
import pytest

from services.matching.preview import Effect, Preview, sentence, shown
from shared.events.discrepancies import Direction
from shared.events.mappings import MappingConfirmed, MappingTarget, MappingWithdrawn
from shared.kernel.canonical import canonical
from shared.runtime.clock import SystemClock
from tests.integration.matching.support import Matching, Numbered
from tests.integration.matching.test_lifecycle import Diary, mapped
from tests.unit.reconciliation.book import TENANT

_TABLES = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname IN ('matching', 'vault') AND c.relkind = 'r' ORDER BY 1"""
CONFIRM = MappingConfirmed(kind="account", source="huntress", key="a-8", targets=(MappingTarget(id="cobalt"),))
WITHDRAW = MappingWithdrawn(kind="account", source="huntress", key="a-8")


def unmapped_year() -> Numbered:
    """Cobalt's 10 agents of March to October 2026 hide under account a-8; 8 are billed each month, until September."""
    book = mapped()
    for month in range(3, 11):
        book.tick(f"2026-{month:02}-01")
    book.client("cobalt", "Cobalt Foods")
    book.line("cobalt", "edr", "2026-03-01", unit="4.00", recurring=("8", "4.00"), contract="C-8")
    for month in range(3, 10):
        span = (f"2026-{month:02}-01", f"2026-{month + 1:02}-01")
        book.invoice("cobalt", ("edr", "8", "4.00"), invoice=f"INV-{month}", month=span)
        book.complete(*span)
    for month in range(3, 11):
        book.usage("10", datetime(2026, month, 1, 12, tzinfo=UTC), account="a-8", account_name="Cobalt Foods Ltd")
    return book


def preview(matching: Matching, **bounds: Any) -> Preview:
    return Preview(matching.keyed, SystemClock(), **bounds)


async def everything(admin: asyncpg.Connection) -> dict[str, Any]:
    """Each table's rows, and the heads of the log."""
    tables = [name for (name,) in await admin.fetch(_TABLES)]
    sums = {}
    for table in tables:
        schema = await admin.fetchval("SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname = $1", table)
        digest = f"SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {schema}.{table} t"
        sums[table] = tuple(await admin.fetchrow(digest))
    return sums | {"heads": await admin.fetch("SELECT topic, partition, position FROM log.head ORDER BY 1, 2")}


def owed(effect: Effect) -> tuple[Decimal, Decimal, int]:
    [money] = [one for one in effect.money if one.direction is Direction.CLIENT_OWES_US]
    return money.opened, money.cleared, money.periods


async def test_a_late_mapping_back_bills_every_month_at_once_as_the_preview_said(matching: Matching) -> None:
    diary = Diary(unmapped_year(), matching)
    await diary.tell()
    before = await everything(matching.admin)
    effect = await preview(matching).of_mapping(TENANT, CONFIRM)
    assert await everything(matching.admin) == before
    assert owed(effect) == (Decimal("64.00"), 0, 8)
    assert sentence(CONFIRM, effect) == (
        "Confirming account huntress a-8 = cobalt back-bills EUR 64.00 over 8 months, opens 8."
    )
    assert [change.kind for change, _ in effect.identifiers[0].changes] == ["cleared"]
    told = orjson.loads(canonical(shown(CONFIRM, effect)))
    assert told["complete"]
    assert {one["detected"][0]["amount"] for one in told["periods"]} == {"8"}

    diary.book.map("account", "huntress", "a-8", "cobalt")
    await diary.tell()
    rows = await matching.admin.fetch(
        "SELECT amount, month FROM matching.verdict WHERE client = 'cobalt' AND state = 'open' AND code = 'QTY_UNDER'"
    )
    assert (sum(row["amount"] for row in rows), len(rows)) == (64, 8)
    assert {record["causationid"] for record in (await matching.records("discrepancies"))[-8:]} == {
        diary.book.records[-1]["id"]
    }

    effect = await preview(matching).of_mapping(TENANT, WITHDRAW)
    assert owed(effect) == (0, Decimal("64.00"), 8)
    assert sentence(WITHDRAW, effect) == (
        "Withdrawing account huntress a-8 takes back back-bills of EUR 64.00 over 8 months, clears 8."
    )


async def test_what_is_said_already_changes_nothing(matching: Matching) -> None:
    await Diary(unmapped_year(), matching).tell()
    known = MappingConfirmed(kind="account", source="huntress", key="a-1", targets=(MappingTarget(id="northwind"),))
    effect = await preview(matching).of_mapping(TENANT, known)
    assert effect.money == ()
    assert sentence(known, effect).endswith("northwind changes nothing that was compared.")


@pytest.mark.parametrize("bounds", [{"groups_max": 3}, {"seconds_max": 0.0}])
async def test_it_stops_at_its_bounds_and_says_so(matching: Matching, bounds: dict[str, Any]) -> None:
    await Diary(unmapped_year(), matching).tell()
    effect = await preview(matching, **bounds).of_mapping(TENANT, CONFIRM)
    assert effect.left
    assert f"{effect.left} groups more were not looked at" in sentence(CONFIRM, effect)
    assert not shown(CONFIRM, effect)["complete"]
    if "groups_max" in bounds:
        assert effect.groups <= 3
        # The newest months come first.
        assert [one.month.month for one in effect.periods if one.month] == [9, 10]


async def test_nobody_waits_for_a_preview(matching: Matching) -> None:
    """A draw of the same tenant and month goes on while one is under way."""
    diary = Diary(unmapped_year(), matching)
    await diary.tell()
    async with matching.keyed.acquire() as other, other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock_shared(hashtextextended('matching.draw/' || $1, 0))", TENANT)
        await other.fetch("SELECT * FROM matching.verdict FOR UPDATE")
        await other.fetch("SELECT * FROM matching.compare_key FOR UPDATE")
        assert owed(await preview(matching).of_mapping(TENANT, CONFIRM))[2] == 8
