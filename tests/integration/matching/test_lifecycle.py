"""What becomes a record, what it says of its cause, and what a change makes due."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta

import orjson
import pytest

import services.matching.compare
import services.matching.expand
from services.matching.compare import CannotDraw
from tests.integration.matching.support import AT_ONCE, Matching, Numbered
from tests.unit.reconciliation.book import TENANT

A_LITTLE = timedelta(seconds=-15)
"""Patience that waits for no group, but leaves alone what was put off for a minute."""
OCTOBER = datetime(2026, 10, 5, 12, tzinfo=UTC)


def mapped() -> Numbered:
    """Northwind, mapped to account a-1 and product edr, on 20 October."""
    book = Numbered()
    book.tick("2026-10-20")
    book.client("northwind", "Northwind Dental")
    book.product("edr", "Huntress EDR")
    book.map("account", "huntress", "a-1", "northwind")
    book.map("sku", "huntress", "s-edr", "edr")
    return book


class Diary:
    """Writes into a book and hands over what is new."""

    def __init__(self, book: Numbered, matching: Matching) -> None:
        self.book = book
        self._matching = matching
        self._told = 0

    async def tell(self) -> None:
        new, self._told = self.book.records[self._told :], len(self.book.records)
        await self._matching.run(new)
        await self._matching.check(TENANT)


async def test_detected_changed_cleared_and_detected_again(matching: Matching) -> None:
    diary = Diary(mapped(), matching)
    diary.book.line("northwind", "edr", "2026-09-01", unit="4.20", recurring=("40", "4.20"))
    for seats, hour in (("53", 0), ("60", 1)):
        diary.book.usage(seats, OCTOBER + timedelta(hours=hour))
        await diary.tell()
    diary.book.line("northwind", "edr", "2026-09-01", unit="4.20", recurring=("60", "4.20"), run=1)
    await diary.tell()
    diary.book.usage("75", OCTOBER + timedelta(hours=2))
    await diary.tell()
    assert await matching.stream(TENANT, "QTY_UNDER") == [
        ("detected", 1), ("changed", 2), ("cleared", 3), ("detected", 4),
    ]  # fmt: skip
    last = (await matching.records("discrepancies"))[-1]
    assert last["data"]["reopened"] == 1
    assert await matching.replay(TENANT) == 4


async def test_evidence_that_grows_without_changing_the_figure_is_no_record_but_is_shown(matching: Matching) -> None:
    diary = Diary(mapped(), matching)
    diary.book.line("northwind", "edr", "2026-09-01", unit="4.20", recurring=("40", "4.20"))
    diary.book.usage("53", OCTOBER)
    await diary.tell()
    diary.book.usage("53", OCTOBER + timedelta(hours=1))
    await diary.tell()
    assert await matching.stream(TENANT, "QTY_UNDER") == [("detected", 1)]
    (row,) = await matching.verdicts(TENANT)
    assert row["body"] != row["recorded"]


async def test_a_record_names_its_cause_and_carries_its_correlation(matching: Matching) -> None:
    book = mapped()
    book.line("northwind", "edr", "2026-09-01", unit="4.20", recurring=("40", "4.20"))
    await matching.run(book.records)
    usage = book.usage("53", OCTOBER)
    await matching.run([usage | {"correlationid": "request-7"}])
    (record,) = await matching.records("discrepancies")
    (cause,) = [one for one in await matching.records("usage") if one["id"] == usage["id"]]
    assert record["correlationid"] == "request-7"
    assert record["causationid"] == usage["id"]
    assert record["data"]["basis"]["cause"]["record"] == "/".join(map(str, cause["place"]))
    assert record["data"]["basis"]["cause"]["type"] == "usage.metered.v1"
    assert record["time"] == cause["recordedat"].rstrip("0Z").rstrip(".") + "Z"
    assert record["recordedat"] > max(one["recordedat"] for one in await matching.records())


async def test_a_mapping_moves_an_account_and_both_clients_are_drawn_for_past_months_too(matching: Matching) -> None:
    diary = Diary(mapped(), matching)
    for client in ("northwind", "aster"):
        for month, until in (("2026-09-01", "2026-10-01"), ("2026-10-01", "2026-11-01")):
            diary.book.invoice(client, ("edr", "5", "4.20"), invoice=f"{client}-{month}", month=(month, until))
        diary.book.line(client, "edr", "2026-08-01", unit="4.20", contract=f"C-{client}")
    diary.book.usage("9", OCTOBER - timedelta(days=30))
    diary.book.complete("2026-09-01", "2026-10-02")
    await diary.tell()
    assert await undercharged(matching) == {("northwind", 9), ("northwind", 10)}
    diary.book.map("account", "huntress", "a-1", "aster")
    await diary.tell()
    assert await undercharged(matching) == {("aster", 9), ("aster", 10)}
    assert await matching.replay(TENANT)


async def undercharged(matching: Matching) -> set[tuple[str, int]]:
    """(client, month) of every undercharge that is open."""
    rows = await matching.verdicts(TENANT)
    return {(row["client"], row["month"].month) for row in rows if (row["code"], row["state"]) == ("QTY_UNDER", "open")}


async def test_account_and_sku_moved_at_once_leave_nothing_with_the_former_group(matching: Matching) -> None:
    """Either fold sees the other identifier's old target: only what a mapping ever was finds the old group."""
    diary = Diary(mapped(), matching)
    diary.book.usage("9", OCTOBER)
    await diary.tell()
    diary.book.map("account", "huntress", "a-1", "aster")
    diary.book.map("sku", "huntress", "s-edr", "mail")
    await diary.tell()
    open_ = {(row["client"], row["item"]) for row in await matching.verdicts(TENANT) if row["state"] == "open"}
    assert open_ == {("aster", "mail")}


