"""On whose behalf a request acts. Every service asks here, and nowhere else.

A service makes one :class:`Access` at start, keeps it as ``app.state.access``, and lets its routes depend on
:func:`principal` (one tenant), :func:`operator` (one tenant, and not just one source) or :func:`administrator`.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import Request

from shared.access.tokens import mac_of, prefix_of
from shared.runtime.clock import Clock
from shared.runtime.http import Problem

# A revoked key must stop working within a second, so what was read is believed for half of one.
_BELIEVED_S = 0.5
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Principal:
    """Who acts. ``source`` is ``None`` for an operator's key and for the administrator, who may act for any source."""

    tenant: str
    source: str | None
    actor: str
    admin: bool = False


@dataclass(frozen=True, slots=True)
class AccessSecrets:
    """The pepper of the key MACs and the administrator's token."""

    pepper: bytes
    admin_token: str

    def __repr__(self) -> str:
        return "AccessSecrets(...)"


def read_secrets(folder: Path) -> AccessSecrets:
    """Read ``key_pepper`` (hex) and ``admin_token``; raises ``ValueError`` naming a file that cannot be used."""
    texts = {}
    for name in ("key_pepper", "admin_token"):
        try:
            texts[name] = (folder / name).read_text().strip()
        except OSError as error:
            raise ValueError(
                f"{folder / name} cannot be read: {error.strerror}; start through `plumbline up`"
            ) from error
    try:
        pepper = bytes.fromhex(texts["key_pepper"])
    except ValueError as error:
        raise ValueError(f"{folder / 'key_pepper'} is not hexadecimal") from error
    if len(pepper) < 32 or len(texts["admin_token"]) < 20:
        raise ValueError(f"the secrets in {folder} are too short: 32 bytes of pepper, 20 characters of token at least")
    return AccessSecrets(pepper, texts["admin_token"])


class Access:
    """Verifies the bearer of a request against schema ``access``, remembering for half a second what it read."""

    def __init__(self, pool: Any, secrets: AccessSecrets, clock: Clock) -> None:
        self._pool = pool
        self._secrets = secrets
        self._clock = clock
        self._keys: OrderedDict[str, tuple[float, Any]] = OrderedDict()
        self._tenants: OrderedDict[str, tuple[float, Any]] = OrderedDict()

    @property
    def pepper(self) -> bytes:
        return self._secrets.pepper

    async def verify(self, authorization: str | None, tenant: str | None) -> Principal:
        """The principal of an ``Authorization`` header and, for the administrator, a ``Plumbline-Tenant`` header.

        Raises :class:`Problem` 401 (no key, unknown or revoked key), 403 (another tenant's), 404 (unknown tenant).
        """
        token = _bearer(authorization)
        if self._is_administrator(token):
            if not tenant:
                raise Problem(
                    400,
                    "No tenant named",
                    "The administrator's token acts for a tenant that the request names.",
                    fix="Send the header Plumbline-Tenant: <tenant>.",
                )
            if await self._read(self._tenants, tenant, "SELECT tenant FROM access.find_tenant($1)") is None:
                raise Problem(404, "No such tenant", "There is no tenant by this name.", fix="plumbline tenants add")
            return Principal(tenant, None, "key:admin", admin=True)
        prefix = prefix_of(token)
        key = await self._read(self._keys, prefix, "SELECT * FROM access.find_key($1)") if prefix else None
        # The comparison runs in any case and takes the same time wherever the first difference is.
        if not hmac.compare_digest(key["mac"] if key else bytes(32), mac_of(self._secrets.pepper, token)) or not key:
            raise _unauthorized("The API key is unknown or was revoked.")
        if tenant and tenant != key["tenant"]:
            raise Problem(
                403,
                "Not your tenant",
                "This API key belongs to another tenant than the one that the request names.",
                fix="Leave the header Plumbline-Tenant out, or use a key of that tenant.",
            )
        return Principal(key["tenant"], key["source"], f"key:{prefix}")

    def require_administrator(self, authorization: str | None) -> None:
        """Raises :class:`Problem` 401 or 403 unless the bearer is the administrator."""
        token = _bearer(authorization)
        if not self._is_administrator(token):
            if prefix_of(token):
                raise Problem(
                    403,
                    "Administrators only",
                    "An API key cannot do this.",
                    fix="Use the administrator's token.",
                )
            raise _unauthorized("The administrator's token is wrong.")

    def _is_administrator(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self._secrets.admin_token.encode())

    async def _read(self, memory: OrderedDict[str, tuple[float, Any]], name: str, query: str) -> Any:
        # The time is taken before the question: what is read later is at least as fresh as this.
        now = self._clock.monotonic()
        known = memory.get(name)
        if known is not None and now - known[0] < _BELIEVED_S:
            return known[1]
        row = await self._pool.fetchrow(query, name)
        memory[name] = (now, row)
        memory.move_to_end(name)
        while len(memory) > _REMEMBERED:
            memory.popitem(last=False)
        return row


def _bearer(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise _unauthorized("The request carries no API key.")
    return token.strip()


def _unauthorized(detail: str) -> Problem:
    return Problem(
        401,
        "Not authenticated",
        detail,
        fix="Send the header Authorization: Bearer <key>; plumbline keys makes one.",
        headers={"WWW-Authenticate": "Bearer"},
    )


async def principal(request: Request) -> Principal:
    """The dependency of every route that acts for one tenant."""
    access: Access = request.app.state.access
    return await access.verify(request.headers.get("authorization"), request.headers.get("plumbline-tenant"))


async def operator(request: Request) -> Principal:
    """The dependency of routes that read or decide for the whole tenant: a source's key may only send."""
    who = await principal(request)
    if who.source is not None:
        raise Problem(
            403,
            "Operators only",
            f"The key of source {who.source!r} may only send.",
            fix="Use an operator's key: plumbline keys create without --source.",
        )
    return who


async def administrator(request: Request) -> None:
    """The dependency of the routes that only the administrator may call."""
    access: Access = request.app.state.access
    access.require_administrator(request.headers.get("authorization"))
