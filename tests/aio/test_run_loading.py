"""Reading a run's log, be it only its end that is left."""

from datetime import timedelta

import pytest

from meshcore.aio.run_loading import load
from meshcore.aio.runlog.base import RETENTION
from meshcore.aio.runlog.memory import MemoryLog
from meshcore.clock import utcnow
from meshcore.errors import CallError
from meshcore.run_events import RunStatus
from tests.aio.runlog.conformance import RUN, begun, write
from tests.aio.test_run_viewing import END, whole
from tests.test_runs import chunk


async def test_a_run_is_read_to_its_last_event() -> None:
    log = MemoryLog()
    writer = await begun(log)
    await write(log, writer, chunk(1))

    loaded = await load(log, RUN)

    assert (loaded.state.last_seq, loaded.head) == (3, writer.head)


async def test_of_a_trimmed_run_the_end_is_left() -> None:
    log = MemoryLog()
    await whole(log)
    await log.trim(utcnow() + RETENTION + timedelta(minutes=1))

    state = (await load(log, RUN)).state

    assert (state.status, state.end, state.last_seq) == (RunStatus.COMPLETED, END, 5)
    assert state.created is None


async def test_a_run_that_is_not_there_is_not_found() -> None:
    with pytest.raises(CallError) as caught:
        await load(MemoryLog(), RUN)

    assert caught.value.code == "not_found"
