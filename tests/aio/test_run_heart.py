"""A node is one instance at a time, and stops before others may take it for dead."""

import asyncio
from pathlib import Path

import pytest

from meshcore.aio.runlog import EngineGone, RunLog
from meshcore.aio.runlog.memory import MemoryLog
from meshcore.errors import IdentityTaken
from meshcore.liveness import Beat
from meshcore.run_events import RunStatus
from meshcore.run_record import Head, Record
from tests.aio.bus_mesh import Script
from tests.aio.run_mesh import (
    LEASE_SECONDS,
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
        await until(lambda: is_true(not paused.script.running), "it stops generating")
        await until(lambda: is_true(node.fenced == 1), "it is counted")
        log.away = False
        paused.go_on.set()
        state = await ended(log, run_id)

        assert node.runner._heart.instance != instance
        assert (state.status, state.text) == (RunStatus.COMPLETED, TEXT)
        assert claims(await events(log, run_id))[-1] == ("a", "restarted", 2)
        assert state.takeovers == 0  # nobody died


async def test_behind_an_outage_the_sign_of_what_a_node_was_stays_for_a_lease(tmp_path: Path) -> None:
    log = Breakable()
    async with starting(log, tmp_path) as start:
        heart = (await start("a", Script(*answer(*WORDS)))).runner._heart
        was = heart.instance
        log.away = True
        await until(lambda: is_true(heart.instance != was), "it goes on as another")
        await asyncio.sleep(2 * LEASE_SECONDS)  # of beats that fail

        log.away = False
        await until(lambda: is_true(heart.is_alive), "it lives")

        assert was in {beat.instance for beat in await log.beats()}  # one that goes says "take what is mine"


async def test_nobody_is_taken_for_dead_because_the_engine_was_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshcore.aio.runner.SWEEP_SECONDS", 0.05)  # short beside a lease, as in earnest
    log = Breakable()
    async with starting(log, tmp_path) as start:
        paused = Paused(WORDS[:2], WORDS[2:])
        owner = await start("a", paused.script)
        other = await start("b", Script(*answer(*WORDS)))
        run_id = await owner.create()
        await said(log, run_id, "".join(WORDS[:2]))

        log.away = True
        await until(lambda: is_true(owner.fenced > 0), "the owner stops")
        await until(lambda: is_true(not other.runner.is_ready), "the other stops, too")
        await asyncio.sleep(5 * LEASE_SECONDS)  # in which an instance that never lived isn't given up
        log.away = False
        paused.go_on.set()
        state = await ended(log, run_id)

        assert (state.status, state.text, state.takeovers) == (RunStatus.COMPLETED, TEXT, 0)
        assert len(owner.runner._heart._names) < 4
