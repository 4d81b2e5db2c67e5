"""Run logs in memory."""

import pytest

from meshcore.aio.runlog.base import RunLog
from meshcore.aio.runlog.memory import MemoryLog
from tests.aio.runlog.conformance import Again, Conformance


class TestMemory(Conformance):
    """The suite on memory; what another process would open is the same."""

    @pytest.fixture
    def log(self) -> RunLog:
        """An empty log."""
        return MemoryLog()

    @pytest.fixture
    def again(self, log: RunLog) -> Again:
        """The same log."""

        async def open_it() -> RunLog:
            return log

        return open_it
