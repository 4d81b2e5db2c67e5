"""What tests of the shells share: waiting for a state with a generous bound, never for a time."""

import asyncio
from collections.abc import Callable

PATIENCE_SECONDS = 10.0  # a busy machine may be slow; a test that waits this long has failed
_STEP_SECONDS = 0.005


async def wait_until(condition: Callable[[], bool], *, seconds: float = PATIENCE_SECONDS) -> None:
    """Return as soon as `condition` holds; raises TimeoutError after `seconds`."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for is another side's state, it has no event
            await asyncio.sleep(_STEP_SECONDS)
