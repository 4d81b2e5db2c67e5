"""What a client sends: the head of a request, and its body as it comes."""

import asyncio
from collections.abc import Callable
from typing import Protocol
from urllib.parse import unquote, urlsplit

from meshcore.aio.http_fields import Headers

AHEAD_MAX_BYTES = 64 << 10  # of a body that nobody asked for yet; then its client has to wait


class BodyTooLarge(Exception):
    """There is more of a body than its reader takes."""


class BodyBroken(Exception):
    """A body ended, or went on, otherwise than its head announced."""


class Body:
    """A body on its way from its connection to its reader; `on_wanted` is called when somebody waits."""

    __slots__ = ("_broken", "_done", "_max_bytes", "_on_wanted", "_pieces", "_size", "complete")

    def __init__(self, on_wanted: Callable[[], None]) -> None:
        self.complete = False
        self._broken = False
        self._on_wanted = on_wanted
        self._pieces: list[bytes] = []
        self._size = 0
        self._max_bytes: int | None = None  # None: nobody wants it yet
        self._done: asyncio.Future[None] | None = None

    @property
    def is_ahead(self) -> bool:
        """Return whether more came than is kept for a reader who isn't there yet."""
        return self._max_bytes is None and self._size > AHEAD_MAX_BYTES

    def feed(self, data: bytes) -> None:
        """Take the next bytes; beyond the reader's bound they are forgotten."""
        self._size += len(data)
        if self._max_bytes is None or self._size <= self._max_bytes:
            self._pieces.append(data)
        else:
            self._end()

    def end(self) -> None:
        """Take the end."""
        self.complete = True
        self._end()

    def fail(self) -> None:
        """Take the news that there will be no proper end."""
        self._broken = not self.complete
        self._end()

    async def read(self, max_bytes: int) -> bytes:
        """Return the whole body, once; raises BodyTooLarge, BodyBroken."""
        self._max_bytes = max_bytes
        if not (self.complete or self._broken or self._size > max_bytes):
            self._done = asyncio.get_running_loop().create_future()
            self._on_wanted()
            await self._done
        pieces, self._pieces = self._pieces, []
        if self._size > max_bytes:
            raise BodyTooLarge
        if self._broken:
            raise BodyBroken
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _end(self) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(None)


class Channel(Protocol):
    """The way back to who sent a request."""

    def head(self, request: "Request", status: int, lines: str) -> bytes:
        """Return the head of an answer whose own header lines are given."""

    async def write(self, data: bytes, *, within_seconds: float | None = None) -> None:
        """Send bytes and wait until there is room for more.

        ConnectionError when the client is gone, when it takes nothing at all, and when there is no room
        `within_seconds`.
        """


class Request:
    """A request whose head came; `parts` are what its route's pattern names."""

    __slots__ = (
        *("begun", "body", "channel", "headers", "host", "is_http_1_0", "keep_alive"),
        *("method", "parts", "path", "query", "remote"),
    )

    def __init__(
        self,
        method: str,
        target: str,
        headers: Headers,
        body: Body,
        channel: Channel,
        *,
        remote: str | None,
        keep_alive: bool,
        is_http_1_0: bool,
    ) -> None:
        """Raises ValueError when the target is none."""
        self.method = method
        self.headers = headers
        self.host, self.path, self.query = _split(target, headers)
        self.body = body
        self.channel = channel
        self.remote = remote
        self.keep_alive = keep_alive
        self.is_http_1_0 = is_http_1_0
        self.begun = False  # the head of its answer is on its way
        self.parts: dict[str, str] = {}


def _split(target: str, headers: Headers) -> tuple[str | None, str, str]:
    """Return host, with its port, path, decoded, and query; a target that names a host overrules the header
    (RFC 9112 §3.2.2).
    """
    host: str | None = None
    if not target.startswith("/"):
        parts = urlsplit(target)
        host, target = parts.netloc or None, f"{parts.path}?{parts.query}"
    path, _, query = target.partition("?")
    host = host if host is not None else headers.get("Host") or None
    return host, unquote(path) if "%" in path else path, query
