"""Readers of a log that fall behind lose their queue, not their place."""

import asyncio
from contextlib import aclosing

from meshcore.aio.runlog.hub import LOST, QUEUED_MAX, Hub, Tail
from meshcore.aio.runlog.memory import MemoryLog
from tests.aio.runlog.conformance import RUN, begun, numbers, take, write
from tests.test_runs import chunk

MORE = QUEUED_MAX + 10


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
