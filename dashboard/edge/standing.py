"""Whether a connection that was let in may stay: asked again now and then, and when tokens change."""

import asyncio
from collections.abc import Awaitable, Callable

from dashboard import loops
from dashboard.runtime import Runtime

RECHECK_SECONDS = 60.0  # a token that expired ends its socket this much later; one that was revoked at once
RETRY_SECONDS = 1.0  # after a check that could not be made
TOKENS = "tokens"  # the key under which changes of tokens are announced
PEOPLE = "people"  # the same of who is signed in, and what they may


class Recheck:
    """Asks `counts` whether the token, or session, of a connection still counts; `end` it.

    None of it means that this can't be told now: what was so stays so, and it is asked again soon. It hears
    of changes from when it is made: made before the first look, it misses none, and `until_refused` needs no
    second look at once.
    """

    def __init__(
        self, runtime: Runtime, counts: Callable[[], Awaitable[bool | None]], *, key: str = TOKENS
    ) -> None:
        self._counts = counts
        self._changed = asyncio.Event()
        self.end = runtime.on_change(key, lambda ids, keys: self._changed.set())

    async def until_refused(self, *, looked: bool = False) -> None:
        """Return when it doesn't count any more; `looked`: it did, since this was made."""
        verdict: bool | None = True if looked else await self._counts()
        while verdict is not False:
            await loops.wait(self._changed, RECHECK_SECONDS if verdict else RETRY_SECONDS)
            self._changed.clear()
            verdict = await self._counts()


async def until_refused(
    runtime: Runtime, counts: Callable[[], Awaitable[bool | None]], *, key: str = TOKENS
) -> None:
    """Return when `counts`, asked as by `Recheck`, says that a connection doesn't count any more."""
    recheck = Recheck(runtime, counts, key=key)
    try:
        await recheck.until_refused()
    finally:
        recheck.end()
