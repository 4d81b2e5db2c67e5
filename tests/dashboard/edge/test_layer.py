"""Runs watched over links of other processes: credits hold across the layer, and losses are found."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer

from dashboard import runtime
from dashboard.edge import layer
from dashboard.edge.broker import LOST, Broker, Source
from dashboard.edge.layer import GONE_SECONDS, Layer
from dashboard.runtime import Runtime
from meshcore.stream_frames import STREAM_CREDIT, Stream, StreamEnd, StreamEndReason, WatchRun
from meshcore.testing import ManualClock
from tests.dashboard.edge.watched import LOG, RUN, SECONDS, chunks

pytestmark = pytest.mark.django_db(transaction=True)


class Wire(InMemoryChannelLayer):  # type: ignore[misc]  # Channels has no types
    """The layer; it can lose the next frames, or be away."""

    def __init__(self) -> None:
        super().__init__()
        self.losses = 0
        self.away = False

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        if self.away:
            raise ConnectionError("away")
        if message["type"] == "watch.frame" and self.losses:
            self.losses -= 1
        else:
            await super().send(channel, message)


class ScriptedCarrier:
    """A link whose node sends when the test says so."""

    log_id = LOG

    def __init__(self) -> None:
        self.watches: list[WatchRun] = []
        self.grants = 0
        self.left: list[str] = []

    async def watch(self, watch: WatchRun) -> None:
        self.watches.append(watch)

    async def grant(self, stream: str) -> None:
        self.grants += 1

    async def leave(self, stream: str) -> None:
        self.left.append(stream)


class Pair:
    """A process with viewers, and one with the link to node-a."""

    def __init__(self, running: Runtime) -> None:
        self.wire, self.clock = Wire(), ManualClock()
        self.carrier = ScriptedCarrier()
        self.with_link = Broker(running)
        self.with_link.join("node-a", self.carrier)
        self.asker = Layer(Broker(running), self.wire, clock=self.clock)
        self.holder = Layer(self.with_link, self.wire, clock=self.clock)

    async def give(self, *frames: tuple[int, int]) -> None:
        """Let node-a send pieces."""
        await until(lambda: bool(self.carrier.watches))
        for after, to in frames:
            events = tuple(chunks(after + 1, to))
            stream = self.carrier.watches[0].stream
            self.with_link.heard(Stream(id=stream, after=after, to=to, events=events))

    @asynccontextmanager
    async def watched(self, name: str = "node-a") -> AsyncIterator[Source]:
        async with self.asker.watching(name, RUN, after=7, history=False) as source:
            assert source is not None
            yield source


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - the other process' state has no event
            await asyncio.sleep(0.005)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    async with AsyncExitStack() as stack:
        pair = Pair(await stack.enter_async_context(runtime.running(jobs=())))
        tasks = [asyncio.create_task(each.run()) for each in (pair.asker, pair.holder)]
        await until(lambda: len(pair.wire.groups.get(layer.GROUP, ())) == 2)
        yield pair
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes say often that they are there."""
    monkeypatch.setattr(layer, "HOLD_SECONDS", 0.02)


async def test_pieces_cross_in_order_and_the_wish_is_passed_on(pair: Pair) -> None:
    async with pair.watched() as source:
        await pair.give((7, 9), (9, 10))
        found = [await source.get(SECONDS), await source.get(SECONDS)]

    watch = pair.carrier.watches[0]
    assert (watch.run_id, watch.after, watch.history) == (RUN, 7, False)
    assert [(piece.after, piece.to) for piece in found if isinstance(piece, Stream)] == [(7, 9), (9, 10)]
    assert found[0] is not None
    assert [event.seq for event in found[0].events] == [8, 9]  # type: ignore[union-attr]


async def test_a_viewer_that_reads_nothing_holds_up_its_stream_across_processes(pair: Pair) -> None:
    async with pair.watched() as source:
        await pair.give(*((seq, seq + 1) for seq in range(7, 7 + 2 * STREAM_CREDIT)))
        await until(lambda: pair.carrier.grants == STREAM_CREDIT)
        (held,) = pair.holder._held.values()

        assert held.sent == STREAM_CREDIT
        for _ in range(STREAM_CREDIT):
            assert await source.get(SECONDS)
            await source.grant()
        await until(lambda: held.sent == 2 * STREAM_CREDIT)


async def test_a_viewer_that_leaves_ends_the_stream_at_the_node(pair: Pair) -> None:
    async with pair.watched():
        await pair.give((7, 7))

    await until(lambda: pair.carrier.left == [pair.carrier.watches[0].stream])
    await until(lambda: not pair.holder._held)


