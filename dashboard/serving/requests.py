"""HTTP requests within bounds, judged while they still arrive.

Twisted collects a whole body before it calls anybody and lets a client take as long as it likes as long as
it sends a byte a minute. Here a request that is too large is refused with its headers, or with the byte too
many; one that is too slow when its time is up. The refused client gets its answer while what it still sends
is thrown away.
"""

import asyncio
import json
from http import HTTPStatus
from typing import Any

from daphne.http_protocol import HTTPFactory, WebRequest
from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, _GenericHTTPChannelProtocol

from dashboard.serving.limits import Limits

PROBLEM = "application/problem+json"
BROKEN = "the request line, a header or the framing of the body can't be read, or the head is too long"


EVENT_STREAM = b"text/event-stream"


class Valve:
    """Whether the client takes what it is sent; told by the connection, as a producer is."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()

    async def passable(self) -> None:
        """Wait until the client has taken most of what it was sent, or is gone."""
        await self._open.wait()

    def pauseProducing(self) -> None:
        """Close: more waits than the socket takes."""
        self._open.clear()

    def resumeProducing(self) -> None:
        """Open."""
        self._open.set()

    def stopProducing(self) -> None:
        """Open for good: nobody waits for a client that is gone."""
        self._open.set()


class BoundedRequest(WebRequest):
    """A request that counts its body, and whose answer goes out no faster than its client takes it."""

    content: Any = None  # Twisted's file for the body
    is_endless = False  # whether its answer is an event stream

    def __init__(self, channel: "BoundedChannel", queued: object = False) -> None:
        # Django parses forms; Twisted would do it once more, for nobody.
        super().__init__(channel, queued, parsePOSTFormSubmission=False)
        self._body_bytes = 0
        self.valve = Valve()

    def handle_reply(self, message: dict[str, Any]) -> None:
        """Do what the application says."""
        if message["type"] == "http.response.start" and self.channel is not None and not self.finished:
            self.is_endless = (b"content-type", EVENT_STREAM) in message.get("headers", ())
            self.registerProducer(self.valve, True)
        super().handle_reply(message)

    def finish(self) -> None:
        """End the answer."""
        if self.channel is not None:
            self.unregisterProducer()
        super().finish()

    def connectionLost(self, reason: Failure) -> None:
        """Let go of whoever waits for the client."""
        self.valve.stopProducing()
        super().connectionLost(reason)

    def gotLength(self, length: int | None) -> None:
        """Refuse an announced body that is too large before a byte of it is kept."""
        if length is not None and length > self.channel.limits.body_bytes:
            self.channel.refuse_body()
        else:
            super().gotLength(length)

    def handleContentChunk(self, data: bytes) -> None:
        """Keep a piece of the body, or refuse it all."""
        if self.channel.refused:
            return
        self._body_bytes += len(data)
        if self._body_bytes > self.channel.limits.body_bytes:
            self.channel.refuse_body()
        else:
            super().handleContentChunk(data)

    def process(self) -> Any:
        """Hand the whole request on; a websocket takes the connection over, and the channel is done."""
        channel = self.channel
        processing = super().process()
        if self.transport is None:
            channel.factory.channels.discard(channel)
        return processing

    def basic_error(self, status: int, status_text: bytes, body: str) -> None:
        """Answer what the server itself refuses, or fails at, in the format of the API's errors."""
        content = _document(HTTPStatus(status), body)
        headers = [(b"Content-Type", PROBLEM.encode()), (b"Content-Length", str(len(content)).encode())]
        self.handle_reply({"type": "http.response.start", "status": status, "headers": headers})
        self.handle_reply({"type": "http.response.body", "body": content})


