"""The live statement in PostgreSQL: what each group keeps, what the database refuses, what becomes a record."""

from __future__ import annotations

from datetime import timedelta

import asyncpg
import orjson
import pytest

from shared.reconciliation.statement import read_group
from shared.reconciliation.verdict import LineState
from tests.integration.matching.support import Matching, Numbered
from tests.integration.matching.test_lifecycle import OCTOBER, Diary, mapped

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
