"""One address in front of others: passes connections on, and can be cut, as if nobody was there.

So a server that others use too is stopped and started for one process alone.
"""

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

CHUNK_BYTES = 65536
CONNECT_SECONDS = 5.0


class Switchboard:
    """Listens on a port of its own; each connection goes to the first of `targets` that takes it."""

    def __init__(self, targets: Sequence[str]) -> None:
        self.targets = list(targets)  # "host:port"
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._server: asyncio.Server | None = None
        self._calls: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.mend()

    @property
    def address(self) -> str:
        """Where it listens: "host:port"."""
        return f"127.0.0.1:{self.port}"

    def mend(self) -> None:
        """Take connections."""
        self._run(self._listen())

    def cut(self) -> None:
        """End all connections and refuse new ones."""
        self._run(self._end())

    def close(self) -> None:
        """End for good."""
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, step: Any) -> None:
        asyncio.run_coroutine_threadsafe(step, self._loop).result(CONNECT_SECONDS * 2)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = asyncio.current_task()
        assert call is not None
        self._calls.add(call)
        try:
            far = await self._first_that_answers()
            if far is not None:
                await _join((reader, writer), far)
        except asyncio.CancelledError:
            return
        finally:
            self._calls.discard(call)
            writer.transport.abort()

    async def _first_that_answers(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for target in self.targets:
            host, _, port = target.rpartition(":")
            with contextlib.suppress(OSError, TimeoutError):
                return await asyncio.wait_for(asyncio.open_connection(host, int(port)), CONNECT_SECONDS)
        return None


Side = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _join(near: Side, far: Side) -> None:
    """Pass bytes in both directions until one side ends."""
    ways = [asyncio.create_task(_pass_on(near[0], far[1])), asyncio.create_task(_pass_on(far[0], near[1]))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        far[1].transport.abort()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()


@contextlib.contextmanager
def switchboard(*targets: str) -> Iterator[Switchboard]:
    """Put one in front of `targets` while the context lasts."""
    board = Switchboard(targets)
    try:
        yield board
    finally:
        board.close()
