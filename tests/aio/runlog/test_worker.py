"""A thread of its own does one thing after the other, and the event loop hears of it."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from meshcore.aio.runlog.worker import Worker


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    opened = Worker("test")
    yield opened
    opened.close()


async def test_what_is_done_elsewhere_comes_back_here(worker: Worker) -> None:
    thread = await worker.do(threading.current_thread)

    assert (thread.name, await worker.do(divmod, 7, 2)) == ("test", (3, 1))


async def test_what_it_raises_is_raised_and_it_goes_on(worker: Worker) -> None:
    with pytest.raises(ZeroDivisionError):
        await worker.do(divmod, 1, 0)

    assert await worker.do(divmod, 1, 1) == (1, 0)


async def test_who_leaves_stops_nothing_and_fails_nobody(worker: Worker) -> None:
    may_go_on = threading.Event()
    done: list[int] = []
    left = asyncio.create_task(worker.do(may_go_on.wait, 30))
    stays = asyncio.create_task(worker.do(done.append, 1))
    await asyncio.sleep(0)
    left.cancel()
    may_go_on.set()
    await stays

    assert (left.cancelled(), done) == (True, [1])


async def test_what_waits_is_done_before_it_ends() -> None:
    worker = Worker("test")
    done: list[int] = []
    for number in range(3):
        worker.give(lambda number=number: done.append(number), lambda _: None)  # type: ignore[misc]

    worker.close()

    assert done == [0, 1, 2]


def test_nobody_hears_of_it_when_the_event_loop_is_closed() -> None:
    may_go_on = threading.Event()

    async def leave() -> Worker:
        worker = Worker("test")
        worker.give(lambda: may_go_on.wait(30), lambda _: None)
        return worker

    worker = asyncio.run(leave())
    may_go_on.set()
    worker.close()  # its thread ended well
