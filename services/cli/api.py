"""The services' HTTP, as the command line speaks it: the administrator's token, one tenant, faults in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx

from deploy.local.home import Home, read_json
from services.cli.faults import Exit, Fault

_TIMEOUT_S = 30
_EXITS = {401: Exit.NOT_ALLOWED, 403: Exit.NOT_ALLOWED, 404: Exit.NOT_FOUND, 429: Exit.UNREACHABLE}


class Api:
    """One service: ``get("/v1/discrepancies", state="open")`` answers decoded JSON; problems are :class:`Fault`."""

    def __init__(self, home: Home, service: str, tenant: str | None = None) -> None:
        self.service = service
        self._home = home
        address = self._address()
        headers = {"Authorization": f"Bearer {self._token()}"}
        if tenant is not None:
            headers["Plumbline-Tenant"] = tenant
        # trust_env: an HTTP_PROXY of the environment must see neither the request nor the token.
        self._client = httpx.Client(base_url=address, headers=headers, timeout=_TIMEOUT_S, trust_env=False)

    def get(self, path: str, **params: Any) -> Any:
        """GET; parameters that are None are left out."""
        return self.request("GET", path, params=params)

    def post(self, path: str, **options: Any) -> Any:
        """POST with httpx's own ``json=``, ``content=``, ``params=``, ``headers=``, ``timeout=``."""
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Any) -> Any:
        return self.request("PUT", path, **options)

    def delete(self, path: str, **options: Any) -> Any:
        return self.request("DELETE", path, **options)

    def pages(self, path: str, **params: Any) -> Iterator[dict[str, Any]]:
        """Every element of a list, page after page (each answer's ``meta.next`` is the next one's ``cursor``)."""
        cursor = None
        while True:
            page = self.get(path, **params, cursor=cursor)
            yield from page["data"]
            cursor = page["meta"].get("next")
            if cursor is None:
                return

    def request(self, method: str, path: str, **options: Any) -> Any:
        if params := options.get("params"):
            options["params"] = {name: value for name, value in params.items() if value is not None}
        try:
            answer = self._client.request(method, path, **options)
        except httpx.TransportError as error:
            raise Fault(
                f"{self.service} cannot be reached: {error or type(error).__name__}",
                where=str(self._client.base_url),
                fix="`plumbline status` shows what runs; `plumbline up` starts it",
                exit=Exit.UNREACHABLE,
            ) from error
        if answer.is_error:
            raise _fault(self.service, answer)
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.content

    def _address(self) -> str:
        endpoints = read_json(self._home.endpoints)
        if endpoints is None or self.service not in endpoints:
            raise Fault(
                f"{self.service} is not running",
                where=f"no address for it in {self._home.endpoints}",
                fix="`plumbline up` starts everything; PLUMBLINE_HOME names another installation's folder",
                exit=Exit.UNREACHABLE,
            )
        return str(endpoints[self.service])

    def _token(self) -> str:
        path = self._home.secrets / "admin_token"
        try:
            return path.read_text().strip()
        except FileNotFoundError:
            raise Fault(
                "this installation has not been started yet",
                where=f"{path} does not exist",
                fix="`plumbline up`, or name its folder by PLUMBLINE_HOME",
                exit=Exit.UNREACHABLE,
            ) from None
        except PermissionError:
            raise Fault(
                "the administrator's token may not be read",
                where=str(path),
                fix="run the command as the user who started Plumbline",
                exit=Exit.NOT_ALLOWED,
            ) from None


def segment(given: str) -> str:
    """What a person typed, as one segment of a path: it cannot lead elsewhere."""
    return quote(given, safe="").replace(".", "%2E")


def _fault(service: str, answer: httpx.Response) -> Fault:
    """A problem document (RFC 9457), as a fault: its detail, field, fix and correlation id."""
    try:
        problem = answer.json()
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    status = answer.status_code
    default = Exit.UNREACHABLE if status >= 500 else Exit.USAGE
    field = f", field {problem['field']}" if problem.get("field") else ""
    return Fault(
        str(problem.get("detail") or problem.get("title") or f"{service} answered {status} {answer.reason_phrase}"),
        where=f"{service}, {answer.request.method} {answer.request.url.path}{field}",
        fix=problem.get("fix"),
        exit=_EXITS.get(status, default),
        correlation=problem.get("correlation") or answer.headers.get("x-correlation-id"),
    )
