"""Chunks a second appended durably to 200 live runs in an SQLite log, a record each; and the file's limit.

The limit writes the same bytes into the same tables, 500 records in a commit, from one loop that decides
nothing, waits for nobody, and is alone.
"""

import asyncio
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path

from benchmarks.loops import Loop, Prepare, contestant
from benchmarks.rounds import Contestant, Role
from benchmarks.table import Goal

UNIT = "chunks"
OURS = "run log, sqlite"
LIMIT = "raw inserts, sqlite"
GOALS = (Goal(ratio=0.5, of=LIMIT),)
RUNS = 200
DELTA = b'{"content":"A few words of an answer, "}'


class _Runs:
    """200 runs that are being answered."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._number = 0

    async def begin(self) -> None:
        from meshcore.aio.runlog.sqlite import SqliteLog
        from meshcore.run_writer import RunWriter

        self._log = await SqliteLog.open(Path(self._folder) / "log.db")
        self._writers = {f"run_bench0_{number}": RunWriter(f"node-{number}") for number in range(RUNS)}
        await asyncio.gather(*map(self._create, self._writers))

    async def append(self, times: int) -> None:
        each, more = divmod(times, RUNS)
        shares = (each + (number < more) for number in range(RUNS))
        await asyncio.gather(*map(self._go_on, self._writers, shares))

    async def _create(self, run: str) -> None:
        import msgspec

        from meshcore.runs import Claimed, ClaimReason, Created

        created = Created(capability="llm.chat", request=msgspec.Raw(b"{}"), log_id="bench0")
        await self._append(
            run,
            created,
            Claimed(node="here", instance=self._writers[run].instance, epoch=1, reason=ClaimReason.STARTED),
        )

    async def _go_on(self, run: str, times: int) -> None:
        import msgspec

        from meshcore.runs import ChunkEvent

        for _ in range(times):
            index = self._writers[run].state.next_index
            await self._append(run, ChunkEvent(index=index, delta=msgspec.Raw(DELTA)))

    async def _append(self, run: str, *events: object) -> None:
        from meshcore.aio.runlog.appending import append
        from meshcore.clock import monotonic

        self._number += 1
        append_id = f"{self._number:032x}"
        await append(
            self._log,
            run,
            self._writers[run],
            append_id,
            *events,  # type: ignore[arg-type]  # the events' types are imported where they are made
            clock=monotonic,
            random=lambda: 0.5,
        )


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
    from meshcore.aio.runlog.sqlite_file import INSERT, MOVE, SqliteFile
    from meshcore.config_sections import Sync

    folder = tempfile.TemporaryDirectory(prefix="meshboard-bench-")
    path = Path(folder.name) / "log.db"
    SqliteFile(path, sync=Sync.PROCESS).close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous = NORMAL")
    heads = {f"run_bench0_{number}": (0, 0) for number in range(RUNS)}
    begin = "INSERT INTO runs (run, head_seq, head_id, open, owner) VALUES (?, 0, 0, 1, '')"
    connection.executemany(begin, [(run,) for run in heads])

    async def inserts(times: int) -> None:
        connection.execute("BEGIN IMMEDIATE")
        for run in islice(cycle(heads), times):
            seq = heads[run][0] + 1
            record = b'[1,"%032x",%d,[{"type":"chunk","index":%d,"delta":%s}]]' % (seq, seq, seq, DELTA)
            id_ = connection.execute(INSERT, (run, seq, seq, f"{seq:032x}", True, record)).lastrowid or 0
            connection.execute(MOVE, (seq, id_, run, *heads[run]))
            heads[run] = seq, id_
        connection.execute("COMMIT")

    inserts.folder = folder  # type: ignore[attr-defined]
    return inserts


LOOPS: dict[str, Prepare] = {OURS: _ours, LIMIT: _limit}


@contextmanager
def contestants(*, with_peers: bool) -> Iterator[list[Contestant]]:
    """Give those that are measured; there is no peer to compare with."""
    yield [contestant(OURS, Role.OURS, __name__), contestant(LIMIT, Role.LIMIT, __name__)]
