"""Links and the viewers that they feed."""

import asyncio
from typing import Any

import pytest

from dashboard.edge import streams
from dashboard.edge.broker import LOST, Broker, log_prefix
from dashboard.runtime import Runtime
from meshcore.link import CloseCode
from meshcore.stream_frames import STREAM_CREDIT, Stream, StreamEnd
from tests.dashboard.edge.watched import (
    API,
    RUN,
    SECONDS,
    NewNode,
    Viewer,
    Watch,
    chunks,
    end,
)

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_viewer_that_leaves_frees_its_place_and_the_node_hears_of_it(
    rt: Runtime, new_node: NewNode, watch: Watch, reader: Any
) -> None:
    node = await new_node("node-a")
    await node.add(*chunks(3, 4))
    viewer = await watch(API, reader).until(lambda v: v.text == "w3 w4 ")
    assert (streams._places.taken, rt.gauges["run_streams"]()) == (1, 1)

    await viewer.leave()

    assert (streams._places.taken, rt.gauges["run_streams"]()) == (0, 0)
    async with asyncio.timeout(SECONDS):
        while not node.ended:  # noqa: ASYNC110 - the far side's state has no event
            await asyncio.sleep(0.01)


async def test_a_node_that_floods_beyond_its_credit_is_cut_off_and_the_viewer_goes_on(
    new_node: NewNode, watch: Watch, reader: Any
) -> None:
    bad = await new_node("node-a")
    viewer = Viewer(API, reader)
    viewer.reads.clear()
    await viewer.start().until(lambda v: v.status == 200)
    stream = bad.asked[0].stream

    await bad.flood(*(Stream(id=stream, after=0, to=0) for _ in range(2 * STREAM_CREDIT + 1)))
    async with asyncio.timeout(SECONDS):
        while bad.closed is None:  # noqa: ASYNC110 - the far side's state has no event
            await asyncio.sleep(0.01)
    good = await new_node("node-b")
    await good.add(*chunks(3, 3), end(4))
    viewer.reads.set()

    assert bad.closed == (CloseCode.PROTOCOL_ERROR, "a piece of a stream beyond its credit")
    assert (await viewer.finish()).text == "w3 "
    await viewer.leave()


async def test_pieces_of_streams_that_nobody_asked_for_are_nothing(
    new_node: NewNode, watch: Watch, reader: Any
) -> None:
    node = await new_node("node-a")
    await node.flood(*(Stream(id=f"x{n}", after=0, to=1) for n in range(100)))
    await node.add(*chunks(3, 3), end(4))

    assert (await watch(API, reader).finish()).text == "w3 "


class SilentCarrier:
    """A link that carries nothing."""

    log_id = "abcdef0123456789"

    def __init__(self) -> None:
        self.left: list[str] = []

    async def watch(self, watch: Any) -> None:
        self.stream = watch.stream

    async def grant(self, stream: str) -> None:
        raise AssertionError("nothing was read")

    async def leave(self, stream: str) -> None:
        self.left.append(stream)


async def test_a_link_that_is_gone_ends_what_it_fed_and_no_newer_link(rt: Runtime) -> None:
    broker, old, new = Broker(rt), SilentCarrier(), SilentCarrier()
    broker.join("node-a", old)
    async with broker.watching("node-a", RUN, after=None, history=False) as source:
        broker.join("node-a", new)

        broker.leave("node-a", old)

        assert source is not None
        assert await source.get(SECONDS) == StreamEnd(id=old.stream, reason=LOST)
        assert await source.get(0.01) is None
    assert broker.here("abcdef") == {"node-a"}
    assert (broker.here("zzzzzz"), old.left) == (set(), [old.stream])


async def test_a_link_that_is_gone_leaves_what_others_feed_alone(rt: Runtime) -> None:
    broker, gone, other = Broker(rt), SilentCarrier(), SilentCarrier()
    broker.join("node-a", gone)
    broker.join("node-b", other)
    async with broker.watching("node-b", RUN, after=None, history=False) as source:
        broker.leave("node-a", gone)

        assert source is not None
        assert await source.get(0.01) is None


async def test_a_node_that_is_not_here_gives_nothing(rt: Runtime) -> None:
    async with Broker(rt).watching("node-a", RUN, after=None, history=False) as source:
        assert source is None


async def test_whoever_waits_for_a_node_is_woken_when_one_comes(rt: Runtime) -> None:
    broker = Broker(rt)
    waiting = asyncio.create_task(broker.until_joined(SECONDS))
    await asyncio.sleep(0)

    broker.join("node-a", SilentCarrier())

    async with asyncio.timeout(SECONDS / 2):
        await waiting
    await broker.until_joined(0.01)


def test_the_log_of_a_run_is_told_by_its_id() -> None:
    assert log_prefix(RUN) == "abcdef"
