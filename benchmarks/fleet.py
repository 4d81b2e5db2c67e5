"""One dashboard under a thousand simulated nodes of 20 providers, each with one call a second, while five
browsers have the fleet's page open and load it again, each every few seconds.

Counted are calls, and "CPU us each" is the dashboard's own processor time for each, pages and health in it:
at a thousand calls a second one core is 1000 us. So the figure holds when the nodes, which share the machine,
made fewer calls; the notes say when they did, and how long the queues were. The latencies are those of the
page. An error is an item more that waits in the nodes' spools than when the turn began, beyond what they may
have under way: a queue that grows.
"""

import asyncio
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.drain import READY_SECONDS
from benchmarks.live import Place, start_dashboard
from benchmarks.load import in_ms
from benchmarks.pages import allow_sockets, opened
from benchmarks.rounds import Contestant, Role, Sample
from benchmarks.servers import Server, ServerFailed, started
from benchmarks.table import Goal

UNIT = "calls"
NODES = int(os.environ.get("MESH_BENCH_NODES", "1000"))
PROVIDERS = 20  # of each node
RATE = 1.0  # calls a second of each node
PAGES = 5
NAME = f"{NODES} nodes, {PAGES} pages"
GOALS = (Goal(cpu_us=1000), Goal(p99_ms=200))  # one core for the calls of a thousand nodes
COMING_SECONDS = 300.0  # until all nodes are linked and have nothing more to tell than they make
SETTLE_SECONDS = 15.0  # one more round of histograms, and the nodes have said how they do
ASK_REST_SECONDS = 0.5  # between two of all browsers together
UNDER_WAY = 15  # items of a node that may wait: calls and histograms of some seconds
LESS = 0.95  # of the calls that were to be made: below this the nodes were what was slow
STANDING = re.compile(r"^(\d+) s: (\d+) of \d+ nodes linked.*; (\d+) calls,.* (\d+) wait,", re.MULTILINE)
QUEUES = ("ingest_waiting_frames", "ingest_withheld_frames", "ingest_health_waiting")


@dataclass(frozen=True, slots=True)
class Standing:
    """How the nodes do: linked ones, calls made since they began, items in their spools."""

    seconds: int
    linked: int
    calls: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Fleet:
    """The dashboard and the nodes."""

    place: Place
    nodes: Server
    log: Path

    def said(self) -> list["Standing"]:
        """Return what the nodes said of themselves so far, every few seconds."""
        return [Standing(*map(int, found)) for found in STANDING.findall(self.log.read_text())]


@dataclass(slots=True)
class Seen:
    """What a turn saw: seconds of each answer of the page, lengths of the queues."""

    taken: list[float] = field(default_factory=list)
    spooled: list[int] = field(default_factory=list)  # items
    queued: list[int] = field(default_factory=list)  # frames in the dashboard
    lanes: list[int] = field(default_factory=list)  # calls in the dashboard


@contextmanager
def contestants(*, with_peers: bool) -> Iterator[list[Contestant]]:
    """Start a dashboard and the nodes; there is nobody to compare with."""
    allow_sockets(PAGES)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="meshboard-bench-")))
        fleet = _start_nodes(stack, scratch, start_dashboard(stack, scratch))
        yield [Contestant(name=NAME, role=Role.OURS, measure=partial(_measure, fleet))]


def _start_nodes(stack: ExitStack, scratch: Path, place: Place) -> Fleet:
    url = f"http://127.0.0.1:{place.port}"
    environ = {"MESH_VAR": str(scratch / "var"), "MESH_URL": url}
    options = ["--nodes", str(NODES), "--providers", str(PROVIDERS), "--rate", str(RATE)]
    command = [sys.executable, "manage.py", "simulate", *options, "--seconds", "3600", "--keep"]
    server = stack.enter_context(started("nodes", command, scratch=scratch, environ=environ))
    fleet = Fleet(place, server, scratch / "nodes.log")
    give_up_at = time.monotonic() + COMING_SECONDS
    while (linked := max((each.linked for each in fleet.said()), default=0)) < NODES:
        if time.monotonic() > give_up_at:
            raise ServerFailed(f"{linked} of {NODES} nodes linked within {COMING_SECONDS:g} s")
        time.sleep(1.0)
    time.sleep(SETTLE_SECONDS)
    return fleet


