"""What the owner of a run does with it, from the first chunk to its end."""

import asyncio
from pathlib import Path

import pytest

from meshcore.aio.runlog import EngineGone, RunLog, appending
from meshcore.aio.runlog.memory import MemoryLog
from meshcore.config_sections import OnBrokenStream
from meshcore.run_events import CancelRequested, Created, End, Released, RunStatus
from meshcore.run_record import Head, Record
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
    starting,
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


class Refusing(MemoryLog):
    """A log that stores nothing of runs while it is told to; beats go on."""

    refuses = False

    async def append(self, run_id: str, head: Head, record: Record) -> Head:
        if self.refuses:
            raise EngineGone("away")
        return await super().append(run_id, head, record)


async def test_what_cannot_be_stored_is_not_generated_and_the_run_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appending.settle, "__kwdefaults__", {"patience_seconds": 0.2})
    monkeypatch.setattr(appending.append, "__kwdefaults__", {"patience_seconds": 0.2})
    log = Refusing()
    paused = Paused(WORDS[:2], WORDS[2:])
    async with starting(log, tmp_path) as start:
        node = await start("a", paused.script)
        run_id = await node.create()
        await said(log, run_id, "".join(WORDS[:2]))

        log.refuses = True
        paused.go_on.set()
        await until(lambda: is_true(not node.runner._hands.has(run_id)), "it stops")
        assert paused.script.running == 0
        log.refuses = False
        state = await ended(log, run_id)

    assert (state.status, state.text, node.fenced) == (RunStatus.COMPLETED, TEXT, 0)
    found = await events(log, run_id)
    assert [e.reason for e in found if isinstance(e, Released)] == ["not_executed"]
    assert claims(found)[-1] == ("a", "restarted", 2)


class Keeping(MemoryLog):
    """A log that can't cut a record."""

    keeps_records = True


@pytest.mark.parametrize(("kind", "last"), [(MemoryLog, 2), (Keeping, 1)])
async def test_the_end_stands_with_the_last_of_the_answer_where_it_can_be_cut_off(
    tmp_path: Path, kind: type[MemoryLog], last: int
) -> None:
    log = kind()
    paused = Paused(WORDS, [])
    async with starting(log, tmp_path) as start:
        node = await start("a", paused.script)
        run_id = await node.create()
        await said(log, run_id, TEXT)
        paused.go_on.set()

        state = await ended(log, run_id)

    assert (state.status, state.finish_reason, state.end and state.end.reason) == (
        "completed",
        "stop",
        "stop",
    )
    assert len((await log.read(run_id))[-1][0].events) == last


class Cancelling(MemoryLog):
    """A log in which somebody else cancels a run before who makes it knows that it is made."""

    async def append(self, run_id: str, head: Head, record: Record) -> Head:
        new = await super().append(run_id, head, record)
        if isinstance(record.events[0], Created):
            cancel = Record(1, "other", record.last_seq + 1, (CancelRequested(by="alice"),))
            await super().append(run_id, new, cancel)
            for _ in range(5):
                await asyncio.sleep(0)  # the feed has it
        return new


async def test_a_run_that_is_cancelled_while_it_is_made_ends(tmp_path: Path) -> None:
    log = Cancelling()
    paused = Paused([], WORDS)
    async with starting(log, tmp_path) as start:
        node = await start("a", paused.script)

        state = await ended(log, await node.create())

    assert (state.status, paused.script.running) == (RunStatus.CANCELLED, 0)


class Forgetful(MemoryLog):
    """A log of which every other acknowledgement gets lost."""

    stored = 0

    async def append(self, run_id: str, head: Head, record: Record) -> Head:
        new = await super().append(run_id, head, record)
        self.stored += 1
        if self.stored % 2:
            raise EngineGone("the acknowledgement got lost")
        return new


async def test_lost_acknowledgements_lose_and_double_nothing(tmp_path: Path) -> None:
    log = Forgetful()
    async with starting(log, tmp_path) as start:
        node = await start("a", Script(*answer(*WORDS)))

        state = await ended(log, await node.create())

    assert (state.status, state.text, state.chunks) == (RunStatus.COMPLETED, TEXT, 7)


async def test_a_cancellation_and_the_end_race_to_one_end(tmp_path: Path) -> None:
    log = MemoryLog()
    async with starting(log, tmp_path) as start:
        node, other = await start("a", Script(*answer(*WORDS))), await start("b", Script(*answer(*WORDS)))

        async def one(turns: int) -> tuple[RunStatus, bool]:
            run_id = await node.create()
            for _ in range(turns):
                await asyncio.sleep(0)
            cancelled = await other.runner.desk.cancel(run_id, "alice")
            state = await ended(log, run_id)
            assert sum(isinstance(event, End) for event in await events(log, run_id)) == 1
            return state.status, cancelled

        outcomes = await asyncio.gather(*(one(turns) for turns in range(100)))

    assert {*outcomes} <= {(RunStatus.CANCELLED, True), (RunStatus.COMPLETED, False)}


async def test_runs_beyond_what_providers_take_at_once_wait_for_their_turn(
    log: RunLog, start: StartNode
) -> None:
    script = Script(*answer(*WORDS), max_concurrent=1)
    node = await start("a", script)

    made = await asyncio.gather(*(node.create() for _ in range(4)))
    states = [await ended(log, run_id) for run_id in made]

    assert {(state.status, state.text, state.takeovers) for state in states} == {
        (RunStatus.COMPLETED, TEXT, 0)
    }
    assert script.calls == 4
