"""The tables of an SQLite run log: made once, and only what is known is touched."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from meshcore.aio.runlog.base import OpenRun
from meshcore.aio.runlog.sqlite_file import SqliteFile, append_of
from meshcore.aio.runlog.sqlite_schema import LAYOUT
from meshcore.config_sections import Sync
from meshcore.run_record import Head, Record, encode
from tests.test_runs import STARTED, end


def test_a_file_that_was_made_here_opens_again(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite"
    ids = set()
    for _ in range(2):
        with closing(SqliteFile(path, sync=Sync.PROCESS)) as file:
            ids.add(file.log_id)

    assert len(ids) == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (LAYOUT,)


LAYOUT_2 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, seq INTEGER NOT NULL, last_seq INTEGER NOT NULL,
    append_id TEXT NOT NULL, is_plain INTEGER NOT NULL, record BLOB NOT NULL, UNIQUE (run, seq));
CREATE TABLE runs (
    run TEXT PRIMARY KEY, open INTEGER NOT NULL, owner TEXT NOT NULL, ended_at REAL,
    trimmed INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE beats (
    node TEXT NOT NULL, instance TEXT NOT NULL, counter INTEGER NOT NULL, PRIMARY KEY (node, instance));
INSERT INTO meta VALUES ('log_id', 'abcdef');
INSERT INTO runs (run, open, owner) VALUES ('r', 1, 'one');
PRAGMA user_version = 2;
"""


def test_a_file_of_the_layout_before_is_brought_up_to_date_with_its_runs(tmp_path: Path) -> None:
    older = tmp_path / "older.sqlite"
    record = Record(1, "x", 1, tuple(STARTED))
    with closing(sqlite3.connect(older)) as connection:
        connection.executescript(LAYOUT_2)
        row = ("r", 1, 2, "x", False, encode(record))
        connection.execute(
            "INSERT INTO events (run, seq, last_seq, append_id, is_plain, record) VALUES (?, ?, ?, ?, ?, ?)",
            row,
        )
        connection.commit()

    with closing(SqliteFile(older, sync=Sync.PROCESS)) as file:
        ((_, head),) = file.read("r", 0, 10)
        going_on = append_of("r", head, Record(1, "y", 3, (end(3),)), lambda: datetime.now(UTC))
        runs = [file.open_runs(), file.commit([], [going_on]), file.open_runs()]

    assert (file.log_id, runs) == ("abcdef", [[OpenRun("r", "one")], [Head(3, 2)], []])


def test_a_file_of_another_layout_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    older = tmp_path / "older.sqlite"
    with closing(sqlite3.connect(older)) as connection:
        connection.execute("CREATE TABLE runs (run TEXT PRIMARY KEY, head_seq INTEGER NOT NULL)")

    with pytest.raises(sqlite3.DatabaseError, match="layout 1, and this version knows 3: move the file away"):
        SqliteFile(older, sync=Sync.PROCESS)

    with closing(sqlite3.connect(older)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall() == [
            ("runs",)
        ]
