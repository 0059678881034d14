"""The call: a Standard Webhooks request, signed, bounded in time and in what is read of the answer."""

from __future__ import annotations

import asyncio
import binascii
import ssl
from collections import OrderedDict
from datetime import datetime
from typing import Protocol

import asyncpg
import httpx
import structlog
import truststore
from standardwebhooks import Webhook
from standardwebhooks.webhooks import EmptyWebhookSecretError

from services.notification.domain.attempts import Answer, Sending
from shared.runtime.clock import Clock
from shared.vault.documents import Documents
from shared.vault.keys import VaultError

RESPONSE_BYTES_MAX = 65_536
"""The body of an answer says nothing to us; it is read up to here only so that the connection can be kept."""
_SECRETS_REMEMBERED = 1_000
_SECRET_BELIEVED_S = 60.0

_log = structlog.get_logger(__name__)


class Signer(Protocol):
    """Signs what is sent to one receiver."""

    async def sign(self, sending: Sending, at: datetime) -> str:
        """The header ``webhook-signature``. Raises :class:`NoSecret`."""
        ...


class NoSecret(Exception):
    """The secret cannot be had or cannot sign; the message says why, and never holds it."""


class VaultSigner:
    """Signs with the secrets of the tenant's setting, opened from the vault and remembered for a minute."""

    def __init__(self, pool: asyncpg.Pool, documents: Documents, clock: Clock) -> None:
        self._pool = pool
        self._documents = documents
        self._clock = clock
        self._remembered: OrderedDict[tuple[str, str], tuple[float, Webhook]] = OrderedDict()

    async def sign(self, sending: Sending, at: datetime) -> str:
        signatures = [
            (await self._webhook(sending.tenant, document)).sign(sending.intent, at, sending.payload)
            for document in sending.secrets
        ]
        if not signatures:
            raise NoSecret("no secret is set")
        return " ".join(signatures)

    async def _webhook(self, tenant: str, document: str) -> Webhook:
        now = self._clock.monotonic()
        known = self._remembered.get((tenant, document))
        if known is not None and now - known[0] < _SECRET_BELIEVED_S:
            return known[1]
        try:
            secret = await self._documents.get(self._pool, tenant, document)
            webhook = Webhook(secret.decode())
        except VaultError as error:
            raise NoSecret(f"the secret cannot be opened: {error}") from error
        except (ValueError, binascii.Error, EmptyWebhookSecretError) as error:
            raise NoSecret("the secret is not whsec_ and base64") from error
        self._remembered[tenant, document] = (now, webhook)
        self._remembered.move_to_end((tenant, document))
        while len(self._remembered) > _SECRETS_REMEMBERED:
            self._remembered.popitem(last=False)
        return webhook


def http_client() -> httpx.AsyncClient:
    """A client with kept-alive connections, the system's certificate authorities, and no redirects: a redirect would
    take a signed message to an address that nobody has set."""
    # A proxy of the environment serves the way out, and never the way to this machine itself.
    loopback = {f"all://{host}": None for host in ("127.0.0.1", "localhost", "[::1]")}
    return httpx.AsyncClient(
        mounts=loopback,
        verify=truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        follow_redirects=False,
        # How many calls there are at once is the lanes' business.
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=256, keepalive_expiry=60),
        timeout=None,  # noqa: S113 - the whole call is bounded instead, connecting and reading included
        headers={"user-agent": "plumbline/0.1", "content-type": "application/json"},
    )


class Caller:
    """Makes the call. It never raises: whatever goes wrong is an answer."""

    def __init__(self, client: httpx.AsyncClient, signer: Signer, clock: Clock, timeout_s: float) -> None:
        self._client = client
        self._signer = signer
        self._clock = clock
        self._timeout_s = timeout_s

    async def call(self, sending: Sending) -> Answer:
        began = self._clock.monotonic()
        status, retry_after_s, reason = None, 0.0, None
        try:
            async with asyncio.timeout(self._timeout_s):
                status, retry_after_s = await self._post(sending)
        except TimeoutError:
            reason = f"timeout: no answer within {self._timeout_s:g} s"
        except NoSecret as error:
            reason = str(error)
        except httpx.HTTPError as error:
            reason = _in_words(error)
        except Exception as error:
            # Whatever else an address that a person typed makes a library raise: this attempt failed, and no other.
            _log.warning("webhook call failed", intent=sending.intent, error=type(error).__name__)
            reason = f"the address cannot be called ({type(error).__name__})"
        if status is not None and not 200 <= status < 300:
            reason = f"HTTP {status}"
        return Answer(reason, status, retry_after_s, round((self._clock.monotonic() - began) * 1000))

    async def _post(self, sending: Sending) -> tuple[int, float]:
        at = self._clock.now()
        headers = {
            "webhook-id": sending.intent,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": await self._signer.sign(sending, at),
        }
        body = sending.payload.encode()
        async with self._client.stream("POST", sending.url, content=body, headers=headers) as response:
            read = 0
            async for chunk in response.aiter_raw():
                read += len(chunk)
                if read > RESPONSE_BYTES_MAX:
                    break
        return response.status_code, _seconds(response.headers.get("retry-after"))


def _seconds(retry_after: str | None) -> float:
    """``Retry-After`` in its form of seconds; the form of a date is rare, and our own backoff serves as well."""
    return float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else 0.0


def _in_words(error: httpx.HTTPError) -> str:
    """What went wrong, without the address (which may carry a token) and without anything that the receiver sent."""
    words: dict[type[httpx.HTTPError], str] = {
        httpx.ConnectError: "connection refused or impossible",
        httpx.RemoteProtocolError: "connection closed without an answer",
        httpx.ReadError: "connection lost while waiting for the answer",
        httpx.WriteError: "connection lost while sending",
    }
    return words.get(type(error), f"call failed ({type(error).__name__})")
