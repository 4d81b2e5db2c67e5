"""The tables of an SQLite run log, and how its file is opened.

meta     log_id
events   a record a row; ids rise in the order of commits, so a reader needs one cursor for all runs;
         a plain one has nothing but chunks; of others, `owner` claims by it, and `ended_at` its end came
runs     those that were begun: whether each is open, who claimed it last; kept by triggers, so that to append
         is one statement
beats    the last sign of life of each instance
"""

import sqlite3
from pathlib import Path

from meshcore.config_sections import Sync

LAYOUT = 3  # of these tables, in the file's user_version; the first layout said nothing there
WITHOUT_TRIGGERS = 2  # the layout before, which is brought up to date
BUSY_SECONDS = 1.0  # to wait for another process's commit; half of what a node waits for its engine
PRAGMAS = {
    Sync.PROCESS: "NORMAL",
    Sync.FULL: "FULL",
}  # in WAL mode, NORMAL survives the process, not the power
SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, seq INTEGER NOT NULL, last_seq INTEGER NOT NULL,
    append_id TEXT NOT NULL, is_plain INTEGER NOT NULL, record BLOB NOT NULL, owner TEXT, ended_at REAL,
    UNIQUE (run, seq));
CREATE TABLE IF NOT EXISTS runs (
    run TEXT PRIMARY KEY, open INTEGER NOT NULL, owner TEXT NOT NULL, ended_at REAL,
    trimmed INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS runs_open ON runs (run) WHERE open;
CREATE INDEX IF NOT EXISTS runs_ended ON runs (ended_at) WHERE ended_at IS NOT NULL;
CREATE TABLE IF NOT EXISTS beats (
    node TEXT NOT NULL, instance TEXT NOT NULL, counter INTEGER NOT NULL, PRIMARY KEY (node, instance));
"""
TRIGGERS = (
    """CREATE TRIGGER IF NOT EXISTS run_begun AFTER INSERT ON events WHEN NEW.seq = 1 BEGIN
    INSERT INTO runs (run, open, owner) VALUES (NEW.run, 1, coalesce(NEW.owner, '')) ON CONFLICT DO NOTHING;
    END""",
    """CREATE TRIGGER IF NOT EXISTS run_claimed AFTER INSERT ON events
    WHEN NEW.seq > 1 AND NEW.owner IS NOT NULL BEGIN
    UPDATE runs SET owner = NEW.owner WHERE run = NEW.run;
    END""",
    # The first end counts, as for whoever folds the log.
    """CREATE TRIGGER IF NOT EXISTS run_ended AFTER INSERT ON events WHEN NEW.ended_at IS NOT NULL BEGIN
    UPDATE runs SET open = 0, ended_at = NEW.ended_at WHERE run = NEW.run AND open;
    END""",
)


def prepare(connection: sqlite3.Connection) -> None:
    """Make the tables in the caller's transaction, or see that they are the ones that are known here.

    Raises sqlite3.DatabaseError for a file of another layout: nothing is changed in it.
    """
    found = connection.execute("PRAGMA user_version").fetchone()[0]
    is_empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if found == LAYOUT:
        return
    if found == WITHOUT_TRIGGERS:
        for column in ("owner TEXT", "ended_at REAL"):
            connection.execute(f"ALTER TABLE events ADD COLUMN {column}")
    elif found or not is_empty:
        raise sqlite3.DatabaseError(
            f"a run log of layout {found or 1}, and this version knows {LAYOUT}: move the file away when the "
            "runs in it have ended"
        )
    for statement in (*SCHEMA.split(";\n"), *TRIGGERS):
        connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {LAYOUT}")


def connect(path: Path, sync: Sync, *, waits: bool = True) -> sqlite3.Connection:
    """Return a connection that commits what it is told to, and waits for others as long as it may.

    One that doesn't wait at all doesn't wait for the disk either: others move what it wrote into the file.
    """
    timeout = BUSY_SECONDS if waits else 0.0
    connection = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {PRAGMAS[sync]}")
    connection.execute("PRAGMA secure_delete = ON")  # prompts and answers don't outlive their retention
    if not waits:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
    return connection
