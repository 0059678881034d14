from __future__ import annotations

import asyncio
import csv
import io
import random
from collections.abc import AsyncIterator
from decimal import Decimal, localcontext
from typing import Any

import httpx
import pytest
from starlette.requests import ClientDisconnect

from services.ingestion import files
from services.ingestion.api import files as api
from services.ingestion.domain.profiles import profiles, template
from services.ingestion.handlers.repair import Quarantine
from services.ingestion.intake import Intake
from shared.eventlog.model import LogFull, LogUnavailable
from shared.reconciliation.facts import Slot, extract
from shared.vault.people import People
from tests.integration.ingestion.conftest import Ingestion
from tests.integration.ingestion_files.sending import balanced, count, post, records, send, sums, table
from tests.integration.ingestion_files.vendor import focus, invoices, usage
from tests.unit.ingestion_files.test_formats import SAMPLES

pytestmark = pytest.mark.asyncio(loop_scope="module")


def winners(stored: list[dict[str, Any]]) -> dict[tuple[str, ...], Decimal]:
    """The quantity of each slot, as a fold sees it: the word of the greatest rank."""
    best: dict[tuple[str, ...], Slot] = {}
    for fields in stored:
        slot = extract(fields)
        assert isinstance(slot, Slot)
        key = (slot.account, slot.sku, slot.slot)
        if key not in best or best[key].rank < slot.rank:
            best[key] = slot
    return {key: slot.quantity for key, slot in best.items()}


# The same file, a changed file, a broken-off file


async def test_each_template_is_stored_whole_and_again_stores_nothing(ingestion: Ingestion) -> None:
    for name in profiles():
        first = await send(ingestion, name, template(name))
        stored, duplicate, quarantined = sums(first)
        assert (duplicate, quarantined) == (0, 0), first
        before = await count(ingestion)
        again = await send(ingestion, name, template(name))
        assert sums(again) == (0, stored, 0)
        assert (again["again"], again["document"], again["run"]) == (True, first["document"], first["run"])
        assert await count(ingestion) == before
    await balanced(ingestion)


async def test_two_thousand_rows_enter_once(ingestion: Ingestion) -> None:
    content = usage(2_000)
    first = await send(ingestion, "usage", content, source="huntress")
    assert (first["rows"], sums(first)) == (2_000, (2_000, 0, 0))
    again = await send(ingestion, "usage", content, source="huntress")
    assert sums(again) == (0, 2_000, 0)
    stored = await records(ingestion, "usage")
    assert len(stored) == 2_000
    assert {fields["origindocument"] for fields in stored} == {first["document"]}
    assert {fields["originlocator"] for fields in stored} == {f"row={n}" for n in range(2, 2_002)}
    assert (
        await ingestion.parts.documents.get(ingestion.parts.pool, ingestion.tenant, first["document"])
        == content.encode()
    )
    await balanced(ingestion)


async def test_a_changed_file_supersedes_what_it_repeats_and_leaves_the_rest(ingestion: Ingestion) -> None:
    await send(ingestion, "usage", usage(20, quantity=5), source="huntress")
    await send(ingestion, "usage", usage(10, quantity=7), source="huntress")
    found = winners(await records(ingestion, "usage"))
    assert sorted(found.values()) == [Decimal(5)] * 10 + [Decimal(7)] * 10


async def test_a_figure_that_goes_back_is_a_word_of_its_own(ingestion: Ingestion) -> None:
    for quantity, extra in ((5, 0), (7, 0), (5, 1)):  # the last file is another one, but says 5 again
        await send(ingestion, "usage", usage(1 + extra, quantity=quantity), source="huntress")
    assert set(winners(await records(ingestion, "usage")).values()) == {Decimal(5)}


async def test_an_older_export_that_arrives_later_loses_and_the_answer_says_so(ingestion: Ingestion) -> None:
    newer = await send(ingestion, "usage", usage(3, quantity=7), source="huntress", asserted_at="2026-09-20T08:00:00Z")
    older = await send(ingestion, "usage", usage(3, quantity=5), source="huntress", asserted_at="2026-09-10T08:00:00Z")
    assert "superseded_by" not in newer
    assert older["superseded_by"] == "2026-09-20T08:00:00Z"
    assert sums(older) == (3, 0, 0)
    assert set(winners(await records(ingestion, "usage")).values()) == {Decimal(7)}


