"""The file of an SQLite run log: its tables and statements. Synchronous; one thread writes, one reads.

meta     log_id
events   a record a row; ids rise in the order of commits, so a reader needs one cursor for all runs;
         a plain one has nothing but chunks
runs     where each run's log ends, whether it is open, who claimed it last: in the records' transaction
beats    the last sign of life of each instance
"""

import logging
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from meshcore.aio.runlog.base import END_KEPT, RETENTION, Conflict, OpenRun, Stored
from meshcore.config_sections import Sync
from meshcore.errors import FrameError
from meshcore.liveness import Beat
from meshcore.run_record import Head, Record, decode
from meshcore.runs import ChunkEvent, Claimed, End

logger = logging.getLogger(__name__)

LOG_ID_BYTES = 16
BUSY_SECONDS = 1.0  # to wait for another process's commit; half of what a node waits for its engine
NEWS_ROWS = 500  # in one look, at most 128 MB and mostly 100 kB
TRIM_RUNS = 100  # at once, about 20 ms
PRAGMAS = {
    Sync.PROCESS: "NORMAL",
    Sync.FULL: "FULL",
}  # in WAL mode, NORMAL survives the process, not the power
SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, seq INTEGER NOT NULL, last_seq INTEGER NOT NULL,
    append_id TEXT NOT NULL, is_plain INTEGER NOT NULL, record BLOB NOT NULL, UNIQUE (run, seq));
