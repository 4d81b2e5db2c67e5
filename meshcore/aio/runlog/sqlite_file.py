"""The file of an SQLite run log: its statements. Synchronous; one thread writes, one reads.

A log ends at a head when the head's row is there and none begins behind it: the first is looked up by the
row's id, the second is what (run, seq) is unique for. So to append is one statement, which is a transaction
by itself, and so are several appends. Python lets other threads run during a statement and has to wait for
them behind it: a commit of many statements would take turns with the event loop at each.
"""

import logging
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import datetime
from functools import cache
from itertools import chain, count
from pathlib import Path
from typing import Any, NamedTuple

from meshcore.aio.runlog.base import END_KEPT, RETENTION, Conflict, OpenRun, Stored
from meshcore.aio.runlog.sqlite_schema import connect, prepare
from meshcore.clock import UtcNow
from meshcore.config_sections import Sync
from meshcore.errors import FrameError
from meshcore.liveness import Beat
from meshcore.run_events import Claimed, End, beside_chunks
from meshcore.run_record import Head, Record, decode, encode, end_alone

logger = logging.getLogger(__name__)

LOG_ID_BYTES = 16
PRIMARY = 0xFF  # of SQLite's error codes
NEWS_ROWS = 500  # in one look, at most 128 MB and mostly 100 kB
TRIM_RUNS = 100  # at once, about 20 ms
NEWS = "SELECT id, run, is_plain, record FROM events WHERE id > ? ORDER BY id LIMIT ?"

Write = Callable[["SqliteFile"], Any]
"""Something to do in a commit that it shares with others."""


class Append(NamedTuple):
    """A record to be stored behind `head`; `data` are its bytes.

    `owner` is the instance that claims the run by it, `ended_at` its end in seconds since 1970, if any.
    """

    run_id: str
    head: Head
    record: Record
    data: bytes
    is_plain: bool
    owner: str | None = None
    ended_at: float | None = None

    @property
    def values(self) -> tuple[str | int | bytes | float | None, ...]:
        """What the statement gets: the columns of the row, and the row of the head."""
        record = self.record
        return (
            *(self.run_id, record.first_seq, record.last_seq, record.append_id, self.is_plain, self.data),
            *(self.owner, self.ended_at, self.head.token),
        )


def append_of(run_id: str, head: Head, record: Record, now: UtcNow) -> Append:
    """Return how a record is stored. Raises TooLarge."""
    data = encode(record)
    others = beside_chunks(record.events)
    if not others:
        return Append(run_id, head, record, data, True)
    owner = next((event.instance for event in reversed(others) if isinstance(event, Claimed)), None)
    has_end = any(isinstance(event, End) for event in others)
    return Append(run_id, head, record, data, False, owner, now().timestamp() if has_end else None)


class News(NamedTuple):
    """Records that were committed up to the row `cursor`, each with its row."""

    cursor: int
    records: list[tuple[int, str, Record]]


