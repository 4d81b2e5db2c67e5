"""Runs that nobody cares for: whoever sees it first does what is to be done."""

import asyncio

from meshcore.aio.runlog import RunLog
from meshcore.run_request import parse_run
from meshcore.runs import RunStatus
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
    said,
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
