"""Works that come while a lane is busy are handed over together, and what is worked on is bounded."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from dashboard import groups
from dashboard.groups import Groups, Room
from dashboard.lanes import Lane, LaneFull
from meshcore.testing import ManualClock

SECONDS = 10.0  # nothing here takes as long, however busy the machine


class Store:
    """Stores groups one at a time, each when the test lets it."""

    def __init__(self) -> None:
        self.groups: list[list[Any]] = []
        self._leave = threading.Semaphore(0)

    def __call__(self, works: Sequence[Any]) -> list[Any]:
        self.groups.append(list(works))
        assert self._leave.acquire(timeout=SECONDS)
        return [KeyError(work) if work == "bad" else f"{work} is stored" for work in works]

    def let(self, groups: int = 1) -> None:
        self._leave.release(groups)

    async def until_begun(self, groups: int) -> None:
        async with asyncio.timeout(SECONDS):
            while len(self.groups) < groups:  # noqa: ASYNC110 - it is a thread that begins
                await asyncio.sleep(0.001)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def make(store: Store) -> AsyncIterator[Callable[..., Groups[Any, Any]]]:
    lane = Lane("test", threads=1)

    def make_(**settings: Any) -> Groups[Any, Any]:
        return Groups(lane, store, **{"max_works": 3, "max_size": 100, **settings})

    yield make_
    store.let(100)
    await lane.close()


async def put(made: Groups[Any, Any], *works: Any, **settings: Any) -> "list[asyncio.Task[Any]]":
    tasks = [asyncio.create_task(made.put(work, **settings)) for work in works]
    await asyncio.sleep(0)
    return tasks


async def test_a_lone_work_is_stored_at_once_and_those_behind_it_together(
    make: Callable[..., Groups[Any, Any]], store: Store
) -> None:
    made = make()
    tasks = await put(made, "a")
    await store.until_begun(1)
    tasks += await put(made, "b", "c", "d", "e")

    store.let(3)

    assert await asyncio.gather(*tasks) == [f"{work} is stored" for work in "abcde"]
    assert store.groups == [["a"], ["b", "c", "d"], ["e"]]


async def test_a_group_is_no_larger_than_its_bound_and_one_work_always_fits(
    make: Callable[..., Groups[Any, Any]], store: Store
) -> None:
    made = make()
    tasks = await put(made, "a", size=500)
    await store.until_begun(1)
    tasks += await put(made, "b", "c", size=60)

    store.let(3)
    await asyncio.gather(*tasks)

    assert store.groups == [["a"], ["b"], ["c"]]


async def test_what_is_not_urgent_waits_for_company_until_something_is(
    make: Callable[..., Groups[Any, Any]], store: Store
) -> None:
    made = make(gather_seconds=3600.0)
    tasks = await put(made, "a", "b", urgent=False)
    waiting = made.waiting
    tasks += await put(made, "c")

    store.let()
    await asyncio.gather(*tasks)

    assert waiting == 2
    assert store.groups == [["a", "b", "c"]]


async def test_what_is_not_urgent_is_stored_in_the_end(
    make: Callable[..., Groups[Any, Any]], store: Store
) -> None:
    made = make(gather_seconds=0.01)
    store.let()

    (task,) = await put(made, "a", urgent=False)

    assert await task == "a is stored"


async def test_a_result_that_is_an_exception_is_raised_where_the_work_came_from(
    make: Callable[..., Groups[Any, Any]], store: Store
) -> None:
    store.let(3)

    good, bad = await asyncio.gather(*await put(make(), "good", "bad"), return_exceptions=True)

    assert good == "good is stored"
    assert isinstance(bad, KeyError)


async def test_a_group_that_fails_fails_all_that_are_in_it_and_no_other(store: Store) -> None:
    def fail(works: Sequence[Any]) -> list[Any]:
        if "good" not in works:
            raise OSError("disk full")
        return [f"{work} is stored" for work in works]

    lane = Lane("test", threads=1)
    made: Groups[Any, Any] = Groups(lane, fail, max_works=2, max_size=9)

    results = await asyncio.gather(*await put(made, "a", "b", "good"), return_exceptions=True)
    await lane.close()

    assert [type(result) for result in results] == [OSError, OSError, str]


async def test_who_goes_away_before_its_turn_leaves_nothing_behind(
    make: Callable[..., Groups[Any, Any]], store: Store
) -> None:
    made = make()
    first, second, third = await put(made, "a", "b", "c")
    await store.until_begun(1)
    tasks = await put(made, "d", "e")

    tasks[0].cancel()
    first.cancel()  # its group has begun: it is stored, and nobody is told
    store.let(2)
    done = await asyncio.gather(first, second, third, *tasks, return_exceptions=True)

    assert store.groups == [["a", "b", "c"], ["e"]]
    assert [isinstance(each, asyncio.CancelledError) for each in done] == [True, False, False, True, False]


async def test_how_much_waits_is_known_and_bounded(
    make: Callable[..., Groups[Any, Any]], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "MAX_WAITING", 2)
    clock = ManualClock()
    made = make(clock=clock)
    tasks = await put(made, "a")
    await store.until_begun(1)
    nothing = (made.waiting, made.oldest_seconds())
    tasks += await put(made, "b", "c")
    clock.advance(2.5)

    with pytest.raises(LaneFull, match="no more than 2 may"):
        await made.put("d")

    assert nothing == (0, 0.0)
    assert (made.waiting, made.oldest_seconds()) == (2, 2.5)
    store.let(2)
    await asyncio.gather(*tasks)


async def test_at_the_end_what_waits_is_forgotten_and_what_has_begun_is_stored(
    make: Callable[..., Groups[Any, Any]], store: Store
) -> None:
    made = make()
    tasks = await put(made, "a")
    await store.until_begun(1)
    tasks += await put(made, "b")

    closing = asyncio.create_task(made.close())
    await asyncio.sleep(0)
    store.let()
    await closing
    stored, forgotten = await asyncio.gather(*tasks, return_exceptions=True)

    assert stored == "a is stored"
    assert isinstance(forgotten, asyncio.CancelledError)
    assert store.groups == [["a"]]


async def test_one_that_nobody_used_is_closed_at_once(make: Callable[..., Groups[Any, Any]]) -> None:
    await make().close()


class Guest:
    """Somebody who enters a room and stays until it is told to leave."""

    def __init__(self, room: Room, size: int) -> None:
        self.inside = False
        self.leave = asyncio.Event()
        self.task = asyncio.create_task(self._visit(room, size))

    async def _visit(self, room: Room, size: int) -> None:
        async with room.place(size):
            self.inside = True
            await self.leave.wait()


async def visits(room: Room, *sizes: int) -> list[Guest]:
    guests = [Guest(room, size) for size in sizes]
    await settle()
    return guests


async def settle() -> None:
    """Let everybody take the steps that can be taken now."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_room_lets_in_so_many_of_such_a_size_in_order_of_coming() -> None:
    room = Room(max_works=2, max_size=10)
    first, second, third, small = await visits(room, 4, 4, 7, 1)
    before = [guest.inside for guest in (first, second, third, small)]

    first.leave.set()
    await settle()
    between = [guest.inside for guest in (third, small)]
    second.leave.set()
    await settle()

    assert before == [True, True, False, False]
    assert between == [False, False], "the small one doesn't overtake"
    assert (third.inside, small.inside, room.outside) == (True, True, 0)
    for guest in (third, small):
        guest.leave.set()
    await asyncio.gather(*(guest.task for guest in (first, second, third, small)))


async def test_what_is_larger_than_the_room_gets_in_when_it_is_empty() -> None:
    room = Room(max_works=2, max_size=10)
    small, huge = await visits(room, 1, 99)
    outside = room.outside

    small.leave.set()
    await settle()

    assert (outside, huge.inside) == (1, True)
    huge.leave.set()
    await huge.task


async def test_who_gives_up_waiting_keeps_nobody_out() -> None:
    room = Room(max_works=1, max_size=10)
    first, second, third = await visits(room, 1, 1, 1)

    second.task.cancel()
    await settle()
    first.leave.set()
    await settle()

    assert (second.inside, third.inside) == (False, True)
    third.leave.set()
    await third.task


async def test_who_is_let_in_and_called_off_at_once_leaves_its_place() -> None:
    room = Room(max_works=1, max_size=10)
    first, second, third = await visits(room, 1, 1, 1)

    first.leave.set()
    await asyncio.sleep(0)
    second.task.cancel()
    await settle()

    assert not second.inside
    assert third.inside
    third.leave.set()
    await third.task
