"""Loops that go on as long as a process: what becomes of a step that fails, how they wait, how they end."""

import asyncio
import logging
from collections.abc import Awaitable, Iterable
from contextlib import suppress

from django.db import Error as DatabaseError

from dashboard.services import ballast

logger = logging.getLogger(__name__)

CANCEL_AGAIN_SECONDS = 0.1  # after a cancellation that had no effect


async def survive(what: str, step: Awaitable[object]) -> None:
    """Take one step of an endless loop; a fault is logged and the next step comes as usual."""
    try:
        await step
    except DatabaseError as exc:  # no traceback, as it comes again every second while the database is away
        if not ballast.note(exc):
            logger.error("%s failed: %s: %s", what, type(exc).__name__, exc)
    except Exception:
        logger.exception("%s failed", what)


async def wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for `event`, but not longer than `seconds`."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def end(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended.

    A cancellation that meets an answer may be lost on its way: `asyncio.wait_for` of Python 3.11, which the
    client of Redis uses, then returns the answer.
    """
    running = set(tasks)
    while running:  # `serve` waits for no more than its EXIT_SECONDS
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=CANCEL_AGAIN_SECONDS)
