"""Run logs in JetStream, on a real server."""

import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from meshcore.aio.runlog.base import RETENTION, EngineGone, RunLog
from meshcore.aio.runlog.jetstream import JetStreamLog
from meshcore.run_writer import RunWriter, Turn
from tests.aio.runlog.conformance import OTHER, RUN, Again, Conformance, begun, numbers, take, write
from tests.engines.nats_servers import NATS_SERVICE, nats_answers, nats_from_wheel
from tests.engines.servers import Mode, NoServer
from tests.test_runs import STARTED, chunk, end


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server."""
    mode = Mode(os.environ.get("MESH_TEST_ENGINES") or Mode.AUTO)
    if mode is not Mode.WHEELS and nats_answers(NATS_SERVICE):
        yield NATS_SERVICE
        return
    if mode is Mode.SERVICES:
        raise NoServer(f"MESH_TEST_ENGINES=services: no NATS answers at {NATS_SERVICE}")
    with nats_from_wheel(tmp_path_factory.mktemp("nats")) as url:
        yield url


async def removed(log: JetStreamLog) -> None:
    """Take away what a test has made."""
    for name in (log._place.runs, log._place.state):
        await log._link.js.delete_stream(name)


class TestJetStream(Conformance):
    """The suite on JetStream."""

    @pytest.fixture
    def url(self, nats: str) -> str:
        """A log of its own."""
        return f"{nats}?prefix=t{secrets.token_hex(4)}"

    @pytest.fixture
    async def log(self, url: str) -> AsyncIterator[RunLog]:
        """An empty log."""
        opened = await JetStreamLog.open(url)
        yield opened
        await removed(opened)
        await opened.close()

    @pytest.fixture
    async def again(self, log: RunLog, url: str) -> AsyncIterator[Again]:
        """The same log, as another process opens it."""
        opened: list[JetStreamLog] = []

        async def open_it() -> RunLog:
            opened.append(await JetStreamLog.open(url))
            return opened[-1]

        yield open_it
        for each in opened:
            await each.close()

    async def test_hints_are_corrected(self, log: JetStreamLog) -> None:
        writer = await begun(log)
        await write(log, writer, end(3))
        for run_id in (RUN, OTHER):
            await log._put("open", run_id, b"")
        before = sorted(run.run_id for run in await log.open_runs())

        await log.amend(RUN, writer.head)
        await log.amend(OTHER, None)

        assert (before, await log.open_runs()) == ([RUN, OTHER], [])

    async def test_all_that_ended_is_cut_however_much_it_is(
        self, log: JetStreamLog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("meshcore.aio.runlog.jetstream.TRIM_RUNS", 2)
        later = datetime.now(UTC) + RETENTION + timedelta(minutes=1)
        for number in range(5):
            await write(log, await begun(log, run=f"{RUN}{number}"), end(3), run=f"{RUN}{number}")

        cut = [await log.trim(later) for _ in range(4)]

        assert cut == [2, 2, 1, 0]
        assert [len(await log.read(f"{RUN}{number}")) for number in range(5)] == [1] * 5

    async def test_a_connection_that_was_closed_for_good_is_made_again(
        self, log: JetStreamLog, again: Again
    ) -> None:
        other = await again()
        writer = await begun(other)
        async with aclosing(log.tail(RUN)) as tail:
            first = await take(tail, 2)
            await log._link._connection.close()
            await write(other, writer, chunk(1))
            rest = await take(tail, 3)

        assert numbers(first + rest) == [1, 2, 3]
        assert await write(log, RunWriter("one"), *STARTED, run=OTHER) is Turn.STORED


async def test_replicas_need_servers_that_can_be_trusted_with_them(
    nats: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshcore.aio.runlog.jetstream.REPLICAS_FROM", (99, 0, 0))

    with pytest.raises(EngineGone, match=r"replicas=3: expected servers from 99\.0\.0, found"):
        await JetStreamLog.open(f"{nats}?replicas=3")


async def test_a_server_that_stops_is_gone_and_what_it_acknowledged_is_there_when_it_is_back(
    tmp_path: Path,
) -> None:
    with nats_from_wheel(tmp_path) as url:
        log = await JetStreamLog.open(url)
        writer = await begun(log)
    with pytest.raises(EngineGone):
        await log.read("run_abcdef_1")
    await log.close()

    with nats_from_wheel(tmp_path) as again:
        back = await JetStreamLog.open(again)
        stored = await back.read("run_abcdef_1")
        await back.close()

    assert stored[-1][1] == writer.head
