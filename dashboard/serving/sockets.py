"""Websockets within bounds: Daphne's protocol, with close codes that arrive and an inbox that pushes back."""

import asyncio
from collections.abc import Callable
from typing import Any

from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol

from dashboard.serving.limits import Limits

GOING_AWAY_RESTART = 1012  # "service restart": the client may come back at once
HEAD_BYTES = 6  # of a short frame of a client: two, and the mask
SHORT_MAX_BYTES = 125
FINAL_TEXT, MASKED = 0x81, 0x80
REASON_MAX_BYTES = 123  # what fits into a close frame beside the code (RFC 6455 §5.5)


class Inbox(asyncio.Queue[dict[str, Any]]):
    """What waits for an application; says when it is full and when there is room again."""

    def __init__(self, limits: Limits, *, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        super().__init__()  # never refuses: what was read is kept, what is not yet read stays with the client
        self._limits = limits
        self._bytes = 0
        self._pause = pause
        self._resume = resume
        self._paused = False

    def put_nowait(self, item: dict[str, Any]) -> None:
        """Keep a message."""
        super().put_nowait(item)
        self._bytes += _size(item)
        if not self._paused and self._is_filled(1.0):
            self._paused = True
            self._pause()

    async def get(self) -> dict[str, Any]:
        """Return the next message."""
        item = await super().get()
        self._bytes -= _size(item)
        if self._paused and not self._is_filled(0.5):
            self._paused = False
            self._resume()
        return item

    def _is_filled(self, part: float) -> bool:
        by_number = self.qsize() >= self._limits.inbox_messages * part
        return by_number or self._bytes >= self._limits.inbox_bytes * part


def _size(item: dict[str, Any]) -> int:
    return len(item.get("text") or item.get("bytes") or "")


class BoundedSocket(WebSocketProtocol):
    """A websocket of the server."""

    def inbox(self, limits: Limits) -> Inbox:
        """Return the queue to this socket's application."""
        return Inbox(limits, pause=self.transport.pauseProducing, resume=self._read_on)

    def _read_on(self) -> None:
        if self.transport.connected and not self.transport.disconnecting:
            self.transport.resumeProducing()

    def handle_reply(self, message: dict[str, Any]) -> None:
        """Do what the application says; a close takes its reason along, which Daphne leaves out.

        What is sent to somebody who has left is dropped, as ASGI wants it: autobahn would raise.
        """
        if message["type"] == "websocket.close" and self.state != self.STATE_CONNECTING:
            self.serverClose(message.get("code"), message.get("reason") or "")
        elif message["type"] != "websocket.send" or self.state not in (self.STATE_CLOSING, self.STATE_CLOSED):
            super().handle_reply(message)

    def serverSend(self, content: str | bytes, binary: bool = False) -> None:
        """Send a message; a text that went to another socket just before isn't framed again."""
        prepared = None if binary or self.state != self.STATE_OPEN else self.factory.prepared(content)
        if prepared is None or len(prepared.payload) > self.maxMessagePayloadSize:
            super().serverSend(content, binary)
        else:
            self.sendPreparedMessage(prepared)

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Write what autobahn sends: at once, as far as the kernel takes it.

        Twisted would ask the kernel first when it may write: two more calls for each socket, one turn later.
        """
        if sync or chopsize or self.send_queue:
            super().sendData(data, sync, chopsize)
        elif len(rest := _written(self.transport, data)):
            self.transport.write(bytes(rest))

    def dataReceived(self, data: bytes) -> None:
        """Take what came; what nearly always comes, one short text, needs none of autobahn's care."""
        text = short_text(data) if self._is_between_messages() else None
        if text is None:
            self._dataReceived(data)
        else:
            self.onMessage(text, False)

    def _is_between_messages(self) -> bool:
        if self.state != self.STATE_OPEN or self.autoPingTimeoutCall:  # a ping that any word answers
            return False
        return self.current_frame is None and not self.inside_message and not self.data

    def serverClose(self, code: int | None = None, reason: str = "") -> None:
        """Close with any code; autobahn's own `sendClose` refuses 1011 to 1013, which servers need."""
        told = reason.encode()[:REASON_MAX_BYTES].decode(errors="ignore").encode()
        self.sendCloseFrame(code=1000 if code is None else code, reasonUtf8=told or None)

    def onClose(self, was_clean: bool, code: int, reason: str) -> None:
        """Forget the socket; one whose handshake was refused before `onConnect` was never known."""
        if hasattr(self, "server"):
            super().onClose(was_clean, code, reason)

    def end(self) -> None:
        """Close at the server's end, because it stops."""
        if self.state == self.STATE_OPEN:
            self.serverClose(GOING_AWAY_RESTART)
        elif self.state == self.STATE_CONNECTING:
            self.dropConnection(abort=True)


class BoundedSocketFactory(WebSocketFactory):
    """Makes websockets, and the frame that goes to many of them."""

    protocol = BoundedSocket
    _text: str = ""
    _prepared: Any = None

    def prepared(self, text: str) -> Any:
        """Return the frame of `text`; the last one is kept, which whoever sends to many asks for again."""
        if text is not self._text or self._prepared is None:
            self._prepared = self.prepareMessage(text.encode())
            self._text = text
        return self._prepared


def _written(transport: Any, data: bytes) -> bytes | memoryview:
    """Write as much as goes now, unless something waits before it; return the rest."""
    if not transport.connected or transport.disconnecting or transport.dataBuffer or transport._tempDataLen:
        return data
    done = transport.writeSomeData(data)
    # an error comes again when the rest is written, where it ends the connection in due form
    return memoryview(data)[done:] if isinstance(done, int) else data


def short_text(data: bytes) -> bytes | None:
    """Return the text of a message that is one short frame, masked, and all of `data`; else None.

    RFC 6455 §5.2: FIN and opcode 1; MASK and a length of up to 125; the mask; the text. What isn't UTF-8 is
    left to autobahn, which knows how to refuse it.
    """
    size = len(data) - HEAD_BYTES
    if not 0 < size <= SHORT_MAX_BYTES or data[0] != FINAL_TEXT or data[1] != MASKED | size:
        return None
    mask = int.from_bytes((data[2:6] * (size // 4 + 1))[:size])
    text = (int.from_bytes(data[6:]) ^ mask).to_bytes(size)
    return text if text.isascii() else None
