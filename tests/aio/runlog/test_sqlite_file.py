"""The file behind an SQLite run log, also when its writer is killed."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from meshcore.aio.runlog.base import RETENTION, Conflict
from meshcore.aio.runlog.sqlite_file import NEWS_ROWS, TRIM_RUNS, SqliteFile, append_of
from meshcore.config_sections import Sync
from meshcore.liveness import Beat
from meshcore.run_events import AnyEvent
from meshcore.run_record import EMPTY, Head, Record
from tests.test_runs import CREATED, STARTED, chunk, end

ROOT = Path(__file__).resolve().parents[3]
START = datetime(2026, 1, 1, tzinfo=UTC)
WRITER = """
import asyncio, pathlib, sys
from meshcore.aio.runlog.sqlite import SqliteLog
from tests.aio.runlog.conformance import begun, write
from tests.test_runs import chunk

async def main():
    log = await SqliteLog.open(pathlib.Path(sys.argv[1]))
    writer = await begun(log)
    for index in range(1, 100_000):
        await write(log, writer, chunk(index))
        print(writer.head.seq, flush=True)

asyncio.run(main())
"""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[SqliteFile]:
    """An empty file."""
    opened = SqliteFile(tmp_path / "log.db", sync=Sync.PROCESS)
    yield opened
    opened.close()


def append(file: SqliteFile, run: str, head: Head, *events: AnyEvent) -> Head | Conflict:
    """Append one record in a commit of its own."""
    record = Record(1, "x", head.seq + 1, events)
    (result,) = file.commit([], [append_of(run, head, record, lambda: START)])
    stored: Head | Conflict = result
    return stored


def test_a_conflict_fails_its_own_append_and_not_its_neighbours(file: SqliteFile) -> None:
    records = [Record(1, append_id, 1, (CREATED,)) for append_id in "xyz"]

    appends = [
        append_of(run, EMPTY, record, lambda: START)
        for run, record in zip(("one", "one", "two"), records, strict=True)
    ]
    results = file.commit([], appends)

    assert [type(result) for result in results] == [Head, Conflict, Head]
    assert [file.read(run, 0, 10)[0][0] for run in ("one", "two")] == [records[0], records[2]]


def test_an_append_that_is_there_already_is_told_its_place(file: SqliteFile) -> None:
    head = append(file, "one", EMPTY, *STARTED)
    assert isinstance(head, Head)
    again = append_of("one", EMPTY, Record(1, "x", 1, tuple(STARTED)), lambda: START)

    assert file.commit([], [again]) == [head]


def test_of_those_that_go_on_together_a_late_one_fails_alone(file: SqliteFile) -> None:
    heads = [append(file, run, EMPTY, *STARTED) for run in ("one", "two", "three")]
    assert all(isinstance(head, Head) for head in heads)
    moved = append(file, "two", heads[1], chunk(1))  # type: ignore[arg-type]  # as asserted
    late = [
        append_of(run, head, Record(1, append_id, 3, (chunk(1),)), lambda: START)  # type: ignore[arg-type]
        for run, head, append_id in zip(
            ("one", "two", "three", "one"), [*heads, heads[0]], "abcd", strict=True
        )
    ]

    results = file.commit([lambda each: each.beat(Beat("node", "x", 1))], late)

    assert [type(result) for result in results[1:]] == [Head, Conflict, Head, Conflict]
    assert file.beats() == [Beat("node", "x", 1)]
    assert [file.read(run, 2, 10)[-1][1] for run in ("one", "two", "three")] == [
        results[1],
        moved,
        results[3],
    ]


def test_known_rows_are_passed_over_unless_others_are_in_between(file: SqliteFile) -> None:
    for number in range(1, 7):
        append(file, f"run-{number}", EMPTY, CREATED)

    looked = file.news(lambda run, plain: True, [range(1, 3), range(3, 4), range(5, 6)])

    assert (looked.cursor, [row for row, _, _ in looked.records]) == (6, [4, 5, 6])


def test_what_cannot_be_read_is_not_kept_for_its_end(file: SqliteFile) -> None:
    head = append(file, "one", EMPTY, *STARTED)
    assert isinstance(head, Head)
    append(file, "one", head, chunk(1), end(4))
    file._writer.execute("UPDATE events SET record = '[2]' WHERE seq = 3")

    file.commit([lambda each: each.trim(START + RETENTION + timedelta(seconds=1))], [])

    assert file.read("one", 0, 10) == []


def test_opening_it_again_takes_no_lock_away_from_who_has_it_open(file: SqliteFile, tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with pytest.raises(sqlite3.OperationalError), closing(sqlite3.connect(path)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        SqliteFile(path, sync=Sync.PROCESS)
    look = f"import sqlite3; c = sqlite3.connect({str(path)!r}); c.execute('SELECT 1 FROM beats'); c.close()"

    subprocess.run([sys.executable, "-c", look], check=True, timeout=30)

    assert path.with_name("log.db-wal").exists()  # the last one to leave removes it


def test_news_come_once_and_in_pieces(file: SqliteFile, tmp_path: Path) -> None:
    for number in range(NEWS_ROWS + 5):
        append(file, f"run-{number}", EMPTY, CREATED)

    looks = [file.news(lambda run, plain: True) for _ in range(3)]

    assert [len(look.records) for look in looks] == [NEWS_ROWS, 5, 0]
    assert [look.cursor for look in looks] == [NEWS_ROWS, NEWS_ROWS + 5, NEWS_ROWS + 5]


def test_what_nobody_wants_is_not_read(file: SqliteFile) -> None:
    head = append(file, "one", EMPTY, *STARTED)
    assert isinstance(head, Head)
    append(file, "one", head, chunk(1))
    append(file, "two", EMPTY, CREATED)

    looked = file.news(lambda run, plain: run == "one" and not plain)

    assert [(run, record.events) for _, run, record in looked.records] == [("one", tuple(STARTED))]


def test_a_late_append_to_a_trimmed_run_conflicts_and_leaves_nothing(file: SqliteFile) -> None:
    head = append(file, "one", EMPTY, *STARTED)
    assert isinstance(head, Head)
    append(file, "one", head, end(3))
    file.commit([lambda each: each.trim(START + RETENTION + timedelta(seconds=1))], [])

    results = [append(file, "one", late, CREATED) for late in (EMPTY, Head(1, 1))]

    assert [type(result) for result in results] == [Conflict, Conflict]
    assert [record.events for record, _ in file.read("one", 0, 10)] == [(end(3),)]


def test_so_many_runs_are_trimmed_at_once(file: SqliteFile) -> None:
    for number in range(TRIM_RUNS + 3):
        head = append(file, f"run-{number}", EMPTY, *STARTED)
        assert isinstance(head, Head)
        append(file, f"run-{number}", head, end(3))
    later = START + RETENTION + timedelta(seconds=1)

    touched = [file.commit([lambda each: each.trim(later)], [])[0] for _ in range(3)]

    assert touched == [TRIM_RUNS, 3, 0]


def test_what_was_acknowledged_survives_a_kill_of_its_writer(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    argv = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        acknowledged = [int(next(writer.stdout)) for _ in range(200)]
        writer.send_signal(signal.SIGKILL)
        acknowledged += map(int, writer.stdout)

    file = SqliteFile(path, sync=Sync.PROCESS)
    stored = file.read("run_abcdef_1", 0, 1_000_000)
    file.close()

    assert stored[-1][1].seq >= acknowledged[-1]
    assert [record.first_seq for record, _ in stored] == [1, *range(3, stored[-1][1].seq + 1)]
    assert stored[-1][0].events == (chunk(stored[-1][1].seq - 2),)


def test_a_head_is_a_row_of_that_run_that_ends_there(file: SqliteFile) -> None:
    one, two = (append(file, run, EMPTY, *STARTED) for run in ("one", "two"))
    assert isinstance(one, Head)
    assert isinstance(two, Head)

    results = [append(file, "one", head, chunk(1)) for head in (Head(3, one.token), Head(2, two.token), one)]

    assert [type(result) for result in results] == [Conflict, Conflict, Head]
