"""What the owner of a run does with it, from the first chunk to its end."""

from meshcore.aio.runlog import RunLog
from meshcore.config_sections import OnBrokenStream
from meshcore.runs import RunStatus
from tests.aio.bus_mesh import USAGE, Script, fails, says
from tests.aio.run_mesh import (
    CHAT,
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


async def test_a_run_is_executed_where_it_was_made(log: RunLog, start: StartNode) -> None:
    node = await start("a", Script(*answer(*WORDS), USAGE))

    run_id = await node.create()
    state = await ended(log, run_id)

    assert (state.status, state.text, state.finish_reason) == (RunStatus.COMPLETED, TEXT, "stop")
    assert state.end is not None and state.end.usage is not None
    assert (state.end.reason, state.end.usage["total_tokens"]) == ("stop", 5)
    found = await events(log, run_id)
    assert (claims(found), indices(found)) == ([("a", "started", 1)], list(range(1, 8)))
    await until(lambda: is_true(node.ended), "the end is told")
    assert [(run, end.status) for run, end in node.ended] == [(run_id, "completed")]
    assert node.controller.ledger.total == 0


async def test_an_answer_that_nobody_can_give_fails(log: RunLog, start: StartNode) -> None:
    node = await start("a", Script(fails("bad_request")))

    run_id = await node.create()
    state = await ended(log, run_id)

    assert (state.status, state.end.reason if state.end else "") == (RunStatus.FAILED, "bad_request")


async def test_a_run_that_has_all_its_tokens_ends_without_another_call(log: RunLog, start: StartNode) -> None:
    paused = Paused(WORDS[:3], WORDS[3:])
    owner = await start("a", paused.script)
    run_id = await owner.create(CHAT.replace(b"{", b'{"max_tokens":3,', 1))
    await said(log, run_id, "".join(WORDS[:3]))
    survivor = Script(*answer("more"), **PREFILL)
    await start("b", survivor)

    await owner.die()
    state = await ended(log, run_id)

    assert (state.status, state.end.reason if state.end else "") == (RunStatus.COMPLETED, "length")
    assert survivor.calls == 0


async def test_a_broken_stream_is_begun_anew_and_counted(log: RunLog, start: StartNode) -> None:
    breaks = Script(says("chunk-1 "), fails("unavailable"), provider="breaks")
    node = await start("a", breaks, Script(*answer(*WORDS), provider="works"))

    run_id = await node.create()
    state = await ended(log, run_id)

    assert (state.status, state.text) == (RunStatus.COMPLETED, TEXT)


async def test_a_broken_stream_fails_where_that_is_asked_for(log: RunLog, start: StartNode) -> None:
    breaks = Script(says("chunk-1 "), fails("unavailable"))
    node = await start("a", breaks, on_broken_stream=OnBrokenStream.FAIL)

    run_id = await node.create()
    state = await ended(log, run_id)

    assert (state.status, state.end.reason if state.end else "") == (RunStatus.FAILED, "unavailable")
    assert state.text == "chunk-1 "


async def test_a_run_that_says_too_much_fails(log: RunLog, start: StartNode) -> None:
    node = await start("a", Script(*answer(*WORDS)), max_chunks=4)

    state = await ended(log, await node.create())

    assert (state.status, state.end.reason if state.end else "") == (RunStatus.FAILED, "buffer_full")


async def test_a_run_without_progress_fails_and_closes_upstream(log: RunLog, start: StartNode) -> None:
    paused = Paused(WORDS[:2], [])
    node = await start("a", paused.script, stall_seconds=0.3)

    state = await ended(log, await node.create())

    assert (state.status, state.end.reason if state.end else "") == (RunStatus.FAILED, "stalled")
    assert paused.script.running == 0