class SqliteFile:
    """See the module; everything may raise sqlite3.Error."""

    def __init__(self, path: Path, *, sync: Sync) -> None:
        _make(path)
        with ExitStack() as opened:
            self._writer = opened.enter_context(closing(connect(path, sync)))
            self._reader = opened.enter_context(closing(connect(path, sync)))
            self._eager = opened.enter_context(closing(connect(path, sync, waits=False)))
            with self._transaction():
                prepare(self._writer)
            self.log_id = self._give_id()
            self._version = 0
            self._cursor: int = self._reader.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()[0]
            opened.pop_all()  # from here on it is `close` that closes them

    def close(self) -> None:
        """Close it."""
        self._reader.close()
        self._eager.close()
        self._writer.close()

    def commit(self, writes: Sequence[Write], appends: Sequence[Append]) -> list[Any]:
        """Do all of `writes`, then of `appends`, in one transaction; return what each write returned, and of
        each append its new head or its Conflict.
        """
        if not writes:
            return _append(self._writer, appends)
        with self._transaction():
            return [*(write(self) for write in writes), *_append(self._writer, appends)]

    def append_now(self, appends: Sequence[Append]) -> list[Any] | None:
        """Do the same with appends alone, from the event loop; None, and nothing was done, when others write.

        It waits neither for them nor for the disk: the system has what was written, as `Sync.PROCESS` says.
        """
        try:
            return _append(self._eager, appends)
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode & PRIMARY in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                return None
            raise

    def checkpoint(self) -> None:
        """Move what was committed into the file, as far as nobody reads it; waits for the disk."""
        self._reader.execute("PRAGMA wal_checkpoint(PASSIVE)")

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
                "DELETE FROM events WHERE run = ? AND seq < (SELECT max(seq) FROM events WHERE run = ?)",
                [run_id] * 2,
            )
            self._cut_last(run_id)
            self._writer.execute("UPDATE runs SET trimmed = 1 WHERE run = ?", [run_id])
        return len(gone) + len(cut)

    def _cut_last(self, run_id: str) -> None:
        """Leave nothing but the end in what is left of a run; a record that can't be read goes."""
        for id_, data in self._writer.execute(
            "SELECT id, record FROM events WHERE run = ?", [run_id]
        ).fetchall():
            if (record := _read_or_skip(run_id, data)) is None:
                self._writer.execute("DELETE FROM events WHERE id = ?", [id_])
            elif len(record.events) > 1:
                end = end_alone(record)
                row = (end.first_seq, end.last_seq, encode(end), id_)
                self._writer.execute("UPDATE events SET seq = ?, last_seq = ?, record = ? WHERE id = ?", row)

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

    def news(self, wanted: Callable[[str, bool], bool], known: Sequence[range] = ()) -> News:
        """Return the records that were committed since the last look, by whatever process.

        `wanted(run, plain)` says of each whether it is worth reading: at most times nobody watches a run.
        Rows that are `known`, in their order, are passed over where that is easy.
        """
        version: int = self._reader.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version:
            return News(self._cursor, [])
        for rows_known in known:
            if rows_known.start <= self._cursor + 1:  # else somebody else's are in between
                self._cursor = max(self._cursor, rows_known.stop - 1)
        rows = self._reader.execute(NEWS, [self._cursor, NEWS_ROWS]).fetchall()
        if rows:
            self._cursor = rows[-1][0]
        if len(rows) < NEWS_ROWS:
            self._version = version
        worth = [
            (id_, run_id, data) for id_, run_id, is_plain, data in rows if wanted(run_id, bool(is_plain))
        ]
        found = [(id_, run_id, _read_or_skip(run_id, data)) for id_, run_id, data in worth]
        return News(self._cursor, [(id_, run_id, record) for id_, run_id, record in found if record])

    def _ended(self, condition: str, at: float) -> list[str]:
        found = self._writer.execute(f"SELECT run FROM runs WHERE {condition} LIMIT {TRIM_RUNS}", [at])  # noqa: S608 - constants
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


def _make(path: Path) -> None:
    """Make the file, readable by its owner alone; SQLite gives its side files the same mode.

    One that is there is not even opened: to close it would take away the locks that other connections of this
    process have on it (POSIX), and another process could then remove the write-ahead log under them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _append(writer: sqlite3.Connection, appends: Sequence[Append]) -> list[Any]:
    """Store each that is for the end of its log, and return its head or its Conflict."""
    if not appends:
        return []
    values = list(chain.from_iterable(each.values for each in appends))
    added = writer.execute(insert_behind(len(appends)), values)
    if added.rowcount == len(appends):  # their ids follow each other then
        ids = count((added.lastrowid or 0) - len(appends) + 1)
        return [Head(append.record.last_seq, id_) for append, id_ in zip(appends, ids, strict=False)]
    return [_outcome(writer, append) for append in appends]


def _outcome(writer: sqlite3.Connection, append: Append) -> Head | Conflict:
    """Return what became of one of several appends of which not all were stored."""
    record = append.record
    found = writer.execute(
        "SELECT id FROM events WHERE run = ? AND seq = ? AND append_id = ?",
        [append.run_id, record.first_seq, record.append_id],
    ).fetchone()
    if found is None:
        return Conflict(f"{append.run_id}: the log doesn't end at {append.head.seq}")
    return Head(record.last_seq, found[0])


@cache
def insert_behind(rows: int) -> str:
    """Return the statement that adds those of so many rows whose head is where their log ends.

    The row of a head is there and ends before the new one. 0, of an empty log: nothing of the run is there,
    also not the end of one that is else forgotten.
    """
    values = ", ".join(["(?, ?, ?, ?, ?, ?, ?, ?, ?)"] * rows)
    return (
        "INSERT OR IGNORE INTO events (run, seq, last_seq, append_id, is_plain, record, owner, ended_at) "  # noqa: S608 - placeholders alone
        "SELECT column1, column2, column3, column4, column5, column6, column7, column8 "
        f"FROM (VALUES {values}) WHERE CASE column9 "
        "WHEN 0 THEN NOT EXISTS (SELECT 1 FROM events WHERE run = column1) "
        "ELSE EXISTS (SELECT 1 FROM events WHERE id = column9 AND run = column1 AND last_seq = column2 - 1) "
        "END"
    )


def _read_or_skip(run_id: str, data: bytes) -> Record | None:
    """One record that can't be read must not keep the news of other runs from their readers."""
    try:
        return decode(data)
    except FrameError as exc:
        logger.error("%s: passed over: %s", run_id, exc)
        return None
