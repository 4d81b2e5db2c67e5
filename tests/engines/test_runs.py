"""Runs with real processes on one log in JetStream: an answer outlives the node that streams it."""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from meshcore.aio.runlog import EngineGone, open_run_log
from meshcore.liveness import Beat
from tests.e2e.cable import Cable
from tests.e2e.calls import chunks
from tests.e2e.harness import until
from tests.e2e.run_scenarios import CLAIMERS, Claiming, RunScenarios, stage
from tests.e2e.run_stage import Engine, Stage, Viewer, make, show, text_comes
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


def answers_lost(cable: Cable) -> None:
    """Let what a node says arrive, but no answer."""
    cable.hold(answers_only=True)


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

    @pytest.mark.parametrize("silence", [Cable.hold, answers_lost])
    def test_an_owner_whose_connection_is_silent_lets_others_go_on_and_comes_back(
        self, stage: Stage, silence: Callable[[Cable], None]
    ) -> None:
        cable = Cable(stage.engine.url)
        owner = stage.node("node-0", log=cable.url)
        other = stage.node("node-1")
        stage.start((owner, other))
        run_id = make(owner, "slow:40x60")
        viewers = [Viewer(node, run_id) for node in (owner, other)]
        text_comes(other, run_id)

        silence(cable)
        until(lambda: not owner.ready(), "it knows that it may not own runs")
        until(lambda: show(other, run_id)["owner"] == other.name, "the other takes over")
        cable.release()  # what the owner said is late, but it arrives
        for viewer in viewers:
            viewer.finish()

        for viewer in viewers:
            assert (viewer.text, viewer.epochs) == (chunks(40), ["restarted"])
            assert viewer.indexes(viewer.taken.seq) == list(range(1, 42))
        until(owner.ready, "it may own runs again")
        assert Viewer(owner, make(owner, "many:3")).finish().text == chunks(3)
        assert len(asyncio.run(beats_of(stage.engine.url))) <= 3  # and one that goes after a lease
        cable.close()

    def test_a_connection_that_a_firewall_forgot_is_given_up_and_made_again(self, stage: Stage) -> None:
        cable = Cable(stage.engine.url)
        owner = stage.node("node-0", log=cable.url, continuation="prefill")
        other = stage.node("node-1", continuation="prefill")
        stage.start((owner, other))
        run_id = make(owner, "slow:40x60")
        viewers = [Viewer(node, run_id) for node in (owner, other)]
        text_comes(other, run_id)

        cable.forget()
        for viewer in viewers:
            viewer.finish()

        for viewer in viewers:
            assert (viewer.text, viewer.indexes()) == (chunks(40), list(range(1, 42)))
        until(owner.ready, "it may own runs")
        assert Viewer(owner, make(owner, "many:3")).finish().text == chunks(3)
        cable.close()


async def beats_of(url: str) -> Sequence[Beat]:
    """Return the signs of life in a log."""
    log = await open_run_log(url)
    beats = await log.beats()
    await log.close()
    return beats
