"""What the routes of statements, sums, restatements and previews answer, over the role that serves requests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI, Request

from services.matching import api, statements_api
from services.matching.preview import Preview
from services.matching.statements import Statements
from shared.access.principal import Principal, operator
from shared.runtime.clock import SystemClock
from shared.runtime.database import open_pool
from shared.runtime.http import install
from shared.vault.documents import Documents
from shared.vault.keys import Master
from tests.conftest import Database
from tests.integration.matching.support import Matching
from tests.integration.matching.test_lifecycle import OCTOBER
from tests.integration.matching.test_preview import unmapped_year
from tests.integration.matching.test_statements import agreed, settled
from tests.unit.reconciliation.book import TENANT

MONTH = "/v1/statements/northwind/2026-10"


@dataclass
class Client:
    """Requests on behalf of a tenant."""

    http: httpx.AsyncClient
    app: FastAPI
    tenant: str = TENANT

    async def get(self, path: str, **params: Any) -> Any:
        return await self._answer(await self.http.get(path, params=params, headers={"x-tenant": self.tenant}))

    async def post(self, path: str, body: Any = None, key: str | None = None) -> Any:
        headers = {"x-tenant": self.tenant} | ({"idempotency-key": key} if key else {})
        return await self._answer(await self.http.post(path, json=body, headers=headers))

    async def _answer(self, response: httpx.Response) -> Any:
        said = response.json()
        return said if response.status_code == 200 else (response.status_code, said)


@pytest_asyncio.fixture
async def client(database: Database, matching: Matching) -> AsyncIterator[Client]:
    app = FastAPI()
    install(app)
    for room in (api, statements_api):
        app.include_router(room.router)
    documents = Documents(Master(bytes(range(32))))
    app.state.pool = await open_pool(database.login("matching_api"), name="test", size=4)
    app.state.documents = documents
    app.state.statements = Statements(matching.keyed, documents, SystemClock())
    app.state.preview = Preview(matching.keyed, SystemClock())

    async def who(request: Request) -> Principal:
        return Principal(request.headers["x-tenant"], None, "key:test")

    app.dependency_overrides[operator] = who
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://matching") as http:
        yield Client(http, app)
    await app.state.pool.close()


# --- statements ------------------------------------------------------------------------------------------------------
async def test_the_board_has_one_row_a_client_and_never_reads_clean_over_nothing(
    matching: Matching, client: Client
) -> None:
    empty = await client.get("/v1/statements", period="2026-10")
    assert (empty["data"], empty["meta"]["note"]) == ([], "nothing has been compared yet")
    nothing = await client.get(MONTH)
    assert (nothing["meta"]["statement"]["state"], nothing["meta"]["note"]) == (
        "nothing_compared",
        "nothing has been compared yet",
    )
    book = agreed()
    book.line("aster", "mail", "2026-10-01", flat="12.00", recurring=("1", "12.00"), contract="C-7", currency="USD")
    book.invoice("aster", ("mail", "1", "12.00"), invoice="INV-7", currency="USD")
    await settled(book, matching)
    rows = (await client.get("/v1/statements", period="2026-10"))["data"]
    assert [(row["client"], row["state"]) for row in rows] == [("aster", "settled"), ("northwind", "break")]
    aster, northwind = rows
    [dollar] = aster["totals"]
    assert (dollar["currency"], dollar["expected"], dollar["billed"], dollar["residual"]) == ("USD", "12", "12", "0")
    [euro] = northwind["totals"]
    assert (euro["expected"], euro["billed"], euro["broken"], euro["residual"]) == ("252.6", "198", "-54.6", "0")
    assert northwind["counts"] == {
        "groups": 2, "lines": 3, "compared": 2, "matched": 1, "explained": 0, "pending": 1, "broken": 1,
    }  # fmt: skip
    assert ("invoice", "2026-11-06") in {(one["side"], one["until"]) for one in northwind["waiting"]}
    for state, names in (("break", ["northwind"]), ("settled", ["aster"]), ("pending", []), ("closed", [])):
        found = await client.get("/v1/statements", period="2026-10", state=state)
        assert [row["client"] for row in found["data"]] == names, state
    first = await client.get("/v1/statements", period="2026-10", limit=1)
    rest = await client.get("/v1/statements", period="2026-10", limit=1, cursor=first["meta"]["next"])
    assert [row["client"] for row in first["data"] + rest["data"]] == ["aster", "northwind"]


async def test_a_statement_has_its_lines_by_page_state_and_product(matching: Matching, client: Client) -> None:
    await settled(agreed(), matching)
    whole = await client.get(MONTH)
    assert [(line["group"], line["state"]) for line in whole["data"]] == [
        ("*", "pending"),
        ("edr", "break"),
        ("mail", "matched"),
    ]
    assert whole["data"][0]["until"] == "2026-11-06"
    pages, cursor = [], None
    while True:
        page = await client.get(MONTH, limit=1, **({"cursor": cursor} if cursor else {}))
        pages += page["data"]
        cursor = page["meta"]["next"]
        if cursor is None:
            break
    assert pages == whole["data"]
    for filters, groups in (
        ({"state": "break"}, ["edr"]),
        ({"product": "mail"}, ["mail"]),
        ({"state": "explained"}, []),
    ):
        assert [line["group"] for line in (await client.get(MONTH, **filters))["data"]] == groups
    other = Client(client.http, client.app, "other-msp")
    assert (await other.get(MONTH))["meta"]["statement"]["counts"]["lines"] == 0
    assert (await other.get("/v1/statements", period="2026-10"))["data"] == []


async def test_close_then_late_usage_is_a_difference_and_a_row_of_the_ledger(
    matching: Matching, client: Client
) -> None:
    diary = await settled(agreed(), matching)
    status, problem = await client.get(f"{MONTH}/diff")
    assert (status, "never closed" in problem["detail"]) == (404, True)
    status, problem = await client.post(f"{MONTH}/close", {})
    assert (status, problem["field"]) == (409, "reason")
    done = (await client.post(f"{MONTH}/close", {"reason": "the client knows"}, "k-1"))["data"]
    assert (done["outcome"], done["groups"], done["state"]) == ("stored", 2, "break")
    assert (await client.post(f"{MONTH}/close", {"reason": "the client knows"}, "k-1"))["data"][
        "outcome"
    ] == "duplicate"
    assert (await client.post(f"{MONTH}/close", {"reason": "other"}, "k-1"))[0] == 409
    assert (await client.get(f"{MONTH}/diff"))["data"] == []
    assert (await client.get("/v1/restatements", period="2026-10"))["data"] == []
    board = (await client.get("/v1/statements", period="2026-10", state="closed"))["data"]
    assert (board[0]["closed"]["record"], board[0]["closed"]["digest"]) == (done["record"], done["digest"])

    diary.book.usage("60", OCTOBER + timedelta(hours=1))
    await diary.tell()
    [now] = (await client.get(MONTH, product="edr"))["data"]
    moved = Decimal(now["expected"]) - Decimal("222.6")
    assert moved > 0
    for against in ("closed", "drawn", done["record"]):
        changed = await client.get(f"{MONTH}/diff", against=against)
        [line] = [one for one in changed["data"] if one["kind"] == "changed"]
        assert (line["group"], line["before"]["expected"]) == ("edr", "222.6"), against
        assert line["after"]["expected"] == now["expected"]
        assert Decimal(line["by"]) == -moved
    assert changed["meta"]["against"]["totals"][0]["expected"] == "252.6"
    assert Decimal(changed["meta"]["now"]["totals"][0]["expected"]) == Decimal("252.6") + moved
    [row] = (await client.get("/v1/restatements", period="2026-10"))["data"]
    assert (row["client"], row["group"], Decimal(row["moved"])) == ("northwind", "edr", moved)
    assert (row["closed"]["expected"], row["closed"]["billed"]) == ("222.6", "168")
    assert row["now"]["expected"] == now["expected"]
    assert row["codes"] == ["LATE_USAGE"]
    [late] = [
        one
        for one in (await client.get("/v1/discrepancies", code="LATE_USAGE"))["data"]
        if one["id"] in row["discrepancies"]
    ]
    assert late["state"] == "open"
    assert (await client.get("/v1/restatements", period="2026-09"))["data"] == []
    assert (await Client(client.http, client.app, "other-msp").get("/v1/restatements"))["data"] == []


async def test_what_was_drawn_is_what_a_difference_is_taken_against(matching: Matching, client: Client) -> None:
    diary = await settled(agreed(), matching)
    drawn = (await client.post(f"{MONTH}/draw"))["data"]
    assert (drawn["outcome"], drawn["counts"]["lines"]) == ("stored", 3)
    assert (await client.post(f"{MONTH}/draw"))["data"]["outcome"] == "unchanged"
    diary.book.line("northwind", "scan", "2026-10-01", flat="9.00", recurring=("1", "9.00"), line="3")
    await diary.tell()
    changes = (await client.get(f"{MONTH}/diff", against=drawn["record"]))["data"]
    assert [(one["kind"], one["group"]) for one in changes] == [("added", "scan")]
    first = await client.get(f"{MONTH}/diff", against=drawn["record"], limit=1)
    assert first["meta"]["next"] is None
    assert (await client.get(f"{MONTH}/diff", against="no-such"))[0] == 404


# --- sums ------------------------------------------------------------------------------------------------------------
async def test_sums_never_add_currencies_or_net_directions(matching: Matching, client: Client) -> None:
    book = agreed()
    for n, (seats, currency) in enumerate((("3", "EUR"), ("9", "USD"), ("1", "EUR"))):
        book.map("account", "huntress", f"b-{n}", f"c-{n}")
        book.line(
            f"c-{n}", "edr", "2026-10-01", unit="2.00", recurring=("2", "2.00"), contract=f"D-{n}", currency=currency
        )
        book.usage(seats, OCTOBER, account=f"b-{n}")
    book.usage("1", OCTOBER, account="nobody")
    await settled(book, matching)
    amounts = ("owed", "at_risk", "lost", "unplaced")
    by_direction = (await client.get("/v1/discrepancies/sums"))["data"]
    totals = {(row["direction"], row["currency"]): sum(Decimal(row[name]) for name in amounts) for row in by_direction}
    assert totals["client_owes_us", "EUR"] == Decimal("56.6")
    assert totals["client_owes_us", "USD"] == 14
    by_client = (await client.get("/v1/discrepancies/sums", by="client", limit=2))["data"]
    assert len(by_client) == 2
    assert [row["client"] for row in by_client] == [None, "c-0"]
    rows, cursor = [], None
    while True:
        page = await client.get("/v1/discrepancies/sums", by="code", limit=1, **({"cursor": cursor} if cursor else {}))
        rows += page["data"]
        cursor = page["meta"]["next"]
        if cursor is None:
            break
    assert {(row["code"], row["currency"], row["count"]) for row in rows} >= {
        ("QTY_UNDER", "EUR", 2),
        ("QTY_UNDER", "USD", 1),
    }
    [one] = (await client.get("/v1/discrepancies/sums", client="c-1"))["data"]
    assert one["currency"] == "USD"
    assert (await client.get("/v1/discrepancies/sums", period="2026-09"))["data"] == []


async def test_a_discrepancy_shows_what_was_recorded_beside_its_basis(matching: Matching, client: Client) -> None:
    diary = await settled(agreed(), matching)
    diary.book.client("northwind", "Northwind Dental Group", run=1)
    await diary.tell()
    [found] = [row for row in (await client.get("/v1/discrepancies"))["data"] if row["body"]["code"] == "QTY_UNDER"]
    shown = (await client.get(f"/v1/discrepancies/{found['id']}"))["data"]
    assert shown["body"]["client_name"] == "Northwind Dental Group"
    assert shown["recorded"]["client_name"] == "Northwind Dental"
    assert shown["basis"]["cause"]["type"] != "client.recorded.v1"


# --- previews --------------------------------------------------------------------------------------------------------
async def test_a_preview_says_in_a_sentence_what_a_mapping_would_do(matching: Matching, client: Client) -> None:
    await settled(unmapped_year(), matching)
    wanted = {"kind": "account", "source": "huntress", "key": "a-8", "targets": [{"id": "cobalt"}]}
    told = (await client.post("/v1/mappings/preview", wanted))["data"]
    assert told["sentence"].startswith("Confirming account huntress a-8 = cobalt back-bills EUR 64.00 over 8 months")
    assert told["sums"] == [
        {"direction": "client_owes_us", "currency": "EUR", "opened": "64", "cleared": "0", "periods": 8}
    ]
    nobody = await Client(client.http, client.app, "other-msp").post("/v1/mappings/preview", wanted)
    assert nobody["data"]["sentence"].endswith("changes nothing that was compared.")
    for wrong in (
        wanted | {"targets": []},
        wanted | {"withdraw": True},
        wanted | {"kind": "client"},
        wanted | {"targets": [{"id": "a", "share": "0.8"}, {"id": "b", "share": "0.8"}]},
    ):
        assert (await client.post("/v1/mappings/preview", wrong))[0] == 422


async def test_a_route_is_handed_doors_and_no_pool_of_the_role_that_sees_all(
    client: Client, matching: Matching
) -> None:
    for door in (client.app.state.statements, client.app.state.preview):
        public = [getattr(door, name) for name in dir(door) if not name.startswith("_")]
        assert not any(one in (matching.keyed, matching.pool) for one in public)
    assert client.app.state.pool is not matching.keyed


@pytest.mark.parametrize(
    ("path", "params", "status"),
    [
        ("/v1/statements", {"period": "2026-13"}, 422),
        ("/v1/statements", {}, 422),
        ("/v1/statements", {"period": "2026-10", "state": "clean"}, 422),
        ("/v1/statements", {"period": "2026-10", "cursor": "x"}, 400),
        ("/v1/statements/northwind/october", {}, 422),
        (MONTH, {"cursor": "eA=="}, 400),
        ("/v1/restatements", {"period": "x"}, 422),
        ("/v1/discrepancies/sums", {"by": "sku"}, 422),
    ],
)
async def test_a_wrong_question_is_answered_with_its_field(
    client: Client, path: str, params: dict[str, str], status: int
) -> None:
    assert (await client.get(path, **params))[0] == status
