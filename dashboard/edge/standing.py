"""Whether a connection that was let in may stay: asked again now and then, and when tokens change."""

import asyncio
from collections.abc import Awaitable, Callable

from dashboard.runtime import Runtime

RECHECK_SECONDS = 60.0  # a token that expired ends its socket this much later; one that was revoked at once
RETRY_SECONDS = 1.0  # after a check that could not be made
TOKENS = "tokens"  # the key under which changes of tokens are announced
PEOPLE = "people"  # the same of who is signed in, and what they may


async def until_refused(
    runtime: Runtime, counts: Callable[[], Awaitable[bool | None]], *, key: str = TOKENS
) -> None:
    """Return when `counts` says that the token, or session, of a connection doesn't count any more.

    None of it means that this can't be told now: what was so stays so, and it is asked again soon. For
    whatever stays open: a node's link, a stream of the API.
    """
    changed = asyncio.Event()
    unsubscribe = runtime.on_change(key, lambda ids, keys: changed.set())
    try:
        while (verdict := await counts()) is not False:
            await _wait(changed, RECHECK_SECONDS if verdict else RETRY_SECONDS)
            changed.clear()
    finally:
        unsubscribe()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for `event`, but not longer than `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