async def test_the_same_content_asserted_anew_counts_again(ingestion: Ingestion) -> None:
    content = usage(3, quantity=5)
    await send(ingestion, "usage", content, source="huntress", asserted_at="2026-09-10T08:00:00Z")
    await send(ingestion, "usage", usage(3, quantity=7), source="huntress", asserted_at="2026-09-20T08:00:00Z")
    anew = await send(ingestion, "usage", content, source="huntress", asserted_at="2026-09-30T08:00:00Z")
    assert (anew["run"], sums(anew)) == (3, (3, 0, 0))
    assert set(winners(await records(ingestion, "usage")).values()) == {Decimal(5)}
    without = await send(ingestion, "usage", content, source="huntress")
    assert (without["run"], sums(without)) == (3, (0, 3, 0))


async def test_an_upload_that_breaks_off_leaves_nothing(ingestion: Ingestion) -> None:
    async def half() -> AsyncIterator[bytes]:
        yield usage(500).encode()[:9_000]
        raise ClientDisconnect

    assert (await post(ingestion, "usage", half(), source="huntress")).status_code == 499
    assert await count(ingestion) == 0
    assert [row["count"] for row in await ingestion.of("vault.document")] == [0]
    assert sums(await send(ingestion, "usage", usage(500), source="huntress")) == (500, 0, 0)


