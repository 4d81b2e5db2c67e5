"""Readers of a log that fall behind lose their queue, not their place."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing

import pytest

from meshcore.aio.runlog.base import EngineGone, Stored
from meshcore.aio.runlog.hub import LOST, QUEUED_MAX, Feed, Hub, Tail
from meshcore.aio.runlog.memory import MemoryLog
from tests.aio.runlog.conformance import RUN, begun, numbers, take, write
from tests.test_runs import chunk

MORE = QUEUED_MAX + 10


class Counting(MemoryLog):
    """A log that counts how often it is read."""

    reads = 0

    async def read(self, run_id: str, after_seq: int = 0, *, limit: int = 500) -> Sequence[Stored]:
        self.reads += 1
        return await super().read(run_id, after_seq, limit=limit)


async def test_a_tail_that_read_nothing_for_long_has_everything_once() -> None:
    log = MemoryLog()
    writer = await begun(log)
    async with aclosing(log.tail(RUN)) as tail:
        first = await take(tail, 2)
        for index in range(1, MORE + 1):
            await write(log, writer, chunk(index))
        rest = await take(tail, MORE + 2)

    assert numbers(first + rest) == list(range(1, MORE + 3))


async def test_a_feed_that_read_nothing_for_long_says_so() -> None:
    log = MemoryLog()
    async with aclosing(log.feed()) as feed:
        waiting = asyncio.ensure_future(anext(feed))
        await asyncio.sleep(0)  # it listens now
        await begun(log)
        first = await waiting
        for number in range(MORE):
            await begun(log, run=f"run_abcdef_m{number}")
        lost, newest = await anext(feed), await anext(feed)

    assert first[0] == RUN
    assert lost == LOST
    assert newest[0] == f"run_abcdef_m{QUEUED_MAX}"


async def test_a_reader_that_left_is_forgotten() -> None:
    hub = Hub()
    log = MemoryLog()
    writer = await begun(log)
    async with aclosing(Tail(hub, RUN, 0, log.read)) as tail:
        await take(tail, writer.head.seq)
        listening = bool(hub._by_run)

    assert listening
    assert not hub._by_run


class Quiet:
    """A log of which the hub hears nothing, and that is away for so many reads."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.failures = 0

    async def read(self, run_id: str, after_seq: int) -> Sequence[Stored]:
        if self.failures:
            self.failures -= 1
            raise EngineGone("away")
        return await self.log.read(run_id, after_seq)


async def test_a_record_that_nobody_told_of_is_found_behind_some_silence() -> None:
    quiet = Quiet()
    writer = await begun(quiet.log)
    async with aclosing(Tail(Hub(), RUN, 0, quiet.read)) as tail:
        first = await tail.next()
        await write(quiet.log, writer, chunk(1))
        silence = await tail.next(0.01)
        rest = await tail.next(0.01)

    assert (numbers(first), silence, numbers(rest)) == ([1, 2], [], [3])


async def test_a_tail_that_may_have_missed_something_waits_for_an_engine_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("meshcore.aio.runlog.hub.RETRY_SECONDS", 0.01)
    hub, quiet = Hub(), Quiet()
    writer = await begun(quiet.log)
    async with aclosing(Tail(hub, RUN, 0, quiet.read)) as tail:
        first = await take(tail, 2)
        await write(quiet.log, writer, chunk(1))
        quiet.failures = 3
        hub.lose()
        rest = await take(tail, 3)

    assert numbers(first + rest) == [1, 2, 3]
    assert quiet.failures == 0


async def test_a_tail_of_an_engine_that_is_away_from_the_beginning_says_so() -> None:
    quiet = Quiet()
    quiet.failures = 1
    async with aclosing(Tail(Hub(), RUN, 0, quiet.read)) as tail:
        with pytest.raises(EngineGone):
            await anext(tail)


async def test_a_feed_hears_that_something_may_be_missing() -> None:
    hub = Hub()
    async with aclosing(Feed(hub)) as feed:
        waiting = asyncio.ensure_future(anext(feed))
        await asyncio.sleep(0)  # it listens now
        hub.lose()

        assert await waiting == LOST


async def test_what_came_together_is_given_together_and_silence_is_nothing() -> None:
    log = MemoryLog()
    writer = await begun(log)
    async with aclosing(log.tail(RUN, 2)) as tail:
        silence = await tail.next(0.01)
        await write(log, writer, chunk(1))
        await write(log, writer, chunk(2))
        found = await tail.next(30)
        again = await tail.next(0.01)

    assert (silence, numbers(found), again) == ([], [3, 4], [])


async def test_of_a_new_run_nothing_is_read_and_nothing_is_missed() -> None:
    log = Counting()
    async with aclosing(log.tail(RUN, is_new=True)) as tail:
        writer = await begun(log)
        await write(log, writer, chunk(1))
        found = await tail.next()

    assert (numbers(found), log.reads) == ([1, 2, 3], 0)


async def test_a_gap_is_read_from_the_log() -> None:
    log, hub = Counting(), Hub()
    writer = await begun(log)
    await write(log, writer, chunk(1))
    (first, _), (second, _) = await log.read(RUN)
    tail = Tail(hub, RUN, 0, log.read, is_new=True)
    hub.tell(RUN, second, is_plain=True)
    hub.tell(RUN, first, is_plain=False)

    found = await tail.next()
    nothing_more = await tail.next(0.01)
    await tail.aclose()

    assert (numbers(found), nothing_more) == ([1, 2, 3], [])
