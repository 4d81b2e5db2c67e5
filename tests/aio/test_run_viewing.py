"""Watching a run by its log."""

import asyncio
from contextlib import aclosing

import pytest

from meshcore.aio import run_viewing
from meshcore.aio.run_viewing import batches, frames
from meshcore.aio.runlog.memory import MemoryLog
from meshcore.run_events import End, RunStatus
from meshcore.run_writer import RunWriter
from tests.aio.runlog.conformance import RUN, begun, write
from tests.test_runs import CANCEL, chunk

END = End(status=RunStatus.COMPLETED, reason="stop", final_seq=5)


async def whole(log: MemoryLog) -> RunWriter:
    """Return the writer of a run that has ended."""
    writer = await begun(log)
    await write(log, writer, chunk(1), chunk(2))
    await write(log, writer, END)
    return writer


async def test_a_viewer_gets_what_stands_there_and_then_the_end() -> None:
    log = MemoryLog()
    await whole(log)

    found = [events async for events in batches(log, RUN, 2)]

    assert [[seq for seq, _ in events] for events in found] == [[3, 4, 5]]


async def test_a_viewer_gets_what_comes() -> None:
    log = MemoryLog()
    writer = await begun(log)
    async with aclosing(frames(log, RUN, 0)) as watching:
        heard = [await anext(watching), await anext(watching)]
        await write(log, writer, chunk(1))
        heard.append(await anext(watching))

    assert heard[0] == b": attached\n\n"
    assert heard[1].startswith(b"id: 2\nevent: epoch\n")
    assert heard[2].startswith(b"id: 3\nevent: chunk\n")


async def test_events_that_are_nobodys_business_are_not_sent() -> None:
    log = MemoryLog()
    writer = await begun(log)
    await write(log, writer, CANCEL)
    await write(log, writer, End(status=RunStatus.CANCELLED, final_seq=4))

    sent = [data async for data in frames(log, RUN, 2)]

    assert [data.split(b"\n")[1] for data in sent[1:]] == [b"event: end"]


async def test_silence_is_a_comment_and_never_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_viewing, "COMMENT_SECONDS", 0.01)
    log = MemoryLog()
    await begun(log)
    async with aclosing(frames(log, RUN, 2)) as watching, asyncio.timeout(10):
        heard = [await anext(watching) for _ in range(3)]

    assert heard == [b": attached\n\n", b": \n\n", b": \n\n"]
