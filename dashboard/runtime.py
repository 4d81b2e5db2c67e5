"""What lives as long as a dashboard process: its threads, the reader of the change feed, and the clockwork.

    commit -> hint (or once a second) -> reader: changes behind the cursor -> callbacks, on the loop
    clock  -> looks of all nodes, once a second: what crossed into stale is announced without a write

Decoding, ingest, control writes, and reading and rendering have a lane each. `serve` starts the runtime
before it listens and stops it after the last socket; the one of `worker` only does jobs and passes on its
hints; tests use `running()`.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, ParamSpec, TypeVar

from channels.layers import get_channel_layer
from django.db import connection

from dashboard import hints, loops
from dashboard.groups import Groups
from dashboard.ingest_writer import IngestWriter
from dashboard.lanes import Gate, Lane
from dashboard.lanes import LaneFull as LaneFull  # who calls a lane knows the runtime alone
from dashboard.listeners import Listeners, OnChange
from dashboard.page_keys import FIGURES, HEARD
from dashboard.selectors import changes, peers
from dashboard.selectors.presence import health_seconds, stale_seconds
from dashboard.services import ballast, link
from dashboard.services.housekeeping import JOBS, Job
from meshcore.clock import UtcNow, utcnow

P = ParamSpec("P")
T = TypeVar("T")

POLL_SECONDS = 1.0  # the change feed is read at least this often, hints or not (decision D5)
FIGURES_EVERY = 5  # times that ages are announced: traffic is of minutes, and falls slowly
HEARD_SECONDS = 2.0  # so an age on a page is always younger than what counts as stale
PEERS = "peers"  # the key under which is announced that nodes may know others than before; never in the feed
ROOM = "room"  # the key under which it is announced that telemetry goes on; as PEERS
PEERS_SECONDS = 0.5  # between two looks at who there is: of 1 000 nodes 40 ms, and many come at once
PEERS_POLL_SECONDS = 10.0  # looked at so often even when nothing was heard: a look may have failed
CHECKS_AT_ONCE = 2  # of tokens of links, in the control lane: one at work, one at hand; orders pass the rest
CHECK_SECONDS = 10.0  # to wait for that: a node gives up after 30 s, and would be served in vain
HANDSHAKES_AT_ONCE = 8  # one transaction of 20 ms, for which an order may have to wait
READ_ROWS = 500  # changes read at once; under 2 ms on SQLite


class Runtime:
    """See the module; made and stopped on one loop."""

    def __init__(
        self,
        *,
        now: UtcNow = utcnow,
        poll_seconds: float = POLL_SECONDS,
        heard_seconds: float = HEARD_SECONDS,
        jobs: Sequence[Job] = JOBS,
        serving: bool = True,
    ) -> None:
        self._now = now
        self._poll_seconds = poll_seconds
        self._heard_seconds = heard_seconds
        self._jobs = jobs
        self._serving = serving
        self._decode = Lane("decode", threads=1)
        self._ingest = Lane("ingest", threads=1)
        self._control = Lane("control", threads=1)
        self._render = Lane("render", threads=2)
        self._checks = Gate("checks of tokens", at_once=CHECKS_AT_ONCE, max_seconds=CHECK_SECONDS)
        self._handshakes: Groups[link.Greeting, link.Opened] = Groups(
            self._control,
            lambda greetings: ballast.with_room(link.open_connections, greetings),
            max_works=HANDSHAKES_AT_ONCE,
            max_size=HANDSHAKES_AT_ONCE,
        )
        self.in_render = self._render.run
        self.links: dict[str, Callable[[], None]] = {}  # node name -> wakes the link to that node
        # SQLite works in our process: a second thread would take the interpreter from it row by row
        beside = self._ingest if connection.vendor == "sqlite" else self._decode
        self.writer = IngestWriter(decode=beside, lane=self._ingest, now=now)
        self.gauges = self.writer.gauges()  # what /metrics shows of others, by name
        self.gauges["link_checks_waiting"] = lambda: self._checks.waiting
        self.gauges["link_handshakes_waiting"] = lambda: self._handshakes.waiting
        self.directory = peers.Directory()  # who may know whom
        self._was_stopped = False  # whether telemetry was, a second ago
        self.cursor = 0  # id of the last change that was announced
        self._listeners = Listeners()
        self._looks: dict[str, changes.Look] = {}
        self._look_now = asyncio.Event()
        self._tell = asyncio.Event()
        self._relay = hints.Relay(get_channel_layer(), self._look_now.set)
        self._tasks: list[asyncio.Task[None]] = []
        self._stop_listening: Callable[[], None] = lambda: None

    async def in_control(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return `function(...)`, an order; on a full disk it has the ballast's room. Raises as Lane.run."""
        return await self._control.run(partial(ballast.with_room, function, *args, **kwargs))

    async def in_turn(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return `function(...)`, of which a thousand may come at once, and orders pass by; as in_control."""
        return await self._checks.run(partial(self.in_control, function, *args, **kwargs))

    async def greet(self, greeting: link.Greeting) -> link.Opened:
        """Let a connection count, together with others that come at once; raises as link.open_connection."""
        return await self._handshakes.put(greeting)

    async def in_ingest(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return `function(...)`, about what a node is now; it may have the ballast's room, too."""
        return await self._ingest.run(partial(ballast.with_room, function, *args, **kwargs))

    @property
    def telemetry_stopped(self) -> bool:
        """Whether the disk is full; listeners of ROOM hear of it when it isn't any more."""
        held = ballast.current()
        return held is not None and held.stopped_at is not None

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """The lanes, for the metrics."""
        return (self._decode, self._ingest, self._control, self._render)

    async def start(self) -> None:
        """Begin at the present end of the change feed; raises what the database raises."""
        loops = [self._tell_others(), *(self._repeat(job) for job in self._jobs)]
        if self._serving:
            await self._look_around()
            loops += [self._read_changes(), self._watch_looks(), self._tell_ages(), self._keep_directory()]
            loops += [self._relay.run()]
        self._stop_listening = hints.listen(self._on_hint)
        self._tasks = [asyncio.create_task(loop) for loop in loops]

    async def _look_around(self) -> None:
        self.cursor = await self.in_render(changes.latest_id)
        self._looks = await self.in_render(changes.looks, now=self._now())
        self.directory = await self.in_render(peers.read, self.directory, now=self._now())

    def along(self, loop: Coroutine[Any, Any, None]) -> None:
        """Let a loop of somebody else go on as long as this does."""
        self._tasks.append(asyncio.create_task(loop))

    async def stop(self) -> None:
        """End the clockwork, let the threads finish what they were given, close their connections."""
        self._stop_listening()
        await loops.end(self._tasks)
        for job in self._jobs:
            if job.last is not None:
                await loops.survive(job.name, self.in_control(partial(job.last, now=self._now())))
        await asyncio.gather(self.writer.close(), self._handshakes.close())
        await asyncio.gather(*(lane.close() for lane in self.lanes))

    @property
    def looks(self) -> Mapping[str, changes.Look]:
        """How each node looked a second ago, for the metrics."""
        return self._looks

    @property
    def health_seconds(self) -> float:
        """How often each node says health."""
        return health_seconds(len(self._looks))

    def on_change(self, pattern: str, callback: OnChange) -> Callable[[], None]:
        """Call `callback` for changes of the key `pattern`; "node:" is all keys of that kind, "" all keys.

        Returns what ends it.
        """
        return self._listeners.add(pattern, callback)

    def announce(self, ids: Sequence[int], keys: Sequence[str]) -> None:
        """Tell all who listen in this process."""
        self._listeners.tell(ids, keys)

    def _on_hint(self) -> None:
        self._look_now.set()
        self._tell.set()

    async def _read_changes(self) -> None:
        while True:
            self._look_now.clear()
            await loops.survive("reading the change feed", self._read_to_the_end())
            await loops.wait(self._look_now, self._poll_seconds)

    async def _read_to_the_end(self) -> None:
        while rows := await self.in_render(changes.after, self.cursor, limit=READ_ROWS):
            self.cursor = rows[-1][0]
            self.announce([id_ for id_, _ in rows], [key for _, key in rows])

    async def _watch_looks(self) -> None:
        while True:
            await asyncio.sleep(self._poll_seconds)
            await loops.survive("watching for stale nodes", self._announce_crossings())

    async def _announce_crossings(self) -> None:
        looks = await self.in_render(changes.looks, now=self._now())
        keys = _crossings(self._looks, looks)
        self._looks = looks
        self.announce([0] * len(keys), keys)
        if self._was_stopped and not self.telemetry_stopped:
            self.announce([0], [ROOM])
        self._was_stopped = self.telemetry_stopped

    async def _keep_directory(self) -> None:
        moved = asyncio.Event()
        self.on_change("nodes", lambda ids, keys: moved.set())
        while True:
            await loops.wait(moved, PEERS_POLL_SECONDS)
            moved.clear()
            await loops.survive("reading who there is", self._read_directory())
            await asyncio.sleep(PEERS_SECONDS)

    async def _read_directory(self) -> None:
        before = self.directory
        self.directory = await self.in_render(peers.read, before, now=self._now())
        if self.directory != before:
            self.announce([0], [PEERS])

    async def _tell_ages(self) -> None:
        for no in itertools.count(1):
            await asyncio.sleep(self._heard_seconds)
            keys = [HEARD] if no % FIGURES_EVERY else [HEARD, FIGURES]
            self.announce([0] * len(keys), keys)

    async def _tell_others(self) -> None:
        while True:
            await self._tell.wait()
            self._tell.clear()
            await self._relay.announce()

    async def _repeat(self, job: Job) -> None:
        while True:
            await asyncio.sleep(job.every_seconds)
            run = self.in_control if job.order else self._control.run
            await loops.survive(job.name, run(partial(job.function, now=self._now())))


def _crossings(before: Mapping[str, changes.Look], looks: Mapping[str, changes.Look]) -> list[str]:
    """Return the keys of what time alone changed, breakers, too; the order on Fleet goes by state.

    Also of what it changed and changed back between two looks: a page may have been rendered there.
    """
    both = looks.keys() & before.keys()
    seconds = stale_seconds(health_seconds(len(looks)))
    crossed = sorted(
        name
        for name in both
        if looks[name].by_time != before[name].by_time
        or looks[name].was_silent(before[name], seconds=seconds)
    )
    moved = any(looks[name].state is not before[name].state for name in crossed)
    keys = [f"{kind}:{name}" for name in crossed for kind in ("node", "providers")]
    return keys + ["nodes"] * moved


_current: Runtime | None = None


def current() -> Runtime:
    """Return the runtime of this process; raises RuntimeError where none runs, as in a management command."""
    if _current is None:
        raise RuntimeError(
            "no runtime in this process: it lives in `manage.py serve`, and in runtime.running()"
        )
    return _current


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Runtime]:
    """Run a runtime (`settings` are Runtime's) as the current one of this process."""
    global _current
    runtime = Runtime(**settings)
    try:
        await runtime.start()
        _current = runtime
        yield runtime
    finally:
        _current = None
        await runtime.stop()
