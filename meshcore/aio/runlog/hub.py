"""Who hears of new records in this process: the tails of single runs, and whoever follows all of them.

An engine tells the hub of each record once, in the order of the log. A reader that falls behind loses its
queue, not its place: it reads the log again from where it was.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from meshcore.aio.runlog.base import EngineGone, Stored
from meshcore.run_record import Record
from meshcore.runs import ChunkEvent

QUEUED_MAX = 1024  # records that wait for one reader, at most 256 MB and mostly 200 kB; beyond it is behind
RECHECK_SECONDS = 5.0  # of silence; then a tail reads again, so that a lost record costs time and no more
RETRY_SECONDS = 0.5  # until a tail asks an engine again that was gone
LOST = ("", Record(0, "", 0, ()))
"""Tells who follows all runs that records were passed over."""

Read = Callable[[str, int], Awaitable[Sequence[Stored]]]


class _Reader:
    """A queue with a bound; `is_behind` when something may be missing in it."""

    def __init__(self) -> None:
        self._queue: deque[tuple[str, Record]] = deque()
        self._is_behind = False
        self._news = asyncio.Event()

    def put(self, run_id: str, record: Record) -> None:
        if len(self._queue) >= QUEUED_MAX:
            self.lose()
        self._queue.append((run_id, record))
        self._news.set()

    def lose(self) -> None:
        self._queue.clear()
        self._is_behind = True
        self._news.set()

    async def next(self) -> tuple[str, Record]:
        """Return what came next, `LOST` in the place of what got lost."""
        while not (self._queue or self._is_behind):
            self._news.clear()
            await self._news.wait()
        if self._is_behind:
            self._is_behind = False
            return LOST
        return self._queue.popleft()

    async def next_within(self, seconds: float) -> tuple[str, Record]:
        """Return what came next, `LOST` also when nothing came for so long."""
        if self._queue:
            return await self.next()
        try:
            async with asyncio.timeout(seconds):
                return await self.next()
        except TimeoutError:
            return LOST


class Hub:
    """The readers of one log in one process."""

    def __init__(self) -> None:
        self._by_run: dict[str, set[_Reader]] = {}
        self._of_all: set[_Reader] = set()

    def wants(self, run_id: str, plain: bool) -> bool:
        """Return whether anybody would hear of a record of `run_id`; callable from any thread."""
        return run_id in self._by_run or (bool(self._of_all) and not plain)

    def tell(self, run_id: str, record: Record) -> None:
        """Pass on a new record; who follows all runs hears of those with more in them than chunks."""
        for reader in tuple(self._by_run.get(run_id, ())):
            reader.put(run_id, record)
        if self._of_all and not all(isinstance(event, ChunkEvent) for event in record.events):
            for reader in tuple(self._of_all):
                reader.put(run_id, record)

    def lose(self) -> None:
        """Say that records may have been missed: all readers look at the log."""
        for reader in (*self._of_all, *(each for readers in self._by_run.values() for each in readers)):
            reader.lose()

    async def tail(self, run_id: str, after_seq: int, read: Read) -> AsyncGenerator[Record, None]:
        """Yield a run's records behind `after_seq`: first by `read`, then as they come.

        Raises EngineGone as long as nothing was read; who watches already waits for the engine.
        """
        with self._listening(self._by_run.setdefault(run_id, set()), run_id) as reader:
            seen, is_current, has_read = after_seq, False, False
            while True:
                if is_current:
                    record = (await reader.next_within(RECHECK_SECONDS))[1]
                    is_current = record is not LOST[1] and record.first_seq <= seen + 1
                    if is_current and record.last_seq > seen:
                        yield record
                        seen = record.last_seq
                    continue
                try:
                    stored = await read(run_id, seen)
                except EngineGone:
                    if not has_read:
                        raise
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                has_read, is_current = True, not stored
                for record, _ in stored:
                    yield record
                    seen = record.last_seq

    async def feed(self) -> AsyncGenerator[tuple[str, Record], None]:
        """Yield records with more than chunks in them from now on, `LOST` where some were passed over."""
        with self._listening(self._of_all) as reader:
            while True:
                yield await reader.next()

    @contextmanager
    def _listening(self, readers: set[_Reader], run_id: str | None = None) -> Iterator[_Reader]:
        reader = _Reader()
        readers.add(reader)
        try:
            yield reader
        finally:
            readers.discard(reader)
            if run_id is not None and not readers:
                self._by_run.pop(run_id, None)
