"""The runtime's threads, its reader of the change feed and its clockwork."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.db import DatabaseError, connection, connections

from dashboard import hints, page_keys, runtime
from dashboard.models import Change, Node, NodeLink
from dashboard.runtime import Runtime
from dashboard.selectors import peers
from dashboard.selectors.changes import Look
from dashboard.selectors.presence import Composite
from dashboard.services.housekeeping import Job

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NEVER_SECONDS = 1000.0

pytestmark = pytest.mark.django_db(transaction=True)


class WallClock:
    """An aware UTC clock that tests set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


class Ears:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.keys: list[str] = []
        self._news = asyncio.Event()

    def __call__(self, ids: object, keys: object) -> None:
        self.ids.extend(ids)  # type: ignore[arg-type]
        self.keys.extend(keys)  # type: ignore[arg-type]
        self._news.set()

    async def until(self, *keys: str) -> None:
        async with asyncio.timeout(10):
            while not set(keys) <= set(self.keys):
                self._news.clear()
                await self._news.wait()


@pytest.fixture
async def rt() -> AsyncIterator[Runtime]:
    async with runtime.running() as running:
        yield running


def publish(*keys: str) -> None:
    for key in keys:
        Change.objects.create(key=key, at=NOW)


async def test_each_lane_has_threads_of_its_own(rt: Runtime) -> None:
    lanes: list[Callable[..., object]] = [rt.in_ingest, rt.in_control, rt.in_render]

    names = [await lane(lambda: threading.current_thread().name) for lane in lanes]  # type: ignore[misc]

    assert [str(name).partition("_")[0] for name in names] == ["ingest", "control", "render"]


async def test_a_lane_passes_arguments_results_and_exceptions(rt: Runtime) -> None:
    assert await rt.in_control(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await rt.in_control(divmod, 7, 0)


async def test_a_lane_keeps_its_connection_and_drops_a_broken_one(rt: Runtime) -> None:
    def connected() -> int:
        connection.ensure_connection()
        return id(connection.connection)

    def fail() -> None:
        try:
            connection.cursor().execute("SELECT 1 FROM nowhere")
        except DatabaseError as exc:
            raise LookupError("what a service made of it") from exc

    first = await rt.in_ingest(connected)
    assert await rt.in_ingest(connected) == first

    with pytest.raises(LookupError):
        await rt.in_ingest(fail)

    assert await rt.in_ingest(lambda: connection.connection) is None


async def test_render_has_two_threads(rt: Runtime) -> None:
    meeting = threading.Barrier(2)

    arrived = await asyncio.gather(*(rt.in_render(meeting.wait, 10) for _ in range(2)))

    assert sorted(arrived) == [0, 1]


async def test_a_commit_in_another_thread_reaches_listeners_by_its_hint() -> None:
    async with runtime.running(poll_seconds=NEVER_SECONDS, heard_seconds=NEVER_SECONDS) as rt:
        ears = Ears()
        rt.on_change("", ears)

        await rt.in_control(publish, "node:node-a", "nodes")
        hints.wake()

        await ears.until("node:node-a", "nodes")
        assert ears.keys == ["node:node-a", "nodes"]
        assert ears.ids == [rt.cursor - 1, rt.cursor]


async def test_a_commit_without_a_hint_is_found_by_the_poll() -> None:
    async with runtime.running(poll_seconds=0.01) as rt:
        ears = Ears()
        rt.on_change("traces", ears)

        await rt.in_control(publish, "traces")

        await ears.until("traces")


async def test_what_was_there_before_the_start_is_no_news() -> None:
    await asyncio.to_thread(_in_thread, publish, "nodes")
    async with runtime.running(poll_seconds=NEVER_SECONDS, heard_seconds=NEVER_SECONDS) as rt:
        ears = Ears()
        rt.on_change("", ears)

        await rt.in_control(publish, "audit")
        hints.wake()

        await ears.until("audit")
        assert ears.keys == ["audit"]


def _in_thread(function: Callable[..., object], *args: object) -> None:
    try:
        function(*args)
    finally:
        connections.close_all()


async def test_more_changes_than_one_portion_arrive_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "READ_ROWS", 2)
    async with runtime.running(poll_seconds=NEVER_SECONDS, heard_seconds=NEVER_SECONDS) as rt:
        ears = Ears()
        rt.on_change("", ears)

        await rt.in_control(publish, "a", "b", "c", "d", "e")
        hints.wake()

        await ears.until("e")
        assert ears.keys == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("pattern", "heard"),
    [
        ("node:a", ["node:a"]),
        ("node:", ["node:a", "node:ab"]),
        ("nodes", ["nodes"]),
        ("", ["node:a", "node:ab", "nodes"]),
        ("providers:", []),
    ],
)
async def test_a_listener_hears_what_it_asked_for(pattern: str, heard: list[str]) -> None:
    rt, ears = Runtime(), Ears()
    rt.on_change(pattern, ears)

    rt.announce([1, 2, 3], ["node:a", "node:ab", "nodes"])

    assert ears.keys == heard
    await rt.stop()


