"""A log by its URL."""

from pathlib import Path

import pytest

from meshcore.aio.runlog import open_run_log
from meshcore.aio.runlog.memory import MemoryLog
from meshcore.aio.runlog.sqlite import SqliteLog
from meshcore.errors import ConfigError


async def test_a_url_names_the_engine(tmp_path: Path) -> None:
    memory = await open_run_log("memory:")
    sqlite = await open_run_log(f"sqlite:///{tmp_path}/runs.db")
    await sqlite.close()
    await memory.close()

    assert isinstance(memory, MemoryLog)
    assert isinstance(sqlite, SqliteLog)
    assert (tmp_path / "runs.db").exists()


@pytest.mark.parametrize("url", ["", "sqlite:///", "postgres://x", "sqlite://runs.db"])
async def test_another_url_is_refused_with_what_is_allowed(url: str) -> None:
    with pytest.raises(ConfigError, match="expected memory:"):
        await open_run_log(url)
