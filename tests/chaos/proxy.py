"""A TCP proxy that cuts connections where it hurts: before the request, after it, and in the middle of the reply."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Self

_CHUNK = 65_536


class CuttingProxy:
    """Forwards to a port of this machine; of all requests a share ``cuts`` (0 to 1) meets one of the three cuts."""

    def __init__(self, target: int, rng: random.Random) -> None:
        self.cuts = 0.0
        self.done: Counter[str] = Counter()
        self._target = target
        self._rng = rng
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def _serve(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            server_in, server_out = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            client_out.transport.abort()
            return
        try:
            connection = _Connection(self, client_in, client_out, server_in, server_out)
            await asyncio.gather(connection.requests(), connection.replies())
        except OSError:
            pass
        finally:
            client_out.transport.abort()
            server_out.transport.abort()
            self._tasks.discard(task)

    def cut(self) -> str | None:
        """Where the next request is cut, if it is."""
        if self._rng.random() >= self.cuts:
            return None
        where = self._rng.choice(("before the request", "after the request", "in the reply"))
        self.done[where] += 1
        return where


class _Connection:
    def __init__(
        self,
        proxy: CuttingProxy,
        client_in: asyncio.StreamReader,
        client_out: asyncio.StreamWriter,
        server_in: asyncio.StreamReader,
        server_out: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._client_in, self._client_out = client_in, client_out
        self._server_in, self._server_out = server_in, server_out
        self._cut_reply = False

    async def requests(self) -> None:
        while data := await self._client_in.read(_CHUNK):
            match self._proxy.cut():
                case "before the request":
                    raise ConnectionAbortedError
                case "after the request":
                    self._server_out.write(data)
                    await self._server_out.drain()
                    # The server gets it whole and answers to nobody.
                    self._client_out.transport.abort()
                    continue
                case "in the reply":
                    self._cut_reply = True
            self._server_out.write(data)
            await self._server_out.drain()
        self._server_out.write_eof()

    async def replies(self) -> None:
        while data := await self._server_in.read(_CHUNK):
            if self._cut_reply:
                self._client_out.write(data[: len(data) // 2])
                raise ConnectionAbortedError
            if not self._client_out.transport.is_closing():
                self._client_out.write(data)
                await self._client_out.drain()
        raise ConnectionAbortedError
