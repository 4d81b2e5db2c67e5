"""What tests of the shells share: waiting for a state, never for a time, and a far side that plays bytes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import EllipsisType

PATIENCE_SECONDS = 10.0  # a busy machine may be slow; a test that waits this long has failed
_STEP_SECONDS = 0.005

Step = bytes | float | EllipsisType
"""Bytes to send, seconds to wait, or `...`: silence until the client leaves."""


async def wait_until(condition: Callable[[], bool], *, seconds: float = PATIENCE_SECONDS) -> None:
    """Return as soon as `condition` holds; raises TimeoutError after `seconds`."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for is another side's state, it has no event
            await asyncio.sleep(_STEP_SECONDS)


@dataclass(frozen=True, slots=True)
class Received:
    """One request as it came: its head with the request line, and its body."""

    head: str
    body: bytes

    def header(self, name: str) -> str:
        """Return a header's value, "" when it wasn't sent."""
        prefix = f"{name.lower()}: "
        lines = (line for line in self.head.split("\r\n") if line.lower().startswith(prefix))
        return next(lines, prefix)[len(prefix) :]


class ByteServer:
    """An HTTP server that answers every request with the same steps, then closes the connection."""

    def __init__(self, *steps: Step) -> None:
        self.steps = steps
        self.requests: list[Received] = []
        self._answers: list[asyncio.Task[None]] = []
        self.left = 0  # clients that closed the connection during a silence

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Listen on a free port while the context lasts and give the URL."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for task in self._answers:
            task.cancel()
        await asyncio.gather(*self._answers, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._answers.append(asyncio.ensure_future(self._answer(reader, writer)))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._receive(reader)
            for step in self.steps:
                await self._play(step, reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client left, or spoke no HTTP
        finally:
            writer.close()

    async def _receive(self, reader: asyncio.StreamReader) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = Received(head, b"").header("Content-Length")
        self.requests.append(Received(head, await reader.readexactly(int(length or 0))))

    async def _play(self, step: Step, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if isinstance(step, bytes):
            writer.write(step)
            await writer.drain()
        elif isinstance(step, EllipsisType):
            await reader.read()
            self.left += 1
        else:
            await asyncio.sleep(step)


def http_answer(body: bytes, *, status: str = "200 OK", headers: str = "") -> bytes:
    """Return a whole HTTP answer; `headers` are lines that end with CRLF."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
"""Begins a streamed answer that ends with its connection."""
