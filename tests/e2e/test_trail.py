"""The audit trail of a real database file: changed behind our back, exported, rotated, verified."""

import random
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.enrolment import Enrolment
from tests.e2e.harness import Dashboard, Mesh

pytestmark = pytest.mark.e2e

TABLE = "dashboard_auditentry"
UNGUARDED = f"SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = '{TABLE}'"
HEAD = re.compile(r"^[0-9]+:[0-9a-f]{64}$", re.MULTILINE)
SEED = 20


@pytest.fixture
def dashboard(mesh: Mesh, enrolled: tuple[Path, Enrolment]) -> Dashboard:
    """A dashboard that is not running, and has a trail."""
    return mesh.dashboard(like=enrolled[0])


@pytest.fixture
def database(dashboard: Dashboard, mesh: Mesh) -> Path:
    """Its file."""
    return mesh.folder / "var" / "meshboard.sqlite3"


def change_a_byte(database: Path, column: str, dice: random.Random) -> int:
    """Change one byte of one entry by raw SQL, past the triggers, and return the entry's number."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        guards = connection.execute(UNGUARDED).fetchall()
        for name, _ in guards:
            connection.execute(f"DROP TRIGGER {name}")
        rows = connection.execute(f"SELECT n, {column} FROM {TABLE} WHERE {column} <> ''").fetchall()
        n, text = dice.choice(rows)
        at = dice.randrange(len(text))
        other = "x" if text[at] != "x" else "y"
        connection.execute(
            f"UPDATE {TABLE} SET {column} = ? WHERE n = ?", (text[:at] + other + text[at + 1 :], n)
        )
        for _, sql in guards:
            connection.execute(sql)
    assert len(guards) == 3
    return int(n)


@pytest.mark.parametrize("column", ["canonical", "hash", "actor_name", "target"])
def test_a_changed_byte_is_named_by_the_command(dashboard: Dashboard, database: Path, column: str) -> None:
    before = dashboard.manage("verify_audit")

    n = change_a_byte(database, column, random.Random(SEED))
    done = dashboard.command("verify_audit")

    assert "none changed" in before
    assert done.returncode == 1
    assert f"entry {n} changed" in done.stderr


def test_a_statement_that_changes_an_entry_is_refused_by_the_file_itself(
    dashboard: Dashboard, database: Path
) -> None:
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        for statement in (
            f"UPDATE {TABLE} SET reason = 'another'",
            f"DELETE FROM {TABLE} WHERE n = 1",
            f"REPLACE INTO {TABLE} SELECT * FROM {TABLE} WHERE n = 1",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="audit entries are never changed"):
                connection.execute(statement)

    assert "none changed" in dashboard.manage("verify_audit")


def test_an_exported_head_still_counts_when_the_trail_was_rotated(dashboard: Dashboard, mesh: Mesh) -> None:
    export, archive = mesh.folder / "export.jsonl", mesh.folder / "archive.jsonl"
    dashboard.manage("export_audit", str(export))
    dashboard.manage("add_token", "one-more", "--scope", "read")
    dashboard.manage("rotate_audit", str(archive), "-m", "the year is over")

    both = dashboard.manage("verify_audit", "--archive", str(archive), "--head", str(export))
    alone = dashboard.command("verify_audit", "--head", str(export))
    dice, raw = random.Random(SEED), bytearray(archive.read_bytes())
    raw[dice.randrange(len(raw) // 2)] ^= 1
    archive.write_bytes(raw)
    forged = dashboard.command("verify_audit", "--archive", str(archive), "--head", str(export))

    assert both.count("none changed") == 2
    assert HEAD.search(both)
    assert alone.returncode == 2
    assert "give that as --archive" in alone.stderr
    assert forged.returncode in (1, 2)
    assert "archive.jsonl" in forged.stderr
    assert "none changed" in dashboard.manage("verify_audit")