async def test_the_day_on_which_an_invoice_is_overdue_wakes_the_client(matching: Matching) -> None:
    diary = Diary(mapped(), matching)
    diary.book.line("northwind", "edr", "2026-10-01", unit="4.20", recurring=("9", "4.20"))
    diary.book.usage("9", OCTOBER)
    await diary.tell()
    assert not await matching.verdicts(TENANT)
    diary.book.tick("2026-11-05")
    await diary.tell()
    assert not await matching.verdicts(TENANT)
    diary.book.tick("2026-11-06")
    await diary.tell()
    assert await matching.stream(TENANT, "UNBILLED_CLIENT") == [("detected", 1)]
    diary.book.invoice("northwind", ("edr", "9", "4.20"))
    await diary.tell()
    assert await matching.stream(TENANT, "UNBILLED_CLIENT") == [("detected", 1), ("cleared", 2)]
    assert await matching.replay(TENANT) == 2


async def test_the_day_on_which_a_contract_line_begins_makes_its_group(matching: Matching) -> None:
    diary = Diary(mapped(), matching)
    diary.book.line("northwind", "edr", "2026-10-25", unit="4.20")
    await diary.tell()
    assert not await matching.admin.fetch("SELECT * FROM matching.drawn")
    diary.book.tick("2026-10-25")
    await diary.tell()
    assert await matching.admin.fetchval("SELECT count(*) FROM matching.drawn") == 1


async def test_the_end_of_an_exclusion_takes_back_what_rested_on_it(matching: Matching) -> None:
    diary = Diary(Numbered(), matching)
    diary.book.tick("2026-10-20")
    diary.book.map("sku", "huntress", "s-edr", "edr")
    diary.book.exclude("account", "huntress", "a-9", date(2026, 10, 25))
    diary.book.usage("5", OCTOBER, account="a-9")
    diary.book.invoice("northwind", ("edr", "5", "4.20"))
    diary.book.complete()
    await diary.tell()
    assert await matching.stream(TENANT, "PHANTOM_LINE") == [("detected", 1)]
    diary.book.tick("2026-10-25")
    await diary.tell()
    assert await matching.stream(TENANT, "PHANTOM_LINE") == [("detected", 1), ("cleared", 2)]
    assert await matching.stream(TENANT, "UNMAPPED_CLIENT") == [("detected", 1)]


