"""Loops without end: a fault costs one step, a wait has an end, and so has the loop."""

import asyncio

import pytest
from django.db import OperationalError

from dashboard import loops


async def failing(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "said", "traces"),
    [
        (OperationalError("gone"), "looking failed: OperationalError: gone", False),
        (ValueError("odd"), "looking failed", True),
    ],
)
async def test_a_step_that_fails_is_logged_and_over(
    caplog: pytest.LogCaptureFixture, error: Exception, said: str, traces: bool
) -> None:
    await loops.survive("looking", failing(error))

    [record] = caplog.records
    assert (record.getMessage(), record.exc_info is not None) == (said, traces)


async def test_a_wait_ends_with_its_event_or_with_its_time() -> None:
    event = asyncio.Event()

    await loops.wait(event, 0.001)
    event.set()
    async with asyncio.timeout(10):
        await loops.wait(event, 1000)


async def test_a_task_that_lost_its_cancellation_is_cancelled_again() -> None:
    lost: list[str] = []

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost.append("once")
        await asyncio.Event().wait()

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await loops.end([task])

    assert lost == ["once"]
    assert task.cancelled()
