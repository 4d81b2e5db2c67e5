"""One thread for what would block the event loop: it does what it is given, one thing after the other."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_Work = Callable[[], None]


class Worker:
    """See the module; made and used in one event loop.

    What waits is not bounded here: who gives it work waits for it, so that there is one piece for each.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._work: SimpleQueue[_Work | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work_on, name=name, daemon=True)
        self._thread.start()

    async def do(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `function` returned, or raise what it raised; who leaves doesn't stop it."""
        done: asyncio.Future[T] = self._loop.create_future()

        def work() -> None:
            try:
                result = function(*args, **kwargs)
            except Exception as exc:
                self._tell(_fail, done, exc)
            else:
                self._tell(_succeed, done, result)

        self._work.put(work)
        return await done

    def close(self) -> None:
        """Do what waits, then end; blocks until then."""
        self._work.put(None)
        self._thread.join()

    def _work_on(self) -> None:
        while (work := self._work.get()) is not None:
            work()

    def _tell(self, tell: Callable[..., None], done: asyncio.Future[T], what: object) -> None:
        with suppress(RuntimeError):  # the event loop was closed: nobody waits any more
            self._loop.call_soon_threadsafe(tell, done, what)


def _succeed(done: asyncio.Future[T], result: T) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: asyncio.Future[T], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