class BoundedChannel(HTTPChannel):
    """A connection that carries requests, one after the other, each within its time."""

    requestFactory = BoundedRequest
    limits = Limits()

    def __init__(self) -> None:
        super().__init__()
        self.refused = False
        self._deadline: IDelayedCall | None = None

    @property
    def handling(self) -> bool:
        """Whether a whole request has arrived and isn't answered yet."""
        return bool(self._handlingRequest)

    def dataReceived(self, data: bytes) -> None:
        """Take what came; a request's time runs from its first byte."""
        if self.refused:
            return
        if self._deadline is None and not self.handling:
            self._deadline = self.callLater(self.limits.request_seconds, self._time_is_up)
        super().dataReceived(data)

    def lineReceived(self, line: bytes) -> None:
        """Take a line of the head, unless the request is refused already."""
        if not self.refused:
            super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:
        """Take a piece of the body, unless the request is refused already."""
        if not self.refused:
            super().rawDataReceived(data)

    def allContentReceived(self) -> None:
        """Hand the request on, unless it is refused already."""
        if not self.refused:
            self._stop_deadline()
            super().allContentReceived()

    def _send100Continue(self) -> None:
        if not self.refused:
            super()._send100Continue()

    def refuse_body(self) -> None:
        """Answer that the body is too large."""
        detail = f"the body of a request may have at most {self.limits.body_bytes} bytes"
        self.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Answer that what came can't be read; Twisted would say no more than the status."""
        if not self.refused:
            self.refuse(HTTPStatus.BAD_REQUEST, BROKEN)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Answer that a line of the head is too long; Twisted would close without a word."""
        self._respondToBadRequestAndDisconnect()

    def _time_is_up(self) -> None:
        self._deadline = None
        detail = f"the whole request must arrive within {self.limits.request_seconds:g} seconds"
        self.refuse(HTTPStatus.REQUEST_TIMEOUT, detail)

    def refuse(self, status: HTTPStatus, detail: str) -> None:
        """Answer with an error and close; what still comes is read and thrown away for a while.

        Closing at once would reset the connection, and the client would lose the answer with it.
        """
        self.refused = True
        self._stop_deadline()
        self._drop_body()
        self.setTimeout(None)
        self.transport.write(_problem(status, detail))
        self.transport.loseWriteConnection()
        self._deadline = self.callLater(self.limits.linger_seconds, self._stop_lingering)

    def _drop_body(self) -> None:
        """Close the file for what came of the body: nobody will read it."""
        request = self.requests[-1] if self.requests else None
        if request is not None and request.content is not None:
            request.content.close()
            request.content = None

    def _stop_lingering(self) -> None:
        self._deadline = None
        self.transport.abortConnection()

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def connectionLost(self, reason: Failure) -> None:
        """Forget the connection."""
        self._stop_deadline()
        self.factory.channels.discard(self)
        super().connectionLost(reason)

    def end(self) -> None:
        """Close, because the server stops: now if nothing is being answered, else after the answer.

        An event stream has no end of its own: its application is told that nobody listens any more.
        """
        self.persistent = 0
        if not self.handling:
            self.loseConnection()
        elif self.requests[0].is_endless:
            self.requests[0].send_disconnect()


def _problem(status: HTTPStatus, detail: str) -> bytes:
    """Return a whole response."""
    body = _document(status, detail)
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {PROBLEM}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def _document(status: HTTPStatus, detail: str) -> bytes:
    """Return an error in the format of the API's errors (RFC 9457)."""
    problem = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    return json.dumps(problem).encode()


class BoundedFactory(HTTPFactory):
    """Makes channels, as long as they and the websockets are not too many."""

    def __init__(self, server: Any, limits: Limits) -> None:
        super().__init__(server)
        self.timeOut = limits.idle_seconds
        self.limits = limits
        self.channels: set[BoundedChannel] = set()

    @staticmethod
    def protocol() -> _GenericHTTPChannelProtocol:
        """Wrap a channel as Twisted wants it."""
        return _GenericHTTPChannelProtocol(BoundedChannel())

    def buildProtocol(self, addr: IAddress) -> _GenericHTTPChannelProtocol | None:
        """Return what handles a new connection, or None: too many are open, close it."""
        if len(self.channels) + self.server.ws_factory.countConnections >= self.limits.connections:
            return None
        wrapped = super().buildProtocol(addr)
        wrapped.requestFactory = BoundedRequest
        channel = wrapped._channel
        channel.limits = self.limits
        self.channels.add(channel)
        return wrapped
