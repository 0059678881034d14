"""The receiver that the demo and the tests trust: it takes what is signed, once per message, and refuses the rest."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest
from standardwebhooks import Webhook

from shared.runtime.clock import SystemClock
from tests.receiver import Answer, Receiver


async def _post(client: httpx.AsyncClient, receiver: Receiver, webhook_id: str, body: str = '{"n":1}') -> int:
    # The library reads naive parts of the datetime as UTC.
    now = SystemClock().now()
    headers = {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(receiver.secret).sign(webhook_id, now, body),
    }
    return (await client.post(receiver.url, content=body, headers=headers)).status_code


async def test_it_takes_signed_messages_and_counts_repeats() -> None:
    async with Receiver() as receiver, httpx.AsyncClient() as client:
        seen = []
        receiver.on_arrival = seen.append
        assert [await _post(client, receiver, name) for name in ("msg_a", "msg_b", "msg_a")] == [200, 200, 200]
        first, second = await receiver.wait_for(2)
        assert (first.webhook_id, first.count, second.count) == ("msg_a", 2, 1)
        assert first.payload == {"n": 1}
        assert first.first_at.tzinfo is UTC
        assert [arrival.webhook_id for arrival in seen] == ["msg_a", "msg_b"]


async def test_it_refuses_a_wrong_signature_and_a_stale_one() -> None:
    async with Receiver() as receiver, httpx.AsyncClient() as client:
        body, old = "{}", datetime(2021, 2, 25, 16, 55, 30, tzinfo=UTC)
        for stamp, secret in ((SystemClock().now(), "whsec_b3RoZXI="), (old, receiver.secret)):
            headers = {
                "webhook-id": "msg_a",
                "webhook-timestamp": str(int(stamp.timestamp())),
                "webhook-signature": Webhook(secret).sign("msg_a", stamp, body),
            }
            assert (await client.post(receiver.url, content=body, headers=headers)).status_code == 401
        assert (await client.post(receiver.url, content=body)).status_code == 401
        assert len(receiver.refused) == 3
        assert not receiver.arrivals


async def test_it_fails_as_it_is_told_and_recovers() -> None:
    async with Receiver() as receiver, httpx.AsyncClient() as client:
        receiver.script.extend([Answer(500), Answer(lose=True)])
        assert await _post(client, receiver, "msg_a") == 500
        assert not receiver.arrivals
        with pytest.raises(httpx.RemoteProtocolError):
            await _post(client, receiver, "msg_a")
        assert receiver.arrivals["msg_a"].count == 1
        assert await _post(client, receiver, "msg_a") == 200
        assert receiver.arrivals["msg_a"].count == 2


async def test_stopped_it_refuses_connections_and_starts_again_on_the_same_port() -> None:
    receiver = Receiver()
    async with httpx.AsyncClient() as client:
        await receiver.start()
        await _post(client, receiver, "msg_a")
        await receiver.stop()
        with pytest.raises(httpx.TransportError):
            await _post(client, receiver, "msg_b")
        await receiver.start()
        assert await _post(client, receiver, "msg_b") == 200
        assert list(receiver.arrivals) == ["msg_a", "msg_b"]
        await receiver.stop()


async def test_waiting_in_vain_says_what_came() -> None:
    async with Receiver() as receiver:
        with pytest.raises(TimeoutError, match="0 messages in 0 requests"):
            await receiver.wait_for(1, timeout_s=0.05)
