"""Nodes of one log in the test's process, on every engine that needs no server."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshcore.aio.runlog import RunLog, open_run_log
from tests.aio.run_mesh import (
    StartNode,
    starting,
)


@pytest.fixture(params=["memory", "sqlite"])
async def log(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RunLog]:
    url = "memory:" if request.param == "memory" else f"sqlite:///{tmp_path}/runs.sqlite3"
    log = await open_run_log(url)
    yield log
    await log.close()


@pytest.fixture
async def start(log: RunLog, tmp_path: Path) -> AsyncIterator[StartNode]:
    async with starting(log, tmp_path) as start:
        yield start
