"""What a node is ordered: each desired state once, and of the outbox what is not taken yet."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from dashboard import runtime
from dashboard.edge.link_orders import Orders
from dashboard.models import DrainStep, Node, OutboxRow
from dashboard.runtime import Runtime
from dashboard.services import drain, link, nodes, outbox
from dashboard.services.actor import SYSTEM
from meshcore import framing
from meshcore.capability import Manifest
from meshcore.frames import Desired, Hello, Inbound
from meshcore.link import DashboardSide, LinkPolicy
from meshcore.testing import ManualClock

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def node() -> Node:
    return nodes.add(name="node-a", actor=SYSTEM, now=NOW)[0]


@pytest.fixture
async def rt(node: Node) -> AsyncIterator[Runtime]:
    async with runtime.running(jobs=()) as running:
        yield running


class Told:
    """A connection behind its handshake, and what its node was told since."""

    def __init__(self, node: Node, rt: Runtime, log_id: str) -> None:
        self.frames: list[Any] = []
        self._side = DashboardSide(clock=ManualClock(), policy=LinkPolicy())
        self._reader = framing.reader_from_dashboard()
        self._node = node
        self._rt = rt
        self._hello = Hello(
            node_id="node-a",
            instance_id="i1",
            spool_id="s1",
            clock=NOW,
            manifest=Manifest(node_id="node-a"),
            log_id=log_id,
        )
        self.orders = Orders(node, rt, self._side, write=self._write, now=lambda: NOW)

    async def begin(self) -> None:
        self._side.receive_message(framing.encode(self._hello))
        number, descriptor = await self._rt.in_control(
            link.open_connection, node=self._node, hello=self._hello, now=NOW
        )
        self._side.send_descriptor(descriptor)
        await self._write()
        self.frames.clear()
        self.orders.begin(number, self._hello, descriptor)

    async def _write(self) -> None:
        for line in self._side.frames_to_send():
            self.frames += self._reader.read(line)


async def greeted(node: Node, rt: Runtime, *, log_id: str = "") -> Told:
    told = Told(node, rt, log_id)
    await told.begin()
    return told


async def steps(rt: Runtime) -> int:
    return await rt.in_render(DrainStep.objects.filter(step="sent").count)


async def test_what_the_descriptor_told_is_noted_and_not_sent_again(node: Node, rt: Runtime) -> None:
    await rt.in_control(drain.request, node=node, actor=SYSTEM)
    told = await greeted(node, rt)

    await told.orders.note_told()
    await told.orders.send_desired()

    assert told.frames == []
    assert await steps(rt) == 1


async def test_a_newer_desired_state_is_sent_once_and_noted(node: Node, rt: Runtime) -> None:
    told = await greeted(node, rt)
    await told.orders.note_told()
    assert await steps(rt) == 0

    await rt.in_control(drain.request, node=node, actor=SYSTEM)
    await told.orders.send_desired()
    await told.orders.send_desired()

    assert [type(frame) for frame in told.frames] == [Desired]
    assert await steps(rt) == 1


@pytest.mark.parametrize(("log_id", "sent"), [("abc123ff", [Inbound]), ("", [])])
async def test_an_order_for_a_run_goes_to_a_node_that_has_its_log(
    node: Node, rt: Runtime, log_id: str, sent: list[type[Any]]
) -> None:
    told = await greeted(node, rt, log_id=log_id)
    await rt.in_control(outbox.cancel_run, run_id="run_abc123_1", reason="", actor=SYSTEM, now=NOW)

    await told.orders.send_waiting()

    assert [type(frame) for frame in told.frames] == sent


async def test_an_order_that_is_taken_makes_room_for_more(node: Node, rt: Runtime) -> None:
    told = await greeted(node, rt, log_id="abc123ff")
    order = await rt.in_control(outbox.cancel_run, run_id="run_abc123_1", reason="", actor=SYSTEM, now=NOW)
    await told.orders.send_waiting()

    await told.orders.taken(order.buffer_id)

    async with asyncio.timeout(10):
        await told.orders.changed()
    assert await rt.in_render(OutboxRow.objects.filter(state="done").exists)
