"""Runs with real processes on one log in JetStream: an answer outlives the node that streams it."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshcore.aio.runlog import EngineGone, open_run_log
from tests.e2e.cable import Cable
from tests.e2e.calls import chunks
from tests.e2e.harness import until
from tests.e2e.run_scenarios import CLAIMERS, Claiming, RunScenarios, stage
from tests.e2e.run_stage import Engine, Stage, beats_of, make, show, text_comes
from tests.e2e.run_viewers import Viewer
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

    def test_owners_whose_connection_is_silent_let_others_go_on_and_come_back(self, stage: Stage) -> None:
        cables = [Cable(stage.engine.url) for _ in range(2)]
        owners = [stage.node(f"node-{at}", log=cable.url) for at, cable in enumerate(cables)]
        other = stage.node("node-2")
        stage.start((*owners, other))
        run_ids = [make(owner, "slow:40x60") for owner in owners]
        viewers = [
            Viewer(node, id) for owner, id in zip(owners, run_ids, strict=True) for node in (owner, other)
        ]
        for run_id in run_ids:
            text_comes(other, run_id)
        until(lambda: all(viewer.text for viewer in viewers), "all of them watch")

        cables[0].hold()
        cables[1].hold(answers_only=True)
        for owner, run_id in zip(owners, run_ids, strict=True):
            until(lambda owner=owner: not owner.ready(), "it knows that it may not own runs")
            until(lambda id=run_id: show(other, id)["owner"] == other.name, "the other takes over")
        for cable in cables:
            cable.release()  # what the owners said is late, but it arrives
        for viewer in viewers:
            viewer.finish()

        for viewer in viewers:
            assert (viewer.text, viewer.epochs) == (chunks(40), ["restarted"])
            assert viewer.indexes(viewer.taken.seq) == list(range(1, 42))
        for owner, cable in zip(owners, cables, strict=True):
            until(owner.ready, "it may own runs again")
            assert Viewer(owner, make(owner, "many:3")).finish().text == chunks(3)
            cable.close()
        assert len(beats_of(stage.engine.url)) <= 5  # two that go after a lease

    def test_a_connection_that_a_firewall_forgot_is_given_up_and_made_again(self, stage: Stage) -> None:
        cable = Cable(stage.engine.url)
        owner = stage.node("node-0", log=cable.url, continuation="prefill")
        other = stage.node("node-1", continuation="prefill")
        stage.start((owner, other))
        run_id = make(owner, "slow:40x60")
        viewers = [Viewer(node, run_id) for node in (owner, other)]
        text_comes(other, run_id)
        until(lambda: all(viewer.text for viewer in viewers), "both of them watch")

        cable.forget()
        for viewer in viewers:
            viewer.finish()

        for viewer in viewers:
            assert (viewer.text, viewer.indexes()) == (chunks(40), list(range(1, 42)))
        until(owner.ready, "it may own runs")
        assert Viewer(owner, make(owner, "many:3")).finish().text == chunks(3)
        cable.close()
