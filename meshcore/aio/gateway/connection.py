"""One client's connection: HTTP/1.1 by the parser of Node.js (llhttp), and the bounds of what is read.

         a head is whole                   all is answered
IDLE ──────────────────────► ANSWERING ──────────────────────► IDLE
 │ silent for 75 s, no HTTP      │ the client is gone: its handler is cancelled
 ▼                               ▼
LINGERING ───── 2 s ─────────► CLOSED

Requests of one connection are answered one after the other; while several wait, nothing more is read.
"""

import asyncio
import logging
from collections import deque
from types import SimpleNamespace
from typing import cast

import httptools

from meshcore.aio.gateway.answers import Dateline, Handler, answer_to, refusal, status_line
from meshcore.aio.gateway.head import HEADER_MAX_BYTES, HEADERS_MAX, Head
from meshcore.aio.gateway.message import Body, Request
from meshcore.aio.gateway.outlet import Outlet
from meshcore.aio.http_fields import Headers

WAITING_MAX = 16  # requests sent before the one in front was answered; more is answered 400
UNREAD_BEHIND = WAITING_MAX // 2  # while so many wait, nothing more is read, not even that the client left
KEEPALIVE_SECONDS = 75.0  # an idle connection is closed, also one that never sent a whole request
LINGER_SECONDS = 2.0  # a client whose body was refused may still read why
EXPECTED = (
    "expected an HTTP/1.1 request with "
    f"at most {HEADERS_MAX} headers, each of at most {HEADER_MAX_BYTES} bytes"
)
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

logger = logging.getLogger(__name__)


