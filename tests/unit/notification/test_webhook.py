"""The call against a real receiver: what is signed, what is read, what is made of each way to fail."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from standardwebhooks import Webhook

from services.notification.domain.attempts import Sending
from services.notification.webhook import Caller, NoSecret, VaultSigner, http_client
from shared.runtime.clock import SystemClock
from shared.vault.keys import Erased
from tests.receiver import Answer, Receiver
from tests.unit.notification.test_attempts import _sending

CLOCK = SystemClock()
# A pair of our own, worked out by hand from the specification: base64(HMAC-SHA256(key, "id.timestamp.body")).
SECRET = "whsec_" + base64.b64encode(b"plumbline webhook test key of 32").decode()
AT = datetime(2026, 10, 1, 9, 14, 22, 418000, tzinfo=UTC)


class Vault:
    """Documents by name."""

    def __init__(self, **secrets: str) -> None:
        self.secrets = secrets
        self.opened = 0

    async def get(self, _db: Any, _tenant: str, name: str) -> bytes:
        self.opened += 1
        if name not in self.secrets:
            raise Erased(f"document {name} was erased")
        return self.secrets[name].encode()


def _signer(**secrets: str) -> VaultSigner:
    return VaultSigner(None, Vault(**secrets), CLOCK)  # type: ignore[arg-type]


def _to(receiver: Receiver, **changes: Any) -> Sending:
    return _sending(**{"url": receiver.url, "secrets": ("new",), "payload": '{"n":"é"}', **changes})


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


@pytest_asyncio.fixture
async def caller(receiver: Receiver) -> AsyncIterator[Caller]:
    async with http_client() as client:
        yield Caller(client, _signer(new=receiver.secret), CLOCK, timeout_s=1.0)


async def test_the_signature_is_the_one_of_the_specification() -> None:
    sending = _sending(intent="msg_p5jX", payload='{"test": 2432232314}', secrets=("new",))
    assert await _signer(new=SECRET).sign(sending, AT) == "v1,5I7HaOQRUEJX3YK4vOBrJoqLVmDBdlkooTC+Z6MroS0="


async def test_while_a_receiver_changes_over_both_secrets_sign() -> None:
    other = "whsec_" + base64.b64encode(b"another key").decode()
    sending = _sending(secrets=("new", "former"))
    at = CLOCK.now()
    header = await _signer(new=SECRET, former=other).sign(sending, at)
    headers = {
        "webhook-id": sending.intent,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": header,
    }
    for secret in (SECRET, other):
        assert Webhook(secret).verify(sending.payload, headers)


async def test_a_secret_is_opened_once_and_remembered() -> None:
    vault = Vault(new=SECRET)
    signer = VaultSigner(None, vault, CLOCK)  # type: ignore[arg-type]
    for _ in range(3):
        await signer.sign(_sending(secrets=("new",)), AT)
    assert vault.opened == 1
    await signer.sign(_sending(secrets=("new",), tenant="other-msp"), AT)
    assert vault.opened == 2


@pytest.mark.parametrize("secret", ["whsec_", "whsec_é", "whsec_a", ""])
async def test_an_unusable_secret_is_named_and_not_shown(secret: str) -> None:
    with pytest.raises(NoSecret) as refusal:
        await _signer(new=secret).sign(_sending(secrets=("new",)), AT)
    assert str(refusal.value) == "the secret is not whsec_ and base64"


async def test_no_secret_and_an_erased_one_are_told_apart() -> None:
    with pytest.raises(NoSecret, match="no secret is set"):
        await _signer().sign(_sending(secrets=()), AT)
    with pytest.raises(NoSecret, match="was erased"):
        await _signer().sign(_sending(secrets=("gone",)), AT)


async def test_the_receiver_gets_the_payload_byte_for_byte(receiver: Receiver, caller: Caller) -> None:
    answer = await caller.call(_to(receiver))
    assert (answer.reason, answer.status) == (None, 200)
    [arrival] = receiver.arrivals.values()
    assert arrival.body == '{"n":"é"}'.encode()
    assert arrival.webhook_id == "msg_1"


@pytest.mark.parametrize(
    ("answer", "reason", "status"),
    [
        (Answer(201), None, 201),
        (Answer(301, headers=(("location", "http://127.0.0.1:9/"),)), "HTTP 301", 301),
        (Answer(404), "HTTP 404", 404),
        (Answer(503), "HTTP 503", 503),
        (Answer(lose=True), "connection closed without an answer", None),
        (Answer(delay_s=5), "timeout: no answer within 1 s", None),
        (Answer(body=b"x" * 5_000_000), None, 200),
    ],
)
async def test_every_answer_has_its_words(
    receiver: Receiver, caller: Caller, answer: Answer, reason: str | None, status: int | None
) -> None:
    receiver.answer = answer
    heard = await caller.call(_to(receiver))
    assert (heard.reason, heard.status) == (reason, status)
    assert heard.duration_ms < 1500


async def test_a_wish_to_wait_is_heard_in_seconds(receiver: Receiver, caller: Caller) -> None:
    for given, heard in (("120", 120.0), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.0), ("-1", 0.0), ("1e9", 0.0)):
        receiver.answer = Answer(503, headers=(("retry-after", given),))
        assert (await caller.call(_to(receiver))).retry_after_s == heard


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:1/", "connection refused or impossible"),
        ("ftp://example.org/", "call failed (UnsupportedProtocol)"),
        ("", "call failed (UnsupportedProtocol)"),
        ("http://[::1", "the address cannot be called (InvalidURL)"),
    ],
)
async def test_an_address_that_cannot_be_called_has_its_words(
    receiver: Receiver, caller: Caller, url: str, reason: str
) -> None:
    assert (await caller.call(replace(_to(receiver), url=url))).reason == reason


async def test_a_receiver_that_drips_its_answer_is_left_after_the_time_for_the_whole(
    receiver: Receiver, caller: Caller
) -> None:
    """A timeout per read would never end."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        try:
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.1)
        except ConnectionError:
            writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    answer = await caller.call(replace(_to(receiver), url=f"http://127.0.0.1:{port}/"))
    server.close()
    assert answer.reason == "timeout: no answer within 1 s"
    assert answer.duration_ms < 1500


async def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with http_client() as client:
        caller = Caller(client, _signer(new=receiver.secret), CLOCK, timeout_s=1.0)
        assert (await caller.call(_to(receiver))).reason is None
