"""The live statement in PostgreSQL: what each group keeps, what the database refuses, what becomes a record."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import orjson
import pytest

import services.matching.statements
from services.matching.statements import Busy, Close, Open, Reused, Statements
from shared.kernel.periods import month_of
from shared.reconciliation.statement import Statement, read_group, read_statement, statement
from shared.reconciliation.verdict import LineState
from shared.reconciliation.world import Group, World
from shared.runtime.clock import SystemClock
from shared.vault.documents import Documents
from shared.vault.keys import Master
from tests.integration.matching.support import AT_ONCE, Matching, Numbered
from tests.integration.matching.test_lifecycle import OCTOBER, Diary, mapped
from tests.unit.reconciliation.book import TENANT

_ROWS = "SELECT * FROM matching.drawn WHERE level IN ('product', 'client') ORDER BY owner, month, item"


def agreed() -> Numbered:
    """Northwind pays 4.20 for 40 agents by agreement; 53 are used. Mail costs a flat 30.00."""
    book = mapped()
    book.line("northwind", "edr", "2026-10-01", unit="4.20", recurring=("40", "4.20"))
    book.product("mail")
    book.line("northwind", "mail", "2026-10-01", flat="30.00", recurring=("1", "30.00"), line="2")
    book.usage("53", OCTOBER)
    return book


async def settled(book: Numbered, matching: Matching) -> Diary:
    diary = Diary(book, matching)
    await diary.tell()
    return diary


# --- what a group keeps ----------------------------------------------------------------------------------------------
async def test_a_group_keeps_its_lines_and_their_sums_by_currency(matching: Matching) -> None:
    await settled(agreed(), matching)
    rows = await matching.admin.fetch(_ROWS)
    for row in rows:
        kept = read_group(
            {"item": row["item"], "lines": orjson.loads(row["lines"]), "vendor": orjson.loads(row["vendor"])}
        )
        assert kept.counts[1:] == tuple(
            row[f"lines_{state}"] for state in ("matched", "explained", "pending", "broken")
        )
        sums = await matching.admin.fetch(
            "SELECT currency, expected, billed, explained, pending, broken, cost FROM matching.subtotal"
            " WHERE owner = $1 AND month = $2 AND item = $3 ORDER BY currency",
            *(row[name] for name in ("owner", "month", "item")),
        )
        assert [tuple(one) for one in sums] == [
            (one.currency, one.expected, one.billed, one.explained, one.pending, one.broken, one.cost)
            for one in kept.totals
        ]
    [edr] = [row for row in rows if row["item"] == "edr"]
    [line] = orjson.loads(edr["lines"])
    assert (line["state"], line["codes"], line["broken"]) == (LineState.BREAK, ["QTY_UNDER"], "-54.6")
    assert (line["expected"], line["billed"]) == ("222.6", "168")


async def test_a_month_that_was_never_invoiced_adds_up_to_what_is_broken(matching: Matching) -> None:
    book = agreed()
    book.tick("2026-11-20")
    await settled(book, matching)
    row = await matching.admin.fetchrow(
        "SELECT sum(expected), sum(billed), sum(pending), sum(broken) FROM matching.subtotal WHERE month = '2026-10-01'"
    )
    assert tuple(row) == (Decimal("252.6"), 0, 0, Decimal("-252.6"))


async def test_a_group_that_is_gone_leaves_no_sums(matching: Matching) -> None:
    diary = await settled(agreed(), matching)
    items = "SELECT DISTINCT item FROM matching.subtotal ORDER BY 1"
    assert [item for (item,) in await matching.admin.fetch(items)] == ["edr", "mail"]
    diary.book.line("aster", "edr", "2026-10-01", unit="4.20", recurring=("40", "4.20"), run=1)
    diary.book.unmap("account", "huntress", "a-1")
    await diary.tell()
    drawn = "SELECT DISTINCT owner, item FROM matching.drawn WHERE level = 'product' ORDER BY 1, 2"
    sums = "SELECT DISTINCT owner, item FROM matching.subtotal ORDER BY 1, 2"
    assert (
        await matching.admin.fetch(drawn)
        == await matching.admin.fetch(sums)
        == [("aster", "edr"), ("northwind", "mail")]
    )


async def test_only_the_group_that_changed_is_written(matching: Matching) -> None:
    diary = await settled(agreed(), matching)
    versions = "SELECT item, xmin::text FROM matching.drawn WHERE level = 'product' AND month = '2026-10-01'"
    before = dict(await matching.admin.fetch(versions))
    diary.book.usage("54", OCTOBER + timedelta(hours=1))
    await diary.tell()
    after = dict(await matching.admin.fetch(versions))
    assert {item for item in after if after[item] != before[item]} == {"edr"}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE matching.subtotal SET broken = broken + 0.01 WHERE item = 'edr'",
        "UPDATE matching.drawn SET explained = explained + 0.01 WHERE item = 'edr' AND expected IS NOT NULL",
        "UPDATE matching.drawn SET pending = pending - 0.01 WHERE item = 'edr' AND expected IS NOT NULL",
        "UPDATE matching.drawn SET lines_broken = lines_broken + 1 WHERE item = 'edr'",
    ],
)
async def test_the_database_refuses_a_residual(matching: Matching, change: str) -> None:
    await settled(agreed(), matching)
    with pytest.raises(asyncpg.CheckViolationError):
        await matching.admin.execute(change)


# --- what becomes a record -------------------------------------------------------------------------------------------
DOCUMENTS = Documents(Master(bytes(range(32))))
OCTOBER_FIRST = date(2026, 10, 1)


def statements(matching: Matching) -> Statements:
    return Statements(matching.keyed, DOCUMENTS, SystemClock())


def closing(reason: str | None = None, *, command: str = "c-1", actor: str = "key:test") -> Close:
    return Close(TENANT, "northwind", OCTOBER_FIRST, reason, actor, command)


async def in_vault(matching: Matching, record: dict[str, Any]) -> Statement:
    return read_statement(await DOCUMENTS.get(matching.keyed, TENANT, record["data"]["body"]["document"]))


async def test_what_is_drawn_is_what_its_basis_gives_and_its_lines_are_in_the_vault(matching: Matching) -> None:
    diary = await settled(agreed(), matching)
    drawn = await statements(matching).draw(TENANT, "northwind", OCTOBER_FIRST, "key:test")
    assert drawn.outcome == "stored"
    [record] = await matching.records("statements")
    kept = await in_vault(matching, record)
    world = World().fold(await matching.records()).verdicts(TENANT)
    verdicts = {
        group.product: verdict
        for group, verdict in world.items()
        if isinstance(group, Group) and (group.client, group.period.start) == ("northwind", OCTOBER_FIRST)
    }
    assert kept == statement("northwind", month_of(OCTOBER_FIRST), verdicts)
    body = record["data"]["body"]
    # Two products, and the invoice of the month, which is not there yet.
    assert (body["digest"], body["lines"], body["broken"], body["pending"]) == (kept.digest, 3, 1, 1)
    assert (record["data"].get("why", "asked"), record["actor"]) == ("asked", "key:test")
    assert record["data"]["basis"]["as_of"] == "2026-10-20"

    again = await statements(matching).draw(TENANT, "northwind", OCTOBER_FIRST, "key:test")
    assert (again.outcome, again.record) == ("unchanged", drawn.record)
    diary.book.usage("54", OCTOBER + timedelta(hours=1))
    await diary.tell()
    assert (await statements(matching).draw(TENANT, "northwind", OCTOBER_FIRST, "key:test")).outcome == "stored"
    assert [one["streamversion"] for one in await matching.records("statements")] == [1, 2]


async def test_what_is_open_needs_a_reason_to_be_closed(matching: Matching) -> None:
    await settled(agreed(), matching)
    with pytest.raises(Open, match="broken"):
        await statements(matching).close(closing())
    assert not await matching.records("statements")
    assert await matching.admin.fetchval("SELECT count(*) FROM vault.document") == 0
    done = await statements(matching).close(closing("the client knows"))
    assert (done.outcome, done.groups) == ("stored", 2)


async def test_nothing_compared_is_not_settled(matching: Matching) -> None:
    with pytest.raises(Open, match="nothing has been compared"):
        await statements(matching).close(closing())


async def test_closing_is_one_command_and_says_what_each_group_came_to(matching: Matching) -> None:
    await settled(agreed(), matching)
    done = await statements(matching).close(closing("the client knows"))
    records = await matching.records("statements")
    assert [record["type"] for record in records] == [
        "statement.drawn.v1",
        "statement.closed.v1",
        "statement.group_closed.v1",
        "statement.group_closed.v1",
    ]
    assert [record["streamversion"] for record in records] == [1, 2, 3, 4]
    drawn, closed, edr, mail = records
    assert drawn["data"]["why"] == "closed"
    assert closed["data"]["digest"] == drawn["data"]["body"]["digest"] == done.digest
    assert (edr["data"]["expected"], edr["data"]["billed"]) == ("222.6", "168")
    assert mail["data"]["item"] == "mail"
    rows = await matching.admin.fetch("SELECT item, expected, record FROM matching.closed_group ORDER BY item")
    assert [tuple(row) for row in rows] == [
        ("edr", Decimal("222.6"), edr["id"]),
        ("mail", Decimal(30), mail["id"]),
    ]


async def test_a_command_that_comes_again_closes_once(matching: Matching) -> None:
    await settled(agreed(), matching)
    doors = [statements(matching) for _ in range(4)]
    done = await asyncio.gather(*(door.close(closing("known")) for door in doors))
    assert sorted(one.outcome for one in done) == ["duplicate"] * 3 + ["stored"]
    assert len({one.record for one in done}) == 1
    with pytest.raises(Reused):
        await statements(matching).close(closing("another reason"))
    again = await statements(matching).close(closing("another reason", command="c-2"))
    assert (again.outcome, again.record) == ("unchanged", done[0].record)
    assert len(await matching.records("statements")) == 4


async def test_two_who_draw_at_once_record_one(matching: Matching) -> None:
    await settled(agreed(), matching)
    door = statements(matching)
    done = await asyncio.gather(*(door.draw(TENANT, "northwind", OCTOBER_FIRST, f"key:{n}") for n in range(4)))
    assert sorted(one.outcome for one in done) == ["stored", "unchanged", "unchanged", "unchanged"]
    assert len(await matching.records("statements")) == 1


async def test_what_is_still_due_is_not_drawn(matching: Matching, monkeypatch: pytest.MonkeyPatch) -> None:
    diary = await settled(agreed(), matching)
    monkeypatch.setattr(services.matching.statements, "_WAITS", 2)
    await matching.feed([diary.book.usage("54", OCTOBER + timedelta(hours=1))])
    for step in (matching.resolver.step, lambda: matching.comparer.step(AT_ONCE)):
        with pytest.raises(Busy, match="northwind"):
            await statements(matching).draw(TENANT, "northwind", OCTOBER_FIRST, "key:test")
        while await step():
            pass
    assert (await statements(matching).draw(TENANT, "northwind", OCTOBER_FIRST, "key:test")).outcome == "stored"


async def test_what_was_recorded_and_has_moved_is_recorded_once_a_day(matching: Matching) -> None:
    diary, door = await settled(agreed(), matching), statements(matching)
    assert await door.daily() == 0
    await door.draw(TENANT, "northwind", OCTOBER_FIRST, "key:test")
    diary.book.usage("54", OCTOBER + timedelta(hours=1))
    await diary.tell()
    assert await door.daily() == 0  # the day is the same
    diary.book.tick("2026-10-21")
    await diary.tell()
    assert (await door.daily(), await door.daily()) == (1, 0)
    records = await matching.records("statements")
    assert [record["data"].get("why", "asked") for record in records] == ["asked", "daily"]
    assert records[1]["actor"] == "service:matching"
    diary.book.tick("2026-10-22")
    await diary.tell()
    assert (await door.daily(), await door.daily()) == (1, 0)  # nothing has moved
    assert len(await matching.records("statements")) == 2


async def test_a_statement_that_cannot_be_drawn_keeps_no_other_waiting(
    matching: Matching, monkeypatch: pytest.MonkeyPatch
) -> None:
    diary, door = await settled(agreed(), matching), statements(matching)
    await door.draw(TENANT, "northwind", OCTOBER_FIRST, "key:test")
    diary.book.usage("54", OCTOBER + timedelta(hours=1))
    diary.book.tick("2026-10-21")
    await diary.tell()

    async def broken(*_: object) -> None:
        raise ArithmeticError("a defect")

    monkeypatch.setattr(services.matching.statements, "_draw_all", broken)
    assert (await door.daily(), await door.daily()) == (1, 0)
    monkeypatch.undo()
    diary.book.tick("2026-10-22")
    await diary.tell()
    assert (await door.daily(), await door.daily()) == (1, 0)
    assert len(await matching.records("statements")) == 2