async def test_the_end_of_a_stream_crosses_with_its_reason(pair: Pair) -> None:
    async with pair.watched() as source:
        await pair.give()
        reason = StreamEndReason.UNKNOWN_RUN.value
        pair.with_link.heard(StreamEnd(id=pair.carrier.watches[0].stream, reason=reason))

        end = await source.get(SECONDS)

    assert isinstance(end, StreamEnd)
    assert end.reason == "unknown_run"


@pytest.mark.usefixtures("restless")
async def test_a_frame_that_got_lost_is_found_out_though_no_other_follows(pair: Pair) -> None:
    async with pair.watched() as source:
        await pair.give((7, 7))
        assert await source.get(SECONDS)
        pair.wire.losses = 1
        await pair.give((7, 8))

        end = await source.get(SECONDS)

    assert isinstance(end, StreamEnd)
    assert end.reason == LOST


async def test_a_process_that_is_gone_is_found_out_by_its_silence(pair: Pair) -> None:
    async with pair.watched() as source:
        assert await source.get(0.01) is None
        pair.clock.advance(GONE_SECONDS)

        end = await source.get(0.01)

    assert isinstance(end, StreamEnd)
    assert end.reason == LOST


@pytest.mark.usefixtures("restless")
async def test_a_viewers_process_that_is_gone_is_let_go(pair: Pair) -> None:
    await pair.wire.group_send(layer.GROUP, ask("s1", "nobody!x"))
    await until(lambda: bool(pair.carrier.watches))

    pair.clock.advance(GONE_SECONDS)

    await until(lambda: not pair.holder._held and bool(pair.carrier.left))


@pytest.mark.usefixtures("restless")
async def test_who_still_watches_is_not_let_go(pair: Pair) -> None:
    async with pair.watched() as source:
        await pair.give((7, 7))
        assert await source.get(SECONDS)
        (held,) = pair.holder._held.values()
        (asked,) = pair.asker._asked.values()
        for _ in range(5):
            pair.clock.advance(GONE_SECONDS * 0.6)
            await until(lambda: held._heard_at == asked._heard_at == pair.clock())

        assert pair.holder._held
        assert await source.get(0.01) is None


async def test_of_a_node_that_nobody_has_nothing_comes(pair: Pair) -> None:
    async with pair.watched("node-z") as source:
        assert await source.get(0.05) is None

    assert not pair.carrier.watches


async def test_one_stream_for_others_too_many_is_refused(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer, "HELD_MAX", 1)
    async with pair.watched() as first, pair.watched() as second:
        await pair.give((7, 7))
        assert isinstance(await first.get(SECONDS), Stream)
        end = await second.get(SECONDS)

    assert isinstance(end, StreamEnd)
    assert end.reason == "too_many"


async def test_what_another_version_says_is_passed_over(pair: Pair) -> None:
    for message in ({"type": "watch.ask", "stream": "x"}, {"type": "watch.frame"}, {"type": "other"}):
        await pair.wire.group_send(layer.GROUP, message)

    async with pair.watched() as source:
        await pair.give((7, 8))
        assert await source.get(SECONDS)


async def test_without_the_layer_nobody_is_asked_and_afterwards_all_goes_on(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.wire.away = True
    async with pair.watched() as source:
        assert await source.get(0.05) is None
    silent = Layer(Broker(pair.with_link.runtime), pair.wire)
    async with silent.watching("node-a", RUN, after=None, history=False) as nothing:
        assert nothing is None

    pair.wire.away = False
    pair.carrier.watches.clear()
    async with pair.watched() as source:
        await pair.give((7, 8))
        assert await source.get(SECONDS)


async def test_a_layer_that_cannot_be_heard_is_tried_again(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer, "RETRY_SECONDS", 0.01)
    failures = 3

    class Broken(Wire):
        async def new_channel(self, prefix: str = "specific.") -> str:
            nonlocal failures
            failures -= 1
            if failures >= 0:
                raise ConnectionError("away")
            return str(await super().new_channel(prefix))

    broken = Layer(Broker(pair.with_link.runtime), Broken())
    task = asyncio.create_task(broken.run())

    await until(lambda: bool(broken._channel))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def ask(stream: str, asker: str) -> dict[str, Any]:
    wish = {"node": "node-a", "run_id": RUN, "after": None, "history": False}
    return {"type": "watch.ask", "stream": stream, "from": asker, **wish}
