"""Runs with real processes on one SQLite log: an answer outlives the node that streams it."""

import resource
from pathlib import Path

import pytest

from tests.e2e.harness import Mesh
from tests.e2e.run_deaths import Stopping
from tests.e2e.run_scenarios import CLAIMERS, Answering, Identifying, RunScenarios, stage
from tests.e2e.run_stage import Engine, SqliteEngine

__all__ = ["stage"]

pytestmark = pytest.mark.e2e


class TestSqlite(RunScenarios, Answering, Identifying):
    """The scenarios on SQLite."""

    @pytest.fixture
    def engine(self, tmp_path: Path) -> Engine:
        """A file of its own."""
        return SqliteEngine(tmp_path / "runs.sqlite3")

    @pytest.fixture
    def ways(self, engine: Engine) -> list[str]:
        """One file for all."""
        return [engine.url] * CLAIMERS


class FullDisk(SqliteEngine):
    """A file that can't grow for any node, as on a disk that is full."""

    def __init__(self, path: Path, mesh: Mesh) -> None:
        super().__init__(path)
        self._mesh = mesh

    def stop(self) -> None:
        """Let no file become longer than the log's is now."""
        self._limit(self.path.with_name(f"{self.path.name}-wal").stat().st_size)

    def start(self) -> None:
        """Give them all the room there is."""
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, size: int) -> None:
        for node in self._mesh.nodes:
            resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


class TestFullDisk(Stopping):
    """What must hold when nothing is stored, where that is because the disk is full."""

    @pytest.fixture
    def engine(self, tmp_path: Path, mesh: Mesh) -> Engine:
        """A file of its own."""
        return FullDisk(tmp_path / "runs.sqlite3", mesh)
