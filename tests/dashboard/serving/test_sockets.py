"""A websocket's inbox pushes back: what its consumer doesn't take stays with the client."""

import asyncio

import pytest

from dashboard.serving.limits import Limits
from dashboard.serving.sockets import BoundedSocket, Inbox


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
