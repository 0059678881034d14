"""The frame of the command line: global options anywhere, faults in words with their exit status, tables that fit."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest

from deploy.local.errors import PlatformError
from deploy.local.home import Home, write_atomically
from services.cli import main as front
from services.cli import platform, tenants
from services.cli.api import Api, segment
from services.cli.faults import Exit, Fault
from services.cli.frame import Frame
from services.cli.output import Column, Output, table


@pytest.mark.parametrize(
    ("typed", "parsed"),
    [
        (["status", "--json"], ["--json", "status"]),
        (["ingest", "file", "x.csv", "--tenant", "harbor"], ["--tenant", "harbor", "ingest", "file", "x.csv"]),
        (["a", "--tenant=harbor", "-q", "b"], ["--tenant=harbor", "-q", "a", "b"]),
        (["a", "--", "--json"], ["a", "--", "--json"]),
        (["a", "--tenant"], ["--tenant", "a"]),
    ],
)
def test_global_options_may_stand_anywhere(typed: list[str], parsed: list[str]) -> None:
    assert front.hoist(typed) == parsed


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["plumbline", *arguments])
    with pytest.raises(SystemExit) as caught:
        front.main()
    return int(caught.value.code or 0)


def test_a_fault_says_what_where_and_fix_on_stderr_and_exits_by_its_kind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PLUMBLINE_HOME", str(tmp_path))
    assert run(monkeypatch, "status") == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "error: Plumbline is not running",
        f"  where: {tmp_path}",
        "  fix: `plumbline up` starts it",
    ]


def test_with_json_a_fault_is_a_document_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PLUMBLINE_HOME", str(tmp_path))
    assert run(monkeypatch, "status", "--json") == 3
    assert json.loads(capsys.readouterr().err)["fix"] == "`plumbline up` starts it"


def test_an_error_of_the_supervisor_in_the_background_is_told_as_if_it_had_been_in_front() -> None:
    error = PlatformError("port 80 is taken\n    by another", where="127.0.0.1:80", fix="stop it: or pin another")
    fault = platform.fault_of(error.lines().splitlines())
    assert fault.parts() == {"error": str(error), "where": error.where, "fix": error.fix}
    assert fault.exit == Exit.UNREACHABLE


def test_an_unknown_option_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "status", "--bogus") == 2
    assert "--bogus" in capsys.readouterr().err


def test_with_json_a_usage_error_is_a_document_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for typed in (["status", "--bogus"], ["no-such-command"], ["quarantine", "list", "--limit", "0"]):
        assert run(monkeypatch, *typed, "--json") == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert json.loads(said.err)["error"]


def test_following_is_no_single_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], home: Home
) -> None:
    write_atomically(home.endpoints, json.dumps({"ingestion": "http://127.0.0.1:1"}))
    monkeypatch.setenv("PLUMBLINE_HOME", str(home.path))
    assert run(monkeypatch, "tail", "--json", "--tenant", "harbor") == 2
    assert "--no-follow" in json.loads(capsys.readouterr().err)["fix"]


def test_what_a_person_typed_stays_one_segment_of_a_path() -> None:
    assert segment("../../etc") == "%2E%2E%2F%2E%2E%2Fetc"


class Answers:
    """An Api that keeps what it was asked and answers the same each time."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[Any] = []

    def post(self, path: str, **options: Any) -> Any:
        if content := options.get("content"):
            options["content"] = b"".join(content)
        self.asked.append((path, options))
        return self.answer

    def get(self, path: str, **params: Any) -> Any:
        self.asked.append((path, params))
        return self.answer


def answering(monkeypatch: pytest.MonkeyPatch, answer: Any) -> Answers:
    answers = Answers(answer)
    monkeypatch.setattr(Frame, "api", lambda _self, _service: answers)
    return answers


def test_a_field_is_taken_out_by_unset_and_by_null(monkeypatch: pytest.MonkeyPatch) -> None:
    api = answering(monkeypatch, {"data": {"outcome": "stored", "place": "usage/0@1"}})
    assert run(monkeypatch, "quarantine", "resubmit", "a1", "--unset", "x", "--set", "y=null", "--set", "z=7") == 0
    assert api.asked == [("/v1/quarantine/a1/resubmit", {"json": {"set": {"x": None, "y": None, "z": "7"}}})]


