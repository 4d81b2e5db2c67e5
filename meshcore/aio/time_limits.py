"""Limits on how long blocks of code may wait: one timer for all of them.

`asyncio.timeout` sets a timer for each block and takes it back, which costs more than choosing a provider
does. Limits are seldom reached, so here one timer wakes for the limit that ends first, and a block that ends
before its limit costs an entry in a set.
"""

import asyncio
from types import TracebackType
from typing import Any, Final

import msgspec

_NEVER: Final = float("inf")


class TimeLimit(msgspec.Struct, eq=False):
    """One block's limit; `expired` says whether it was reached, also after the block."""

    running: "set[TimeLimit]"
    ends_at: float  # by the event loop's time
    task: asyncio.Task[Any]
    cancelling: int  # cancellations of the task that were there before
    expired: bool = False

    def __enter__(self) -> "TimeLimit":
        self.running.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.running.discard(self)
        if self.expired and self.task.uncancel() <= self.cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from exc

    def expire(self) -> None:
        """Cancel the block."""
        self.running.discard(self)
        self.expired = True
        self.task.cancel()


class TimeLimits:
    """The limits of one event loop. Its timer wakes when the first of those that run ends, or before."""

    def __init__(self) -> None:
        self._running: set[TimeLimit] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = _NEVER

    def within(self, seconds: float) -> TimeLimit:
        """Return a limit that counts from now: `with limits.within(3.0): …` raises TimeoutError when the
        block is not done by then.

        As with `asyncio.timeout` the block is cancelled, and a cancellation from elsewhere stays one.
        """
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("a time limit was set outside of a task")
        ends_at = loop.time() + seconds
        if ends_at < self._wakes_at or loop is not self._loop:
            self._wake_at(ends_at, loop)
        return TimeLimit(self._running, ends_at, task, task.cancelling())

    def _wake_at(self, moment: float, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._loop, self._wakes_at = loop, moment
        self._timer = loop.call_at(moment, self._wake, loop)

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        now, self._timer, self._wakes_at = self._wakes_at, None, _NEVER
        for limit in [limit for limit in self._running if limit.ends_at <= now]:
            limit.expire()
        if self._running:
            self._wake_at(min(limit.ends_at for limit in self._running), loop)
