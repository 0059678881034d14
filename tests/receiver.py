"""A customer's webhook receiver: a real HTTP server that checks Standard Webhooks signatures and remembers what came.

    async with Receiver() as receiver:          # or: await receiver.start() ... await receiver.stop()
        receiver.url, receiver.secret           # what to set as notification.webhook.url and .secret
        await receiver.wait_for(3)              # until three distinct messages were taken
        receiver.arrivals["msg_..."].count      # how often one message came (at least once: repeats are allowed)

It is an outsider: it knows the wire, and nothing of the services. ``answer`` and ``script`` make it fail on purpose.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import h11
from standardwebhooks import Webhook, WebhookVerificationError

from shared.runtime.clock import Clock, SystemClock


@dataclass(frozen=True, slots=True)
class Answer:
    """How a request is answered."""

    status: int = 200
    delay_s: float = 0.0
    """Wait so long before answering."""
    lose: bool = False
    """Take the message, then hang up without an answer: the sender cannot know."""
    body: bytes = b"ok"
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def takes(self) -> bool:
        return self.lose or 200 <= self.status < 300


@dataclass(slots=True)
class Arrival:
    """One distinct message, by its ``webhook-id``."""

    webhook_id: str
    payload: dict[str, Any]
    first_at: datetime
    first_monotonic: float
    """Seconds of the receiver's clock, for latencies inside one process."""
    body: bytes
    count: int = 1


@dataclass(frozen=True, slots=True)
class Request:
    """One verified request, whatever it was answered."""

    webhook_id: str
    answer: Answer
    at_monotonic: float


@dataclass
class Receiver:
    """Listens on a free port of the loopback once started, and on the same one if it is started again."""

    secret: str = "whsec_" + base64.b64encode(b"a receiver's secret of 32 bytes!").decode()
    port: int = 0
    on_arrival: Callable[[Arrival], None] | None = None
    """Called once for each distinct message, when it first comes."""
    clock: Clock = field(default_factory=SystemClock)
    answer: Answer = Answer()
    """How every request is answered..."""
    script: deque[Answer] = field(default_factory=deque)
    """...after these, each used once."""
    arrivals: dict[str, Arrival] = field(default_factory=dict)
    """Messages taken (answered 2xx, or taken and not answered), in order of first arrival."""
    requests: list[Request] = field(default_factory=list)
    """Every verified request, in order."""
    refused: list[str] = field(default_factory=list)
    """Why requests failed verification (answered 401): empty, unless somebody signs wrongly."""

    def __post_init__(self) -> None:
        self._changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/alerts"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop at once, as if killed: nothing listens and every connection is cut. What arrived stays readable."""
        if self._server is not None:
            self._server.close()
            for task in self._connections:
                task.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)
            self._server = None

    async def __aenter__(self) -> Receiver:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def wait_for(self, n: int, timeout_s: float = 30.0) -> list[Arrival]:
        """Until ``n`` distinct messages were taken; returns them in order. Raises ``TimeoutError`` saying what came."""
        return await self.until(lambda: len(self.arrivals) >= n, f"{n} messages", timeout_s)

    async def wait_for_requests(self, n: int, timeout_s: float = 30.0) -> list[Arrival]:
        """Until ``n`` verified requests came, however they were answered."""
        return await self.until(lambda: len(self.requests) >= n, f"{n} requests", timeout_s)

    async def until(self, done: Callable[[], bool], what: str, timeout_s: float = 30.0) -> list[Arrival]:
        """Until ``done()`` holds, which is asked after each request."""
        try:
            async with asyncio.timeout(timeout_s):
                while not done():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(
                f"waited {timeout_s} s for {what}: {len(self.arrivals)} messages in {len(self.requests)} requests came,"
                f" {len(self.refused)} were refused {self.refused[:3]}"
            ) from None
        return list(self.arrivals.values())

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            # Cancelled by stop() alone; the stream's own callback would report it as an error.
            with contextlib.suppress(ConnectionError, h11.RemoteProtocolError, asyncio.CancelledError):
                await self._converse(reader, writer)
        finally:
            self._connections.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Requests of one kept-alive connection, one after another."""
        http = h11.Connection(h11.SERVER)
        while (request := await _request(http, reader)) is not None:
            answer = await self._answer(*request)
            if answer.lose:
                return
            writer.write(_response(http, answer))
            await writer.drain()
            if http.our_state is h11.MUST_CLOSE:
                return
            http.start_next_cycle()

    async def _answer(self, headers: dict[str, str], body: bytes) -> Answer:
        at, at_monotonic = self.clock.now(), self.clock.monotonic()
        try:
            Webhook(self.secret).verify(body, headers, json_parse=False)
        except (WebhookVerificationError, ValueError) as error:
            self.refused.append(str(error))
            self._changed.set()
            return Answer(status=401)
        answer = self.script.popleft() if self.script else self.answer
        self.requests.append(Request(headers["webhook-id"], answer, at_monotonic))
        if answer.takes:
            self._take(Arrival(headers["webhook-id"], json.loads(body), at, at_monotonic, body))
        self._changed.set()
        await asyncio.sleep(answer.delay_s)
        return answer

    def _take(self, arrival: Arrival) -> None:
        known = self.arrivals.setdefault(arrival.webhook_id, arrival)
        if known is not arrival:
            known.count += 1
        elif self.on_arrival is not None:
            self.on_arrival(arrival)


async def _request(http: h11.Connection, reader: asyncio.StreamReader) -> tuple[dict[str, str], bytes] | None:
    """Headers (names in lower case) and body of the next request; none when the other side is done."""
    headers: dict[str, str] = {}
    body = b""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            http.receive_data(await reader.read(65_536))
        elif isinstance(event, h11.Request):
            headers = {name.decode(): value.decode() for name, value in event.headers}
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return headers, body
        else:
            return None


def _response(http: h11.Connection, answer: Answer) -> bytes:
    headers = [*answer.headers, ("content-length", str(len(answer.body)))]
    parts = (
        h11.Response(status_code=answer.status, headers=headers),
        h11.Data(data=answer.body),
        h11.EndOfMessage(),
    )
    return b"".join(http.send(part) or b"" for part in parts)
