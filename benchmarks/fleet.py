"""One dashboard under a thousand simulated nodes of 20 providers, each with one call a second, while five
pages of the fleet are open. A turn is so many seconds, in which the fleet's page is asked for repeatedly.

Counted are seconds, so "CPU us each" is the dashboard's processor time a second: a million is one core. The
latencies are those of the page. An error is an item more that waits in the nodes' spools than when the turn
began, beyond what they may have under way: a queue that grows.
"""

import asyncio
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from benchmarks.drain import READY_SECONDS
from benchmarks.live import Place, start_dashboard
from benchmarks.load import in_ms
from benchmarks.pages import allow_sockets, opened
from benchmarks.rounds import Contestant, Role, Sample
from benchmarks.servers import ServerFailed, started
from benchmarks.table import Goal

UNIT = "seconds"
NODES = int(os.environ.get("MESH_BENCH_NODES", "1000"))
PAGES = 5
NAME = f"{NODES} nodes, {PAGES} pages"
GOALS = (Goal(cpu_us=1_000_000), Goal(p99_ms=200))
COMING_SECONDS = 300.0  # until all nodes are linked and have nothing more to tell than they make
SETTLE_SECONDS = 15.0  # one more round of histograms
ASK_REST_SECONDS = 0.5
UNDER_WAY = 15  # items of a node that may wait: calls and histograms of some seconds
STANDING = re.compile(r"(\d+) of \d+ nodes linked.* (\d+) wait,")


@contextmanager
def contestants(*, with_peers: bool) -> Iterator[list[Contestant]]:
    """Start a dashboard and the nodes; there is nobody to compare with."""
    allow_sockets(PAGES)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="meshboard-bench-")))
        place = start_dashboard(stack, scratch)
        log = _start_nodes(stack, scratch, place)
        yield [Contestant(name=NAME, role=Role.OURS, measure=partial(_measure, place, log))]


def _start_nodes(stack: ExitStack, scratch: Path, place: Place) -> Path:
    url = f"http://127.0.0.1:{place.port}"
    environ = {"MESH_VAR": str(scratch / "var"), "MESH_URL": url}
    options = ["--nodes", str(NODES), "--rate", "1", "--seconds", "3600", "--keep"]
    command = [sys.executable, "manage.py", "simulate", *options]
    stack.enter_context(started("nodes", command, scratch=scratch, environ=environ))
    log = scratch / "nodes.log"
    give_up_at = time.monotonic() + COMING_SECONDS
    while _standing(log)[0] < NODES:
        if time.monotonic() > give_up_at:
            raise ServerFailed(f"{_standing(log)[0]} of {NODES} nodes linked within {COMING_SECONDS:g} s")
        time.sleep(1.0)
    time.sleep(SETTLE_SECONDS)
    return log


def _standing(log: Path) -> tuple[int, int]:
    """Return how many nodes are linked and how many items wait, as was said last."""
    found = STANDING.findall(log.read_text())
    return (int(found[-1][0]), int(found[-1][1])) if found else (0, 0)


def _measure(place: Place, log: Path, seconds: float) -> Sample:
    async def bounded() -> list[float]:
        async with asyncio.timeout(seconds + READY_SECONDS):
            return await _watch(place, seconds)

    waiting, before, begin = _standing(log)[1], place.server.cpu_seconds(), time.perf_counter()
    taken = asyncio.run(bounded())
    passed, used = time.perf_counter() - begin, place.server.cpu_seconds() - before
    p50_ms, p99_ms = in_ms(taken)
    return Sample(
        count=max(round(passed), 1),
        seconds=passed,
        cpu_seconds=used,
        errors=max(_standing(log)[1] - max(waiting, UNDER_WAY * NODES), 0),
        p50_ms=p50_ms,
        p99_ms=p99_ms,
    )


async def _watch(place: Place, seconds: float) -> list[float]:
    """Keep pages open for so long, and return the seconds that each answer of the fleet's page took."""
    pages = await opened(place.port, "/live?page=fleet", place.cookie, [lambda message: None] * PAGES)
    taken: list[float] = []
    ends_at = time.perf_counter() + seconds
    try:
        while not taken or time.perf_counter() < ends_at:
            begin = time.perf_counter()
            await _ask(place)
            taken.append(time.perf_counter() - begin)
            await asyncio.sleep(ASK_REST_SECONDS)
    finally:
        for page in pages:
            page.close()
    return taken


async def _ask(place: Place) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
    head = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{place.port}\r\nCookie: {place.cookie}\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    if not answer.startswith(b"HTTP/1.1 200") or b"</html>" not in answer:
        raise ServerFailed(f"the fleet's page is answered with {answer[:40]!r}")
