"""A websocket's inbox pushes back: what its consumer doesn't take stays with the client. Frames are cheap."""

import asyncio
from collections import deque

import pytest
from autobahn.exception import PayloadExceededError
from autobahn.websocket.protocol import TrafficStats
from hypothesis import given
from hypothesis import strategies as st

from dashboard.serving.limits import Limits
from dashboard.serving.sockets import BoundedSocket, BoundedSocketFactory, Inbox, short_text


class Pipe:
    """Notes whether the socket is being read."""

    def __init__(self) -> None:
        self.reading = True

    def pause(self) -> None:
        self.reading = False

    def resume(self) -> None:
        self.reading = True


async def test_the_socket_is_not_read_while_the_inbox_is_full_and_again_when_there_is_room() -> None:
    pipe = Pipe()
    inbox = Inbox(Limits(inbox_messages=4), pause=pipe.pause, resume=pipe.resume)

    for number in range(3):
        inbox.put_nowait({"n": number})
    assert pipe.reading
    inbox.put_nowait({"n": 3})
    inbox.put_nowait({"n": 4})  # one that was on its way
    assert not pipe.reading

    assert [(await inbox.get())["n"] for _ in range(2)] == [0, 1]
    assert not pipe.reading
    assert [(await inbox.get())["n"] for _ in range(2)] == [2, 3]
    assert pipe.reading


async def test_a_few_large_messages_fill_the_inbox_too() -> None:
    pipe = Pipe()
    inbox = Inbox(Limits(inbox_bytes=100), pause=pipe.pause, resume=pipe.resume)

    inbox.put_nowait({"text": "x" * 99})
    assert pipe.reading
    inbox.put_nowait({"bytes": b"x"})
    assert not pipe.reading

    await inbox.get()
    assert pipe.reading


async def test_nothing_is_lost_at_the_bound() -> None:
    pipe = Pipe()
    inbox = Inbox(Limits(inbox_messages=2), pause=pipe.pause, resume=pipe.resume)
    for number in range(10):
        inbox.put_nowait({"n": number})

    taken = [(await asyncio.wait_for(inbox.get(), 10))["n"] for _ in range(10)]

    assert taken == list(range(10))


@pytest.mark.parametrize("state", [BoundedSocket.STATE_CLOSING, BoundedSocket.STATE_CLOSED])
def test_what_is_sent_to_somebody_who_has_left_is_dropped(state: int) -> None:
    socket = BoundedSocket()
    socket.state = state

    socket.handle_reply({"type": "websocket.send", "text": "too late"})

    assert socket.state == state


class Wire:
    """A connection whose kernel takes so many bytes at a time; -1: it is broken."""

    connected = True
    disconnecting = False

    def __init__(self, *, takes: int) -> None:
        self.takes = takes
        self.sent = b""
        self.dataBuffer = b""  # Twisted's names: what waits
        self._tempDataLen = 0
        self.waiting = b""

    def writeSomeData(self, data: bytes) -> int | Exception:
        if self.takes < 0:
            return ConnectionError("lost")
        self.sent += data[: self.takes]
        return min(self.takes, len(data))

    def write(self, data: bytes) -> None:
        self.waiting += data
        self._tempDataLen += len(data)


def socket_on(wire: Wire) -> BoundedSocket:
    socket = BoundedSocket()
    socket.factory = BoundedSocketFactory(None)
    socket.maxMessagePayloadSize = 1000
    socket.state = BoundedSocket.STATE_OPEN
    socket.send_queue = deque()
    socket._perMessageCompress = None
    socket.transport = wire
    return socket


def test_a_message_is_written_at_once() -> None:
    wire = Wire(takes=1000)

    socket_on(wire).handle_reply({"type": "websocket.send", "text": "hällo"})

    assert (wire.sent, wire.waiting) == (b"\x81\x06h\xc3\xa4llo", b"")


def test_what_the_kernel_does_not_take_waits_and_the_next_message_behind_it() -> None:
    wire = Wire(takes=3)
    socket = socket_on(wire)

    socket.handle_reply({"type": "websocket.send", "text": "abc"})
    wire.takes = 1000
    socket.handle_reply({"type": "websocket.send", "text": "def"})

    assert wire.sent + wire.waiting == b"\x81\x03abc\x81\x03def"
    assert wire.sent == b"\x81\x03a"


def test_what_is_sent_on_a_broken_connection_is_left_to_twisted_which_ends_it() -> None:
    wire = Wire(takes=-1)

    socket_on(wire).handle_reply({"type": "websocket.send", "text": "abc"})

    assert (wire.sent, wire.waiting) == (b"", b"\x81\x03abc")


def test_nothing_is_written_past_a_connection_that_is_ending() -> None:
    wire = Wire(takes=1000)
    wire.disconnecting = True

    socket_on(wire).handle_reply({"type": "websocket.send", "text": "abc"})

    assert (wire.sent, wire.waiting) == (b"", b"\x81\x03abc")


def test_the_same_text_to_many_is_framed_once() -> None:
    factory = BoundedSocketFactory(None)
    text = "".join(["a", "b"])

    first, second, other = factory.prepared(text), factory.prepared(text), factory.prepared("c")

    assert first is second
    assert first.payloadHybi == b"\x81\x02ab"
    assert other.payloadHybi == b"\x81\x01c"


def test_a_text_beyond_the_bound_is_refused() -> None:
    wire = Wire(takes=10_000)
    socket = socket_on(wire)
    socket.client_addr = "somebody"
    socket.trafficStats = TrafficStats()
    socket.trackedTimings = None

    with pytest.raises(PayloadExceededError):
        socket.handle_reply({"type": "websocket.send", "text": "ä" * 501})

    assert wire.sent == b""


def frame(text: bytes, mask: bytes, *, first: int = 0x81) -> bytes:
    """What a client sends (RFC 6455 §5.2), by the letter."""
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(text))
    return bytes([first, 0x80 | len(text)]) + mask + masked


@given(
    text=st.text(st.characters(max_codepoint=127), min_size=1, max_size=125),
    mask=st.binary(min_size=4, max_size=4),
)
def test_a_short_text_is_read_whatever_its_mask(text: str, mask: bytes) -> None:
    assert short_text(frame(text.encode(), mask)) == text.encode()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(frame(b"abc", b"mask")[:-1], id="not all of it"),
        pytest.param(frame(b"abc", b"mask") * 2, id="two"),
        pytest.param(frame(b"", b"mask"), id="an empty one"),
        pytest.param(frame(b"abc", b"mask", first=0x01), id="a fragment"),
        pytest.param(frame(b"abc", b"mask", first=0x82), id="bytes"),
        pytest.param(frame(b"abc", b"mask", first=0x88), id="a close"),
        pytest.param(frame(b"abc", b"mask", first=0xC1), id="a reserved bit"),
        pytest.param(b"\x81\x03abc", id="without a mask"),
        pytest.param(b"\x81\xfe\x00\x7emask" + b"x" * 126, id="a long one"),
        pytest.param(frame("ä".encode(), b"mask"), id="not ASCII"),
        pytest.param(frame(b"\xff", b"mask"), id="not UTF-8"),
    ],
)
def test_anything_else_is_left_to_autobahn(data: bytes) -> None:
    assert short_text(data) is None
