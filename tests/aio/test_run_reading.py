"""A provider's stream is read ahead while what came is being stored."""

import asyncio

import pytest

from meshcore.aio import run_reading
from meshcore.aio.bus_stream import BusStream
from meshcore.aio.run_reading import BATCH_MAX, Reading, close
from meshcore.capability import RouteRequest
from meshcore.run_chunks import Chunking
from tests.aio.bus_mesh import BODY, CHAT, Script, fails, make_bus, says
from tests.aio.run_mesh import answer


def stream_of(script: Script) -> BusStream:
    bus = make_bus("a")
    script.offer_to(bus)
    return bus.owned.stream(RouteRequest(*CHAT, BODY, stream=True), continues=False)


@pytest.fixture
def news() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
def reading(news: asyncio.Event) -> Reading:
    return Reading(Chunking(), news)


async def test_what_came_is_taken_in_batches(reading: Reading, news: asyncio.Event) -> None:
    await reading.read(stream_of(Script(*answer(*["x"] * 40))))

    assert (reading.done, reading.error, news.is_set(), reading.waiting) == (True, None, True, 41)
    assert reading.provider == "scripted"
    assert [len(reading.take()) for _ in range(3)] == [BATCH_MAX, 41 - BATCH_MAX, 0]


async def test_an_error_is_kept_behind_what_came(reading: Reading) -> None:
    await reading.read(stream_of(Script(says("a"), fails("unavailable"))))

    assert reading.error is not None
    assert (reading.waiting, reading.error.code, reading.done) == (1, "unavailable", True)


async def test_who_reads_ahead_waits_for_who_stores(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_reading, "AHEAD_MAX", 2)
    script = Script(*answer(*["x"] * 5))

    task = asyncio.create_task(reading.read(stream_of(script)))
    async with asyncio.timeout(10):
        while reading.waiting < 2:  # noqa: ASYNC110 - what is waited for is no event
            await asyncio.sleep(0)
    assert (reading.done, script.running) == (False, 1)
    taken = 0
    async with asyncio.timeout(10):
        while not reading.done or reading.waiting:
            taken += len(reading.take())
            await asyncio.sleep(0)
    await close(task)

    assert taken == 6


async def test_behind_its_closing_nothing_is_open(reading: Reading) -> None:
    script = Script(says("a"), asyncio.Event().wait)

    task = asyncio.create_task(reading.read(stream_of(script)))
    async with asyncio.timeout(10):
        while not reading.waiting:  # noqa: ASYNC110 - what is waited for is no event
            await asyncio.sleep(0)
    await close(task)

    assert (script.running, script.closed) == (0, 1)


async def test_a_whole_answer_or_its_error_is_taken(news: asyncio.Event) -> None:
    good, bad = Reading(Chunking(), news), Reading(Chunking(), news)

    good.whole({"output": {}})
    bad.whole({"error": "timeout", "message": "late", "attempts": []})

    assert (good.waiting, good.done, good.error) == (1, True, None)
    assert bad.error is not None and (bad.waiting, bad.error.code) == (0, "timeout")
