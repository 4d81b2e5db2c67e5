"""Open pages as sockets: lean websocket clients that acknowledge what comes and note when it came."""

import asyncio
import re
import resource
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.servers import ServerFailed

HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\nCookie: {cookie}\r\n"
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
NUMBER = re.compile(rb'data-no="(\d+)"')
SHORT, LONG = 126, 127  # how a frame's length is written (RFC 6455 §5.2)
OPEN_SECONDS = 120.0
OPEN_AT_ONCE = 10  # a server that is busy with more hangs up on some

Heard = Callable[[bytes], None]
"""Gets each message."""


class Page(asyncio.Protocol):
    """One socket; `heard` gets each message after it was acknowledged, if it has a number."""

    def __init__(self, request: str, heard: Heard) -> None:
        self._request = request
        self._heard = heard
        self._transport: asyncio.Transport | None = None
        self._came = bytearray()
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
            transport.write(self._request.encode())

    def connection_lost(self, exc: Exception | None) -> None:
        """Say so to whoever waits for the opening."""
        if not self.opened.done():
            self.opened.set_exception(ServerFailed("a page was hung up on"))

    def data_received(self, data: bytes) -> None:
        """Take what came apart into messages."""
        self._came += data
        if not self.opened.done():
            head, end, rest = bytes(self._came).partition(b"\r\n\r\n")
            if not end:
                return
            if b" 101 " not in head[:16]:
                self.opened.set_exception(ServerFailed(f"a page is answered with {head[:32]!r}"))
                return
            self._came = bytearray(rest)
            self.opened.set_result(None)
        while (message := self._next()) is not None:
            found = NUMBER.search(message[:200])
            if found is not None:
                self.say(b'{"ack": %s}' % found[1])
            self._heard(message)

    def say(self, text: bytes) -> None:
        """Send a short text, masked by zeros: who measures needn't hide anything."""
        if self._transport is not None:
            self._transport.write(bytes((0x81, 0x80 | len(text))) + bytes(4) + text)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    def _next(self) -> bytes | None:
        came = self._came
        if len(came) < 2:
            return None
        size, begin = came[1] & 0x7F, 2
        if size == SHORT:
            size, begin = int.from_bytes(came[2:4]), 4
        elif size == LONG:
            size, begin = int.from_bytes(came[2:10]), 10
        if len(came) < begin + size:
            return None
        message = bytes(came[begin : begin + size])
        del came[: begin + size]
        return message


async def opened(port: int, path: str, cookie: str, heard: Iterable[Heard]) -> list[Page]:
    """Open a page for each of `heard`. Raises ServerFailed."""
    some = asyncio.Semaphore(OPEN_AT_ONCE)
    request = HANDSHAKE.format(path=path, port=port, cookie=cookie)

    async def one(each: Heard) -> Page:
        async with some:
            loop = asyncio.get_running_loop()
            _, page = await loop.create_connection(lambda: Page(request, each), "127.0.0.1", port)
            await page.opened
            return page

    async with asyncio.timeout(OPEN_SECONDS):
        return list(await asyncio.gather(*map(one, heard)))


@dataclass(frozen=True, slots=True)
class Span:
    """When a change began, and when the first and the last page had it."""

    begin: float
    first: float
    last: float


class Round:
    """One change on its way to so many pages: how long until each has a message with `marker`."""

    def __init__(self, count: int) -> None:
        self._missing = count
        self._marker = b""
        self._begin = 0.0
        self._seen: set[int] = set()
        self.all_there = asyncio.Event()
        self.taken: list[float] = []
        self.spans: list[Span] = []

    def begin(self, marker: bytes) -> None:
        """Begin to wait for `marker`."""
        self._marker, self._begin = marker, time.perf_counter()
        self._seen.clear()
        self.all_there.clear()

    def heard_by(self, number: int) -> Heard:
        """Return what takes the messages of page `number`."""

        def heard(message: bytes) -> None:
            if self._marker and number not in self._seen and self._marker in message:
                self._seen.add(number)
                self.taken.append(time.perf_counter() - self._begin)
                if len(self._seen) == self._missing:
                    self._note_span()

        return heard

    def _note_span(self) -> None:
        first, last = self.taken[-self._missing], self.taken[-1]
        self.spans.append(Span(self._begin, self._begin + first, self._begin + last))
        self.all_there.set()


def allow_sockets(count: int) -> None:
    """Let this process open so many sockets. Raises ServerFailed when it may not."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + 200
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise ServerFailed(f"{wanted} open files are needed, the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
