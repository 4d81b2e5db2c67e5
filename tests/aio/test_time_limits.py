"""Limits on waiting behave as those of `asyncio.timeout`, with one timer for all."""

import asyncio

import pytest

from meshcore.aio.time_limits import TimeLimits

AT_ONCE = 0.001
LONG = 60.0


async def forever() -> None:
    await asyncio.Event().wait()


async def test_a_block_that_is_done_in_time_hears_nothing_of_its_limit() -> None:
    limits = TimeLimits()

    with limits.within(LONG) as limit:
        await asyncio.sleep(0)

    assert not limit.expired


@pytest.mark.parametrize("seconds", [AT_ONCE, 0.0, -1.0])
async def test_a_block_that_waits_too_long_is_ended(seconds: float) -> None:
    limits = TimeLimits()

    with pytest.raises(TimeoutError), limits.within(seconds) as limit:
        await forever()

    assert limit.expired
    assert isinstance(task := asyncio.current_task(), asyncio.Task)
    assert task.cancelling() == 0


async def test_limits_end_in_whatever_order_they_began() -> None:
    limits = TimeLimits()
    ended: list[float] = []

    async def wait_for(seconds: float) -> None:
        with pytest.raises(TimeoutError), limits.within(seconds):
            await forever()
        ended.append(seconds)

    with limits.within(LONG) as longest:
        await asyncio.gather(*(wait_for(seconds) for seconds in (0.03, 0.05, 0.02, 0.01)))

    assert sorted(ended) == [0.01, 0.02, 0.03, 0.05]
    assert not longest.expired


async def test_a_limit_that_begins_while_the_timer_is_set_for_an_ended_one_is_kept() -> None:
    limits = TimeLimits()
    with limits.within(AT_ONCE):
        pass

    with pytest.raises(TimeoutError), limits.within(10 * AT_ONCE):
        await forever()


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    limits = TimeLimits()

    async def block() -> None:
        with limits.within(LONG):
            await forever()

    task = asyncio.create_task(block())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_that_comes_with_the_end_of_the_limit_is_not_lost() -> None:
    limits = TimeLimits()

    async def block() -> None:
        with limits.within(LONG) as limit:
            limit.expire()
            limit.task.cancel()
            await forever()

    task = asyncio.create_task(block())

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_outer_limit_ends_what_an_inner_one_would_let_go_on() -> None:
    limits = TimeLimits()
    inner = limits.within(LONG)

    with pytest.raises(TimeoutError), limits.within(AT_ONCE) as outer, inner:
        await forever()

    assert (outer.expired, inner.expired) == (True, False)


async def test_what_a_block_raises_at_its_end_stays_itself() -> None:
    limits = TimeLimits()

    async def ends_badly() -> None:
        try:
            await forever()
        finally:
            raise ValueError("closed badly")

    with pytest.raises(ValueError, match="closed badly"), limits.within(AT_ONCE):
        await ends_badly()

    assert isinstance(task := asyncio.current_task(), asyncio.Task)
    assert task.cancelling() == 0


def test_a_new_event_loop_gets_a_timer_of_its_own() -> None:
    limits = TimeLimits()

    async def quick() -> None:
        with limits.within(0.0):
            pass

    async def slow() -> None:
        with limits.within(AT_ONCE):
            await forever()

    asyncio.run(quick())

    with pytest.raises(TimeoutError):
        asyncio.run(slow())


async def test_outside_of_a_task_there_is_nothing_to_limit() -> None:
    refused = asyncio.Event()

    def callback() -> None:
        with pytest.raises(RuntimeError, match="outside of a task"):
            TimeLimits().within(LONG)
        refused.set()

    asyncio.get_running_loop().call_soon(callback)

    await refused.wait()
