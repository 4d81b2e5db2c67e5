"""Who hears of new records in this process: the tails of single runs, and whoever follows all of them.

An engine tells the hub of each record once, in the order of the log. A reader that falls behind loses its
queue, not its place: it reads the log again from where it was.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from meshcore.aio.runlog.base import Stored
from meshcore.run_record import Record
from meshcore.runs import ChunkEvent

QUEUED_MAX = 1024  # records that wait for one reader, at most 256 MB and mostly 200 kB; beyond it is behind
LOST = ("", Record(0, "", 0, ()))
"""Tells who follows all runs that records were passed over."""

Read = Callable[[str, int], Awaitable[Sequence[Stored]]]


class _Reader:
    """A queue with a bound; `behind` when it overflowed."""

    def __init__(self) -> None:
        self.queue: deque[tuple[str, Record]] = deque()
        self.behind = False
        self.news = asyncio.Event()

    def put(self, run_id: str, record: Record) -> None:
        if len(self.queue) >= QUEUED_MAX:
            self.queue.clear()
            self.behind = True
        self.queue.append((run_id, record))
        self.news.set()

    async def wait(self) -> None:
        while not self.queue:
            self.news.clear()
            await self.news.wait()


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

    async def tail(self, run_id: str, after_seq: int, read: Read) -> AsyncGenerator[Record, None]:
        """Yield a run's records behind `after_seq`: first by `read`, then as they come."""
        with self._listening(self._by_run.setdefault(run_id, set()), run_id) as reader:
            seen = after_seq
            replay = True
            while True:
                if replay:
                    while stored := await read(run_id, seen):
                        for record, _ in stored:
                            yield record
                            seen = record.last_seq
                await reader.wait()
                record = reader.queue.popleft()[1]
                replay = reader.behind or record.first_seq > seen + 1
                reader.behind = False
                if not replay and record.last_seq > seen:
                    yield record
                    seen = record.last_seq

    async def feed(self) -> AsyncGenerator[tuple[str, Record], None]:
        """Yield records with more than chunks in them from now on, `LOST` where some were passed over."""
        with self._listening(self._of_all) as reader:
            while True:
                await reader.wait()
                if reader.behind:
                    reader.behind = False
                    yield LOST
                yield reader.queue.popleft()

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
