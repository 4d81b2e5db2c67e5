"""Orders and looks at a gate, over sockets of our own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress

import pytest

from benchmarks.drain import Place, drains, line
from benchmarks.servers import ServerFailed

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
CLOSED = b"HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n{}"


class Mesh:
    """A dashboard and the gate of its node; what it was asked is in `heard`."""

    def __init__(self, *, answer: bytes = OK, looks: int = 0, lines: int = 2) -> None:
        self.heard: list[str] = []
        self._answer = answer
        self._looks = looks  # at the gate, before it does what was ordered
        self._lines = lines  # that end before all is over
        self._left = 0
        self._closed = False
        self._ended = asyncio.Semaphore(0)

    @asynccontextmanager
    async def place(self, server: object = None) -> AsyncIterator[Place]:
        async with await asyncio.start_server(self._serve, "127.0.0.1", 0) as both:
            port = both.sockets[0].getsockname()[1]
            yield Place(server=server, dashboard=port, node=port, token="msh_t")  # type: ignore[arg-type]
            for _ in range(self._lines):
                await self._ended.acquire()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(asyncio.IncompleteReadError):  # it hung up
            while self._answer or not self.heard:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
                await reader.readexactly(length)
                writer.write(self._answered(head.split(b" ", 1)[0].decode()))
        self._ended.release()

    def _answered(self, method: str) -> bytes:
        if method != "GET":
            self.heard.append(method)
            self._left, self._closed = self._looks, method == "PUT"
            return self._answer
        self._left -= 1
        return CLOSED if self._closed == (self._left < 0) else OK


async def test_a_turn_drains_once_at_least_and_gives_the_node_back() -> None:
    mesh = Mesh(looks=3)

    async with mesh.place() as place:
        taken = await drains(place, 0.0)

    assert len(taken) == 1
    assert taken[0] > 0
    assert mesh.heard == ["PUT", "DELETE"]


async def test_an_order_that_is_refused_is_a_sentence() -> None:
    async with Mesh(answer=FORBIDDEN).place() as place:
        with pytest.raises(ServerFailed, match="PUT /api/v1/nodes/bench/drain is answered with 403"):
            await drains(place, 0.0)


async def test_a_server_that_hangs_up_is_a_sentence() -> None:
    async with Mesh(answer=b"", lines=1).place() as place, line(place.dashboard) as api:
        with pytest.raises(ServerFailed, match="DELETE /x: no whole answer"):
            await api.ask("DELETE", "/x")
