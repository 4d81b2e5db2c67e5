"""The runner of a node: its log is opened for ever, and what the dashboard orders is in it when it counts."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshcore.aio.run_service import RunService
from meshcore.aio.runlog import EngineGone, RunLog
from meshcore.aio.runlog.memory import MemoryLog
from meshcore.aio.runner import Runner
from meshcore.errors import CallError, FrameError
from tests.aio.bus_mesh import Script
from tests.aio.run_mesh import WORDS, Paused, RunNode, StartNode, ended, said, starting


class Engine:
    """An engine that can't be opened a number of times."""

    def __init__(self, failures: int = 0) -> None:
        self.log = MemoryLog()
        self.failures = failures

    async def open(self) -> RunLog:
        if self.failures:
            self.failures -= 1
            raise EngineGone("not there")
        return self.log


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
async def start(engine: Engine, tmp_path: Path) -> AsyncIterator[StartNode]:
    async with starting(engine.log, tmp_path) as start:
        yield start


@pytest.fixture
async def node(start: StartNode) -> RunNode:
    return await start("a", Paused(WORDS[:2], WORDS[2:]).script)


def service(engine: Engine, node: RunNode, opened: list[str]) -> RunService:
    def make(log: RunLog) -> Runner:
        return node.runner

    return RunService(engine.open, make, on_open=opened.append, random=lambda: 0.0)


async def test_a_log_that_works_is_known_at_once(engine: Engine, node: RunNode) -> None:
    opened: list[str] = []
    runs = service(engine, node, opened)

    assert await runs.start()

    assert (opened, runs.log_id, runs.is_ready) == ([engine.log.log_id], engine.log.log_id, True)
    assert runs.runner is node.runner
    assert list(runs.reports()) == []


async def test_a_log_that_cannot_be_opened_is_tried_for_ever(engine: Engine, node: RunNode) -> None:
    engine.failures = 3
    runs = service(engine, node, [])

    assert not await runs.start()
    assert (runs.is_ready, runs.log_id, list(runs.reports())) == (False, "", [])
    with pytest.raises(CallError) as caught:
        _ = runs.runner
    assert caught.value.code == "log_unreachable"

    life = asyncio.create_task(runs.run())
    async with asyncio.timeout(10):
        while not runs.is_ready:  # noqa: ASYNC110 - what is waited for is no event
            await asyncio.sleep(0)
    life.cancel()
    await asyncio.wait([life])
    await runs.close()


async def test_an_order_to_cancel_is_in_the_log_when_it_was_obeyed(engine: Engine, node: RunNode) -> None:
    runs = service(engine, node, [])
    await runs.start()
    run_id = await node.create()
    await said(engine.log, run_id, "".join(WORDS[:2]))

    await runs.obey({"type": "cancel_run", "run_id": run_id, "by": "alice", "reason": "wrong"})

    state = await ended(engine.log, run_id)
    assert (state.status, state.cancelled_by) == ("cancelled", "alice")


async def test_a_run_that_is_not_there_needs_no_cancelling(engine: Engine, node: RunNode) -> None:
    runs = service(engine, node, [])
    await runs.start()

    await runs.obey({"type": "cancel_run", "run_id": f"run_{engine.log.log_id[:6]}_{'0' * 32}"})


async def test_what_cannot_be_obeyed_is_not_acknowledged(engine: Engine, node: RunNode) -> None:
    runs = service(engine, node, [])

    with pytest.raises(CallError):
        await runs.obey({"type": "cancel_run", "run_id": "run_x"})
    with pytest.raises(FrameError, match="explode"):
        await runs.obey({"type": "explode"})


async def test_a_service_that_never_opened_stops_without_a_word(engine: Engine, start: StartNode) -> None:
    node = await start("b", Script())
    runs = service(engine, node, [])

    await runs.stop()
    await runs.close()