async def test_a_listener_that_left_hears_nothing() -> None:
    rt, ears = Runtime(), Ears()
    leave = rt.on_change("", ears)

    leave()
    leave()
    rt.announce([1], ["nodes"])

    assert ears.keys == []
    await rt.stop()


async def test_a_faulty_listener_does_not_keep_news_from_the_next(caplog: pytest.LogCaptureFixture) -> None:
    rt, ears = Runtime(), Ears()
    rt.on_change("", lambda ids, keys: 1 / 0)  # type: ignore[arg-type]
    rt.on_change("", ears)

    rt.announce([1], ["nodes"])

    assert ears.keys == ["nodes"]
    assert "a listener to changes failed" in caplog.text
    await rt.stop()


async def test_a_silent_node_becomes_stale_and_unreachable_without_a_write() -> None:
    clock = WallClock()
    await asyncio.to_thread(_in_thread, _make_node)
    async with runtime.running(now=clock, poll_seconds=0.01, heard_seconds=NEVER_SECONDS) as rt:
        ears = Ears()
        rt.on_change("", ears)

        clock.now = NOW + timedelta(seconds=5.5)
        await ears.until("providers:node-a")
        assert ears.keys == ["node:node-a", "providers:node-a"]  # the same state, faded: the order stays

        clock.now = NOW + timedelta(seconds=6.5)
        await ears.until("nodes")
        assert set(ears.ids) == {0}
        assert await rt.in_render(Change.objects.count) == 0


def test_what_fell_silent_and_spoke_again_between_two_looks_is_announced() -> None:
    before = Look(Composite.RUNNING, stale=False, unacknowledged=False, heard_at=NOW)
    soon, late = (replace(before, heard_at=NOW + timedelta(seconds=seconds)) for seconds in (1.0, 5.2))

    assert runtime._crossings({"node-a": before}, {"node-a": soon}) == []
    assert runtime._crossings({"node-a": before}, {"node-a": late}) == ["node:node-a", "providers:node-a"]


async def test_who_there_is_is_read_when_nodes_change_and_announced_when_it_is_another_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtime, "PEERS_SECONDS", 0.001)
    monkeypatch.setattr(runtime, "PEERS_POLL_SECONDS", NEVER_SECONDS)
    ears, reads = Ears(), asyncio.Queue[None]()
    async with runtime.running(now=WallClock(), poll_seconds=0.01, heard_seconds=NEVER_SECONDS) as rt:
        rt.on_change(runtime.PEERS, ears)
        read = peers.read

        def counted(*args: Any, **kwargs: Any) -> peers.Directory:
            asyncio.run_coroutine_threadsafe(reads.put(None), loop)
            return read(*args, **kwargs)

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(peers, "read", counted)
        await asyncio.to_thread(_in_thread, _make_node)
        await asyncio.to_thread(_in_thread, lambda: publish("nodes"))
        await ears.until(runtime.PEERS)
        await reads.get()
        await asyncio.to_thread(_in_thread, lambda: publish("nodes"))
        async with asyncio.timeout(10):
            await reads.get()

        assert list(rt.directory.members) == ["node-a"]
    assert (ears.ids, ears.keys) == ([0], [runtime.PEERS])


