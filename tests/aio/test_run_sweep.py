"""Runs that nobody cares for: whoever sees it first does what is to be done."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from meshcore.aio.runlog import OpenRun, RunLog
from meshcore.aio.runlog.memory import MemoryLog
from meshcore.run_events import RunStatus
from meshcore.run_record import Head
from meshcore.run_request import parse_run
from tests.aio.bus_mesh import Script
from tests.aio.run_mesh import (
    CHAT,
    WORDS,
    Paused,
    StartNode,
    answer,
    claims,
    ended,
    events,
    is_true,
    said,
    starting,
    until,
)

TEXT = "".join(WORDS)


async def test_a_cancelled_run_whose_owner_died_never_goes_on(log: RunLog, start: StartNode) -> None:
    paused = Paused(WORDS[:3], WORDS[3:])
    owner = await start("a", paused.script)
    run_id = await owner.create()
    await said(log, run_id, "".join(WORDS[:3]))
    other = Script(*answer(*WORDS))
    survivor = await start("b", other)

    await owner.die()
    await survivor.runner.desk.cancel(run_id, "alice")
    state = await ended(log, run_id)

    assert (state.status, other.calls) == (RunStatus.CANCELLED, 0)


async def test_an_unclaimed_run_is_claimed_by_whoever_can(log: RunLog, start: StartNode) -> None:
    maker = await start("a", Script(*answer(*WORDS)))
    maker.controller.enter()
    await start("b", Script(*answer(*WORDS)))

    made = await maker.runner.desk.create(parse_run(CHAT), client="alice", stream=True, work=None)
    run_id = made.run_id
    state = await ended(log, run_id)

    assert claims(await events(log, run_id)) == [("b", "started", 1)]
    assert (state.text, state.takeovers) == (TEXT, 0)


async def test_of_many_claimers_one_wins_each_run(log: RunLog, start: StartNode) -> None:
    maker = await start("a", Script(*answer(*WORDS)))
    maker.controller.enter()
    await asyncio.gather(*(start(name, Script(*answer(*WORDS))) for name in "bcd"))

    made = [
        await maker.runner.desk.create(parse_run(CHAT), client="alice", stream=True, work=None)
        for _ in range(20)
    ]
    states = [await ended(log, each.run_id) for each in made]

    assert {(state.status, state.text, state.epoch) for state in states} == {(RunStatus.COMPLETED, TEXT, 1)}


class Hinting(MemoryLog):
    """A log whose hints say that all runs are open, until they are corrected."""

    def __init__(self) -> None:
        super().__init__()
        self.hints = {"run_abcdef_never_made"}
        self.ends: dict[str, Head | None] = {}

    async def open_runs(self) -> Sequence[OpenRun]:
        self.hints |= {run_id for run_id in self._runs if run_id not in self.ends}
        return [OpenRun(run_id) for run_id in sorted(self.hints)]

    async def amend(self, run_id: str, end: Head | None) -> None:
        self.hints.discard(run_id)
        self.ends[run_id] = end


async def test_hints_of_ended_runs_and_of_those_that_were_never_made_are_corrected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshcore.aio.run_sweep.MISSING_SECONDS", 0.3)
    log = Hinting()
    async with starting(log, tmp_path) as start:
        node = await start("a", Script(*answer(*WORDS)))
        run_id = await node.create()
        await ended(log, run_id)

        await until(lambda: is_true(not log.hints), "nothing seems open")

        assert log.ends == {run_id: (await log.read(run_id))[-1][1], "run_abcdef_never_made": None}
