"""One thread for what would block the event loop: it does what it is given, one thing after the other."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Worker:
    """See the module; made and used in one event loop.

    What waits is not bounded here: who gives it work waits for it, so that there is one piece for each.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work_on, name=name, daemon=True)
        self._thread.start()

    def give(self, function: Callable[[], T], then: Callable[[T | Exception], None]) -> None:
        """Have something done; `then` gets what it returned or raised, in the event loop."""

        def work() -> None:
            result: T | Exception
            try:
                result = function()
            except Exception as exc:
                result = exc
            with suppress(RuntimeError):  # the event loop was closed: nobody waits any more
                self._loop.call_soon_threadsafe(then, result)

        self._work.put(work)

    async def do(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `function` returned, or raise what it raised; who leaves doesn't stop it."""
        done: asyncio.Future[T] = self._loop.create_future()
        self.give(lambda: function(*args, **kwargs), lambda result: settle(done, result))
        return await done

    def close(self) -> None:
        """Do what waits, then end; blocks until then."""
        self._work.put(None)
        self._thread.join()

    def _work_on(self) -> None:
        while (work := self._work.get()) is not None:
            work()


def settle(done: "asyncio.Future[T]", result: T | Exception) -> None:
    """Give a future its result or its error, unless who waited has left."""
    if done.done():
        return
    if isinstance(result, Exception):
        done.set_exception(result)
    else:
        done.set_result(result)