def _measure(fleet: Fleet, seconds: float) -> Sample:
    async def bounded() -> Seen:
        async with asyncio.timeout(seconds + READY_SECONDS):
            return await _watch(fleet, seconds)

    said, nodes_before = fleet.said(), fleet.nodes.cpu_seconds()
    before, begin = fleet.place.server.cpu_seconds(), time.perf_counter()
    seen = asyncio.run(bounded())
    passed, used = time.perf_counter() - begin, fleet.place.server.cpu_seconds() - before
    nodes_cores = (fleet.nodes.cpu_seconds() - nodes_before) / passed
    p50_ms, p99_ms = in_ms(seen.taken)
    made = _made(fleet.said(), since=len(said))
    waiting, notes = said[-1].waiting, f"{used / passed:.2f} cores, the nodes {nodes_cores:.2f}"
    return Sample(
        count=round((made or 0.0) * passed),
        seconds=passed,
        cpu_seconds=used,
        errors=max(fleet.said()[-1].waiting - max(waiting, UNDER_WAY * NODES), 0),
        p50_ms=p50_ms,
        p99_ms=p99_ms,
        note="; ".join((notes, _work(made), _queues(waiting, seen))),
    )


def _made(said: Sequence[Standing], *, since: int) -> float | None:
    """Return how many calls a second were made lately, None before the nodes have said so twice."""
    first, last = said[min(since, len(said) - 1) - 1], said[-1]
    if first.seconds == last.seconds:
        return None
    return (last.calls - first.calls) / (last.seconds - first.seconds)


def _work(made: float | None) -> str:
    """Say whether as many calls a second were made as were asked of the nodes."""
    if made is None:
        return "calls not counted yet"
    told = f"{made:,.0f} of {RATE * NODES:,.0f} calls a second"
    return told if made >= LESS * RATE * NODES else f"THE NODES WERE THE LIMIT: {told}"


def _queues(waiting: int, seen: Seen) -> str:
    spooled = f"{waiting:,} items waited, then {seen.spooled[-1]:,}, at most {max(seen.spooled):,}"
    return f"{spooled}; in the dashboard at most {max(seen.queued)} frames and {max(seen.lanes)} calls"


async def _watch(fleet: Fleet, seconds: float) -> Seen:
    """Keep pages open for so long; return how long the fleet's page took, and the queues after each."""
    place = fleet.place
    pages = await opened(place.port, "/live?page=fleet", place.cookie, [lambda message: None] * PAGES)
    seen = Seen()
    ends_at = time.perf_counter() + seconds
    try:
        while not seen.taken or time.perf_counter() < ends_at:
            begin = time.perf_counter()
            if b"</html>" not in await _ask(place, "/"):
                raise ServerFailed("the fleet's page is not whole")
            seen.taken.append(time.perf_counter() - begin)
            await _look(fleet, seen)
            await asyncio.sleep(ASK_REST_SECONDS)
    finally:
        for page in pages:
            page.close()
    return seen


async def _look(fleet: Fleet, seen: Seen) -> None:
    """Note how much waits where."""
    metrics = (await _ask(fleet.place, "/metrics")).decode()
    values = dict(re.findall(r"^meshboard_(\w+(?:\{.*\})?) ([\d.e+]+)$", metrics, re.MULTILINE))
    seen.spooled.append(fleet.said()[-1].waiting)
    seen.queued.append(sum(int(float(values[name])) for name in QUEUES))
    seen.lanes.append(
        sum(int(float(value)) for name, value in values.items() if name.startswith("lane_waiting"))
    )


async def _ask(place: Place, path: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{place.port}\r\nCookie: {place.cookie}\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    if not answer.startswith(b"HTTP/1.1 200"):
        raise ServerFailed(f"{path} is answered with {answer[:40]!r}")
    return answer
