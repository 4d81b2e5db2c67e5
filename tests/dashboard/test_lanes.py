"""A lane has bounds, and leaves nothing behind."""

import asyncio
import threading

import pytest
from django.db import connection, connections

from dashboard import lanes
from dashboard.lanes import Lane, LaneFull

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_lane_refuses_more_than_its_bound() -> None:
    lane = Lane("test", threads=1, max_waiting=1)
    go = threading.Event()
    busy = asyncio.create_task(lane.run(go.wait, 10))
    await asyncio.sleep(0)

    with pytest.raises(LaneFull, match="1 calls wait for test"):
        await lane.run(int)

    go.set()
    assert await busy
    await lane.close()


async def test_the_end_of_a_lane_waits_for_what_it_was_given_and_closes_connections() -> None:
    lane = Lane("test", threads=2)
    wrappers = await asyncio.gather(*(lane.run(_open_connection) for _ in range(2)))
    done: list[int] = []
    work = asyncio.create_task(lane.run(done.append, 1))
    await asyncio.sleep(0)

    await lane.close()

    await work
    assert done == [1]
    assert all(wrapper.connection is None for wrapper in wrappers)  # type: ignore[attr-defined]


def _open_connection() -> object:
    connection.ensure_connection()
    return connections["default"]


async def test_a_busy_thread_is_left_behind_and_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lanes, "CLOSE_SECONDS", 0.02)
    lane = Lane("ingest", threads=1)
    go = threading.Event()
    busy = asyncio.create_task(lane.run(go.wait, 10))
    await asyncio.sleep(0)

    await lane.close()

    assert "ingest is still busy" in caplog.text
    go.set()
    await busy
