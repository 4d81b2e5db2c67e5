"""Chunks a second appended durably to 200 live runs in an SQLite log, a record each; and the file's limit.

A record each is the worst case, of providers that are slow: a node puts into the next record what comes while
the last one is being stored, up to 32 chunks. The limit stores the same rows by the same statement, one run
behind the other and all 200 in a commit, from one loop that decides nothing, waits for nobody, and is alone.
"""

import asyncio
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count, cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks.loops import Loop, Prepare, contestant
from benchmarks.rounds import Contestant, Role
from benchmarks.table import Goal

if TYPE_CHECKING:
    from meshcore.run_writer import RunWriter

UNIT = "chunks"
OURS = "run log, sqlite"
LIMIT = "raw inserts, sqlite"
GOALS = (Goal(ratio=0.5, of=LIMIT),)
RUNS = 200
NAMES = [f"run_bench0_{number:032x}" for number in range(0, RUNS << 120, 1 << 120)]
DELTA = b'{"content":"A few words of an answer, "}'


class _Runs:
    """200 runs that are being answered: each appends its next chunk as soon as the last one is durable."""

    def __init__(self, folder: str) -> None:
        from meshcore.aio.runlog.appending import append
        from meshcore.clock import monotonic
        from meshcore.run_events import ChunkEvent

        self._folder = folder
        self._appending = partial(append, clock=monotonic, random=lambda: 0.5)
        self._chunk = partial(ChunkEvent, delta=msgspec.Raw(DELTA))
        self._ids = map("{:032x}".format, count(1))
        self._stored = 0
        self._wanted = 0
        self._enough = asyncio.Event()

    async def begin(self) -> None:
        from meshcore.aio.runlog.sqlite import SqliteLog
        from meshcore.run_writer import RunWriter

        self._log = await SqliteLog.open(Path(self._folder) / "log.db")
        writers = {run: RunWriter(f"node-{run}") for run in NAMES}
        await asyncio.gather(*map(self._create, writers, writers.values()))
        self._living = list(map(asyncio.ensure_future, map(self._go_on, writers, writers.values())))

    async def append(self, times: int) -> None:
        """Return when so many more are stored."""
        self._wanted = self._stored + times
        self._enough.clear()
        await self._enough.wait()

    async def _create(self, run: str, writer: "RunWriter") -> None:
        from meshcore.run_events import Claimed, ClaimReason, Created

        started = ClaimReason.STARTED
        created = Created(capability="llm.chat", request=msgspec.Raw(b"{}"), log_id="bench0")
        claimed = Claimed(node="here", instance=writer.instance, epoch=1, reason=started)
        await self._appending(self._log, run, writer, next(self._ids), created, claimed)

    async def _go_on(self, run: str, writer: "RunWriter") -> None:
        while True:
            chunk = self._chunk(index=writer.state.next_index)
            await self._appending(self._log, run, writer, next(self._ids), chunk)
            self._stored += 1
            if self._stored == self._wanted:
                self._enough.set()


def _ours() -> Loop:
    folder = tempfile.TemporaryDirectory(prefix="meshboard-bench-")
    runs = _Runs(folder.name)
    begun = asyncio.ensure_future(runs.begin())

    async def appends(times: int) -> None:
        await begun
        await runs.append(times)

    appends.folder = folder  # type: ignore[attr-defined]  # as long as the loop lives
    return appends


def _limit() -> Loop:
    from meshcore.aio.runlog.sqlite_file import SqliteFile, insert_behind
    from meshcore.config_sections import Sync

    folder = tempfile.TemporaryDirectory(prefix="meshboard-bench-")
    path = Path(folder.name) / "log.db"
    SqliteFile(path, sync=Sync.PROCESS).close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA secure_delete = ON")
    append, due = insert_behind(1), cycle(NAMES)
    first = [(run, 1, 1, "", False, b"", "here", None, 0) for run in NAMES]
    heads = {values[0]: (1, connection.execute(append, values).lastrowid or 0) for values in first}

    async def inserts(times: int) -> None:
        for group in (RUNS,) * (times // RUNS) + (times % RUNS,):
            connection.execute("BEGIN IMMEDIATE")
            for run in islice(due, group):
                seq, row = heads[run]
                record = b'[1,"%032x",%d,[{"type":"chunk","index":%d,"delta":%s}]]' % (seq, seq, seq, DELTA)
                values = run, seq + 1, seq + 1, f"{seq:032x}", True, record, None, None, row
                heads[run] = seq + 1, connection.execute(append, values).lastrowid or 0
            connection.execute("COMMIT")

    inserts.folder = folder  # type: ignore[attr-defined]
    return inserts


LOOPS: dict[str, Prepare] = {OURS: _ours, LIMIT: _limit}


@contextmanager
def contestants(*, with_peers: bool) -> Iterator[list[Contestant]]:
    """Give those that are measured; there is no peer to compare with."""
    yield [contestant(OURS, Role.OURS, __name__), contestant(LIMIT, Role.LIMIT, __name__)]
