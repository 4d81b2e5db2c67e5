"""Who hears of new records in this process: the tails of single runs, and whoever follows all of them.

An engine tells the hub of each record once, in the order of the log. A reader that falls behind loses its
queue, not its place: it reads the log again from where it was.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Self

from meshcore.aio.runlog.base import READ_RECORDS, EngineGone, Stored
from meshcore.aio.time_limits import TimeLimits
from meshcore.run_record import Record

QUEUED_MAX = 1024  # records that wait for one reader, at most 256 MB and mostly 200 kB; beyond it is behind
RETRY_SECONDS = 0.5  # until a tail asks an engine again that was gone
LOST = ("", Record(0, "", 0, ()))
"""Tells who follows all runs that records were passed over."""

Read = Callable[[str, int], Awaitable[Sequence[Stored]]]


class _Reader:
    """A queue with a bound; `is_behind` when something may be missing in it."""

    __slots__ = ("behind", "queue", "waiter")

    def __init__(self) -> None:
        self.queue: deque[tuple[str, Record]] = deque()
        self.behind = False
        self.waiter: asyncio.Future[None] | None = None

    def put(self, run_id: str, record: Record) -> None:
        if len(self.queue) >= QUEUED_MAX:
            self.lose()
        self.queue.append((run_id, record))
        self.wake()

    def lose(self) -> None:
        self.queue.clear()
        self.behind = True
        self.wake()

    def wake(self) -> None:
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    @property
    def has_news(self) -> bool:
        """Whether there is something to take."""
        return bool(self.queue) or self.behind

    async def wait(self) -> None:
        """Return when there is something."""
        if not self.has_news:
            self.waiter = asyncio.get_running_loop().create_future()
            try:
                await self.waiter
            finally:
                self.waiter = None


class Hub:
    """The readers of one log in one process."""

    def __init__(self) -> None:
        self._by_run: dict[str, set[_Reader]] = {}
        self._of_all: set[_Reader] = set()
        self.limits = TimeLimits()  # of all who wait

    def wants(self, run_id: str, is_plain: bool) -> bool:
        """Return whether anybody would hear of a record of `run_id`; callable from any thread."""
        return run_id in self._by_run or (bool(self._of_all) and not is_plain)

    def tell(self, run_id: str, record: Record, *, is_plain: bool) -> None:
        """Pass on a new record; who follows all runs hears of those with more in them than chunks."""
        for reader in self._by_run.get(run_id, ()):
            reader.put(run_id, record)
        if not is_plain:
            for reader in self._of_all:
                reader.put(run_id, record)

    def lose(self) -> None:
        """Say that records may have been missed: all readers look at the log."""
        for reader in (*self._of_all, *(each for readers in self._by_run.values() for each in readers)):
            reader.lose()

    def listen(self, run_id: str = "") -> _Reader:
        """Return a reader that hears of a run, or of all, from now on until `leave`."""
        reader = _Reader()
        (self._by_run.setdefault(run_id, set()) if run_id else self._of_all).add(reader)
        return reader

    def leave(self, reader: _Reader, run_id: str = "") -> None:
        """Tell a reader nothing more."""
        readers = self._by_run.get(run_id, self._of_all)
        readers.discard(reader)
        if not readers:
            self._by_run.pop(run_id, None)


class Feed:
    """Gives records with more than chunks in them from its making on, `LOST` where some were passed over."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._reader = hub.listen()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[str, Record]:
        await self._reader.wait()
        if self._reader.behind:
            self._reader.behind = False
            return LOST
        return self._reader.queue.popleft()

    async def aclose(self) -> None:
        """Listen no more."""
        self._hub.leave(self._reader)


class Tail:
    """A run's records behind `after_seq`: first by `read`, then as they come; it listens from its making.

    To be iterated, or asked for what came together, by one task; to be closed. `is_new`: whoever makes it
    knows, or is about to find out, that there was nothing to read.
    """

    def __init__(self, hub: Hub, run_id: str, after_seq: int, read: Read, *, is_new: bool = False) -> None:
        self._hub = hub
        self._run_id = run_id
        self._read = read
        self._seen = after_seq
        self._is_to_read = not is_new
        self._has_read = is_new
        self._held: deque[Record] = deque()
        self._reader = hub.listen(run_id)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Record:
        while not self._held:
            self._held.extend(await self.next())
        return self._held.popleft()

    async def next(self, within_seconds: float | None = None) -> list[Record]:
        """Return the next records, in order; [] when none came for so long, and the log is read then.

        Raises EngineGone as long as nothing was read; who watches already waits for the engine.
        """
        while True:
            if self._is_to_read:
                try:
                    records = [record for record, _ in await self._read(self._run_id, self._seen)]
                except EngineGone:
                    if not self._has_read:
                        raise
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                self._has_read = True
                self._is_to_read = len(records) >= READ_RECORDS  # else what comes behind them is in the queue
                if records:
                    self._seen = records[-1].last_seq
                    return records
            if not await self._has_heard(within_seconds):
                self._is_to_read = True  # a record that got lost costs time, and no more
                return []
            if records := self._take():
                return records

    async def aclose(self) -> None:
        """Listen no more."""
        self._hub.leave(self._reader, self._run_id)

    async def _has_heard(self, within_seconds: float | None) -> bool:
        """Return whether there is news, or was in time."""
        if within_seconds is None or self._reader.has_news:
            await self._reader.wait()
            return True
        try:
            with self._hub.limits.within(within_seconds):
                await self._reader.wait()
        except TimeoutError:
            return self._reader.has_news
        return True

    def _take(self) -> list[Record]:
        """Return what is new in the queue, up to a gap: what is missing there is to be read."""
        reader, records = self._reader, []
        self._is_to_read, reader.behind = reader.behind, False
        while reader.queue and not self._is_to_read:
            record = reader.queue.popleft()[1]
            if record.first_seq > self._seen + 1:
                self._is_to_read = True
            elif record.last_seq > self._seen:
                records.append(record)
                self._seen = record.last_seq
        return records
