"""A log in one SQLite file on a local disk, shared by the nodes of a machine; the default.

What several runs want to append at once is committed together, in the event loop as long as nothing has to
be waited for: to hand it to a thread and be told costs more. Else a thread writes, beats first: when others
are writing, when it is much, or when each commit waits for the disk. Readers of this process hear of it as
soon as that is done. Another thread reads: it looks every 20 ms whether anybody else, in whatever process,
has committed anything, and serves every tail of this process with one query.
"""

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, Self, TypeVar

from meshcore.aio.runlog.base import READ_RECORDS, EngineGone, OpenRun, Stored
from meshcore.aio.runlog.hub import Feed, Hub, Tail
from meshcore.aio.runlog.sqlite_file import Append, SqliteFile, Write, append_of
from meshcore.aio.runlog.worker import Worker, settle
from meshcore.clock import UtcNow, utcnow
from meshcore.config_sections import Sync
from meshcore.liveness import Beat
from meshcore.run_record import Head, Record, is_plain

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

POLL_SECONDS = 0.02  # until a record of another process is seen
FAILED_SECONDS = 0.5  # between two looks at a file that can't be read
GATHER_SECONDS = 0.003  # between two commits that begin; a lone append is committed at once
EAGER_MAX_BYTES = 256 << 10  # in one commit from the event loop, well below 1 ms; more is left to the thread
CHECKPOINT_BYTES = 4 << 20  # as SQLite itself does
GROUP_MAX = (
    110  # appends in one commit, about 1 ms; their 9 values each are as many as SQLite before 3.32 takes, 999
)
GROUP_MAX_BYTES = 1 << 20  # of them, but for one larger record alone; about 5 ms

_Appends = Sequence[tuple[Append, asyncio.Future[Head]]]


