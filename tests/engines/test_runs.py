"""Runs with real processes on one log in JetStream: an answer outlives the node that streams it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.run_scenarios import CLAIMERS, RunScenarios, stage
from tests.e2e.run_stage import Engine
from tests.engines.nats_servers import NatsEngine
from tests.engines.servers import Mode

__all__ = ["stage"]

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(
        os.environ.get("MESH_TEST_ENGINES") == Mode.SERVICES,
        reason="a server that others use can't be killed: run with MESH_TEST_ENGINES=wheels",
    ),
]


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
