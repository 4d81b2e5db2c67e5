"""Nodes of one log take over from each other."""

from meshcore.aio.runlog import RunLog
from meshcore.run_events import ChunkEvent, RunStatus
from tests.aio.bus_mesh import Script
from tests.aio.run_mesh import (
    WORDS,
    Paused,
    StartNode,
    answer,
    claims,
    ended,
    events,
    indices,
    is_true,
    said,
    until,
)

TEXT = "".join(WORDS)
PREFILL = {"params": {"model": "m", "continuation": "prefill"}}


async def test_a_run_whose_owner_died_is_begun_anew(log: RunLog, start: StartNode) -> None:
    paused = Paused(WORDS[:3], WORDS[3:])
    owner = await start("a", paused.script)
    run_id = await owner.create()
    await said(log, run_id, "".join(WORDS[:3]))
    await start("b", Script(*answer(*WORDS)))

    await owner.die()
    state = await ended(log, run_id)

    assert (state.status, state.text, state.takeovers) == (RunStatus.COMPLETED, TEXT, 1)
    found = await events(log, run_id)
    assert claims(found) == [("a", "started", 1), ("b", "restarted", 2)]
    assert indices(found) == [1, 2, 3, *range(1, 8)]


async def test_a_run_whose_owner_died_goes_on_where_that_can_be_done(log: RunLog, start: StartNode) -> None:
    paused = Paused(WORDS[:3], WORDS[3:])
    owner = await start("a", paused.script)
    run_id = await owner.create()
    await said(log, run_id, "".join(WORDS[:3]))
    survivor = Script(*answer(*WORDS[3:]), **PREFILL)
    await start("b", survivor)

    await owner.die()
    state = await ended(log, run_id)

    assert (state.status, state.text) == (RunStatus.COMPLETED, TEXT)
    found = await events(log, run_id)
    assert claims(found) == [("a", "started", 1), ("b", "continued", 2)]
    assert indices(found) == list(range(1, 8))
    asked = survivor.requests[0].body["openai"]
    assert asked["messages"][-1] == {"role": "assistant", "content": "".join(WORDS[:3])}


async def test_a_zombie_writes_nothing_behind_the_newer_claim(log: RunLog, start: StartNode) -> None:
    paused = Paused(WORDS[:2], WORDS[2:])
    zombie = await start("a", paused.script)
    run_id = await zombie.create()
    await said(log, run_id, "".join(WORDS[:2]))
    await log.remove_beat("a", zombie.runner._heart.instance)
    assert zombie._life is not None
    zombie._life.cancel()  # it neither beats nor hears, but generates
    await start("b", Script(*answer(*WORDS)))

    state = await ended(log, run_id)
    paused.go_on.set()
    await until(lambda: is_true(not zombie.runner._hands.has(run_id)), "the zombie stops")

    assert (state.status, state.text) == (RunStatus.COMPLETED, TEXT)
    found = await events(log, run_id)
    taken = next(at for at, event in enumerate(found) if getattr(event, "node", "") == "b")
    assert [e.index for e in found[taken:] if isinstance(e, ChunkEvent)] == list(range(1, 8))