class SqliteLog:
    """See the module; made by `open`, closed by `close`, and of one event loop."""

    keeps_records = False

    def __init__(self, file: SqliteFile, *, is_eager: bool, now: UtcNow) -> None:
        self.log_id = file.log_id
        self._file = file
        self._now = now
        self._loop = asyncio.get_running_loop()
        self._hub = Hub()
        self._writing = Worker("run-log-write")
        self._reading = Worker("run-log-read")
        self._writes: deque[tuple[Write, asyncio.Future[Any]]] = deque()
        self._appends: deque[tuple[Append, asyncio.Future[Head]]] = deque()
        self._is_committing = False
        self._is_eager = is_eager
        self._gathering: asyncio.TimerHandle | None = None  # set until a commit begins
        self._begun_at = 0.0  # the last commit
        self._to_checkpoint = 0  # bytes
        self._known: deque[range] = deque()  # rows of this process that the poll hasn't passed yet
        self._polled = 0  # the row that it has passed
        self._polling = asyncio.create_task(self._poll_on())

    @classmethod
    async def open(cls, path: Path, *, sync: Sync = Sync.PROCESS, now: UtcNow = utcnow) -> Self:
        """Open the file, or make it, readable by its owner alone. Raises EngineGone."""
        try:
            file = await asyncio.to_thread(SqliteFile, path, sync=sync)
        except (sqlite3.Error, OSError) as exc:
            raise EngineGone(f"{path}: {exc}") from exc
        return cls(file, is_eager=sync is Sync.PROCESS, now=now)  # else each commit waits for the disk

    async def append(self, run_id: str, head: Head, record: Record) -> Head:
        """Store a record behind `head`; who is cancelled meanwhile doesn't take it back."""
        append = append_of(run_id, head, record, self._now)
        stored: asyncio.Future[Head] = self._loop.create_future()
        self._appends.append((append, stored))
        self._have_committed()
        return await stored

    async def read(self, run_id: str, after_seq: int = 0, *, limit: int = READ_RECORDS) -> Sequence[Stored]:
        """Return the next records."""
        return await self._read(self._file.read, run_id, after_seq, limit)

    def tail(self, run_id: str, after_seq: int = 0, *, is_new: bool = False) -> Tail:
        """Return a reader of what stands there and then of what comes."""
        return Tail(self._hub, run_id, after_seq, self.read, is_new=is_new)

    def feed(self) -> Feed:
        """Return a reader of what all runs have beside chunks, from now on."""
        return Feed(self._hub)

    async def open_runs(self) -> Sequence[OpenRun]:
        """Return the runs that have not ended."""
        return await self._read(self._file.open_runs)

    async def amend(self, run_id: str, end: Head | None) -> None:
        """Do nothing: what is open is no hint here, but written together with what it follows from."""

    async def beat(self, beat: Beat) -> None:
        """Store a sign of life, in front of all that waits to be written."""
        await self._write(lambda file: file.beat(beat))

    async def beats(self) -> Sequence[Beat]:
        """Return the last signs of life."""
        return await self._read(self._file.beats)

    async def remove_beat(self, node: str, instance: str) -> None:
        """Forget an instance."""
        await self._write(lambda file: file.remove_beat(node, instance))

    async def trim(self, now: datetime) -> int:
        """Forget what is past its retention."""
        touched: int = await self._write(lambda file: file.trim(now))
        return touched

    async def close(self) -> None:
        """Write what waits, and close the file."""
        self._polling.cancel()
        await asyncio.wait([self._polling])
        while self._is_committing:
            with suppress(EngineGone):
                await self._write(lambda file: None)  # what waits with it or before it is written then
        self._reading.close()
        self._writing.close()
        self._file.close()

    async def _write(self, write: Write) -> Any:
        """Have something written in front of all appends; who is cancelled meanwhile doesn't take it back."""
        done = self._loop.create_future()
        self._writes.append((write, done))
        self._have_committed()
        return await done

    def _have_committed(self) -> None:
        """Commit soon: together with what others want to write, and not at once behind the last commit.

        A whole group has nothing to wait for.
        """
        is_whole = len(self._appends) >= GROUP_MAX
        if not self._is_committing:
            self._is_committing = True
            due_at = 0.0 if is_whole else self._begun_at + GATHER_SECONDS
            self._gathering = self._loop.call_at(due_at, self._commit)
        elif is_whole and self._gathering is not None and self._gathering.when() > 0.0:
            self._gathering.cancel()
            self._gathering = self._loop.call_at(0.0, self._commit)

    def _commit(self) -> None:
        """Commit what waits: what comes meanwhile is together in the next commit."""
        self._gathering = None
        self._begun_at = self._loop.time()
        writes, appends = list(self._writes), self._next_group()
        self._writes.clear()
        if writes or not self._has_appended(appends):
            commit = partial(self._file.commit, [write for write, _ in writes], [each for each, _ in appends])
            self._writing.give(commit, partial(self._committed, writes, appends))

    def _has_appended(self, appends: _Appends) -> bool:
        """Append here and now, if it is little and nobody else writes: to have it done would take longer."""
        size = sum(len(each.data) for each, _ in appends)
        if not self._is_eager or size > EAGER_MAX_BYTES:
            return False
        results: Sequence[Any] | Exception | None
        try:
            results = self._file.append_now([each for each, _ in appends])
        except Exception as exc:
            results = exc
        if results is None:
            return False
        self._have_checkpointed(size)
        self._committed((), appends, results)
        return True

    def _have_checkpointed(self, size: int) -> None:
        """Have what was written moved into the file when it is much, by the thread that reads."""
        self._to_checkpoint += size
        if self._to_checkpoint > CHECKPOINT_BYTES:
            self._to_checkpoint = 0
            self._reading.give(self._file.checkpoint, _checkpointed)

    def _next_group(self) -> list[tuple[Append, asyncio.Future[Head]]]:
        waiting, left = self._appends, GROUP_MAX_BYTES
        group: list[tuple[Append, asyncio.Future[Head]]] = []
        while waiting and len(group) < GROUP_MAX and left > 0:
            each = waiting.popleft()
            group.append(each)
            left -= len(each[0].data)
        return group

    def _committed(
        self,
        writes: Sequence[tuple[Write, asyncio.Future[Any]]],
        appends: _Appends,
        results: Sequence[Any] | Exception,
    ) -> None:
        """Tell who waited, then who listens, and commit what came meanwhile."""
        if isinstance(results, Exception):
            if not isinstance(results, sqlite3.Error):
                logger.error("writing the run log failed", exc_info=results)
            gone = EngineGone(str(results))
            gone.__cause__ = results
            results = [gone] * (len(writes) + len(appends))
        for (_, done), result in zip((*writes, *appends), results, strict=True):
            settle(done, result)
        self._tell(appends, results[len(writes) :])
        self._is_committing = False
        if self._writes or self._appends:
            self._have_committed()

    def _tell(self, appends: _Appends, results: Sequence[Head | Exception]) -> None:
        """Pass on what was committed, but for what the poll was faster with."""
        rows = [head.token for head in results if type(head) is Head]
        if rows and max(rows) - min(rows) == len(rows) - 1:
            self._known.append(range(min(rows), max(rows) + 1))
        else:  # some were there before, and between them may be rows of other processes
            self._known.extend(range(row, row + 1) for row in rows)
        for (append, _), head in zip(appends, results, strict=True):
            if type(head) is Head and head.token > self._polled:
                self._hub.tell(append.run_id, append.record, is_plain=append.is_plain)

    async def _read(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await self._reading.do(function, *args, **kwargs)
        except sqlite3.Error as exc:
            raise EngineGone(str(exc)) from exc

    async def _poll_on(self) -> None:
        failing = False
        while True:
            try:
                await self._poll()
                failing = False
            except EngineGone as exc:
                if not failing:
                    logger.error("the run log can't be read: %s", exc)
                failing = True
            await asyncio.sleep(FAILED_SECONDS if failing else POLL_SECONDS)

    async def _poll(self) -> None:
        """Pass on what other processes have committed."""
        self._polled, records = await self._read(self._file.news, self._hub.wants, tuple(self._known))
        for row, run_id, record in records:
            if not any(row in rows for rows in self._known):
                self._hub.tell(run_id, record, is_plain=is_plain(record))
        while self._known and self._known[0].stop <= self._polled + 1:
            self._known.popleft()


def _checkpointed(result: object) -> None:
    if isinstance(result, Exception):
        logger.error("what was written to the run log stays beside its file: %s", result)