class Connection(asyncio.BufferedProtocol):
    """Hands requests to `handler` and sends what it answers.

    It is in `connections` from its begin until nothing of it is left. What the parser can't read is refused
    in OpenAI's shape; its bytes are shown neither to the client nor to the log, for they may be a key in a
    header that is a little too long.
    """

    def __init__(
        self, handler: Handler, dateline: Dateline, connections: "set[Connection]", buffer: memoryview
    ) -> None:
        self._handler = handler
        self._buffer = buffer
        self._dateline = dateline
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._is_last = False  # nothing that still comes is read
        self._is_paused = False
        self.idle_since = self._loop.time()
        self._unread_bytes = 0  # that the parser made nothing of yet
        self._head = Head()
        self._body: Body | None = None  # of the request that is being read, once its head is whole
        self._offers = False  # that request wants another protocol, and its body was not begun

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._outlet = Outlet(self._transport)
        address = transport.get_extra_info("peername")
        self._remote: str | None = address[0] if isinstance(address, tuple) else None
        self._connections.add(self)
        self._timer = self._loop.call_later(KEEPALIVE_SECONDS, self._look_after)

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._is_last = True
        if self._body is not None:
            self._body.fail()
        if self._task is None:
            self._connections.discard(self)
        else:
            self._task.cancel()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._is_last:
            return
        self._unread_bytes += nbytes
        try:
            self._parse(self._buffer[:nbytes])
            if self._unread_bytes > HEADER_MAX_BYTES:
                raise ValueError("a header is too long")
        except (httptools.HttpParserError, ValueError) as exc:
            self._refuse(exc)

    def pause_writing(self) -> None:
        self._outlet.pause()

    def resume_writing(self) -> None:
        self._outlet.go_on()

    # What the parser calls; errors come out in `buffer_updated`

    def on_message_begin(self) -> None:
        self._head, self._body = Head(), None

    def on_url(self, part: bytes) -> None:
        self._head.add_target(part)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._unread_bytes = 0
        if self._body is None:  # else it is behind a body: nobody here knows what to do with it
            self._head.add_field(name, value)

    def on_headers_complete(self) -> None:
        self._unread_bytes = 0
        version = self._parser.get_http_version()
        self._head.check_framing(version)
        if len(self._waiting) >= WAITING_MAX:
            raise ValueError("too many requests at once")
        self._offers = self._parser.should_upgrade()
        self._body = body = Body(self._wanted)
        request = Request(
            self._parser.get_method().decode("ascii"),
            self._head.target.decode("latin-1"),
            Headers(self._head.fields),
            body,
            self,
            remote=self._remote,
            keep_alive=version == "1.1" and self._parser.should_keep_alive() and not self._offers,
            is_http_1_0=version == "1.0",
        )
        self._waiting.append(request)
        if self._task is None:
            self._task = self._loop.create_task(self._answer_all())
        else:
            self._regulate()

    def on_body(self, data: bytes) -> None:
        self._unread_bytes = 0
        if self._body is not None:
            self._body.feed(data)
            if self._body.is_ahead:
                self._regulate()

    def on_message_complete(self) -> None:
        self._unread_bytes = 0
        if self._body is not None and not (self._offers and self._head.has_body):
            self._body.end()

    # What requests call

    def head(self, request: Request, status: int, lines: str) -> bytes:
        request.begun = True
        end = "\r\n" if self._goes_on(request) else "Connection: close\r\n\r\n"
        return f"{status_line(status)}{self._dateline()}{lines}{end}".encode("latin-1")

    async def write(self, data: bytes, *, within_seconds: float | None = None) -> None:
        await self._outlet.write(data, within_seconds=within_seconds)

    # What the server calls

    @property
    def task(self) -> asyncio.Task[None] | None:
        """What answers requests now."""
        return self._task

    def finish(self) -> None:
        """Close, behind the answer that is being given."""
        self._is_last = True
        if self._task is None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once, in the middle of an answer."""
        self._transport.abort()

    def _parse(self, data: memoryview) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            self._decline(data[exc.args[0] :])

    def _decline(self, rest: memoryview) -> None:
        """Stay with HTTP/1.1, as the last request: the parser takes all behind a head for the other protocol.

        Java's client offers HTTP/2 with each request, and sends its body all the same.
        """
        if not self._head.has_body:
            self._is_last = True
            return
        self._offers = False
        reads_on = SimpleNamespace(on_body=self.on_body, on_message_complete=self.on_message_complete)
        self._parser = httptools.HttpRequestParser(reads_on)
        self._parser.feed_data(self._head.without_offer())
        self._parser.feed_data(rest)

    async def _answer_all(self) -> None:
        try:
            while self._waiting:
                request = self._waiting.popleft()
                self._regulate()
                await self._answer(request)
                if not self._goes_on(request):
                    self._hang_up()
                    break
        except ConnectionError:
            self._transport.abort()
        finally:
            self._task = None
            self.idle_since = self._loop.time()
            if self._transport.is_closing():
                self._connections.discard(self)

    async def _answer(self, request: Request) -> None:
        answer = await answer_to(request, self._handler)
        if answer is not None:
            head = self.head(request, answer.status, answer.header_lines())
            await self.write(head if request.method == "HEAD" else head + answer.body)

    def _goes_on(self, request: Request) -> bool:
        may_follow = bool(self._waiting) or not self._is_last
        return may_follow and request.keep_alive and request.body.complete

    def _wanted(self) -> None:
        """Let a body come that somebody waits for."""
        if self._head.asks_first and self._parser.get_http_version() != "1.0":
            self._transport.write(CONTINUE)
        self._regulate()

    def _regulate(self) -> None:
        """Read on, unless what was read waits."""
        too_much = len(self._waiting) >= UNREAD_BEHIND or (self._body is not None and self._body.is_ahead)
        if too_much is not self._is_paused:
            self._is_paused = too_much
            (self._transport.pause_reading if too_much else self._transport.resume_reading)()

    def _refuse(self, exc: Exception) -> None:
        """End at what is no HTTP; what came before it is answered."""
        if self._body is not None:
            self._body.fail()
        self._is_last = True
        if self._task is not None:
            return
        logger.info("refused what is no HTTP request: %s", type(exc).__name__)
        answer = refusal(400, "bad_request", EXPECTED)
        lines = f"{status_line(400)}{self._dateline()}{answer.header_lines()}Connection: close\r\n\r\n"
        self._transport.write(lines.encode() + answer.body)
        self._hang_up()

    def _hang_up(self) -> None:
        """Close behind what was written; a client that still sends may read that before."""
        self._is_last = True
        self._timer.cancel()
        if self._body is not None and self._body.complete:
            self._timer = self._outlet.close()
            return
        self._transport.write_eof()
        self._transport.resume_reading()
        self._timer = self._loop.call_later(LINGER_SECONDS, self._transport.abort)

    def _look_after(self) -> None:
        """Close a connection that was idle for too long."""
        now = self._loop.time()
        idle_until = (self.idle_since if self._task is None else now) + KEEPALIVE_SECONDS
        if idle_until > now:
            self._timer = self._loop.call_at(idle_until, self._look_after)
        else:
            self._transport.close()
