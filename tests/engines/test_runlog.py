"""Run logs in JetStream, on a real server and on a cluster of three."""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from meshcore.aio.runlog.appending import append
from meshcore.aio.runlog.base import EngineGone, RunLog
from meshcore.aio.runlog.jetstream import JetStreamLog
from meshcore.clock import monotonic
from meshcore.run_writer import RunWriter, Turn
from meshcore.runs import ClaimReason
from tests.aio.runlog.conformance import Again, Conformance, begun, half
from tests.engines.nats_servers import NATS_SERVICE, nats_answers, nats_cluster, nats_from_wheel
from tests.engines.servers import Mode, NoServer
from tests.test_runs import RELEASED, claimed

RACES = 100


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


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The URLs of three servers that replicate."""
    with nats_cluster(tmp_path_factory.mktemp("cluster")) as urls:
        yield urls


async def removed(log: JetStreamLog) -> None:
    """Take away what a test has made."""
    for name in (log._place.runs, log._place.state):
        await log._js.delete_stream(name)


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


async def opened_by_all(cluster: list[str]) -> list[JetStreamLog]:
    """Open one replicated log at each of its servers, as soon as they have chosen who leads."""
    query = f"prefix=t{secrets.token_hex(4)}&replicas=3"
    logs: list[JetStreamLog] = []
    async with asyncio.timeout(60):
        while len(logs) < len(cluster):
            try:
                logs.append(await JetStreamLog.open(f"{cluster[len(logs)]}?{query}"))
            except EngineGone:
                await asyncio.sleep(0.1)
    return logs


async def test_of_two_claimers_at_three_replicas_one_wins_every_time(cluster: list[str]) -> None:
    logs = await opened_by_all(cluster)
    winners = []
    for number in range(RACES):
        run = f"run_abcdef_{number}"
        await begun(logs[0], RELEASED, run=run)
        claimers = [RunWriter(f"claimer-{at}") for at in range(2)]
        for claimer, log in zip(claimers, logs[1:], strict=True):
            claimer.behind(await log.read(run))
        claims = [
            append(
                log,
                run,
                claimer,
                f"{run}-{claimer.instance}",
                claimed(claimer.instance, 2, ClaimReason.CONTINUED),
                clock=monotonic,
                random=half,
                patience_seconds=30.0,
            )
            for claimer, log in zip(claimers, logs[1:], strict=True)
        ]
        turns = await asyncio.gather(*claims)
        winners.append(sorted(turn.name for turn in turns))
        assert [record.first_seq for record, _ in await logs[0].read(run)] == [1, 4]

    await removed(logs[0])
    for log in logs:
        await log.close()

    assert winners == [["STOP", "STORED"]] * RACES
    assert Turn.STORED.name == "STORED"


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
