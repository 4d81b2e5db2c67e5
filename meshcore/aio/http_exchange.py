"""One exchange with an HTTP/1.1 server, by the parser of Node.js (llhttp): a request out, an answer in.

A connection whose answer was not read to its end is closed, at once, and never used again.
"""

import asyncio
import select
from functools import partial
from typing import Protocol, cast

import httptools

from meshcore.aio.http_answer import HttpAnswer
from meshcore.aio.http_fields import Fields, Headers
from meshcore.aio.http_terms import Broken, NotHttp, Origin

HEAD_MAX_BYTES = 64 << 10  # of one header of an answer
HEADERS_MAX = 256  # lines, of all heads that come for one request
INTERIM_MAX = 16  # heads with a status of 1xx before the answer
WITHOUT_BODY = frozenset({204, 304})


class Pool(Protocol):
    """Where a connection belongs; `buffer` is what it is read into."""

    buffer: memoryview

    def opened(self, connection: "Connection") -> None:
        """Know of a connection."""

    def lost(self, connection: "Connection") -> None:
        """Forget a connection."""

    def give_back(self, connection: "Connection", *, reusable: bool) -> None:
        """Take a connection that its answer needs no longer."""


class Connection(asyncio.BufferedProtocol):
    """A connection; `_answer` is there while one is awaited or read."""

    def __init__(self, pool: Pool, origin: Origin) -> None:
        self.origin = origin
        self.idle_since = 0.0
        self._pool = pool
        self._answer: HttpAnswer | None = None
        self._fields: Fields = {}
        self._lines = self._interim = 0  # header lines and heads of 1xx since the request
        self._unread_bytes = 0  # that the parser made nothing of yet
        self._pieces: list[bytes] = []  # of the body, from one reading
        self.on_body = self._pieces.append  # for the parser, which calls it for each chunk
        self._ends_with_connection = False
        self._is_done = False  # the answer is whole
        self._is_reusable = False
        self._is_paused = False
        self._rest: asyncio.TimerHandle | None = None  # set while the end of an answer is waited for
        self._parser = httptools.HttpResponseParser(self)  # looks up what it shall call

    @property
    def is_open(self) -> bool:
        """Return whether requests may be sent."""
        return not self._transport.is_closing()

    @property
    def is_quiet(self) -> bool:
        """Return whether nothing waits to be read: no end, and no answer that nobody asked for.

        What the loop hasn't seen yet would else be taken for the answer to the next request.
        """
        waiting = select.poll()
        waiting.register(self._transport.get_extra_info("socket"), select.POLLIN)
        return not waiting.poll(0)

    async def exchange(self, request: bytes) -> HttpAnswer:
        """Send a request and return its answer."""
        answer = self._answer = HttpAnswer(self)
        self._is_done = self._is_reusable = False
        self._lines = self._interim = 0
        try:
            if not self.is_open:  # it broke while it was being made: nobody would tell the answer
                raise Broken
            self._transport.write(request)
            await answer.head()
        except BaseException:
            answer.release()
            raise
        return answer

    def read_on(self) -> None:
        """Let more come, if it was told to wait."""
        if self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()

    def release(self, *, is_whole: bool) -> None:
        """End an exchange."""
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        self._answer = None
        self.read_on()
        self._pool.give_back(self, reusable=is_whole and self._is_reusable and self.is_open)

    def release_later(self, seconds: float) -> None:
        """End an exchange at the end of its answer, which nobody reads, or when that doesn't come in time."""
        self._rest = asyncio.get_running_loop().call_later(seconds, partial(self.release, is_whole=False))
        self.read_on()

    def close(self) -> None:
        """Close the connection, whatever is on its way."""
        self._transport.abort()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._pool.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.lost(self)
        answer = self._answer
        if answer is None or self._is_done:
            return
        if self._rest is not None:
            self.release(is_whole=False)
            return
        if exc is None and self._ends_with_connection:
            answer.end()
        else:
            error = Broken()
            error.__cause__ = exc
            answer.fail(error)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._pool.buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._answer is None:  # nobody asked
            self.close()
            return
        self._unread_bytes += nbytes
        try:
            self._parser.feed_data(self._pool.buffer[:nbytes])
            if self._pieces:
                self._take_pieces()
            if self._unread_bytes > HEAD_MAX_BYTES:
                raise ValueError("a header is too long")
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, ValueError) as exc:
            self._is_reusable = False
            self._take_pieces()
            if self._answer is None or self._rest is not None:
                self.close()
            elif not self._is_done:
                error = NotHttp()
                error.__cause__ = exc
                self._answer.fail(error)

    # What the parser calls

    def on_message_begin(self) -> None:
        self._fields = {}
        self._is_reusable = False  # what begins behind a whole answer is nothing that was asked for
        if self._answer is None:
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._unread_bytes = 0
        self._lines += 1
        if self._lines > HEADERS_MAX:
            raise ValueError("too many headers")
        self._fields.setdefault(name.lower(), value)

    def on_headers_complete(self) -> None:
        self._unread_bytes = 0
        status = self._parser.get_status_code()
        if status < 200:
            self._interim += 1
            if status < 100 or self._interim > INTERIM_MAX:
                raise ValueError("no answer, or none after so many that aren't the last")
        if status < 200 or self._answer is None or self._is_done:
            return
        fields = self._fields
        if fields.get(b"content-encoding", b"identity") != b"identity":
            raise ValueError("packed, which wasn't asked for")
        is_bounded = b"content-length" in fields or b"transfer-encoding" in fields
        self._ends_with_connection = not is_bounded and status not in WITHOUT_BODY
        self._answer.begin(status, Headers(fields))

    def on_message_complete(self) -> None:
        self._unread_bytes = 0
        if self._answer is None or self._is_done or self._parser.get_status_code() < 200:
            return
        self._take_pieces()
        self._is_done = True
        self._is_reusable = self._parser.should_keep_alive()
        self._answer.end()
        if self._rest is not None:
            self.release(is_whole=True)

    def _take_pieces(self) -> None:
        """Hand on what one reading brought of the body, unless it belongs to nothing that was asked for."""
        pieces = self._pieces
        self._unread_bytes = 0
        answer = None if self._is_done or self._rest is not None else self._answer
        if answer is not None and answer.feed(pieces) and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        pieces.clear()