async def test_a_file_that_was_stored_in_part_is_completed_by_sending_it_again(
    ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service is killed between two chunks: what stands is a prefix, and nothing stands twice."""
    accept, calls = Intake.accept, 0

    async def fails_third(self: Intake, *args: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise LogUnavailable("killed")
        return await accept(self, *args, **named)

    content = focus(1_000)
    with monkeypatch.context() as patched:
        patched.setattr(Intake, "accept", fails_third)
        assert (await post(ingestion, "focus", content, complete="true")).status_code == 503
    partly = await count(ingestion)
    assert 0 < partly < 2_000
    again = await send(ingestion, "focus", content, complete="true")
    stored, duplicate, quarantined = sums(again)
    assert (duplicate, quarantined, again["run"]) == (partly, 0, 1)
    assert await count(ingestion) == stored + duplicate + 1  # and the one that says that it is complete
    assert {fields["run"] for fields in await records(ingestion, "usage")} == {1}
    await balanced(ingestion)


async def test_the_same_file_sent_twice_at_once_is_one_run(ingestion: Ingestion) -> None:
    answers = await asyncio.gather(*(send(ingestion, "usage", usage(300), source="huntress") for _ in range(3)))
    assert {answer["run"] for answer in answers} == {1}
    assert sum(sums(answer)[0] for answer in answers) == 300
    assert len(await records(ingestion, "usage")) == 300
    await balanced(ingestion)


async def test_a_repeat_under_the_same_idempotency_key_gets_the_first_answer(ingestion: Ingestion) -> None:
    async def keyed(content: str) -> httpx.Response:
        headers = {**ingestion.bearer(ingestion.operator), "Idempotency-Key": "upload-1"}
        return await ingestion.http.post("/v1/files?profile=usage", content=content.encode(), headers=headers)

    assert (await keyed(usage(5))).json()["receipt"]["stored"] == 5
    assert (await keyed(usage(5))).json()["receipt"]["stored"] == 5
    assert (await keyed(usage(6))).status_code == 409
    assert len(await records(ingestion, "usage")) == 5


async def test_a_file_waits_while_the_log_is_full(ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch) -> None:
    accept, full = Intake.accept, 2

    async def is_full(self: Intake, *args: Any, **named: Any) -> Any:
        nonlocal full
        full -= 1
        if full >= 0:
            raise LogFull("10,000 records wait")
        return await accept(self, *args, **named)

    monkeypatch.setattr(Intake, "accept", is_full)
    monkeypatch.setattr(files, "_FULL_PAUSE_S", 0.001)
    assert sums(await send(ingestion, "usage", usage(5))) == (5, 0, 0)


# FOCUS


async def test_focus_charges_and_usage_are_exact(ingestion: Ingestion) -> None:
    content = focus(300)
    answer = await send(ingestion, "focus", content)
    rows = list(csv.DictReader(io.StringIO(content)))
    with localcontext(prec=100):
        by_hand = sum((Decimal(row["BilledCost"]) for row in rows), Decimal(0))
        bills = await records(ingestion, "vendor-bills")
        lines = [fields["data"] for fields in bills if fields["type"] == "vendor_bill.line.v1"]
        headers = [fields["data"] for fields in bills if fields["type"] == "vendor_bill.received.v1"]
        assert sum((Decimal(line["billed_cost"]) for line in lines), Decimal(0)) == by_hand
        assert sum((Decimal(header["total"]) for header in headers), Decimal(0)) == by_hand
        assert Decimal(answer["amounts"]["USD"]) == by_hand
    metered = await records(ingestion, "usage")
    assert len(lines) == 300
    assert len(metered) == sum(row["ChargeCategory"] == "Usage" and row["ConsumedQuantity"] != "NULL" for row in rows)
    assert sum(header["lines"] for header in headers) == 300
    assert sums(answer) == (len(lines) + len(metered) + len(headers), 0, 0)


async def test_a_restated_export_replaces_its_bill_and_its_usage(ingestion: Ingestion) -> None:
    await send(ingestion, "focus", focus(40))
    before = winners(await records(ingestion, "usage"))
    await send(ingestion, "focus", focus(40, factor=2))
    after = winners(await records(ingestion, "usage"))
    assert after == {slot: 2 * quantity for slot, quantity in before.items()}
    headers = [f["data"] for f in await records(ingestion, "vendor-bills") if f["type"] == "vendor_bill.received.v1"]
    versions = {header["bill"]: header["version"] for header in headers if header.get("version", 1) > 1}
    assert set(versions.values()) == {2}
    assert len(versions) == len({header["bill"] for header in headers})


# Bad rows


BAD = table(
    "account,sku,kind,quantity,at",
    [
        ("a-1", "edr", "gauge", "7", "2026-09-01"),
        ("a-2", "edr", "gauge", "n/a", "2026-09-01"),
        ("a-3", "edr", "gauge", "none", "2026-09-01"),
        ("a-4", "edr", "gauge", "7", "2031-09-01"),
        ("a-5", "edr", "gauge", "7", "2026-09-01", "surplus"),
        ("a-6", "edr", "gauge", "7", "2026-09-30"),
    ],
)


async def test_bad_rows_are_quarantined_with_row_column_reason_and_fix_and_the_others_enter(
    ingestion: Ingestion,
) -> None:
    answer = await send(ingestion, "usage", BAD)
    assert (answer["rows"], answer["rows_quarantined"], sums(answer)) == (6, 4, (2, 0, 4))
    told = [(group["rows"], group["first"], group["field"], group["reason"]) for group in answer["quarantine"]]
    assert told == [
        (2, "row 3", "data.quantity", "column quantity is not a decimal"),
        (1, "row 5", "time", "column at lies more than a day ahead"),
        (1, "row 6", "", "the row has 6 cells where the header has 5"),
    ]
    assert all(group["fix"] for group in answer["quarantine"])
    kept = await ingestion.of("ingestion.quarantine", "origin_document, origin_locator", "n")
    assert [row["origin_locator"] for row in kept] == ["row=3", "row=4", "row=5", "row=6"]
    assert {row["origin_document"] for row in kept} == {answer["document"]}
    await balanced(ingestion)


async def test_the_same_rejects_are_kept_once(ingestion: Ingestion) -> None:
    first = await send(ingestion, "usage", BAD)
    again = await send(ingestion, "usage", BAD)
    assert sums(again) == (0, 2, 4)
    assert [group["quarantine"] for group in again["quarantine"]] == [
        group["quarantine"] for group in first["quarantine"]
    ]
    assert len(await ingestion.of("ingestion.quarantine", "id")) == 4
    await balanced(ingestion)


async def test_complete_is_withheld_until_the_rejects_are_repaired(ingestion: Ingestion) -> None:
    content = "\n".join(BAD.splitlines()[:3] + BAD.splitlines()[-1:])
    first = await send(ingestion, "usage", content, complete="true")
    assert "observed" not in first
    assert first["withheld"] == "1 of its records wait in quarantine; repair them and send the file again"
    here = ingestion.parts
    quarantine = Quarantine(here.pool, here.master, here.intake)
    [item] = await quarantine.page(ingestion.tenant, "open", 2**62, 10)
    sender = files.Sender(ingestion.tenant, None, "key:test", "repair")
    result = await quarantine.resubmit(sender, item, {"data.quantity": "9"}, here.clock.now())
    assert result.outcome == "stored"
    [repaired] = [f for f in await records(ingestion, "usage") if f["data"]["account"] == "a-2"]
    assert (repaired["id"], repaired["run"], repaired["originlocator"]) == (
        "usage/a-2/edr////2026-08-31T22:00:00Z/@1",
        1,
        "row=3",
    )
    again = await send(ingestion, "usage", content, complete="true")
    assert again["observed"] == "2026-08-31T22:00:00Z/2026-09-30T22:00:00Z"
    [observed] = await records(ingestion, "feeds")
    assert observed["data"]["run"] == 1
    assert observed["source"] == "usage"


async def test_complete_may_be_forced_and_its_span_be_told(ingestion: Ingestion) -> None:
    told = {"covers_from": "2026-09-02", "covers_to": "2026-09-15T00:00:00Z"}
    answer = await send(ingestion, "usage", BAD, complete="force", **told)
    assert answer["observed"] == "2026-09-01T22:00:00Z/2026-09-15T00:00:00Z"


async def test_a_span_that_ends_before_it_begins_is_refused(ingestion: Ingestion) -> None:
    told = {"covers_from": "2026-10-01T00:00:00Z", "covers_to": "2026-09-01T00:00:00Z"}
    answer = await post(ingestion, "usage", usage(3), complete="true", **told)
    assert (answer.status_code, answer.json()["field"]) == (422, "covers_to")
    assert await count(ingestion) == 0


async def test_without_room_no_document_is_kept(ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise LogFull("little disk is left")

    monkeypatch.setattr(ingestion.parts.intake, "_may_accept", full)
    assert (await post(ingestion, "usage", usage(3))).status_code == 503
    assert await ingestion.of("vault.document") == [(0,)]


async def test_complete_never_covers_what_comes_after_the_files_own_word(ingestion: Ingestion) -> None:
    answer = await send(ingestion, "usage", usage(3), complete="true", asserted_at="2026-09-20T00:00:00Z")
    assert answer["observed"] == "2026-08-31T22:00:00Z/2026-09-20T00:00:00Z"
    before = await send(ingestion, "usage", usage(4), complete="true", asserted_at="2026-08-20T00:00:00Z")
    assert "was written before" in before["withheld"]


async def test_one_key_twice_in_a_file_is_stored_if_it_says_the_same_else_quarantined(ingestion: Ingestion) -> None:
    header = "client,name"
    same = await send(ingestion, "clients", table(header, [("acme", "Acme"), ("acme", "Acme")]))
    assert sums(same) == (1, 1, 0)
    other = await send(ingestion, "clients", table(header, [("beta", "Beta"), ("beta", "Beta Ltd")]))
    assert sums(other) == (1, 0, 1)
    await balanced(ingestion)


# Documents


async def test_a_changed_invoice_is_the_next_version_and_the_others_stay(ingestion: Ingestion) -> None:
    assert sums(await send(ingestion, "invoices", invoices({"INV-1": [1, 2], "INV-2": [3]}))) == (5, 0, 0)
    changed = await send(ingestion, "invoices", invoices({"INV-2": [3], "INV-1": [1, 9], "INV-3": [4]}))
    assert sums(changed) == (5, 2, 0)
    headers = [f["data"] for f in await records(ingestion, "invoices") if f["type"] == "invoice.issued.v1"]
    versions = sorted((header["invoice"], header.get("version", 1), header["lines"]) for header in headers)
    assert versions == [("INV-1", 1, 2), ("INV-1", 2, 2), ("INV-2", 1, 1), ("INV-3", 1, 1)]


async def test_an_invoice_that_goes_back_is_a_third_version_but_the_same_file_is_not(ingestion: Ingestion) -> None:
    first, second = invoices({"INV-1": [1]}), invoices({"INV-1": [2]})
    await send(ingestion, "invoices", first)
    await send(ingestion, "invoices", second)
    back = await send(ingestion, "invoices", invoices({"INV-1": [1], "INV-9": [1]}))
    assert sums(back) == (4, 0, 0)
    for content, lines in ((first, 2), (second, 2)):
        assert sums(await send(ingestion, "invoices", content)) == (0, lines, 0)
    headers = [f["data"] for f in await records(ingestion, "invoices") if f["data"].get("lines")]
    assert sorted(h.get("version", 1) for h in headers if h["invoice"] == "INV-1") == [1, 2, 3]


async def test_an_older_word_cannot_replace_a_newer_version(ingestion: Ingestion) -> None:
    await send(ingestion, "invoices", invoices({"INV-1": [2]}), asserted_at="2026-10-20")
    refused = await post(ingestion, "invoices", invoices({"INV-1": [1]}), asserted_at="2026-10-10")
    assert (refused.status_code, refused.json()["detail"]) == (
        409,
        "A later file already said something else of INV-1.",
    )
    assert len(await records(ingestion, "invoices")) == 2


async def test_a_stated_version_with_other_content_is_a_conflict(ingestion: Ingestion) -> None:
    await send(ingestion, "invoices", invoices({"INV-1": [1]}, version="4"))
    again = await send(ingestion, "invoices", invoices({"INV-1": [2]}, version="4"))
    assert sums(again)[2] == 2  # the line and the header with its digest
    await balanced(ingestion)


# Persons, free text, decisions


async def test_persons_and_notes_are_in_the_vault_alone(ingestion: Ingestion) -> None:
    header = "entry,client,technician,email,worked on,hours,note"
    content = table(
        header,
        [
            ("T-1", "acme", "Ada Canary", "ada@canary.example", "2026-09-14", "1", "Canary words"),
            ("T-2", "acme", "A. Canary", "ADA@canary.example", "2026-09-15", "1", "Canary words"),
            ("T-3", "acme", "Ada Canary", "ada@canary.example", "someday", "1", "Canary words"),
        ],
    )
    assert sums(await send(ingestion, "time-entries", content)) == (2, 0, 1)
    assert sums(await send(ingestion, "time-entries", content)) == (0, 2, 1)
    first, second = (
        fields["data"] for fields in sorted(await records(ingestion, "time-entries"), key=lambda f: f["id"])
    )
    assert first["person"] == second["person"]
    assert first["note"] != second["note"]  # each can be erased alone
    here = ingestion.parts
    assert b"Canary words" in await here.documents.get(here.pool, ingestion.tenant, first["note"])
    assert (await People(here.master).get(here.pool, ingestion.tenant, first["person"])).name == "Ada Canary"
    for name in ("log.record", "ingestion.quarantine", "ingestion.receipt", "vault.document", "vault.person"):
        for row in await ingestion.of(f"{name} t", "t::text AS said"):
            assert "anary" not in row["said"]
            assert b"anary".hex() not in row["said"]


async def test_mappings_are_decided_once_and_the_last_row_of_an_identifier_stands(ingestion: Ingestion) -> None:
    header = "kind,source,key,target,exclude"
    content = table(header, [("sku", "focus", f"sku-{n // 10}", f"p-{n}", "") for n in range(40)])
    assert sums(await send(ingestion, "mappings", content)) == (40, 0, 0)
    assert sums(await send(ingestion, "mappings", content)) == (0, 40, 0)
    stored = [f for f in await records(ingestion, "mappings") if f["data"]["key"] == "sku-1"]
    assert [f["streamversion"] for f in stored] == list(range(1, 11))
    assert [f["data"]["targets"] for f in stored] == [[{"id": f"p-{n}"}] for n in range(10, 20)]


async def test_a_sources_key_decides_nothing(ingestion: Ingestion) -> None:
    content = table("kind,source,key,target", [("sku", "huntress", "a", "b")])
    assert (await post(ingestion, "mappings", content, token=ingestion.key)).status_code == 403


async def test_a_mapping_without_a_target_is_quarantined(ingestion: Ingestion) -> None:
    answer = await send(ingestion, "mappings", table("kind,source,key,target", [("sku", "focus", "a", "")]))
    assert sums(answer) == (0, 0, 1)
    assert "give targets, or an exclusion" in answer["quarantine"][0]["reason"]


async def test_a_tier_out_of_order_is_quarantined_by_its_path_and_repaired_there(ingestion: Ingestion) -> None:
    rows = [("C-1", "1", "acme", "edr", "2026-01-01", "EUR", "graduated", "8@4.00;6@3.00;*@2.00")]
    head = "contract,line,client,product,effective from,currency,price model,tiers"
    answer = await send(ingestion, "contracts", table(head, rows))
    assert sums(answer) == (0, 0, 1)
    (group,) = answer["quarantine"]
    assert (group["field"], group["reason"], group["fix"]) == (
        "data.terms.price.tiers.1.up_to",
        "column tiers (1.up_to): tier 2 ends at 6, and the one before it at 8",
        "Send tiers in order of up_to.",
    )
    repaired = await ingestion.http.post(
        f"/v1/quarantine/{group['quarantine']}/resubmit",
        json={"set": {group["field"]: "20"}},
        headers=ingestion.bearer(ingestion.operator),
    )
    assert repaired.status_code in (200, 202), repaired.text
    (stored,) = await records(ingestion, "contracts")
    assert [tier.get("up_to") for tier in stored["data"]["terms"]["price"]["tiers"]] == ["8", "20", None]


async def test_two_versions_of_a_contract_line_from_one_day_do_not_both_enter(ingestion: Ingestion) -> None:
    head = "contract,line,client,product,effective from,currency,price"
    line = ("C-1", "1", "acme", "edr", "2026-01-01", "EUR")
    answer = await send(ingestion, "contracts", table(head, [(*line, "4.20"), (*line, "4.50")]))
    assert sums(answer) == (1, 0, 1)
    assert "same contract, line and effective from as row 2" in answer["quarantine"][0]["reason"]


@pytest.mark.parametrize("name", ["microsoft-nce", "microsoft-daily-usage", "toggl", "clockify", "harvest"])
async def test_the_formats_of_others_are_stored_and_sent_again_are_duplicates(ingestion: Ingestion, name: str) -> None:
    content = (SAMPLES / f"{name}.csv").read_text()
    stored, duplicate, quarantined = sums(await send(ingestion, name, content))
    assert stored > 0
    assert duplicate == 0
    assert sums(await send(ingestion, name, content)) == (0, stored, quarantined)
    stored_bodies = b"".join(row["body"] for row in await ingestion.rows("SELECT body FROM log.record"))
    assert not [word for word in (b"Ada", b"ada@", b"disk") if word in stored_bodies]


# What is refused whole


@pytest.mark.parametrize(
    ("content", "status", "why"),
    [
        ("name,town\nAcme,Rome\n", 422, "needs the column client; found: name, town"),
        ("client;name\nacme;Acme\n", 422, "needs the columns client, name"),
        ("", 422, "file is empty"),
        ('client,name\nacme,"Acme\nbeta,Beta\n', 422, "Row 2 opens a quote"),
        ("client,name\nacme,Caf\xe9\n".encode("latin-1"), 400, "not UTF-8 in line 2"),
        ("client,name\nacme,Acme\n".encode("utf-16"), 400, "UTF-16"),
        ("client,name\nacme,Acme\n".encode("utf-16-le"), 422, "NUL"),
        (b"PK\x03\x04rest", 400, "a spreadsheet or a zip archive"),
    ],
)
async def test_a_file_that_is_no_such_table_is_refused_whole(
    ingestion: Ingestion, content: Any, status: int, why: str
) -> None:
    answer = await post(ingestion, "clients", content)
    assert answer.status_code == status, answer.text
    assert why in answer.json()["detail"]
    assert answer.json()["fix"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert await count(ingestion) == 0
    assert [row["count"] for row in await ingestion.of("vault.document")] == [0]


async def test_a_byte_order_mark_is_passed_over(ingestion: Ingestion) -> None:
    assert sums(await send(ingestion, "clients", "client,name\r\nacme,Acmé\r\n".encode("utf-8-sig"))) == (1, 0, 0)


@pytest.mark.parametrize(
    ("options", "status", "why"),
    [
        ({"profile": "foucs"}, 400, "There is no profile 'foucs'"),
        ({"profile": ""}, 400, "names no profile"),
        ({"profile": "clients", "complete": "true"}, 422, "says nothing about usage"),
        ({"profile": "usage", "complete": "maybe"}, 400, "none of true, false, force"),
        ({"profile": "usage", "asserted_at": "yesterday"}, 400, "asserted_at is not a time"),
        ({"profile": "usage", "asserted_at": "2031-01-01"}, 422, "more than one day ahead"),
        ({"profile": "usage", "source": "plumbline.matching"}, 422, "does not begin with"),
        ({"profile": "usage", "sorce": "huntress"}, 400, "no option 'sorce'"),
    ],
)
async def test_an_option_that_makes_no_sense_is_refused(
    ingestion: Ingestion, options: dict[str, str], status: int, why: str
) -> None:
    answer = await post(ingestion, content=usage(1), **options)
    assert (answer.status_code, why in answer.json()["detail"]) == (status, True), answer.text


async def test_a_key_speaks_for_its_own_source(ingestion: Ingestion) -> None:
    own = await send(ingestion, "usage", usage(1), token=ingestion.key)
    assert own["source"] == "huntress"
    other = await post(ingestion, "usage", usage(1), token=ingestion.key, source="other")
    assert other.status_code == 403
    assert (await post(ingestion, "usage", usage(1), token="pl_no_such")).status_code == 401


async def test_a_file_over_the_limit_is_refused_before_and_while_it_is_read(ingestion: Ingestion) -> None:
    state = ingestion.http._transport.app.state  # type: ignore[attr-defined]
    content, sent = usage(500).encode(), 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for start in range(0, len(content), 1_000):
            sent += 1
            yield content[start : start + 1_000]

    state.parts = files.replace(ingestion.parts, file_bytes_max=10_000)
    try:
        for body in (content, endless()):
            answer = await post(ingestion, "usage", body)
            assert (answer.status_code, answer.json()["limit_bytes"]) == (413, 10_000)
    finally:
        state.parts = ingestion.parts
    assert sent < len(content) / 1_000
    assert await count(ingestion) == 0


@pytest.mark.parametrize("media", ["multipart/form-data; boundary=x", "application/json"])
async def test_a_body_that_is_no_csv_is_told_so(ingestion: Ingestion, media: str) -> None:
    headers = {**ingestion.bearer(ingestion.operator), "Content-Type": media}
    answer = await ingestion.http.post("/v1/files?profile=usage", content=b"x", headers=headers)
    assert answer.status_code == 415


async def test_more_files_at_once_than_are_taken_are_asked_to_come_again(ingestion: Ingestion) -> None:
    gate = asyncio.Event()

    async def held() -> AsyncIterator[bytes]:
        yield usage(1).encode()
        await gate.wait()

    taken = [asyncio.create_task(post(ingestion, "usage", held())) for _ in range(4)]
    async with asyncio.timeout(10):
        while not api._places.locked():
            await asyncio.sleep(0.01)
    refused = await post(ingestion, "usage", usage(1))
    gate.set()
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert {answer.status_code for answer in await asyncio.gather(*taken)} == {202}


async def test_tenants_are_kept_apart(ingestion: Ingestion) -> None:
    admin = ingestion.bearer(ingestion.admin_token)
    for tenant in (ingestion.tenant, ingestion.other):
        answer = await ingestion.http.post(
            "/v1/files?profile=usage", content=usage(5).encode(), headers={**admin, "Plumbline-Tenant": tenant}
        )
        assert answer.json()["receipt"]["stored"] == 5
    names = "SELECT sha256 FROM vault.document WHERE tenant = ANY($1)"
    assert len(await ingestion.rows(names, [ingestion.tenant, ingestion.other])) == 2


async def test_the_profiles_are_listed_and_their_templates_given(ingestion: Ingestion) -> None:
    headers = ingestion.bearer(ingestion.key)
    listed = (await ingestion.http.get("/v1/profiles", headers=headers)).json()
    assert [entry["name"] for entry in listed["data"]] == list(profiles())
    given = await ingestion.http.get("/v1/profiles/usage/template", headers=headers)
    assert (given.text, given.headers["content-type"]) == (template("usage"), "text/csv; charset=utf-8")
    unknown = await ingestion.http.get("/v1/profiles/none/template", headers=headers)
    assert unknown.status_code == 404


async def test_random_bytes_never_break_the_service(ingestion: Ingestion) -> None:
    rng = random.Random(11)
    pieces = [
        "account",
        "sku",
        "kind",
        "quantity",
        "at",
        "a",
        "gauge",
        "7",
        "2026-09-01",
        ",",
        ",",
        ",",
        '"',
        "\n",
        "\r",
        "\x00",
        "é",
        " ",
    ]
    for _ in range(60):
        content = "account,sku,kind,quantity,at\n" + "".join(rng.choices(pieces, k=rng.randrange(60)))
        answer = await post(ingestion, "usage", content)
        assert answer.status_code in (202, 422), answer.text
    await balanced(ingestion)
