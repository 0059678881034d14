"""Logs are one JSON object a line, carry what correlates them, and hold no secret; a service ends in order."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import httpx
import pytest
import structlog
from pydantic import SecretStr

from shared.runtime.service import configure_logging

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _as_before() -> object:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_json_with_service_level_time_and_the_correlation_id(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("matching")
    structlog.contextvars.bind_contextvars(correlation_id="c-1")
    structlog.get_logger("matching.fold").warning("skipped", position=7)
    (line,) = lines(capsys)
    assert line.pop("at")
    assert line == {
        "event": "skipped",
        "level": "warning",
        "logger": "matching.fold",
        "position": 7,
        "service": "matching",
        "correlation_id": "c-1",
    }


def test_secrets_are_hidden_by_name_by_type_and_inside_addresses(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("matching")
    structlog.get_logger("x").info(
        "up", admin_token="hunter2", value=SecretStr("hunter2"), url="http://me:hunter2@host/a"
    )
    logging.getLogger("library").error("cannot reach %s", "postgresql://me:hunter2@host/a")
    ours, theirs = lines(capsys)
    assert "hunter2" not in json.dumps([ours, theirs])
    assert theirs["event"] == "cannot reach postgresql://me:***@host/a"


def test_an_exception_is_in_its_line_without_the_password_of_an_address(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("matching")
    try:
        raise OSError("no route to postgresql://me:hunter2@host/a")
    except OSError:
        structlog.get_logger("x").exception("failed")
    (line,) = lines(capsys)
    assert "OSError: no route to postgresql://me:***@host/a" in str(line["exception"])


def test_lines_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("matching", "WARNING")
    structlog.get_logger("x").info("quiet")
    assert lines(capsys) == []


APPLICATION = """
    import contextlib, sys
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route
    from shared.runtime.service import configure_logging, serve
    from shared.runtime.settings import ServiceSettings

    @contextlib.asynccontextmanager
    async def lifespan(app):
        if sys.argv[1] == "broken":
            raise RuntimeError("no database")
        yield
        print("drained", flush=True)

    async def hello(request):
        return PlainTextResponse("hello")

    settings = ServiceSettings()
    configure_logging("demo", settings.log_level)
    serve(Starlette(routes=[Route("/", hello)], lifespan=lifespan), settings)
    print("returned", flush=True)
"""


def start(mode: str, port: int) -> subprocess.Popen[str]:
    environment = {
        **os.environ,
        "PLUMBLINE_API_DATABASE_URL": "-",
        "PLUMBLINE_WORK_DATABASE_URL": "-",
        "PLUMBLINE_KAFKA_BOOTSTRAP": "-",
        "PLUMBLINE_SECRETS_DIR": "/nonexistent",
        "PLUMBLINE_PORT": str(port),
    }
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(APPLICATION), mode],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_sigterm_drains_and_ends_with_zero() -> None:
    port = free_port()
    process = start("sound", port)
    transport = httpx.HTTPTransport(retries=10)
    with httpx.Client(transport=transport) as client:
        assert client.get(f"http://127.0.0.1:{port}/").text == "hello"
        process.send_signal(signal.SIGTERM)
    out, _err = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "drained\nreturned\n")


def test_an_application_that_cannot_start_ends_with_three_and_says_why() -> None:
    process = start("broken", free_port())
    _out, err = process.communicate(timeout=20)
    assert process.returncode == 3
    assert "no database" in err
