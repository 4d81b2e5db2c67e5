"""What a node said and isn't stored yet: long spools wait for their turn, and hold nothing else up."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from dashboard import runtime
from dashboard.edge.link_intake import Intake
from dashboard.models import Node
from dashboard.replays import LATER_SECONDS, REPLAY_ITEMS
from dashboard.runtime import Runtime
from dashboard.services import ingest, link, nodes
from dashboard.services.actor import SYSTEM
from dashboard.services.ballast import TelemetryStopped
from meshcore.capability import Manifest
from meshcore.drain import NodeState, Readout
from meshcore.frames import DescriptorBody, Health, Hello, TelemetryAck
from tests.dashboard.services.test_ingest import traces

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LAST = REPLAY_ITEMS + 1
HEALTH = Health(no=1, at=NOW, node=Readout(state=NodeState.RUNNING, accepting=True), full=True)


@pytest.fixture
def node() -> Node:
    return nodes.add(name="node-a", actor=SYSTEM, now=NOW)[0]


@pytest.fixture
async def rt(node: Node) -> AsyncIterator[Runtime]:
    async with runtime.running(jobs=()) as running:
        yield running


def hello(last: int = 0) -> Hello:
    return Hello(
        node_id="node-a",
        instance_id="i1",
        spool_id="s1",
        spool_last_seq=last,
        clock=NOW,
        manifest=Manifest(node_id="node-a"),
    )


async def greeted(rt: Runtime, node: Node, last: int) -> tuple[Intake, DescriptorBody]:
    """Return a connection's intake behind its handshake, and what the node was told."""
    intake = Intake(node, rt, now=lambda: NOW)
    intake.connection_no, descriptor = await rt.in_control(
        link.open_connection, node=node, hello=hello(last), now=NOW
    )
    return intake, intake.with_turn(hello(last), descriptor)


def fill(rt: Runtime) -> list[Any]:
    """Give all places to others."""
    replays = rt.writer.replays
    others = [replays.expect(after=0, last=LAST) for _ in range(replays.most)]
    for _ in others:
        assert not replays.places.locked()
        replays.places._value -= 1
    return others


async def test_a_short_spool_is_sent_at_once(rt: Runtime, node: Node) -> None:
    fill(rt)
    intake, descriptor = await greeted(rt, node, REPLAY_ITEMS)
    intake.take_telemetry(traces(0, 2))

    assert await intake.next_telemetry() == [TelemetryAck(to=2)]
    assert descriptor.resume_after_seconds == 0.0


async def test_a_long_spool_that_is_one_too_many_comes_later_or_waits(rt: Runtime, node: Node) -> None:
    fill(rt)
    intake, descriptor = await greeted(rt, node, LAST)
    intake.take_telemetry(traces(0, 2))
    intake.take_health(HEALTH)

    storing = asyncio.create_task(intake.next_telemetry())
    counts = await intake.next_health()
    waits = (storing.done(), rt.writer.replays.waiting)
    rt.writer.replays.places.release()

    assert descriptor.resume_after_seconds == LATER_SECONDS
    assert counts, "health doesn't wait for a place"
    assert waits == (False, 1)
    assert await storing == [TelemetryAck(to=2)]
    intake.end()


async def test_who_has_sent_all_leaves_its_place(rt: Runtime, node: Node) -> None:
    intake, descriptor = await greeted(rt, node, LAST)
    intake.take_telemetry(traces(0, 2))
    await intake.next_telemetry()
    running = rt.writer.replays.running

    intake.acknowledged(2)
    still = rt.writer.replays.running
    intake.acknowledged(LAST)

    assert descriptor.resume_after_seconds == 0.0
    assert (running, still, rt.writer.replays.running, rt.writer.replays.expected) == (1, 1, 0, 0)
    intake.end()


async def test_who_is_gone_leaves_its_place(rt: Runtime, node: Node) -> None:
    intake, _ = await greeted(rt, node, LAST)
    intake.take_telemetry(traces(0, 2))
    await intake.next_telemetry()

    intake.end()

    assert (rt.writer.replays.running, rt.writer.replays.expected) == (0, 0)


async def test_frames_that_come_meanwhile_are_stored_together_and_in_order(rt: Runtime, node: Node) -> None:
    intake, _ = await greeted(rt, node, 0)
    for after in (0, 2, 5):
        intake.take_telemetry(traces(after, after + 2))

    first, second, third = await intake.next_telemetry()

    assert (first, second) == (TelemetryAck(to=2), TelemetryAck(to=4))
    assert third == msgspec.structs.replace(third, hwm=4)


async def test_what_is_forgotten_is_not_stored(rt: Runtime, node: Node) -> None:
    intake, _ = await greeted(rt, node, 0)
    intake.take_telemetry(traces(0, 2))
    intake.take_health(HEALTH)

    intake.forget()

    assert await intake.next_telemetry() == []
    assert await intake.next_health()
    assert (await rt.in_render(Node.objects.get)).state == ""


async def test_frames_behind_a_gap_are_void(rt: Runtime, node: Node) -> None:
    intake, _ = await greeted(rt, node, 0)
    intake.take_telemetry(traces(5, 6))

    intake.void_telemetry()

    assert await intake.next_telemetry() == []


async def test_frames_that_there_is_no_room_for_wait_until_there_is(
    rt: Runtime, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake, _ = await greeted(rt, node, 0)
    for after in (0, 2, 4):
        intake.take_telemetry(traces(after, after + 2))

    with monkeypatch.context() as full:
        full.setattr(ingest, "store", lambda batches, *, now: [TelemetryStopped()] * len(batches))
        stopped = await intake.next_telemetry()
    intake.go_on()
    stored = await intake.next_telemetry()

    assert stopped == []
    assert stored == [TelemetryAck(to=2), TelemetryAck(to=4), TelemetryAck(to=6)]


async def test_while_telemetry_is_stopped_nothing_is_tried(
    rt: Runtime, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake, _ = await greeted(rt, node, 0)
    intake.take_telemetry(traces(0, 2))

    with monkeypatch.context() as full:
        full.setattr(Runtime, "telemetry_stopped", True)
        stopped = await intake.next_telemetry()
    intake.go_on()

    assert stopped == []
    assert await intake.next_telemetry() == [TelemetryAck(to=2)]
