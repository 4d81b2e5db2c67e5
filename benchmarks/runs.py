"""Chunks a second appended durably to 200 live runs in an SQLite log, a record each; and the file's limit.

The limit writes the same bytes into the same tables, 500 records in a commit, from one loop that decides
nothing, waits for nobody, and is alone.
"""

import asyncio
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle, islice
from pathlib import Path

import msgspec

from benchmarks.loops import Loop, Prepare, contestant
from benchmarks.rounds import Contestant, Role
from benchmarks.table import Goal

UNIT = "chunks"
OURS = "run log, sqlite"
LIMIT = "raw inserts, sqlite"
GOALS = (Goal(ratio=0.5, of=LIMIT),)
RUNS = 200
NAMES = [f"run_bench0_{number:032x}" for number in range(0, RUNS << 120, 1 << 120)]
DELTA = b'{"content":"A few words of an answer, "}'


class _Runs:
    """200 runs that are being answered."""

    def __init__(self, folder: str) -> None:
        from meshcore.aio.runlog.appending import append
        from meshcore.clock import monotonic
        from meshcore.runs import ChunkEvent

        self._folder = folder
        self._appending = partial(append, clock=monotonic, random=lambda: 0.5)
        self._chunk = partial(ChunkEvent, delta=msgspec.Raw(DELTA))
        self._number = 0

    async def begin(self) -> None:
        from meshcore.aio.runlog.sqlite import SqliteLog
        from meshcore.run_writer import RunWriter

        self._log = await SqliteLog.open(Path(self._folder) / "log.db")
        self._writers = {run: RunWriter(f"node-{run}") for run in NAMES}
        await asyncio.gather(*map(self._create, self._writers))

    async def append(self, times: int) -> None:
        each, more = divmod(times, RUNS)
        shares = (each + (number < more) for number in range(RUNS))
        await asyncio.gather(*map(self._go_on, self._writers, shares))

    async def _create(self, run: str) -> None:
        from meshcore.runs import Claimed, ClaimReason, Created

        writer, started = self._writers[run], ClaimReason.STARTED
        created = Created(capability="llm.chat", request=msgspec.Raw(b"{}"), log_id="bench0")
        claimed = Claimed(node="here", instance=writer.instance, epoch=1, reason=started)
        await self._appending(self._log, run, writer, self._next_id(), created, claimed)

    async def _go_on(self, run: str, times: int) -> None:
        writer = self._writers[run]
        for _ in range(times):
            chunk = self._chunk(index=writer.state.next_index)
            await self._appending(self._log, run, writer, self._next_id(), chunk)

    def _next_id(self) -> str:
        self._number += 1
        return f"{self._number:032x}"


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
    from meshcore.aio.runlog.sqlite_file import SqliteFile, _insert_behind
    from meshcore.config_sections import Sync

    folder = tempfile.TemporaryDirectory(prefix="meshboard-bench-")
    path = Path(folder.name) / "log.db"
    SqliteFile(path, sync=Sync.PROCESS).close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA secure_delete = ON")
    insert = (
        "INSERT INTO events (run, seq, last_seq, append_id, is_plain, record) VALUES (?, 1, 1, '', 0, '')"
    )
    heads = {run: (1, connection.execute(insert, (run,)).lastrowid or 0) for run in NAMES}

    async def inserts(times: int) -> None:
        due = cycle(heads)
        while times:
            group = min(times, RUNS)
            connection.execute("BEGIN IMMEDIATE")
            for run in islice(due, group):
                seq, row = heads[run]
                record = b'[1,"%032x",%d,[{"type":"chunk","index":%d,"delta":%s}]]' % (seq, seq, seq, DELTA)
                values = run, seq + 1, seq + 1, f"{seq:032x}", True, record, row
                heads[run] = seq + 1, connection.execute(_insert_behind(1), values).lastrowid or 0
            connection.execute("COMMIT")
            times -= group

    inserts.folder = folder  # type: ignore[attr-defined]
    return inserts


LOOPS: dict[str, Prepare] = {OURS: _ours, LIMIT: _limit}


@contextmanager
def contestants(*, with_peers: bool) -> Iterator[list[Contestant]]:
    """Give those that are measured; there is no peer to compare with."""
    yield [contestant(OURS, Role.OURS, __name__), contestant(LIMIT, Role.LIMIT, __name__)]
