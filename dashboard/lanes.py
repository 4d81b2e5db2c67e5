"""Threads for one purpose each, because whatever runs through `database_sync_to_async` shares one."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import ParamSpec, TypeVar

from django.db import connections

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

MAX_WAITING = 1000  # calls waiting for one lane; all that call are bounded, so more is a fault and is refused
CLOSE_SECONDS = 2.0  # what a lane was given may take this long to finish at the end; serve exits within 5 s


class LaneFull(RuntimeError):
    """More calls wait for a lane than ever should."""


class Lane:
    """Threads for one purpose; each keeps its own database connection open between calls."""

    def __init__(self, name: str, *, threads: int, max_waiting: int = MAX_WAITING) -> None:
        self.name = name
        self._threads = threads
        self._max_waiting = max_waiting
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self.waiting = 0

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return `function(...)`, called in a thread of this lane; raises LaneFull, and what it raises."""
        if self.waiting >= self._max_waiting:
            raise LaneFull(f"{self.waiting} calls wait for {self.name}: no more than {self._max_waiting} may")
        self.waiting += 1
        try:
            call = partial(_call, function, *args, **kwargs)
            return await asyncio.get_running_loop().run_in_executor(self._executor, call)
        finally:
            self.waiting -= 1

    async def close(self) -> None:
        """Let what is waiting finish, and close the threads' connections."""
        barrier = threading.Barrier(self._threads)  # holds each thread until all came by, so none comes twice
        leave = asyncio.get_running_loop().run_in_executor
        leaving = [leave(self._executor, _leave, barrier) for _ in range(self._threads)]
        _, busy = await asyncio.wait(leaving, timeout=CLOSE_SECONDS)
        if busy:
            logger.error("%s is still busy after %s s and is left behind", self.name, CLOSE_SECONDS)
        self._executor.shutdown(wait=not busy)


class Gate:
    """Lets few calls of a kind into a lane at a time; the rest waits before it, in order of coming.

    So a thousand of them, which come at once, are passed by whatever else goes there. Who has waited for
    `max_seconds` is refused: nobody may be left behind whom it concerns, and those who came later still are.
    """

    def __init__(
        self, name: str, *, at_once: int, max_seconds: float, max_waiting: int = MAX_WAITING
    ) -> None:
        self._name = name
        self._places = asyncio.Semaphore(at_once)
        self._max_seconds = max_seconds
        self._max_waiting = max_waiting
        self.waiting = 0

    async def run(self, step: Callable[[], Awaitable[T]]) -> T:
        """Return what `step()` returns, taken when its turn comes; raises LaneFull, and what it raises."""
        if self.waiting >= self._max_waiting:
            raise LaneFull(f"{self.waiting} {self._name} wait: no more than {self._max_waiting} may")
        self.waiting += 1
        try:
            async with asyncio.timeout(self._max_seconds):
                await self._places.acquire()
        except TimeoutError as exc:
            raise LaneFull(f"{self._name}: no turn within {self._max_seconds:g} s") from exc
        finally:
            self.waiting -= 1
        try:
            return await step()
        finally:
            self._places.release()


def _call(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return function(*args, **kwargs)
    finally:
        for connection in connections.all(initialized_only=True):
            if connection.errors_occurred:  # it may be broken, whatever the function made of the error
                connection.close()  # the next call opens a new one


def _leave(barrier: threading.Barrier) -> None:
    connections.close_all()
    with suppress(threading.BrokenBarrierError):  # the other thread is busy; `close` says so
        barrier.wait(CLOSE_SECONDS / 2)