async def test_a_stream_follows_an_invoice_line_whose_product_is_corrected(matching: Matching) -> None:
    diary = Diary(mapped(), matching)
    diary.book.map("sku", "huntress", "s-mail", "mail")
    diary.book.complete()
    diary.book.invoice("northwind", ("edr", "9", "4.20"))
    await diary.tell()
    diary.book.invoice("northwind", ("mail", "9", "4.20"), version=2)
    await diary.tell()
    (row,) = await matching.verdicts(TENANT)
    assert (row["code"], row["state"], row["item"]) == ("PHANTOM_LINE", "open", "mail")
    diary.book.void(version=2)
    await diary.tell()
    assert [row["state"] for row in await matching.verdicts(TENANT)] == ["cleared"]
    await matching.replay(TENANT)


async def test_a_level_carried_into_a_month_counts_once_its_source_has_vouched_for_it(matching: Matching) -> None:
    diary = Diary(mapped(), matching)
    diary.book.usage("9", OCTOBER - timedelta(days=30))
    await diary.tell()
    assert {row["month"].month for row in await matching.verdicts(TENANT)} == {9}
    diary.book.complete("2026-09-01", "2026-10-01")
    await diary.tell()
    assert {row["month"].month for row in await matching.verdicts(TENANT)} == {9, 10}


# --- how often, and at what cost -------------------------------------------------------------------------------------
async def test_changes_that_come_within_the_wait_are_drawn_once(matching: Matching) -> None:
    book = mapped()
    book.line("northwind", "edr", "2026-09-01", unit="4.20", recurring=("40", "4.20"))
    await matching.run(book.records)
    for n in range(20):
        await matching.feed([book.usage(str(41 + n), OCTOBER + timedelta(minutes=n))])
        await matching.resolver.step()
    assert await matching.admin.fetchval("SELECT count(*) FROM matching.due_key") >= 20
    await asyncio.sleep(0.12)
    while await matching.comparer.step():
        pass
    assert not await matching.admin.fetch("SELECT * FROM matching.due_key")
    assert await matching.stream(TENANT, "QTY_UNDER") == [("detected", 1)]
    await matching.check(TENANT)


async def test_a_group_that_was_just_marked_waits(matching: Matching) -> None:
    book = mapped()
    await matching.run(book.records)
    await matching.feed([book.usage("9", OCTOBER)])
    while await matching.resolver.step():
        pass
    assert await matching.comparer.step() == 0
    assert await matching.comparer.step(AT_ONCE) > 0


async def test_a_draw_asks_as_many_questions_for_one_meter_as_for_fifty(matching: Matching) -> None:
    book = mapped()
    book.line("northwind", "edr", "2026-09-01", unit="4.20")
    book.invoice("northwind", ("edr", "9", "4.20"))
    await matching.run(book.records)
    asked = []
    for meters in (1, 50):
        await matching.feed([book.usage("1", OCTOBER, account="a-1", meter=f"m-{n}") for n in range(meters)])
        while await matching.resolver.step():
            pass
        most = 0
        async with matching.questions() as questions:
            while await matching.comparer.step(AT_ONCE):
                most = max(most, len(questions))
                questions.clear()
        asked.append(most)
    assert asked[1] <= asked[0] <= 27, asked
    await matching.check(TENANT)


