"""Run logs in an SQLite file."""

import asyncio
import sqlite3
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meshcore.aio.runlog import sqlite
from meshcore.aio.runlog.base import EngineGone, RunLog
from meshcore.aio.runlog.sqlite import SqliteLog
from meshcore.aio.runlog.sqlite_file import Append, insert_behind
from meshcore.config_sections import Sync
from meshcore.liveness import Beat
from meshcore.run_record import EMPTY, Record
from tests.aio.runlog.conformance import OTHER, RUN, Again, Conformance, begun, numbers, write
from tests.test_runs import CREATED, chunk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the file is."""
    return tmp_path / "runs" / "log.db"


@pytest.fixture
async def log(path: Path) -> AsyncIterator[SqliteLog]:
    """An empty log."""
    opened = await SqliteLog.open(path)
    yield opened
    await opened.close()


class TestSqlite(Conformance):
    """The suite on SQLite."""

    @pytest.fixture
    async def again(self, log: RunLog, path: Path) -> AsyncIterator[Again]:
        """The same file, as another process opens it."""
        opened: list[SqliteLog] = []

        async def open_it() -> RunLog:
            opened.append(await SqliteLog.open(path))
            return opened[-1]

        yield open_it
        for each in opened:
            await each.close()


async def test_nobody_else_may_read_the_file(log: SqliteLog, path: Path) -> None:
    await begun(log)

    modes = {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}

    assert modes == {0o600}


@pytest.mark.parametrize(("sync", "expected"), [(Sync.PROCESS, 1), (Sync.FULL, 2)])
async def test_full_sync_survives_the_power_too(path: Path, sync: Sync, expected: int) -> None:
    opened = await SqliteLog.open(path, sync=sync)
    try:
        assert opened._file._writer.execute("PRAGMA synchronous").fetchone() == (expected,)
        assert opened._file._writer.execute("PRAGMA secure_delete").fetchone() == (1,)
    finally:
        await opened.close()


async def test_a_file_that_cant_be_opened_says_which(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"no database, but long enough to be taken for one" * 100)

    with pytest.raises(EngineGone, match=r"log\.db"):
        await SqliteLog.open(tmp_path / "log.db")


async def test_what_waits_is_written_before_the_file_is_closed(path: Path) -> None:
    opened = await SqliteLog.open(path)
    waiting = [
        asyncio.create_task(opened.append(f"{RUN}{number}", EMPTY, Record(1, "x", 1, (CREATED,))))
        for number in range(50)
    ]
    await asyncio.sleep(0)
    await opened.close()

    assert all(head.seq == 1 for head in await asyncio.gather(*waiting))


async def test_who_is_cancelled_fails_nobody_else_in_the_same_commit(log: SqliteLog) -> None:
    record = Record(1, "x", 1, (CREATED,))
    left = asyncio.create_task(log.append(RUN, EMPTY, record))
    stays = asyncio.create_task(log.append(OTHER, EMPTY, record))
    await asyncio.sleep(0)
    left.cancel()

    assert (await stays).seq == 1


async def test_a_locked_file_is_an_engine_that_is_gone_and_comes_back(log: SqliteLog, path: Path) -> None:
    writer = await begun(log)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(EngineGone, match="locked"):
        await log.append(RUN, writer.head, Record(1, "x", 3, (chunk(1),)))
    with pytest.raises(EngineGone, match="locked"):
        await log.beat(Beat("node-a", "x", 1))
    other.execute("ROLLBACK")
    other.close()

    await write(log, writer, chunk(1))
    assert writer.head.seq == 3


async def test_a_record_of_a_newer_version_keeps_no_news_from_others(
    log: SqliteLog, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with aclosing(log.feed()) as feed:
        coming = asyncio.create_task(anext(feed))
        await asyncio.sleep(0)  # it listens now
        other = sqlite3.connect(path)
        with other:
            row = (RUN, 1, 1, "x", 0, b'[2,"x",1,[{}]]', None, None, 0)
            other.execute(insert_behind(1), row)
        other.close()
        neighbour = await SqliteLog.open(path)
        await begun(neighbour, run=OTHER)
        async with asyncio.timeout(30):
            run, record = await coming
        await neighbour.close()

    assert (run, numbers([record])) == (OTHER, [1, 2])
    assert "format 2" in caplog.text


@pytest.mark.parametrize("sync", Sync)
async def test_while_others_write_it_waits_and_nobody_here_waits_with_it(path: Path, sync: Sync) -> None:
    log = await SqliteLog.open(path, sync=sync)
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")

    appending = asyncio.create_task(log.append(RUN, EMPTY, Record(1, "x", 1, (CREATED,))))
    for _ in range(10):
        await asyncio.sleep(0.005)
    was_done = appending.done()
    holder.execute("COMMIT")
    holder.close()
    async with asyncio.timeout(30):
        head = await appending
    await log.close()

    assert (was_done, head.seq) == (False, 1)


async def test_much_is_left_to_the_thread_and_moved_into_the_file(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "EAGER_MAX_BYTES", 1000)
    monkeypatch.setattr(sqlite, "CHECKPOINT_BYTES", 500)
    log = await SqliteLog.open(path)
    checkpoint, here, eager = log._file.checkpoint, [], []  # type: ignore[var-annotated]
    monkeypatch.setattr(log._file, "checkpoint", lambda: here.append(checkpoint()))
    append_now = log._file.append_now
    monkeypatch.setattr(log._file, "append_now", lambda appends: eager.append(1) or append_now(appends))

    for run, size in (("much", 2000), ("little", 600)):
        created = msgspec.structs.replace(CREATED, key="k" * size)
        await log.append(run, EMPTY, Record(1, "x", 1, (created,)))
    await log.close()

    assert (len(eager), len(here)) == (1, 1)


async def test_an_append_that_was_there_already_hides_nothing_of_other_processes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "POLL_SECONDS", 3600.0)
    log, neighbour = await SqliteLog.open(path), await SqliteLog.open(path)
    await asyncio.sleep(0.05)  # both have looked, and won't look again
    record = Record(1, "mine", 1, (CREATED,))
    await log.append("here", EMPTY, record)
    await begun(neighbour, run=OTHER)

    await asyncio.gather(
        log.append("here", EMPTY, record), log.append("new", EMPTY, Record(1, "new", 1, (CREATED,)))
    )
    news = log._file.news(lambda run, plain: True, tuple(log._known))
    await log.close()
    await neighbour.close()

    assert OTHER in [run for _, run, _ in news.records]


async def test_the_file_survives_and_keeps_its_id(path: Path) -> None:
    first = await SqliteLog.open(path)
    await begun(first)
    await first.close()

    second = await SqliteLog.open(path)
    stored = await second.read(RUN)
    await second.close()

    assert second.log_id == first.log_id
    assert len(stored) == 1


async def test_readers_here_hear_of_a_commit_without_the_poll(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "POLL_SECONDS", 3600.0)
    log = await SqliteLog.open(path)
    async with aclosing(log.tail(RUN, is_new=True)) as tail, asyncio.timeout(30):
        await log._poll()
        await begun(log)
        found = await tail.next()
    await log.close()

    assert numbers(found) == [1, 2]


async def test_the_feed_has_all_of_two_processes_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "POLL_SECONDS", 0.0)
    here, there = await SqliteLog.open(path), await SqliteLog.open(path)
    heard: list[str] = []

    async def listen() -> None:
        async with aclosing(here.feed()) as feed:
            async for run, _ in feed:
                heard.append(run)

    listening = asyncio.create_task(listen())
    await asyncio.sleep(0)
    names = [f"run_abcdef_{number}" for number in range(200)]
    for at in range(0, len(names), 4):
        mine, theirs = names[at : at + 2], names[at + 2 : at + 4]
        made = [*(begun(here, run=name) for name in mine), *(begun(there, run=name) for name in theirs)]
        await asyncio.gather(*made)
    async with asyncio.timeout(30):
        while set(heard) != set(names):  # noqa: ASYNC110 - what is waited for is no event
            await asyncio.sleep(0.01)
    looks = here._file._reader.execute("SELECT max(id) FROM events").fetchone()[0]
    async with asyncio.timeout(30):
        while here._polled < looks or here._known:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
    listening.cancel()
    await here.close()
    await there.close()

    assert sorted(heard) == sorted(names)


async def test_a_large_record_goes_alone_and_the_others_behind_it(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "GROUP_MAX", 3)
    monkeypatch.setattr(sqlite, "GROUP_MAX_BYTES", 1000)
    groups: list[int] = []
    append_now = log._file.append_now

    def counted(appends: Sequence[Append]) -> list[Any] | None:
        groups.append(len(appends))
        return append_now(appends)

    monkeypatch.setattr(log._file, "append_now", counted)
    large = Record(1, "x", 1, (msgspec.structs.replace(CREATED, key="k" * 2000),))
    small = Record(1, "x", 1, (CREATED,))
    records = [large, small, small, small, small]

    await asyncio.gather(*(log.append(f"run-{at}", EMPTY, record) for at, record in enumerate(records)))

    assert groups == [1, 3, 1]


async def test_what_the_poll_was_faster_with_is_told_once(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed = log._committed
    polls: list[asyncio.Task[None]] = []

    def late(*args: Any) -> None:
        polls.append(asyncio.create_task(log._poll()))
        polls[-1].add_done_callback(lambda _: committed(*args))

    monkeypatch.setattr(log, "_committed", late)
    async with aclosing(log.feed()) as feed:
        for name in (RUN, OTHER):
            await begun(log, run=name)
        heard = [run for run, _ in feed._reader.queue]

    assert (heard, len(polls)) == ([RUN, OTHER], 2)
