"""Who sends what it held during an outage waits for its turn."""

import asyncio

import pytest

from dashboard import replays
from dashboard.replays import LATER_SECONDS, REPLAY_ITEMS, Replay, Replays

LAST = REPLAY_ITEMS + 1


def expected(places: Replays) -> Replay:
    replay = places.expect(after=0, last=LAST)
    assert replay is not None
    return replay


async def begin(replay: Replay) -> "asyncio.Task[None]":
    """Send a first frame."""

    async def one_frame() -> None:
        async with replay.turn():
            pass

    task = asyncio.create_task(one_frame())
    await settle()
    return task


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_short_spool_is_no_replay() -> None:
    assert Replays().expect(after=50, last=50 + REPLAY_ITEMS) is None
    assert Replays().expect(after=50, last=0) is None


async def test_who_is_one_too_many_is_told_to_come_later() -> None:
    places = Replays(most=2)

    told = [expected(places).later_seconds for _ in range(5)]

    assert told == [0.0, 0.0, LATER_SECONDS, LATER_SECONDS, 2 * LATER_SECONDS]
    assert (places.expected, places.put_off) == (5, 3)


async def test_nobody_is_told_to_wait_for_ever() -> None:
    places = Replays(most=1)

    assert [expected(places).later_seconds for _ in range(100)][-1] == replays.LATER_MAX_SECONDS


async def test_who_comes_all_the_same_waits_until_a_place_is_free() -> None:
    places = Replays(most=1)
    first, second = expected(places), expected(places)
    await begin(first)
    waits = await begin(second)
    before = (waits.done(), places.running, places.waiting)

    assert not first.stored(LAST - 1)
    still = waits.done()
    assert first.stored(LAST)
    await waits

    assert before == (False, 1, 1)
    assert not still
    assert (places.running, places.waiting, places.expected) == (1, 0, 1)
    second.end()


@pytest.mark.parametrize("began", [True, False])
async def test_who_is_gone_leaves_its_place_once(began: bool) -> None:
    places = Replays(most=1)
    gone, next_one = expected(places), expected(places)
    if began:
        await begin(gone)

    gone.end()
    gone.end()
    await begin(next_one)

    assert (places.running, places.expected) == (1, 1)
    next_one.end()
    assert (places.running, places.expected) == (0, 0)


async def test_who_has_a_place_and_falls_silent_loses_it_until_it_goes_on() -> None:
    places = Replays(most=1, silent_seconds=0.01)
    silent, other = expected(places), expected(places)
    await begin(silent)

    await (await begin(other))
    other.end()
    await (await begin(silent))

    assert places.running == 1
    silent.end()


async def test_who_is_called_off_while_it_waits_takes_no_place() -> None:
    places = Replays(most=1)
    first, second, third = (expected(places) for _ in range(3))
    await begin(first)
    waits = await begin(second)

    waits.cancel()
    await settle()
    second.end()
    first.end()
    await begin(third)

    assert (places.running, places.waiting, places.expected) == (1, 0, 1)
    third.end()
