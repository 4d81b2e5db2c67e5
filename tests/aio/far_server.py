"""A server of HTTP that keeps its connections, and whoever asks it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from meshcore.aio.http_answer import HttpAnswer
from meshcore.aio.http_client import HttpClient

KEEP = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Far:
    """A server that answers request after request on each connection, by `play`, and counts connections."""

    def __init__(self, play: Callable[[asyncio.StreamWriter], Awaitable[None]] | bytes = KEEP) -> None:
        self._play = play
        self.url = ""
        self.opened = 0
        self.closed = 0
        self.heads: list[str] = []
        self.written = 0  # answers

    @asynccontextmanager
    async def serve(self, **settings: Any) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, **settings)
        async with server:
            scheme = "https" if settings else "http"
            yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        try:
            while True:
                self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
                if isinstance(self._play, bytes):
                    writer.write(self._play)
                else:
                    await self._play(writer)
                self.written += 1
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.closed += 1
            writer.close()


async def body_of(answer: HttpAnswer, max_bytes: int = 1 << 20) -> bytes:
    try:
        return await answer.read(max_bytes)
    finally:
        answer.release()


async def get(client: HttpClient, url: str) -> bytes:
    return await body_of(await client.request("GET", url))
