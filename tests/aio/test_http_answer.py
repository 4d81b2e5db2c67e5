"""An answer between its connection and its reader; test_http_exchange has both over real sockets."""

import asyncio

import pytest

from meshcore.aio.http_answer import AHEAD_MAX_BYTES, HttpAnswer
from meshcore.aio.http_fields import Headers
from meshcore.aio.http_terms import Broken, TooLarge


class Told:
    """A connection that keeps what it was told."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def read_on(self) -> None:
        self.calls.append("read_on")

    def release(self, *, is_whole: bool) -> None:
        self.calls.append(("release", is_whole))

    def release_later(self, seconds: float) -> None:
        self.calls.append(("release_later", seconds))


async def test_a_reader_waits_for_the_head_and_for_each_piece() -> None:
    answer = HttpAnswer(Told())

    async def whole() -> bytes:
        await answer.head()
        return await answer.read(10)

    reading = asyncio.create_task(whole())
    await asyncio.sleep(0)
    answer.begin(200, Headers({}))
    await asyncio.sleep(0)
    answer.feed([b"he"])
    await asyncio.sleep(0)
    answer.feed([b"l", b"lo"])
    answer.end()

    assert await reading == b"hello"
    assert answer.at_end


async def test_a_failure_is_told_whoever_waits_for_the_head() -> None:
    answer = HttpAnswer(Told())

    answer.fail(Broken())

    with pytest.raises(Broken):
        await answer.head()


def test_it_says_when_too_much_waits_and_lets_more_come_once_that_is_read() -> None:
    told = Told()
    answer = HttpAnswer(told)

    assert not answer.feed([bytes(AHEAD_MAX_BYTES)])
    assert answer.feed([b"x"])
    assert len(answer.read_now()) == AHEAD_MAX_BYTES + 1

    assert told.calls == ["read_on"]
    assert not answer.feed([b"x"])


async def test_a_body_may_fill_its_readers_bound_and_not_more() -> None:
    fits, exceeds = HttpAnswer(Told()), HttpAnswer(Told())
    for answer, body in ((fits, b"12"), (exceeds, b"123")):
        answer.feed([body])
        answer.end()

    assert await fits.read(2) == b"12"
    with pytest.raises(TooLarge):
        await exceeds.read(2)


def test_its_connection_is_given_back_once_with_whether_the_end_came() -> None:
    whole, cut = Told(), Told()
    ended, begun = HttpAnswer(whole), HttpAnswer(cut)
    ended.end()

    for answer in (ended, ended, begun, begun):
        answer.release()

    assert (whole.calls, cut.calls) == ([("release", True)], [("release", False)])


def test_an_end_is_waited_for_only_where_one_can_still_come() -> None:
    late, broken = Told(), Told()
    awaited, failed = HttpAnswer(late), HttpAnswer(broken)
    failed.fail(Broken())

    for answer in (awaited, failed):
        answer.release(rest_within_seconds=2.0)

    assert (late.calls, broken.calls) == ([("release_later", 2.0)], [("release", False)])
