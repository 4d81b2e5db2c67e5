"""Work that a drain ends gets an error in place of a cancellation; whoever else cancels is obeyed."""

import asyncio
from collections.abc import Callable

import pytest

from meshcore.aio.forced import forcible
from meshcore.drain import Work, WorkKind, WorkLedger
from meshcore.errors import DrainForced
from meshcore.testing import ManualClock


@pytest.fixture
def work() -> Work:
    clock = ManualClock()
    return WorkLedger(clock=clock, utcnow=clock.utcnow).admit(WorkKind.CALL, "t1")


async def interrupted(work: Work, interrupt: Callable[["asyncio.Task[str]"], object]) -> "asyncio.Task[str]":
    """Return the task that did `work` until it was interrupted, when it has ended."""
    begun = asyncio.Event()

    async def serve() -> str:
        try:
            with forcible(work, "node-a"):
                begun.set()
                await asyncio.Event().wait()
        except DrainForced as exc:
            await asyncio.sleep(0)  # the task goes on: it has an answer to send
            return exc.message
        raise AssertionError("waited for nothing")

    task = asyncio.create_task(serve())
    await begun.wait()
    interrupt(task)
    await asyncio.wait([task], timeout=10)
    return task


async def test_forced_work_ends_with_an_error_that_says_so(work: Work) -> None:
    task = await interrupted(work, lambda task: work.force())

    assert task.result() == "node-a is draining and its deadline is over: drain_forced"
    assert work.on_force is None


async def test_a_client_that_leaves_is_no_force(work: Work) -> None:
    task = await interrupted(work, lambda task: task.cancel())

    assert task.cancelled()


async def test_a_client_that_leaves_at_the_same_time_gets_no_answer(work: Work) -> None:
    task = await interrupted(work, lambda task: (work.force(), task.cancel()))

    assert task.cancelled()


async def test_work_that_was_forced_before_can_still_be_cancelled(work: Work) -> None:
    work.on_force = lambda: None
    work.force()

    task = await interrupted(work, lambda task: task.cancel())

    assert task.cancelled()


async def test_the_inner_of_two_contexts_answers_and_the_outer_goes_on(work: Work) -> None:
    async def serve() -> str:
        with forcible(work, "node-a"):
            outer = work.on_force
            try:
                with forcible(work, "node-a"):
                    asyncio.get_running_loop().call_soon(work.force)
                    await asyncio.Event().wait()
            except DrainForced:
                assert work.on_force is outer
                return "answered"
        raise AssertionError("waited for nothing")

    assert await serve() == "answered"


async def test_no_work_is_not_forced() -> None:
    with forcible(None, "node-a"):
        await asyncio.sleep(0)
