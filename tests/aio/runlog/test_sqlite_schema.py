"""The tables of an SQLite run log: made once, and only what is known is touched."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from meshcore.aio.runlog.sqlite_file import SqliteFile
from meshcore.aio.runlog.sqlite_schema import LAYOUT
from meshcore.config_sections import Sync


def test_a_file_that_was_made_here_opens_again(tmp_path: Path) -> None:
    path = tmp_path / "runs.sqlite"
    ids = set()
    for _ in range(2):
        with closing(SqliteFile(path, sync=Sync.PROCESS)) as file:
            ids.add(file.log_id)

    assert len(ids) == 1
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (LAYOUT,)


def test_a_file_of_another_layout_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    older = tmp_path / "older.sqlite"
    with closing(sqlite3.connect(older)) as connection:
        connection.execute("CREATE TABLE runs (run TEXT PRIMARY KEY, head_seq INTEGER NOT NULL)")

    with pytest.raises(sqlite3.DatabaseError, match="layout 1, and this version knows 2: move the file away"):
        SqliteFile(older, sync=Sync.PROCESS)

    with closing(sqlite3.connect(older)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall() == [
            ("runs",)
        ]
