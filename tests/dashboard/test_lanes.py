"""A lane has bounds, and leaves nothing behind."""

import asyncio
import threading
from functools import partial

import pytest
from django.db import connection, connections

from dashboard import lanes
from dashboard.lanes import Gate, Lane, LaneFull

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


async def test_few_pass_a_gate_at_a_time_and_in_order_of_coming() -> None:
    gate, inside, passed = Gate("visits", at_once=2, max_seconds=10, max_waiting=10), 0, list[int]()
    go = asyncio.Event()

    async def visit(number: int) -> int:
        nonlocal inside
        inside += 1
        assert inside <= 2
        await go.wait()
        inside -= 1
        passed.append(number)
        return number

    visits = [asyncio.create_task(gate.run(partial(visit, number))) for number in range(5)]
    await asyncio.sleep(0)
    assert (inside, gate.waiting) == (2, 3)

    go.set()
    async with asyncio.timeout(10):
        assert await asyncio.gather(*visits) == passed == [*range(5)]
    assert gate.waiting == 0


async def test_a_gate_refuses_more_than_its_bound() -> None:
    gate, go = Gate("visits", at_once=1, max_seconds=10, max_waiting=1), asyncio.Event()
    visits = [asyncio.create_task(gate.run(go.wait)) for _ in range(2)]
    await asyncio.sleep(0)

    with pytest.raises(LaneFull, match="1 visits wait: no more than 1 may"):
        await gate.run(go.wait)

    go.set()
    await asyncio.gather(*visits)


async def test_who_fails_at_a_gate_or_gives_up_before_it_leaves_its_place_to_the_next() -> None:
    gate, go = Gate("visits", at_once=1, max_seconds=10, max_waiting=10), asyncio.Event()
    first, gives_up, last = (asyncio.create_task(gate.run(go.wait)) for _ in range(3))
    await asyncio.sleep(0)

    gives_up.cancel()
    first.cancel()
    go.set()

    async with asyncio.timeout(10):
        assert await last
    assert gate.waiting == 0
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_who_has_waited_too_long_is_refused_and_does_not_take_the_place_of_who_comes_later() -> None:
    gate, go = Gate("visits", at_once=1, max_seconds=0.01), asyncio.Event()
    inside = asyncio.create_task(gate.run(go.wait))
    await asyncio.sleep(0)

    with pytest.raises(LaneFull, match=r"visits: no turn within 0\.01 s"):
        await gate.run(go.wait)

    go.set()
    async with asyncio.timeout(10):
        assert await inside
        assert await gate.run(go.wait)
    assert gate.waiting == 0
