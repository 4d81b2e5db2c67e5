"""Runs with real processes on one log in JetStream: an answer outlives the node that streams it."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshcore.aio.runlog import EngineGone, open_run_log
from tests.e2e.harness import until
from tests.e2e.run_scenarios import CLAIMERS, Claiming, RunScenarios, stage
from tests.e2e.run_stage import Engine
from tests.engines.nats_servers import NatsEngine, nats_cluster
from tests.engines.servers import Mode

__all__ = ["stage"]

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        os.environ.get("MESH_TEST_ENGINES") == Mode.SERVICES,
        reason="a server that others use can't be killed: run with MESH_TEST_ENGINES=wheels",
    ),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """The URLs of three servers that replicate."""
    with nats_cluster(tmp_path_factory.mktemp("cluster")) as urls:
        yield urls


class TestReplicas(Claiming):
    """Claimers of one log that three servers keep, each asking another one."""

    @pytest.fixture
    def ways(self, cluster: list[str]) -> list[str]:
        """A log of its own, at each of its servers."""
        ways = [f"{url}?prefix=races&replicas=3" for url in cluster]
        until(lambda: is_open(ways[0]), "the servers have chosen who leads")
        return ways[:CLAIMERS]


def is_open(url: str) -> bool:
    """Return whether a log can be opened."""

    async def is_open() -> bool:
        try:
            log = await open_run_log(url)
        except EngineGone:
            return False
        await log.close()
        return True

    return asyncio.run(is_open())


class TestJetStream(RunScenarios):
    """The scenarios on JetStream."""

    @pytest.fixture
    def engine(self, tmp_path: Path) -> Iterator[Engine]:
        """A server of its own."""
        engine = NatsEngine(tmp_path)
        engine.start()
        yield engine
        engine.stop()

    @pytest.fixture
    def ways(self, engine: Engine) -> list[str]:
        """One server for all."""
        return [engine.url] * CLAIMERS