def test_a_pipe_is_sent_without_a_length_and_withheld_completeness_is_exit_7(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    receipt = {"accepted": 1, "stored": 1, "duplicate": 0, "quarantined": 0}
    api = answering(monkeypatch, {"receipt": receipt, "rows": 1, "document": "0", "withheld": "too early"})
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    Thread(target=lambda: pipe.write_bytes(b"a,b\n"), daemon=True).start()
    assert run(monkeypatch, "ingest", "file", str(pipe), "--profile", "focus", "--complete") == 7
    _, options = api.asked[0]
    assert options["content"] == b"a,b\n"
    assert "Content-Length" not in options["headers"]


def test_what_waits_is_listed_with_its_side_and_date(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waits = [{"side": "usage_complete", "what": "the feed", "until": "2026-11-01"}]
    group = {"client": "aster", "period": {"from": "2026-10-01"}, "product": "*", "waiting": waits}
    api = answering(monkeypatch, {"data": [group], "meta": {"next": "abc"}})
    assert run(monkeypatch, "discrepancies", "waiting") == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[1].split() == [
        "aster",
        "2026-10",
        "(all)",
        "usage",
        "complete",
        *["2026-11-01", "the", "feed"],
    ]
    assert "--cursor abc" in said.err
    assert api.asked[0][1]["state"] == "not_comparable"


def test_a_secret_that_is_set_is_shown_as_set() -> None:
    assert tenants._shown({"is_secret": True, "is_set": True, "value": None}) == "(set)"
    assert tenants._shown({"is_secret": False, "value": "0"}) == "0"


ROWS = [{"client": "Northwind Dental", "amount": "1,380.60", "age": "2h"}]
COLUMNS = (Column("client", "CLIENT"), Column("amount", "EUR", right=True), Column("age", "AGE", drop=1))


def test_a_narrow_table_leaves_out_columns_and_cuts_no_digit() -> None:
    assert table(ROWS, COLUMNS, None) == ["CLIENT                 EUR  AGE", "Northwind Dental  1,380.60  2h"]
    assert table(ROWS, COLUMNS, 26) == ["CLIENT                 EUR", "Northwind Dental  1,380.60"]
    assert table(ROWS, COLUMNS, 5)[1] == "Northwind Dental  1,380.60"


def test_a_list_is_one_document_with_json_and_a_line_each_with_ndjson(capsys: pytest.CaptureFixture[str]) -> None:
    Output(as_json=True).rows(ROWS, COLUMNS, {"next": None})
    assert json.loads(capsys.readouterr().out) == {"data": ROWS, "meta": {"next": None}}
    Output(as_lines=True).rows([*ROWS, *ROWS], COLUMNS)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [*ROWS, *ROWS]


def test_progress_without_a_terminal_is_a_line_at_each_tenth_and_none_with_quiet(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for quiet in (False, True):
        with Output(quiet=quiet).progress("rows", 1000) as advance:
            for _ in range(1000):
                advance(1)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [f"rows {done:,}/1,000" for done in range(100, 1001, 100)]


class Service(BaseHTTPRequestHandler):
    """Answers with the status that its path names and the document that the test set."""

    document: ClassVar[Any] = {}
    seen: ClassVar[dict[str, str]]

    def do_GET(self) -> None:
        Service.seen = dict(self.headers)
        pages = {"/pages": {"data": [1, 2], "meta": {"next": "x y"}}, "/pages?cursor=x+y": {"data": [3], "meta": {}}}
        status = 200 if self.path in pages else int(self.path.lstrip("/"))
        body = json.dumps(pages.get(self.path, Service.document)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/problem+json" if status >= 400 else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    server = HTTPServer(("127.0.0.1", 0), Service)
    Thread(target=server.serve_forever, daemon=True).start()
    home = Home(tmp_path)
    write_atomically(home.endpoints, json.dumps({"matching": f"http://127.0.0.1:{server.server_port}"}))
    write_atomically(home.secrets / "admin_token", "the-token", 0o600)
    yield home
    server.shutdown()
    server.server_close()


def test_a_request_carries_the_token_and_the_tenant(home: Home) -> None:
    Service.document = {"data": []}
    assert Api(home, "matching", "harbor").get("/200") == {"data": []}
    assert Service.seen["Authorization"] == "Bearer the-token"
    assert Service.seen["Plumbline-Tenant"] == "harbor"


def test_no_proxy_of_the_environment_sees_a_request(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    Service.document = {"data": []}
    assert Api(home, "matching").get("/200") == {"data": []}


def test_a_list_is_followed_to_its_last_page(home: Home) -> None:
    assert list(Api(home, "matching", "harbor").pages("/pages")) == [1, 2, 3]


@pytest.mark.parametrize(
    ("status", "exit_status"),
    [
        (401, Exit.NOT_ALLOWED),
        (403, Exit.NOT_ALLOWED),
        (404, Exit.NOT_FOUND),
        (413, Exit.USAGE),
        (422, Exit.USAGE),
        (429, Exit.UNREACHABLE),
        (500, Exit.UNREACHABLE),
        (503, Exit.UNREACHABLE),
    ],
)
def test_a_problem_becomes_a_fault_with_its_detail_field_and_fix(home: Home, status: int, exit_status: Exit) -> None:
    Service.document = {"title": "Bad", "detail": "not so", "field": "data.quantity", "fix": "do", "correlation": "c-1"}
    with pytest.raises(Fault) as caught:
        Api(home, "matching").get(f"/{status}")
    fault = caught.value
    assert fault.exit == exit_status
    assert fault.parts() == {
        "error": "not so",
        "where": f"matching, GET /{status}, field data.quantity",
        "fix": "do",
        "correlation": "c-1",
    }


def test_a_service_that_does_not_listen_is_unreachable_with_a_fix(home: Home) -> None:
    write_atomically(home.endpoints, json.dumps({"matching": "http://127.0.0.1:1"}))
    with pytest.raises(Fault, match="matching cannot be reached") as caught:
        Api(home, "matching").get("/200")
    assert caught.value.exit == Exit.UNREACHABLE
    assert "plumbline up" in str(caught.value.fix)


def test_a_write_without_a_terminal_needs_yes(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    Frame(Output(), home, yes=True).confirm("Sure?")
    with pytest.raises(Fault) as caught:
        Frame(Output(), home).confirm("Sure?")
    assert caught.value.fix == "add --yes"
