"""One connection of the link, from its hello to its end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import msgspec
import pytest
from websockets.asyncio.client import connect

from meshcore.aio.fake_dashboard import FakeDashboard
from meshcore.aio.relay_session import End, LinkLost, RelaySession
from meshcore.aio.testing import wait_until
from meshcore.capability import Manifest
from meshcore.clock import monotonic
from meshcore.drain import NodeState, Readout
from meshcore.errors import IllegalMove
from meshcore.frames import (
    Descriptor,
    Desired,
    FromDashboard,
    Health,
    Hello,
    InboundAck,
    Limits,
    Rewind,
    Telemetry,
    TelemetryAck,
)
from meshcore.link import CloseCode, LinkPolicy, NodeSide

AT = datetime(2026, 1, 1, tzinfo=UTC)
HEALTH = Health(no=0, at=AT, node=Readout(state=NodeState.RUNNING, accepting=True))
HELLO = Hello(
    node_id="node-a", instance_id="i1", spool_id="s1", clock=AT, manifest=Manifest(node_id="node-a")
)


def frame(after: int, to: int) -> Telemetry:
    items = tuple(msgspec.Raw(b'{"seq":%d}' % seq) for seq in range(after + 1, to + 1))
    return Telemetry(after=after, to=to, items=items)


class Running:
    """A session that runs, what it heard, and how it ended."""

    def __init__(self, session: RelaySession, heard: list[FromDashboard]) -> None:
        self.session = session
        self.heard = heard
        self.end: asyncio.Task[End] = asyncio.create_task(session.serve())


@asynccontextmanager
async def session_with(
    dashboard: FakeDashboard, health: Callable[[], Health] | None = None
) -> AsyncIterator[Running]:
    heard: list[FromDashboard] = []

    async def hear(got: FromDashboard) -> None:
        heard.append(got)

    async with connect(dashboard.url) as socket:
        side = NodeSide(HELLO, clock=monotonic, random=lambda: 0.5, policy=LinkPolicy())
        running = Running(RelaySession(socket, side, on_frame=hear, health=health, clock=monotonic), heard)
        yield running
        await running.session.close()
        await asyncio.wait([running.end])


@pytest.fixture
async def dashboard() -> AsyncIterator[FakeDashboard]:
    async with FakeDashboard() as running:
        yield running


async def test_telemetry_is_answered(dashboard: FakeDashboard) -> None:
    async with session_with(dashboard) as running:
        await running.session.descriptor()

        answer = await running.session.push(frame(0, 2))

        assert answer == TelemetryAck(to=2)
        assert [item["seq"] for item in dashboard.items] == [1, 2]


async def test_several_frames_may_be_under_way_and_each_gets_its_answer(dashboard: FakeDashboard) -> None:
    async with session_with(dashboard) as running:
        await running.session.descriptor()

        answers = await asyncio.gather(*(running.session.push(frame(at, at + 1)) for at in range(4)))

        assert answers == [TelemetryAck(to=to) for to in (1, 2, 3, 4)]


async def test_a_rewind_answers_all_that_was_under_way(dashboard: FakeDashboard) -> None:
    dashboard.rewinds = 1
    async with session_with(dashboard) as running:
        await running.session.descriptor()

        answers = await asyncio.gather(*(running.session.push(frame(at, at + 1)) for at in range(3)))

        assert answers == [Rewind(hwm=0)] * 3
        assert await running.session.push(frame(0, 3)) == TelemetryAck(to=3)


async def test_a_full_window_is_refused_before_anything_is_sent(dashboard: FakeDashboard) -> None:
    dashboard.silent_on_telemetry = True
    dashboard.limits = Limits(window=1)
    async with session_with(dashboard) as running:
        await running.session.descriptor()
        first = asyncio.create_task(running.session.push(frame(0, 1)))
        await wait_until(lambda: bool(dashboard.all_of(Telemetry)))

        with pytest.raises(IllegalMove):
            await running.session.push(frame(1, 2))

        first.cancel()


async def test_what_was_written_fails_at_once_and_ambiguous_when_the_connection_is_lost(
    dashboard: FakeDashboard,
) -> None:
    dashboard.silent_on_telemetry = True
    async with session_with(dashboard) as running:
        await running.session.descriptor()
        pushing = asyncio.create_task(running.session.push(frame(0, 1)))
        await wait_until(lambda: bool(dashboard.all_of(Telemetry)))

        await dashboard.cut()
        async with asyncio.timeout(2):
            with pytest.raises(LinkLost) as lost:
                await pushing

        assert lost.value.ambiguous


async def test_what_was_never_written_is_not_ambiguous(dashboard: FakeDashboard) -> None:
    async with session_with(dashboard) as running:
        await running.session.descriptor()
        await dashboard.close(CloseCode.SERVICE_RESTART)
        await running.session.gone()

        with pytest.raises(LinkLost) as push:
            await running.session.push(frame(0, 1))
        with pytest.raises(LinkLost):
            await running.session.acknowledge_inbound("b1")

        assert (push.value.code, push.value.ambiguous) == (CloseCode.SERVICE_RESTART, False)
        assert not running.session.is_open
        assert (await running.end).code == CloseCode.SERVICE_RESTART


async def test_a_write_into_a_closing_connection_may_have_been_made(dashboard: FakeDashboard) -> None:
    async with session_with(dashboard) as running:
        await running.session.descriptor()
        closing = asyncio.create_task(running.session.close())
        await asyncio.sleep(0)

        with pytest.raises(LinkLost) as lost:
            await running.session.push(frame(0, 1))
        await closing

        assert lost.value.ambiguous


async def test_who_waits_for_the_descriptor_hears_of_the_loss(dashboard: FakeDashboard) -> None:
    dashboard.closes_with = CloseCode.TRY_AGAIN_LATER
    async with session_with(dashboard) as running:
        with pytest.raises(LinkLost) as lost:
            await running.session.descriptor()

        assert lost.value.code == CloseCode.TRY_AGAIN_LATER


async def test_frames_that_answer_nothing_are_handed_on_in_order(dashboard: FakeDashboard) -> None:
    async with session_with(dashboard) as running:
        await running.session.descriptor()

        await dashboard.say(Desired(generation=1))
        await dashboard.say(Desired(generation=2))
        await wait_until(lambda: len(running.heard) == 3)

        assert isinstance(running.heard[0], Descriptor)
        assert running.heard[1:] == [Desired(generation=1), Desired(generation=2)]


async def test_health_is_said_with_the_descriptor_and_then_at_its_pace(dashboard: FakeDashboard) -> None:
    async with session_with(dashboard, lambda: HEALTH):
        await wait_until(lambda: len(dashboard.all_of(Health)) >= 3)

    said = dashboard.all_of(Health)[:3]
    assert [(health.no, health.full) for health in said] == [(1, True), (2, False), (3, False)]


async def test_a_change_is_said_at_once(dashboard: FakeDashboard) -> None:
    dashboard.limits = Limits(health_seconds=60)
    async with session_with(dashboard, lambda: HEALTH) as running:
        await wait_until(lambda: len(dashboard.all_of(Health)) == 1)

        running.session.health_changed()

        await wait_until(lambda: len(dashboard.all_of(Health)) == 2)


async def test_without_a_source_no_health_is_said(dashboard: FakeDashboard) -> None:
    async with session_with(dashboard) as running:
        await running.session.descriptor()
        running.session.health_changed()
        await running.session.acknowledge_inbound("b1")
        await wait_until(lambda: bool(dashboard.all_of(InboundAck)))

        assert dashboard.all_of(Health) == []


async def test_a_source_of_health_that_fails_ends_the_connection_and_says_why(
    dashboard: FakeDashboard,
) -> None:
    def broken() -> Health:
        raise ValueError("no readout")

    async with session_with(dashboard, broken) as running:
        async with asyncio.timeout(10):
            end = await running.end

        assert end.code == CloseCode.INTERNAL_ERROR


async def test_before_the_descriptor_and_after_the_end_nobody_can_go_idle(dashboard: FakeDashboard) -> None:
    dashboard.mute = True
    async with session_with(dashboard) as running:
        early = await running.session.go_idle(1)
        await running.session.close()
        await running.session.gone()

        assert early is await running.session.go_idle(1) is False


async def test_a_cancelled_session_has_ended_too(dashboard: FakeDashboard) -> None:
    async with session_with(dashboard) as running:
        await running.session.descriptor()

        running.end.cancel()
        await asyncio.wait([running.end])

        assert not running.session.is_open
