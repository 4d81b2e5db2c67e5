"""Runs that are watched over the link, on real sockets: a node sends its log as far as credits go."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from meshcore.aio.fake_dashboard import FakeDashboard
from meshcore.aio.relay_transport import WebSocketRelayTransport
from meshcore.aio.run_service import RunService
from meshcore.aio.run_streams import RunStreams
from meshcore.aio.runlog import EngineGone, RunLog
from meshcore.aio.runlog.hub import Tail
from meshcore.aio.runlog.memory import MemoryLog
from meshcore.aio.testing import wait_until
from meshcore.frames import Inbound
from meshcore.run_record import Record
from meshcore.stream_frames import (
    PIECE_MAX_BYTES,
    STREAM_CREDIT,
    Stream,
    StreamEnd,
    ViewedEvent,
    WatchRun,
)
from tests.aio.run_mesh import WORDS, Paused, RunNode, StartNode, said, starting


class Place:
    """A node with a log, linked to a dashboard; its run waits in the middle of its answer."""

    def __init__(self, node: RunNode, log: RunLog, paused: Paused, *, max_streams: int) -> None:
        self.node, self.log, self.paused = node, log, paused
        self.service = RunService(self._open, lambda _: node.runner, random=lambda: 0.0)
        self.streams = RunStreams(self.service, max_streams=max_streams)
        self.dashboard = FakeDashboard()

    async def _open(self) -> RunLog:
        return self.log

    async def run_with(self, *words: str) -> str:
        """Make a run and wait until it has said some words."""
        run_id = await self.node.create()
        await said(self.log, run_id, "".join(words))
        return run_id

    def pieces(self, stream: str = "s1") -> list[Stream]:
        return [each for each in self.dashboard.all_of(Stream) if each.id == stream]

    def events(self, stream: str = "s1") -> list[ViewedEvent]:
        return [event for piece in self.pieces(stream) for event in piece.events]

    def text(self, stream: str = "s1") -> str:
        datas = [msgspec.json.decode(each.data) for each in self.events(stream) if each.event == "chunk"]
        return "".join(data["delta"].get("content") or "" for data in datas)

    def end(self, stream: str = "s1") -> str:
        return next((each.reason for each in self.dashboard.all_of(StreamEnd) if each.id == stream), "")

    async def watch(self, run_id: str, stream: str = "s1", **more: Any) -> None:
        await self.dashboard.watch(WatchRun(stream=stream, run_id=run_id, **more))

    async def watch_to_the_end(self, run_id: str, stream: str = "s1", **more: Any) -> None:
        await self.watch(run_id, stream, **more)
        await wait_until(lambda: bool(self.end(stream)))


Open = Callable[..., Awaitable[Place]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[StartNode]:
    async with starting(MemoryLog(), tmp_path) as start:
        yield start


@asynccontextmanager
async def linked(start: StartNode, log: RunLog, *, max_streams: int = 64) -> AsyncIterator[Place]:
    paused = Paused(WORDS[:2], WORDS[2:])
    place = Place(await start("a", paused.script, log=log), log, paused, max_streams=max_streams)
    await place.service.start()
    async with place.dashboard as dashboard:
        transport = WebSocketRelayTransport(dashboard.url, "node-a", streams=place.streams)
        await transport.connect()
        await transport.handshake()
        yield place
        await transport.disconnect()


@pytest.fixture
async def place(start: StartNode) -> AsyncIterator[Place]:
    async with linked(start, MemoryLog()) as place:
        yield place


async def test_a_viewer_gets_what_is_there_then_what_comes_then_the_end(place: Place) -> None:
    run_id = await place.run_with(*WORDS[:2])

    await place.watch(run_id, credit=64)
    await wait_until(lambda: place.text() == "".join(WORDS[:2]))
    place.paused.go_on.set()
    await wait_until(lambda: bool(place.end()))

    assert place.text() == "".join(WORDS)
    assert [place.events()[at].event for at in (0, -1)] == ["epoch", "end"]
    assert place.end() == "ended"
    assert place.pieces()[0] == Stream(id="s1", after=0, to=0)  # says where it begins
    assert [piece.after for piece in place.pieces()[1:]] == [piece.to for piece in place.pieces()[:-1]]


async def test_a_viewer_that_reads_nothing_holds_up_its_stream_and_nothing_else(place: Place) -> None:
    place.paused.go_on.set()
    run_id = await place.node.create()
    await place.watch_to_the_end(run_id, "fast", credit=64)

    await place.watch(run_id, "slow", credit=1)
    await place.watch_to_the_end(run_id, "other", credit=64)

    assert len(place.pieces("slow")) == 1
    assert not place.end("slow")
    for _ in place.pieces("fast"):
        await place.dashboard.grant("slow")
    await wait_until(lambda: bool(place.end("slow")))
    assert place.text("slow") == "".join(WORDS)


async def test_a_viewer_that_comes_back_gets_what_it_lacks(place: Place) -> None:
    place.paused.go_on.set()
    run_id = await place.node.create()
    await place.watch_to_the_end(run_id, "whole", credit=64)
    at = place.events("whole")[2].seq

    await place.watch_to_the_end(run_id, "rest", after=at, credit=64)

    assert place.events("rest") == place.events("whole")[3:]


async def test_a_run_that_has_ended_gives_everybody_its_end(place: Place) -> None:
    place.paused.go_on.set()
    run_id = await place.node.create()
    await place.watch_to_the_end(run_id, "whole", credit=64)

    await place.watch_to_the_end(run_id, "late", after=10_000, credit=64)

    assert [each.event for each in place.events("late")] == ["end"]


async def test_what_is_not_there_is_said(place: Place) -> None:
    await place.watch_to_the_end(f"run_{place.log.log_id[:6]}_{'0' * 32}", "unknown")
    await place.watch_to_the_end(f"run_zzzzzz_{'0' * 32}", "elsewhere")
    await place.watch_to_the_end("run_?", "nonsense")

    assert (place.end("unknown"), place.end("elsewhere")) == ("unknown_run", "log_unreachable")
    assert place.end("nonsense") == "unknown_run"


async def test_a_log_that_goes_away_ends_the_stream(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = await place.run_with(*WORDS[:2])

    async def gone(tail: Tail, within_seconds: float | None = None) -> list[Record]:
        raise EngineGone("not there")

    monkeypatch.setattr(Tail, "next", gone)
    await place.watch_to_the_end(run_id)

    assert place.end() == "engine_gone"


async def test_one_stream_too_many_is_refused(start: StartNode) -> None:
    async with linked(start, MemoryLog(), max_streams=2) as place:
        run_id = await place.run_with(*WORDS[:2])
        for stream in ("one", "two"):
            await place.watch(run_id, stream)

        await place.watch_to_the_end(run_id, "three")
        await place.dashboard.end_stream("one")
        await wait_until(lambda: len(place.streams._open) == 1)
        await place.watch(run_id, "four", credit=64)
        await wait_until(lambda: bool(place.text("four")))

        assert place.end("three") == "too_many"


async def test_a_viewer_that_leaves_frees_its_place_even_before_the_stream_began(place: Place) -> None:
    run_id = await place.run_with(*WORDS[:2])

    await place.watch(run_id, "late", credit=1)
    await place.dashboard.end_stream("late")
    await place.watch(run_id, "s1", credit=64)
    await wait_until(lambda: bool(place.text()))

    await wait_until(lambda: [each.watch.stream for each in place.streams._open] == ["s1"])


async def test_streams_end_with_their_connection(place: Place) -> None:
    run_id = await place.run_with(*WORDS[:2])
    await place.watch(run_id)
    await wait_until(lambda: bool(place.pieces()))

    await place.dashboard.cut()

    await wait_until(lambda: not place.streams._open)


async def test_a_wish_that_is_none_costs_nothing_else(place: Place) -> None:
    run_id = await place.run_with(*WORDS[:2])
    await place.dashboard.say(Inbound(event={"type": "watch_run", "stream": "s0", "credit": 0}))
    await place.watch(run_id)
    await place.watch(run_id)  # of the same id

    await wait_until(lambda: len(place.streams._open) == 1 and bool(place.text()))


async def test_a_long_answer_comes_in_pieces_within_their_bound(start: StartNode) -> None:
    log = MemoryLog()
    async with linked(start, log) as place:
        words = [secrets.token_hex(8_000) for _ in range(20)]
        long = Paused(words, [])
        long.go_on.set()
        node = await start("b", long.script, log=log)
        run_id = await node.create()
        await said(log, run_id, "".join(words))
        await place.watch(run_id)

        while not place.end():
            before = len(place.pieces())
            await wait_until(lambda seen=before: len(place.pieces()) > seen or bool(place.end()))
            assert len(place.pieces()) - before <= STREAM_CREDIT
            await place.dashboard.grant("s1")

        assert place.text() == "".join(words)
        for piece in place.pieces():
            assert sum(len(bytes(each.data)) for each in piece.events) <= PIECE_MAX_BYTES