async def test_one_record_of_long_ago_makes_a_bounded_number_of_groups(matching: Matching) -> None:
    book = mapped()
    book.line("northwind", "edr", "1970-01-01", unit="4.20")
    book.invoice("northwind", ("edr", "9", "4.20"), month=("2017-01-01", "2026-11-01"))
    book.usage("9", datetime(1970, 1, 2, tzinfo=UTC))
    book.complete("1970-01-01", "2026-10-02")
    await matching.run(book.records)
    await matching.check(TENANT)
    assert await matching.admin.fetchval("SELECT count(*) FROM matching.compare_key") < 500


# --- what cannot be read, or drawn -----------------------------------------------------------------------------------
async def test_an_open_dead_letter_is_excluded_by_name(matching: Matching) -> None:
    book = mapped()
    await matching.run(book.records)
    (tick,) = await matching.records("feeds")
    await matching.bury(tick["place"], TENANT)
    await matching.run([book.usage("9", OCTOBER)])
    record = (await matching.records("discrepancies"))[-1]
    assert record["data"]["basis"]["excluded"] == ["/".join(map(str, tick["place"]))]


async def test_more_dead_letters_than_a_basis_can_name_conclude_nothing(matching: Matching) -> None:
    diary = Diary(mapped(), matching)
    diary.book.line("northwind", "edr", "2026-09-01", unit="4.20", recurring=("9", "4.20"))
    diary.book.usage("9", OCTOBER)
    await diary.tell()
    for n in range(101):
        await matching.bury(("usage", 0, 1000 + n), TENANT)
    await matching.feed([diary.book.usage("12", OCTOBER + timedelta(hours=1))])
    while await matching.resolver.step() or await matching.comparer.step(A_LITTLE):
        pass
    assert not await matching.verdicts(TENANT)
    row = await matching.admin.fetchrow(
        "SELECT state, waiting FROM matching.drawn WHERE level = 'product' AND month = '2026-10-01'"
    )
    assert row["state"] == "not_comparable"
    assert orjson.loads(row["waiting"])[0]["side"] == "incomplete_input"
    await matching.admin.execute("UPDATE matching.dead_letter SET state = 'dropped'")
    await matching.settle()
    await matching.check(TENANT)
    assert [row["code"] for row in await matching.verdicts(TENANT)] == ["QTY_UNDER"]


async def test_a_group_that_cannot_be_drawn_is_put_off_and_the_others_go_on(
    matching: Matching, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(inputs: object) -> None:
        if inputs.client.id == "northwind":  # type: ignore[attr-defined]
            raise ArithmeticError("a defect")
        return draw(inputs)  # type: ignore[no-any-return]

    draw = services.matching.compare.draw_group
    monkeypatch.setattr(services.matching.compare, "draw_group", broken)
    book = mapped()
    book.map("account", "huntress", "a-2", "aster")
    book.usage("9", OCTOBER)
    book.usage("9", OCTOBER, account="a-2")
    await matching.feed(book.records)
    while await matching.resolver.step():
        pass
    put_off = 0
    while True:
        try:
            if not await matching.comparer.step(A_LITTLE):
                break
        except CannotDraw:
            put_off += 1
    assert put_off
    assert {row["client"] for row in await matching.verdicts(TENANT)} == {"aster"}
    monkeypatch.undo()
    await matching.settle()
    await matching.check(TENANT)


async def test_a_raw_row_that_cannot_be_resolved_goes_behind_the_others(
    matching: Matching, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(step: object, dues: object) -> None:
        raise LookupError("a defect")

    expanders = services.matching.expand._EXPANDERS
    book = mapped()
    await matching.run(book.records)
    book.product("mail")
    book.usage("9", OCTOBER)
    await matching.feed(book.records[-2:])
    monkeypatch.setitem(expanders, "product", broken)
    for _ in range(20):
        with suppress(LookupError):
            await matching.resolver.step()
    left = await matching.admin.fetch("SELECT kind FROM matching.due")
    assert [row["kind"] for row in left] == ["product"]
    monkeypatch.undo()
    await matching.settle()
    await matching.check(TENANT)
