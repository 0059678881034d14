"""What every HTTP answer of ours has in common: problems as RFC 9457 documents, and one correlation id per request.

A service calls :func:`install` once. After that a route raises :class:`Problem` (or lets an error through), and the
caller gets ``application/problem+json`` with what, why, the fix, and the id under which the logs know the request.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import asyncpg
import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

logger = structlog.get_logger(__name__)

DATABASE_AWAY: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # of a connection that the pool hands out while the server's end has just died
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.LockNotAvailableError,
    asyncpg.QueryCanceledError,
)
"""What asyncpg raises while PostgreSQL is away, starting, stopping, full or held up: answered 503, worth a retry."""

RETRY_AFTER_S = 1
_CORRELATION = re.compile(r"[A-Za-z0-9._:-]{1,100}", re.ASCII)
_TRACE_PARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}", re.ASCII)


class Problem(Exception):
    """An answer other than success. ``detail`` says what and where, ``fix`` what to do; neither ever holds a secret."""

    def __init__(
        self, status: int, title: str, detail: str, *, headers: Mapping[str, str] | None = None, **ext: Any
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.headers = dict(headers or {})
        self.ext = ext


def problem(status: int, title: str, detail: str, *, headers: Mapping[str, str] | None = None, **ext: Any) -> Response:
    """An RFC 9457 problem document; ``ext`` are its further members (``fix``, ``correlation``, ...)."""
    body = {"type": "about:blank", "status": status, "title": title, "detail": detail, **ext}
    return Response(
        orjson.dumps(body), status, media_type="application/problem+json", headers=dict(headers) if headers else None
    )


def unavailable(title: str, detail: str) -> Problem:
    """503: nothing was accepted; the same request may be sent again."""
    return Problem(
        503,
        title,
        detail,
        fix=f"Send the same request again, with the same Idempotency-Key, after {RETRY_AFTER_S} s.",
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )


def correlation_id(request: Request) -> str:
    """The id that ties the request, its records, its effects and its log lines together."""
    return str(request.scope["correlation_id"])


def trace_parent(request: Request) -> str | None:
    """The caller's W3C ``traceparent``, if it sent a valid one."""
    value = request.headers.get("traceparent", "")
    return value if _TRACE_PARENT.fullmatch(value) else None


def correlation_of(headers: Mapping[str, str], make: Callable[[], str]) -> str:
    """``X-Correlation-Id`` if the caller sent a usable one, else its ``traceparent``'s trace id, else a new one."""
    given = headers.get("x-correlation-id", "")
    if _CORRELATION.fullmatch(given):
        return given
    trace = _TRACE_PARENT.fullmatch(headers.get("traceparent", ""))
    return trace[1] if trace else make()


class Correlated:
    """ASGI middleware: gives each request its correlation id, in the scope, the logs and the answer."""

    def __init__(self, app: Callable[..., Awaitable[None]], make: Callable[[], str]) -> None:
        self._app = app
        self._make = make

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = correlation_of(Headers(scope=scope), self._make)
        scope["correlation_id"] = given

        async def send_marked(message: Any) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Correlation-Id"] = given
            await send(message)

        with structlog.contextvars.bound_contextvars(correlation_id=given):
            await self._app(scope, receive, send_marked)


def install(app: FastAPI, *, make_id: Callable[[], str] = lambda: secrets.token_hex(16)) -> None:
    """Give ``app`` the correlation middleware and the answers to every kind of error."""
    app.add_middleware(Correlated, make=make_id)
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(asyncpg.DataError, _on_data_error)
    for error in DATABASE_AWAY:
        app.add_exception_handler(error, _on_database_away)  # type: ignore[arg-type]
    app.add_exception_handler(Exception, _on_defect)


def on_error(app: FastAPI, error: type[Exception], answer: Problem) -> None:
    """Answer ``error``, wherever in a request it is raised, with ``answer``."""

    async def handler(request: Request, raised: Exception) -> Response:
        logger.warning(answer.title, error=str(raised))
        return _answer(request, answer)

    app.add_exception_handler(error, handler)


def _answer(request: Request, error: Problem) -> Response:
    return problem(
        error.status,
        error.title,
        error.detail,
        headers=error.headers,
        correlation=request.scope.get("correlation_id"),
        **error.ext,
    )


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return _answer(request, error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = {
        404: f"There is nothing at {request.url.path}.",
        405: f"{request.url.path} does not take {request.method}.",
    }.get(error.status_code, str(error.detail))
    return _answer(request, Problem(error.status_code, str(error.detail), detail, headers=error.headers))


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    detail, fix = f"{field}: {first['msg']}", f"Correct {field} in the request."
    return _answer(request, Problem(422, "Invalid request", detail, field=field, fix=fix))


async def _on_disconnect(_request: Request, _error: Exception) -> Response:
    # Nobody reads this answer: the caller went away before its request was complete, so nothing was accepted.
    return Response(status_code=499)


async def _on_database_away(request: Request, error: Exception) -> Response:
    logger.warning("database away", error=f"{type(error).__name__}: {error}")
    return _answer(request, unavailable("Database away", "The database did not answer."))


async def _on_data_error(request: Request, error: Exception) -> Response:
    # Such as a NUL in a path or query: PostgreSQL's text cannot hold it, and so nothing of ours bears that name.
    detail = f"The request holds a value that cannot be kept: {type(error).__name__}."
    return _answer(request, Problem(422, "Invalid request", detail, fix="Send plain text without NUL characters."))


async def _on_defect(request: Request, _error: Exception) -> Response:
    # The server logs the traceback; the caller learns only the id to ask about.
    return _answer(
        request,
        Problem(
            500,
            "Defect",
            "This is a defect of ours, not of your request. Nothing is known to be stored.",
            fix="Report the correlation id.",
        ),
    )
