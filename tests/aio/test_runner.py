"""Nodes of one log execute runs, and take over from each other."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meshcore.aio.runlog import EngineGone, RunLog, open_run_log
from meshcore.aio.runlog.memory import MemoryLog
from meshcore.config_sections import OnBrokenStream
from meshcore.errors import CallError, IdentityTaken
from meshcore.liveness import Beat
from meshcore.run_record import Head, Record
from meshcore.run_request import parse_run
from meshcore.runs import ChunkEvent, Released, RunStatus
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
    said,
    starting,
    state_of,
    until,
)

TEXT = "".join(WORDS)
PREFILL = {"params": {"model": "m", "continuation": "prefill"}}


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


async def test_a_run_is_executed_where_it_was_made(log: RunLog, start: StartNode) -> None:
    node = await start("a", Script(*answer(*WORDS), USAGE))

    run_id = await node.create()
    state = await ended(log, run_id)

    assert (state.status, state.text, state.finish_reason) == (RunStatus.COMPLETED, TEXT, "stop")
    assert state.end is not None and state.end.usage is not None
    assert (state.end.reason, state.end.usage["total_tokens"]) == ("stop", 5)
    found = await events(log, run_id)
    assert (claims(found), indices(found)) == ([("a", "started", 1)], list(range(1, 8)))
    await until(lambda: _is(node.ended), "the end is told")
    assert [(run, end.status) for run, end in node.ended] == [(run_id, "completed")]
    assert node.controller.ledger.total == 0


async def test_a_run_counts_as_work_of_its_node(log: RunLog, start: StartNode) -> None:
    paused = Paused(WORDS[:2], WORDS[2:])
    node = await start("a", paused.script)

    await node.create()
    await paused.reached.wait()

    assert node.controller.readout().in_flight.runs == 1


async def test_an_answer_that_nobody_can_give_fails(log: RunLog, start: StartNode) -> None:
    node = await start("a", Script(fails("bad_request")))

    run_id = await node.create()
    state = await ended(log, run_id)

    assert (state.status, state.end.reason if state.end else "") == (RunStatus.FAILED, "bad_request")


async def test_what_nobody_offers_is_refused_at_once(log: RunLog, start: StartNode) -> None:
    node = await start("a")

    with pytest.raises(CallError) as caught:
        await node.create()

    assert caught.value.code == "not_found"
    assert await log.open_runs() == []
    assert node.controller.ledger.total == 0


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

    run_id = await maker.runner.desk.create(parse_run(CHAT), client="alice", stream=True, work=None)
    state = await ended(log, run_id)

    assert claims(await events(log, run_id)) == [("b", "started", 1)]
    assert (state.text, state.takeovers) == (TEXT, 0)


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


async def test_a_double_that_lives_is_named_and_one_that_doesnt_is_taken_over(
    log: RunLog, start: StartNode
) -> None:
    await log.beat(Beat("a", "elsewhere-1", 1))

    node = await start("a", Script(*answer(*WORDS)))

    assert [beat.instance for beat in await log.beats()] == [node.runner._heart.instance]
    with pytest.raises(IdentityTaken, match=r"node\.id='a'"):
        await start("a", home="another")


async def test_an_older_instance_of_this_home_is_taken_over_at_once(log: RunLog, start: StartNode) -> None:
    paused = Paused(WORDS[:2], [])
    former = await start("a", paused.script)
    run_id = await former.create()
    await said(log, run_id, "".join(WORDS[:2]))
    await former.die()

    await start("a", Script(*answer(*WORDS)))
    state = await ended(log, run_id)

    assert (state.status, state.text) == (RunStatus.COMPLETED, TEXT)


class Breakable(MemoryLog):
    """A log whose engine can be away."""

    away = False

    async def append(self, run_id: str, head: Head, record: Record) -> Head:
        self._fail()
        return await super().append(run_id, head, record)

    async def beat(self, beat: Beat) -> None:
        self._fail()
        await super().beat(beat)

    async def read(self, run_id: str, after_seq: int = 0, *, limit: int = 500):  # type: ignore[no-untyped-def]
        self._fail()
        return await super().read(run_id, after_seq, limit=limit)

    def _fail(self) -> None:
        if self.away:
            raise EngineGone("away")


async def test_a_node_without_signs_of_life_stops_its_runs_and_goes_on_as_another(tmp_path: Path) -> None:
    log = Breakable()
    async with starting(log, tmp_path) as start:
        paused = Paused(WORDS[:2], WORDS[2:])
        node = await start("a", paused.script)
        run_id = await node.create()
        await said(log, run_id, "".join(WORDS[:2]))
        instance = node.runner._heart.instance

        log.away = True
        await until(lambda: _is(not paused.script.running), "it stops generating")
        assert node.fenced == 1
        log.away = False
        paused.go_on.set()
        state = await ended(log, run_id)

        assert node.runner._heart.instance != instance
        assert (state.status, state.text) == (RunStatus.COMPLETED, TEXT)
        assert claims(await events(log, run_id))[-1] == ("a", "restarted", 2)


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
    await until(lambda: _is(not zombie.runner._hands.has(run_id)), "the zombie stops")

    assert (state.status, state.text) == (RunStatus.COMPLETED, TEXT)
    found = await events(log, run_id)
    taken = next(at for at, event in enumerate(found) if getattr(event, "node", "") == "b")
    assert [e.index for e in found[taken:] if isinstance(e, ChunkEvent)] == list(range(1, 8))


async def _is(value: object) -> bool:
    return bool(value)
