"""What nodes say is gathered and stored while the process lives."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from dashboard import ingest_writer
from dashboard.ingest_writer import IngestWriter
from dashboard.lanes import Lane
from dashboard.models import Node, NodeLink, SpoolMark, Trace
from dashboard.services import ingest, nodes
from dashboard.services.actor import SYSTEM
from dashboard.services.health import Said
from meshcore.drain import NodeState, Readout
from meshcore.frames import Health, TelemetryAck
from tests.dashboard.services.test_ingest import traces

pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SECONDS = 10.0
MINE = 5


@pytest.fixture
def linked(db: None) -> list[Node]:
    """Three nodes, each linked."""
    made = [nodes.add(name=f"node-{n}", actor=SYSTEM, now=NOW)[0] for n in "abc"]
    NodeLink.objects.update(connection_no=MINE, opened_at=NOW)
    for node in made:
        SpoolMark.objects.create(node=node, spool_id="s1", connection_no=MINE, updated_at=NOW)
    return made


@pytest.fixture
async def lanes() -> AsyncIterator[tuple[Lane, Lane]]:
    made = Lane("decode", threads=1), Lane("ingest", threads=1)
    yield made
    await asyncio.gather(*(lane.close() for lane in made))


@pytest.fixture
async def writer(lanes: tuple[Lane, Lane]) -> AsyncIterator[IngestWriter]:
    made = IngestWriter(decode=lanes[0], lane=lanes[1], now=lambda: NOW)
    yield made
    await made.close()


class Gate:
    """Keeps groups from being stored until it is opened; notes how large they are."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.groups: list[int] = []
        self.open = threading.Event()
        store = ingest.store

        def held(batches: Sequence[Any], **settings: Any) -> Any:
            self.groups.append(len(batches))
            assert self.open.wait(SECONDS)
            return store(batches, **settings)

        monkeypatch.setattr(ingest, "store", held)

    async def until_begun(self) -> None:
        async with asyncio.timeout(SECONDS):
            while not self.groups:  # noqa: ASYNC110 - it is a thread that begins
                await asyncio.sleep(0.001)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def push(writer: IngestWriter, node: Node, after: int, to: int) -> "asyncio.Task[Any]":
    frame = traces(after, to)
    return asyncio.create_task(writer.store(node=node, connection_no=MINE, telemetry=frame, now=NOW))


async def until(writer: IngestWriter, gauge: str, value: float) -> None:
    async with asyncio.timeout(SECONDS):
        while writer.gauges()[gauge]() != value:  # noqa: ASYNC110 - threads move it
            await asyncio.sleep(0.001)


async def test_frames_of_all_nodes_that_come_meanwhile_are_one_group(
    writer: IngestWriter, gate: Gate, linked: list[Node]
) -> None:
    first = push(writer, linked[0], 0, 2)
    await gate.until_begun()
    others = [push(writer, linked[0], 2, 3), *(push(writer, node, 0, 4) for node in linked[1:])]
    await until(writer, "ingest_waiting_frames", 3)

    gate.open.set()
    answers = await asyncio.gather(first, *others)

    assert gate.groups == [1, 3]
    assert answers == [TelemetryAck(to=2), TelemetryAck(to=3), TelemetryAck(to=4), TelemetryAck(to=4)]
    assert await asyncio.to_thread(Trace.objects.count) == 11


async def test_what_finds_no_room_is_neither_decoded_nor_answered(
    lanes: tuple[Lane, Lane], gate: Gate, linked: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_writer, "ROOM_FRAMES", 2)
    monkeypatch.setattr(ingest_writer, "OUTSIDE_MAX", 2)
    writer = IngestWriter(decode=lanes[0], lane=lanes[1], now=lambda: NOW)
    pushes = [push(writer, linked[0], n, n + 1) for n in range(3)]
    await gate.until_begun()
    await until(writer, "ingest_withheld_frames", 1)
    one_outside = writer.is_crowded
    pushes.append(push(writer, linked[1], 0, 1))
    await until(writer, "ingest_withheld_frames", 2)

    crowded = writer.is_crowded
    oldest = writer.gauges()["ingest_oldest_seconds"]()
    gate.open.set()
    answers = await asyncio.gather(*pushes)

    assert (one_outside, crowded) == (False, True)
    assert oldest >= 0
    assert answers == [TelemetryAck(to=1), TelemetryAck(to=2), TelemetryAck(to=3), TelemetryAck(to=1)]
    await writer.close()


async def test_health_that_is_no_news_waits_for_company_and_news_takes_it_along(
    writer: IngestWriter, linked: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_writer.health, "apply", noted := Noted(ingest_writer.health.apply))
    writer._health._gather_seconds = 3600.0

    quiet = [asyncio.create_task(writer.note_health(said(node), urgent=False)) for node in linked[:2]]
    await until(writer, "ingest_health_waiting", 2)
    news = asyncio.create_task(writer.note_health(said(linked[2]), urgent=True))

    assert await asyncio.gather(*quiet, news) == [True, True, True]
    assert noted.sizes == [3]


class Noted:
    """Passes groups on, and knows how large they were."""

    def __init__(self, apply: Any) -> None:
        self.sizes: list[int] = []
        self._apply = apply

    def __call__(self, *, said: Sequence[Said]) -> Any:
        self.sizes.append(len(said))
        return self._apply(said=said)


def said(node: Node) -> Said:
    readout = Readout(state=NodeState.RUNNING, accepting=True)
    return Said(node=node, connection_no=MINE, health=Health(no=1, at=NOW, node=readout), now=NOW)
