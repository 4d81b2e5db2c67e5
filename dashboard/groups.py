"""Group commit: works that come while a lane is busy are handed over together.

    put -> waits -> [one group at a time: a call in the lane] -> its result

Nothing waits for others to come, unless `gather_seconds` says so for what isn't urgent: a lone work is handed
over at once, and groups grow with the load by themselves.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from dashboard.lanes import Lane, LaneFull
from meshcore.clock import Clock, monotonic

W = TypeVar("W")
R = TypeVar("R")

MAX_WAITING = 10_000  # works; each caller has one or a few, so more is a fault and is refused


@dataclass(slots=True, eq=False)
class _Waiting(Generic[W, R]):
    work: W
    size: int
    since: float
    answer: "asyncio.Future[R]"


class Groups(Generic[W, R]):
    """Calls `store` in a lane with all works that wait, up to `max_works` of `max_size` altogether.

    `store` returns a result for each work, in order; one that is an exception is raised where the work came
    from. What `store` itself raises is raised for all of the group.
    """

    def __init__(
        self,
        lane: Lane,
        store: Callable[[Sequence[W]], Sequence[R | Exception]],
        *,
        max_works: int,
        max_size: int,
        gather_seconds: float = 0.0,
        clock: Clock = monotonic,
    ) -> None:
        self._lane = lane
        self._store = store
        self._max_works = max_works
        self._max_size = max_size
        self._gather_seconds = gather_seconds
        self._clock = clock
        self._waiting: deque[_Waiting[W, R]] = deque()
        self._urgent = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many works no group has taken yet."""
        return len(self._waiting)

    def oldest_seconds(self) -> float:
        """Return how long the first of them has been waiting, 0 when there is none."""
        return self._clock() - self._waiting[0].since if self._waiting else 0.0

    async def put(self, work: W, *, size: int = 1, urgent: bool = True) -> R:
        """Return what became of `work`; raises LaneFull, and what its storing raises.

        Cancelled before a group has taken it, it is as if it had never come.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise LaneFull(
                f"{len(self._waiting)} works wait for {self._lane.name}: no more than {MAX_WAITING} may"
            )
        mine = _Waiting[W, R](work, size, self._clock(), asyncio.get_running_loop().create_future())
        self._waiting.append(mine)
        if urgent:
            self._urgent.set()
        if self._loop is None or self._loop.done():
            self._loop = asyncio.create_task(self._store_all())
        try:
            return await mine.answer
        finally:
            if not mine.answer.done() or mine.answer.cancelled():
                with suppress(ValueError):
                    self._waiting.remove(mine)

    async def close(self) -> None:
        """Forget what waits, and let the group that is being stored end."""
        while self._waiting:
            self._waiting.pop().answer.cancel()
        self._urgent.set()
        if self._loop is not None:
            await asyncio.wait([self._loop])

    async def _store_all(self) -> None:
        while self._waiting:
            await self._gather()
            group = self._next_group()
            if group:
                await self._store_group(group)

    async def _gather(self) -> None:
        """Wait for company until something is urgent or the first has waited long enough."""
        left = self._gather_seconds - self.oldest_seconds()
        if left > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._urgent.wait()
        self._urgent.clear()

    def _next_group(self) -> list[_Waiting[W, R]]:
        group: list[_Waiting[W, R]] = []
        size = 0
        while self._waiting and len(group) < self._max_works:
            size += self._waiting[0].size
            if group and size > self._max_size:
                break
            group.append(self._waiting.popleft())
        if self._waiting:
            self._urgent.set()  # what is left has waited for company already
        return group

    async def _store_group(self, group: list[_Waiting[W, R]]) -> None:
        results: Sequence[R | Exception]
        try:
            results = await self._lane.run(self._store, [each.work for each in group])
        except Exception as exc:
            results = [exc] * len(group)
        for each, result in zip(group, results, strict=True):
            if each.answer.done():  # whoever waited for it has gone
                continue
            if isinstance(result, Exception):
                each.answer.set_exception(result)
            else:
                each.answer.set_result(result)


class Room:
    """Bounds what is being worked on; who finds no room waits, in order of coming."""

    def __init__(self, *, max_works: int, max_size: int) -> None:
        self._max_works = max_works
        self._max_size = max_size
        self._works = 0
        self._size = 0
        self._outside: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def outside(self) -> int:
        """How many wait for room."""
        return len(self._outside)

    @asynccontextmanager
    async def place(self, size: int) -> AsyncIterator[None]:
        """Have room for a work of `size` while the context lasts; one that is alone always has."""
        await self._enter(size)
        try:
            yield
        finally:
            self._leave(size)

    async def _enter(self, size: int) -> None:
        if not self._outside and self._has_room(size):
            self._take(size)
            return
        place: tuple[int, asyncio.Future[None]] = (size, asyncio.get_running_loop().create_future())
        self._outside.append(place)
        try:
            await place[1]
        except asyncio.CancelledError:
            if place[1].done() and not place[1].cancelled():  # let in and called off at the same time
                self._leave(size)
            else:
                self._outside.remove(place)
                self._let_in()
            raise

    def _has_room(self, size: int) -> bool:
        return not self._works or (self._works < self._max_works and self._size + size <= self._max_size)

    def _take(self, size: int) -> None:
        self._works += 1
        self._size += size

    def _leave(self, size: int) -> None:
        self._works -= 1
        self._size -= size
        self._let_in()

    def _let_in(self) -> None:
        while self._outside and self._has_room(self._outside[0][0]):
            size, place = self._outside.popleft()
            self._take(size)
            place.set_result(None)
