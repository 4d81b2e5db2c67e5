"""A link that moves between two dashboards while frames are under way: each item is stored once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import pytest

from dashboard.ingest_writer import IngestWriter
from dashboard.lanes import Lane
from dashboard.models import MinuteRollup, Node, SpoolMark, Trace, Transition
from dashboard.services import link, nodes
from dashboard.services.actor import SYSTEM
from dashboard.services.ingest import ConnectionLost
from meshcore.capability import Manifest
from meshcore.frames import WINDOW, Hello, Telemetry, TelemetryAck
from tests.dashboard.services.test_ingest import frame, histogram, trace, transition

pytestmark = pytest.mark.django_db(transaction=True)

MAKERS = (trace, transition, histogram)
ITEMS = 600
FRAME_ITEMS = 7
MOVES = 12
NO_CONNECTION = 99
PATIENCE_SECONDS = 60.0


@asynccontextmanager
async def dashboard_process(now: datetime) -> AsyncIterator[IngestWriter]:
    """What of a process stores telemetry: threads and database connections of its own."""
    lanes = [Lane(name, threads=1) for name in ("decode", "ingest")]
    writer = IngestWriter(decode=lanes[0], lane=lanes[1], now=lambda: now)
    try:
        yield writer
    finally:
        await writer.close()
        await asyncio.gather(*(lane.close() for lane in lanes))


def behind(after: int) -> Telemetry | None:
    to = min(after + FRAME_ITEMS, ITEMS)
    items = [MAKERS[seq % 3](seq) for seq in range(after + 1, to + 1)]
    return frame(after, to, *items) if items else None


class Spool:
    """A node's end: sends a window behind the mark, and turns to the other dashboard before any answer."""

    def __init__(self, node: Node, writers: list[IngestWriter], control: Lane, now: datetime) -> None:
        self._node = node
        self._control = control
        self._connection_no = NO_CONNECTION
        self._writers = writers
        self._now = now
        self._under_way: list[asyncio.Task[Any]] = []
        self.answers: list[Any] = []

    async def send_all(self) -> None:
        after, moves = 0, 0
        while after < ITEMS:
            moves += 1
            late = self._connection_no
            after = await self._greet()
            self._under_way += self._window(after, moves + 1, late)  # said to the dashboard that it left
            frames = self._window(after, moves, self._connection_no)
            if moves > MOVES:
                self.answers += await asyncio.gather(*frames)
                continue
            self._under_way += frames
            await asyncio.sleep(0.002 * (moves % 4))  # some are committed by then, others not; all is allowed
        self.answers += await asyncio.gather(*self._under_way)

    async def _greet(self) -> int:
        hello = Hello(
            node_id=self._node.name,
            instance_id="i1",
            spool_id="s1",
            clock=self._now,
            manifest=Manifest(node_id=self._node.name),
        )
        self._connection_no, descriptor = await self._control.run(
            link.open_connection, node=self._node, hello=hello, now=self._now
        )
        return descriptor.resume_from

    def _window(self, after: int, moves: int, number: int) -> "list[asyncio.Task[Any]]":
        writer = self._writers[moves % 2]
        tasks = []
        for _ in range(WINDOW):
            telemetry = behind(after)
            if telemetry is None:
                break
            store = writer.store(node=self._node, connection_no=number, telemetry=telemetry, now=self._now)
            tasks.append(asyncio.create_task(store))
            after = telemetry.to
        return tasks


@pytest.fixture
async def control() -> AsyncIterator[Lane]:
    lane = Lane("control", threads=1)
    yield lane
    await lane.close()


async def test_whatever_was_under_way_is_stored_once(node: Node, control: Lane, now: datetime) -> None:
    other = (await control.run(nodes.add, name="node-b", actor=SYSTEM, now=now))[0]
    async with dashboard_process(now) as one, dashboard_process(now) as two:
        spools = [Spool(node, [one, two], control, now), Spool(other, [two, one], control, now)]
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*(spool.send_all() for spool in spools))

    answers = [type(answer) for spool in spools for answer in spool.answers]
    assert set(answers) == {TelemetryAck, ConnectionLost}
    assert await control.run(stored, node) == whole()
    assert await control.run(stored, other) == whole()


def whole() -> tuple[list[str], int, int, list[int]]:
    numbers = range(1, ITEMS + 1)
    calls = sorted(f"t{seq}" for seq in numbers if seq % 3 == 0)
    changes = sum(seq % 3 == 1 for seq in numbers)
    return calls, changes, 2 * sum(seq % 3 == 2 for seq in numbers), [ITEMS]


def stored(node: Node) -> tuple[list[str], int, int, list[int]]:
    return (
        sorted(Trace.objects.filter(node=node).values_list("trace_id", flat=True)),
        Transition.objects.filter(node=node).count(),
        sum(MinuteRollup.objects.filter(node=node).values_list("count", flat=True)),
        list(SpoolMark.objects.filter(node=node).values_list("hwm", flat=True)),
    )
