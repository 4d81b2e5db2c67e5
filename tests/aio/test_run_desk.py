"""What clients ask of runs, on any node of a log."""

import pytest

from meshcore.aio.runlog import RunLog
from meshcore.errors import CallError
from meshcore.run_events import RunStatus
from tests.aio.bus_mesh import Script
from tests.aio.run_mesh import (
    CHAT,
    WORDS,
    Paused,
    StartNode,
    answer,
    ended,
    said,
)


async def test_what_nobody_offers_is_refused_at_once(log: RunLog, start: StartNode) -> None:
    node = await start("a")

    with pytest.raises(CallError) as caught:
        await node.create()

    assert caught.value.code == "not_found"
    assert await log.open_runs() == []
    assert node.controller.ledger.total == 0


@pytest.mark.parametrize("where", ["a", "b"])
async def test_a_run_is_cancelled_from_any_node(log: RunLog, start: StartNode, where: str) -> None:
    paused = Paused(WORDS[:3], WORDS[3:])
    nodes = {"a": await start("a", paused.script), "b": await start("b", Script(*answer(*WORDS)))}
    run_id = await nodes["a"].create()
    await said(log, run_id, "".join(WORDS[:3]))

    assert await nodes[where].runner.desk.cancel(run_id, "alice")
    state = await ended(log, run_id)

    assert (state.status, state.cancelled_by) == (RunStatus.CANCELLED, "alice")
    assert not await nodes[where].runner.desk.cancel(run_id, "bob")
    assert paused.script.running == 0


async def test_the_same_key_is_the_same_run(log: RunLog, start: StartNode) -> None:
    script = Script(*answer(*WORDS))
    one, other = await start("a", script), await start("b", script)

    first = await one.create(key="k")
    again = await other.create(CHAT.replace(b",", b" , ", 1), key="k")
    theirs = await other.create(key="k", client="bob")

    assert first == again != theirs
    await ended(log, first)
    with pytest.raises(CallError) as caught:
        await one.create(CHAT.replace(b"hi", b"ho"), key="k")
    assert caught.value.code == "idempotency_conflict"
    assert one.controller.ledger.total == 0