async def test_a_look_at_who_there_is_that_failed_is_taken_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runtime, "PEERS_SECONDS", 0.001)
    monkeypatch.setattr(runtime, "PEERS_POLL_SECONDS", 0.01)
    ears, read = Ears(), peers.read
    failures = iter([OSError("of the test")])

    def failing_once(*args: Any, **kwargs: Any) -> peers.Directory:
        for failure in failures:
            raise failure
        return read(*args, **kwargs)

    async with runtime.running(now=WallClock(), poll_seconds=0.01, heard_seconds=NEVER_SECONDS) as rt:
        rt.on_change(runtime.PEERS, ears)
        monkeypatch.setattr(peers, "read", failing_once)
        await asyncio.to_thread(_in_thread, _make_node)
        await ears.until(runtime.PEERS)

    assert "reading who there is failed" in caplog.text


def _make_node() -> None:
    node = Node.objects.create(name="node-a", created_at=NOW, state="running", last_heard_at=NOW)
    NodeLink.objects.create(node=node, connection_no=1, opened_at=NOW)


async def test_the_ages_of_all_nodes_are_announced_by_the_clock() -> None:
    async with runtime.running(poll_seconds=NEVER_SECONDS, heard_seconds=0.001) as rt:
        ears = Ears()
        rt.on_change("", ears)

        await ears.until(page_keys.HEARD)

        assert set(ears.ids) == {0}


async def test_how_often_nodes_speak_follows_from_how_many_there_are(rt: Runtime) -> None:
    assert rt.health_seconds == 1.0
    assert rt.looks == {}


async def test_a_job_runs_again_and_again_and_survives_its_own_faults(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR)
    again = asyncio.Event()
    loop = asyncio.get_running_loop()
    calls: list[datetime] = []

    def work(*, now: datetime) -> None:
        calls.append(now)
        if len(calls) == 1:
            raise ValueError("the first time fails")
        loop.call_soon_threadsafe(again.set)

    job = Job(name="counting", every_seconds=0.001, function=work)
    async with runtime.running(now=WallClock(), jobs=[job]):
        await asyncio.wait_for(again.wait(), 10)

    assert calls[0] == NOW
    assert "counting failed" in caplog.text


async def test_what_a_job_leaves_for_the_end_is_done_at_the_end_whatever_became_of_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended: list[datetime] = []

    def fail(*, now: datetime) -> None:
        raise ValueError("not today")

    def finish(*, now: datetime) -> None:
        ended.append(now)

    jobs = [
        Job(name=f"job {last}", every_seconds=60, function=fail, last=last) for last in (None, fail, finish)
    ]
    async with runtime.running(now=WallClock(), jobs=jobs):
        assert ended == []

    assert ended == [NOW]
    assert "failed" in caplog.text


async def test_a_hint_goes_to_the_other_processes_too() -> None:
    layer = get_channel_layer()
    heard = asyncio.Event()
    other = asyncio.create_task(hints.Relay(layer, heard.set).run())
    async with runtime.running(), asyncio.timeout(10):
        while len(layer.groups.get(hints.GROUP, {})) < 2:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.001)

        hints.wake()

        await asyncio.wait_for(heard.wait(), 10)
    other.cancel()
    await asyncio.gather(other, return_exceptions=True)


async def test_the_end_does_not_wait_for_a_loop_that_lost_its_cancellation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    announcing, never = asyncio.Event(), asyncio.Event()

    async def swallow(relay: hints.Relay) -> None:
        announcing.set()
        try:
            await never.wait()
        except asyncio.CancelledError:
            return

    monkeypatch.setattr(hints.Relay, "announce", swallow)
    async with asyncio.timeout(10), runtime.running(poll_seconds=NEVER_SECONDS):
        hints.wake()
        await announcing.wait()


async def test_the_current_runtime_is_the_one_that_runs(rt: Runtime) -> None:
    assert runtime.current() is rt


def test_without_a_runtime_the_error_says_where_one_lives() -> None:
    with pytest.raises(RuntimeError, match=r"manage\.py serve"):
        runtime.current()
