"""Runs with real processes on one SQLite log: an answer outlives the node that streams it."""

from pathlib import Path

import pytest

from tests.e2e.run_scenarios import CLAIMERS, RunScenarios, stage
from tests.e2e.run_stage import Engine, SqliteEngine

__all__ = ["stage"]

pytestmark = pytest.mark.e2e


class TestSqlite(RunScenarios):
    """The scenarios on SQLite."""

    @pytest.fixture
    def engine(self, tmp_path: Path) -> Engine:
        """A file of its own."""
        return SqliteEngine(tmp_path / "runs.sqlite3")

    @pytest.fixture
    def ways(self, engine: Engine) -> list[str]:
        """One file for all."""
        return [engine.url] * CLAIMERS
