"""Runs are work of the node that executes them: they pass its gate, and a drain may move them."""

import asyncio

from meshcore.aio.runlog import RunLog
from meshcore.run_events import Released, RunStatus
from meshcore.trace import RoutingTrace
from tests.aio.bus_mesh import Script
from tests.aio.run_mesh import (
    WORDS,
    Paused,
    RunNode,
    StartNode,
    answer,
    claims,
    ended,
    events,
    said,
    state_of,
    until,
)

TEXT = "".join(WORDS)


async def test_a_run_counts_as_work_of_its_node(log: RunLog, start: StartNode) -> None:
    paused = Paused(WORDS[:2], WORDS[2:])
    node = await start("a", paused.script)

    await node.create()
    await paused.reached.wait()

    assert node.controller.readout().in_flight.runs == 1


async def test_a_node_that_stops_lets_its_runs_go_at_once(log: RunLog, start: StartNode) -> None:
    paused = Paused(WORDS[:3], WORDS[3:])
    owner = await start("a", paused.script)
    run_id = await owner.create()
    await said(log, run_id, "".join(WORDS[:3]))
    await start("b", Script(*answer(*WORDS)))

    await owner.stop()
    state = await ended(log, run_id)

    assert (state.status, state.text, state.takeovers) == (RunStatus.COMPLETED, TEXT, 0)
    assert [e.reason for e in await events(log, run_id) if isinstance(e, Released)] == ["stopping"]
    assert paused.script.running == 0


async def test_a_draining_node_keeps_its_runs_and_takes_none(log: RunLog, start: StartNode) -> None:
    mine, theirs = Paused(WORDS[:1], WORDS[1:]), Paused(WORDS[:2], WORDS[2:])
    draining = await start("a", mine.script)
    dying = await start("b", theirs.script)
    kept, orphan = await draining.create(), await dying.create()
    await asyncio.gather(mine.reached.wait(), theirs.reached.wait())
    draining.controller.enter()

    await dying.die()
    mine.go_on.set()

    assert (await ended(log, kept)).status is RunStatus.COMPLETED

    async def waits() -> bool:
        return draining.runner.desk.status(await state_of(log, orphan)) is RunStatus.WAITING

    await until(waits, "the orphan waits")
    draining.controller.exit()
    state = await ended(log, orphan)
    assert claims(await events(log, orphan))[-1][0] == "a"
    assert state.status is RunStatus.COMPLETED


async def test_a_forced_drain_moves_its_runs(log: RunLog, start: StartNode) -> None:
    paused = Paused(WORDS[:3], WORDS[3:])
    owner = await start("a", paused.script)
    run_id = await owner.create()
    await said(log, run_id, "".join(WORDS[:3]))
    await start("b", Script(*answer(*WORDS)))
    owner.controller.enter()

    for work in owner.controller.ledger.in_order_of_force():
        work.force()
    state = await ended(log, run_id)

    assert (state.status, state.text) == (RunStatus.COMPLETED, TEXT)
    assert [e.reason for e in await events(log, run_id) if isinstance(e, Released)] == ["drain_forced"]


async def test_a_node_tells_of_its_runs_and_for_a_while_of_those_that_ended(
    log: RunLog, start: StartNode
) -> None:
    paused = Paused(WORDS[:2], WORDS[2:])
    node = await start("a", paused.script)
    run_id = await node.create()
    await said(log, run_id, "".join(WORDS[:2]))

    (live,) = node.runner.reports()
    paused.go_on.set()
    await until(lambda: _ended_there(node), "the end is known")
    (over,) = node.runner.reports()

    assert (live.run_id, live.status, live.chunks, live.caller) == (run_id, "running", 2, "alice")
    assert (live.epochs[0].node, live.created_at is not None) == (node.bus.node_id_full, True)
    assert (over.run_id, over.status, over.reason) == (run_id, "completed", "stop")


async def test_the_call_of_a_run_names_it_in_its_trace(log: RunLog, start: StartNode) -> None:
    traces: list[RoutingTrace] = []
    node = await start("a", Script(*answer(*WORDS)), on_trace=traces.append)

    run_id = await node.create()
    await ended(log, run_id)

    assert [trace.run_id for trace in traces] == [run_id]


async def _ended_there(node: RunNode) -> bool:
    return bool(node.ended)