CREATE TABLE IF NOT EXISTS runs (
    run TEXT PRIMARY KEY, head_seq INTEGER NOT NULL, head_id INTEGER NOT NULL, open INTEGER NOT NULL,
    owner TEXT NOT NULL, ended_at REAL, trimmed INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS runs_open ON runs (run) WHERE open;
CREATE INDEX IF NOT EXISTS runs_ended ON runs (ended_at) WHERE ended_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS beats (
    node TEXT NOT NULL, instance TEXT NOT NULL, counter INTEGER NOT NULL, PRIMARY KEY (node, instance));
"""
INSERT = "INSERT INTO events (run, seq, last_seq, append_id, is_plain, record) VALUES (?, ?, ?, ?, ?, ?)"
MOVE = "UPDATE runs SET head_seq = ?, head_id = ? WHERE run = ? AND head_seq = ? AND head_id = ?"
NEWS = "SELECT id, run, is_plain, record FROM events WHERE id > ? ORDER BY id LIMIT ?"

Write = Callable[["SqliteFile"], Any]
"""Something to do in a commit that it shares with others; Conflict fails it alone."""


class SqliteFile:
    """See the module; everything may raise sqlite3.Error."""

    def __init__(self, path: Path, *, sync: Sync) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))  # SQLite gives its side files the same mode
        self._writer = _connect(path, sync)
        self._reader = _connect(path, sync)
        self._writer.executescript(SCHEMA)
        self.log_id = self._give_id()
        self._version = 0
        self._cursor: int = self._reader.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()[0]

    def close(self) -> None:
        """Close it."""
        self._reader.close()
        self._writer.close()

    def commit(self, writes: Sequence[Write]) -> list[Any]:
        """Do all of `writes` in one transaction and return what each returned, or its Conflict."""
        with self._transaction():
            return [self._result_of(write) for write in writes]

    def append(self, run_id: str, head: Head, record: Record, data: bytes, at: datetime) -> Head:
        """Store a record behind `head`, in a commit; raises Conflict."""
        is_plain = all(isinstance(event, ChunkEvent) for event in record.events)
        row = (run_id, record.first_seq, record.last_seq, record.append_id, is_plain, data)
        try:
            id_ = self._writer.execute(INSERT, row).lastrowid or 0
        except sqlite3.IntegrityError:
            raise _conflict(run_id, head) from None
        new = Head(record.last_seq, id_)
        moved = (
            self._writer.execute(MOVE, (*new, run_id, *head)).rowcount
            if head.seq
            else self._begin(run_id, new)
        )
        if not moved:
            self._writer.execute("DELETE FROM events WHERE id = ?", [id_])
            raise _conflict(run_id, head)
        if not is_plain:
            self._note(run_id, record, at)
        return new

    def beat(self, beat: Beat) -> None:
        """Store a sign of life, in a commit."""
        self._writer.execute("INSERT OR REPLACE INTO beats VALUES (?, ?, ?)", beat)

    def remove_beat(self, node: str, instance: str) -> None:
        """Forget an instance, in a commit."""
        self._writer.execute("DELETE FROM beats WHERE node = ? AND instance = ?", [node, instance])

    def trim(self, now: datetime) -> int:
        """Forget what is past its retention, in a commit; returns how many runs were touched."""
        over, old = (now - END_KEPT).timestamp(), (now - RETENTION).timestamp()
        gone = self._ended("ended_at <= ?", over)
        for run_id in gone:
            self._writer.execute("DELETE FROM events WHERE run = ?", [run_id])
            self._writer.execute("DELETE FROM runs WHERE run = ?", [run_id])
        cut = self._ended("ended_at <= ? AND NOT trimmed", old)
        for run_id in cut:
            self._writer.execute(
                "DELETE FROM events WHERE run = ? AND id < (SELECT head_id FROM runs WHERE run = ?)",
                [run_id] * 2,
            )
            self._writer.execute("UPDATE runs SET trimmed = 1 WHERE run = ?", [run_id])
        return len(gone) + len(cut)

    def read(self, run_id: str, after_seq: int, limit: int) -> list[Stored]:
        """Return the next records behind `after_seq`."""
        rows = self._reader.execute(
            "SELECT id, record FROM events WHERE run = ? AND last_seq > ? ORDER BY seq LIMIT ?",
            [run_id, after_seq, limit],
        )
        records = [(id_, decode(data)) for id_, data in rows]
        return [(record, Head(record.last_seq, id_)) for id_, record in records]

    def open_runs(self) -> list[OpenRun]:
        """Return the runs that have not ended."""
        return [OpenRun(*row) for row in self._reader.execute("SELECT run, owner FROM runs WHERE open")]

    def beats(self) -> list[Beat]:
        """Return the last signs of life."""
        return [Beat(*row) for row in self._reader.execute("SELECT node, instance, counter FROM beats")]

    def news(self, wanted: Callable[[str, bool], bool]) -> list[tuple[str, Record]]:
        """Return the records that were committed since the last look, by whatever process.

        `wanted(run, plain)` says of each whether it is worth reading: at most times nobody watches a run.
        """
        version: int = self._reader.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:
            return []
        rows = self._reader.execute(NEWS, [self._cursor, NEWS_ROWS]).fetchall()
        if rows:
            self._cursor = rows[-1][0]
        if len(rows) < NEWS_ROWS:
            self._version = version
        worth = [(run_id, data) for _, run_id, is_plain, data in rows if wanted(run_id, bool(is_plain))]
        return [(run_id, record) for run_id, data in worth if (record := _read_or_skip(run_id, data))]

    def _result_of(self, write: Write) -> Any:
        try:
            return write(self)
        except Conflict as exc:
            return exc

    def _begin(self, run_id: str, head: Head) -> int:
        """Note a run's first record; returns 0 when there was one before."""
        begun = "INSERT OR IGNORE INTO runs (run, head_seq, head_id, open, owner) VALUES (?, ?, ?, 1, '')"
        return self._writer.execute(begun, (run_id, *head)).rowcount

    def _note(self, run_id: str, record: Record, at: datetime) -> None:
        """Note who owns a run, and that it ended. The first end counts, as for whoever folds the log."""
        for event in record.events:
            if isinstance(event, Claimed):
                self._writer.execute("UPDATE runs SET owner = ? WHERE run = ?", [event.instance, run_id])
            elif isinstance(event, End):
                ended = "UPDATE runs SET open = 0, ended_at = ? WHERE run = ? AND open"
                self._writer.execute(ended, [at.timestamp(), run_id])

    def _ended(self, condition: str, at: float) -> list[str]:
        found = self._writer.execute(f"SELECT run FROM runs WHERE {condition} LIMIT {TRIM_RUNS}", [at])  # noqa: S608
        return [run_id for (run_id,) in found]

    def _give_id(self) -> str:
        with self._transaction():
            fresh = secrets.token_hex(LOG_ID_BYTES)
            self._writer.execute("INSERT OR IGNORE INTO meta VALUES ('log_id', ?)", [fresh])
            return str(self._writer.execute("SELECT value FROM meta WHERE key = 'log_id'").fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._writer.execute("ROLLBACK")
            raise
        self._writer.execute("COMMIT")


def _conflict(run_id: str, head: Head) -> Conflict:
    return Conflict(f"{run_id}: the log doesn't end at {head.seq}")


def _read_or_skip(run_id: str, data: bytes) -> Record | None:
    """One record that can't be read must not keep the news of other runs from their readers."""
    try:
        return decode(data)
    except FrameError as exc:
        logger.error("%s: passed over: %s", run_id, exc)
        return None


def _connect(path: Path, sync: Sync) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {PRAGMAS[sync]}")
    connection.execute("PRAGMA secure_delete = ON")  # prompts and answers don't outlive their retention
    return connection
