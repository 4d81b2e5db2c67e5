"""The way out: a client may be slow, but not take nothing; test_connection has real ones."""

import asyncio
from typing import cast

import pytest

from meshcore.aio.gateway import outlet
from meshcore.aio.gateway.outlet import Outlet
from meshcore.aio.testing import wait_until


class Transport:
    """A transport whose client takes `takes` bytes each time somebody looks."""

    def __init__(self, *, takes: int = 0) -> None:
        self.done: list[object] = []
        self.looks = 0
        self._left = 0
        self._takes = takes

    def is_closing(self) -> bool:
        return "close" in self.done

    def write(self, data: bytes) -> None:
        self._left += len(data)

    def get_write_buffer_size(self) -> int:
        self.looks += 1
        self._left = max(self._left - self._takes, 0)
        return self._left

    def close(self) -> None:
        self.done.append("close")

    def abort(self) -> None:
        self.done.append("abort")


def outlet_to(transport: Transport) -> Outlet:
    made = Outlet(cast(asyncio.Transport, transport))
    made.pause()
    return made


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlet, "CLIENT_SECONDS", 0.01)


async def test_who_takes_nothing_is_hung_up_on() -> None:
    transport = Transport()

    with pytest.raises(ConnectionResetError, match="took nothing"):
        await outlet_to(transport).write(b"hello")

    assert transport.done == ["abort"]


async def test_who_takes_something_is_waited_for() -> None:
    transport = Transport(takes=1)
    way_out = outlet_to(transport)

    writing = asyncio.create_task(way_out.write(b"x" * 100))
    await wait_until(lambda: transport.looks > 3)
    way_out.go_on()
    await writing

    assert transport.done == []


async def test_who_has_a_limit_of_its_own_is_hung_up_on_even_so() -> None:
    with pytest.raises(ConnectionResetError, match="took nothing"):
        await outlet_to(Transport(takes=1)).write(b"x" * 100, within_seconds=0.001)


async def test_nothing_is_written_to_who_is_gone() -> None:
    transport = Transport()
    way_out = outlet_to(transport)
    way_out.close().cancel()

    with pytest.raises(ConnectionResetError, match="gone"):
        await way_out.write(b"hello")

    assert transport.get_write_buffer_size() == 0


async def test_a_close_that_takes_too_long_is_ended() -> None:
    transport = Transport()

    outlet_to(transport).close()

    await wait_until(lambda: transport.done == ["close", "abort"])
