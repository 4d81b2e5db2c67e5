"""A log in one SQLite file on a local disk, shared by the nodes of a machine; the default.

One thread writes: what several runs want to append at once is committed together, beats first. Another one
reads: it looks every 20 ms whether anybody, in whatever process, has committed anything, and serves every
tail of this process with one query.
"""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar

from meshcore.aio.runlog.base import READ_RECORDS, EngineGone, OpenRun, Stored
from meshcore.aio.runlog.hub import Hub
from meshcore.aio.runlog.sqlite_file import SqliteFile, Write
from meshcore.clock import UtcNow, utcnow
from meshcore.config_sections import Sync
from meshcore.liveness import Beat
from meshcore.run_record import Head, Record, encode

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

POLL_SECONDS = 0.02  # until a record of another process is seen
FAILED_SECONDS = 0.5  # between two looks at a file that can't be read
BATCH_MAX = 500  # writes in one commit, about 10 ms


class SqliteLog:
    """See the module; made by `open`, closed by `close`, and of one event loop."""

    def __init__(self, file: SqliteFile, *, now: UtcNow) -> None:
        self.log_id = file.log_id
        self._file = file
        self._now = now
        self._hub = Hub()
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="run-log-write")
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="run-log-read")
        self._urgent: list[_Waiting] = []
        self._waiting: list[_Waiting] = []
        self._committing: asyncio.Task[None] | None = None
        self._polling = asyncio.create_task(self._poll_on())

    @classmethod
    async def open(cls, path: Path, *, sync: Sync = Sync.PROCESS, now: UtcNow = utcnow) -> Self:
        """Open the file, or make it, readable by its owner alone. Raises EngineGone."""
        try:
            file = await asyncio.to_thread(SqliteFile, path, sync=sync)
        except (sqlite3.Error, OSError) as exc:
            raise EngineGone(f"{path}: {exc}") from exc
        return cls(file, now=now)

    async def append(self, run_id: str, head: Head, record: Record) -> Head:
        """Store a record behind `head`."""
        data, at = encode(record), self._now()
        stored: Head = await self._write(
            self._waiting, lambda file: file.append(run_id, head, record, data, at)
        )
        return stored

    async def read(self, run_id: str, after_seq: int = 0, *, limit: int = READ_RECORDS) -> Sequence[Stored]:
        """Return the next records."""
        return await self._read(self._file.read, run_id, after_seq, limit)

    def tail(self, run_id: str, after_seq: int = 0) -> AsyncGenerator[Record, None]:
        """Yield what stands there, then what comes."""
        return self._hub.tail(run_id, after_seq, self.read)

    def feed(self) -> AsyncGenerator[tuple[str, Record], None]:
        """Yield what all runs have beside chunks, from now on."""
        return self._hub.feed()

    async def open_runs(self) -> Sequence[OpenRun]:
        """Return the runs that have not ended."""
        return await self._read(self._file.open_runs)

    async def amend(self, run_id: str, end: Head | None) -> None:
        """Do nothing: what is open is no hint here, but written together with what it follows from."""

    async def beat(self, beat: Beat) -> None:
        """Store a sign of life, in front of all that waits to be written."""
        await self._write(self._urgent, lambda file: file.beat(beat))

    async def beats(self) -> Sequence[Beat]:
        """Return the last signs of life."""
        return await self._read(self._file.beats)

    async def remove_beat(self, node: str, instance: str) -> None:
        """Forget an instance."""
        await self._write(self._urgent, lambda file: file.remove_beat(node, instance))

    async def trim(self, now: datetime) -> int:
        """Forget what is past its retention."""
        touched: int = await self._write(self._waiting, lambda file: file.trim(now))
        return touched

    async def close(self) -> None:
        """Write what waits, and close the file."""
        self._polling.cancel()
        await asyncio.wait([self._polling])
        while self._committing is not None:
            await asyncio.wait([self._committing])
        self._reading.shutdown()
        self._writing.shutdown()
        self._file.close()

    async def _write(self, queue: list["_Waiting"], write: Write) -> Any:
        """Have something written with the next commit; who is cancelled meanwhile doesn't take it back."""
        waiting = _Waiting(write, asyncio.get_running_loop().create_future())
        queue.append(waiting)
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_on())
        return await waiting.done

    async def _commit_on(self) -> None:
        """Commit while anything waits: what comes during one commit is together in the next."""
        while self._urgent or self._waiting:
            batch = self._urgent + self._waiting[:BATCH_MAX]
            self._urgent.clear()
            del self._waiting[:BATCH_MAX]
            await self._commit(batch)
        self._committing = None

    async def _commit(self, batch: list["_Waiting"]) -> None:
        writes = [waiting.write for waiting in batch]
        results: Sequence[Any]
        try:
            results = await _in(self._writing, self._file.commit, writes)
        except EngineGone as exc:
            results = [exc] * len(batch)
        for waiting, result in zip(batch, results, strict=True):
            waiting.settle(result)

    async def _read(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await _in(self._reading, function, *args, **kwargs)

    async def _poll_on(self) -> None:
        failing = False
        while True:
            try:
                for run_id, record in await self._read(self._file.news, self._hub.wants):
                    self._hub.tell(run_id, record)
                failing = False
            except EngineGone as exc:
                if not failing:
                    logger.error("the run log can't be read: %s", exc)
                failing = True
            await asyncio.sleep(FAILED_SECONDS if failing else POLL_SECONDS)


class _Waiting:
    """Something to be written, and who waits for it."""

    __slots__ = ("done", "write")

    def __init__(self, write: Write, done: "asyncio.Future[Any]") -> None:
        self.write = write
        self.done = done

    def settle(self, result: Any) -> None:
        if self.done.done():
            return  # cancelled meanwhile
        if isinstance(result, Exception):
            self.done.set_exception(result)
        else:
            self.done.set_result(result)


async def _in(thread: ThreadPoolExecutor, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, partial(function, *args, **kwargs))
    except sqlite3.Error as exc:
        raise EngineGone(str(exc)) from exc
