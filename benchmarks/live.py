"""From a breaker that trips in a node to bytes at open pages; beside it one raw group_send to as many.

Each page shows the fleet of one node with 20 providers and acknowledges what comes. A turn trips and heals
one breaker again and again, each time once every page has the last change; five turns are 30 changes at
least, and p50 and p99 are of all of them. Below them is where the time goes, with the median and the most of
each stage. What rendering costs doesn't depend on the number of pages; what sending costs does: processor
time is the server's, for each page and change, with the opening of the pages in it.
"""

import asyncio
import gc
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import live_stages
from benchmarks.drain import READY_SECONDS, manage
from benchmarks.load import Target
from benchmarks.pages import Page, Round, allow_sockets, opened
from benchmarks.rounds import Contestant, Role, Sample
from benchmarks.servers import Server, ServerFailed, free_port, module, started
from benchmarks.table import Goal
from meshcore.aio.simulation.node import NodePlan, SimulatedNode

UNIT = "pages"
MANY, FEW = 1000, 50
OURS, OURS_FEW = f"breaker to {MANY} pages", f"breaker to {FEW} pages"
GOALS = (Goal(p99_ms=1000), Goal(p99_ms=150, who=OURS_FEW))
LINK_SECONDS = 30.0
CHANGE_SECONDS = 60.0  # a change that takes longer is lost
CHANGES = 6  # in a turn, at least
REST_SECONDS = 0.5  # between two changes, on average: longer than a page waits between two messages
REST_SPREAD = 0.4  # of it, so that changes meet what pages are told every two seconds at any moment
RAW_REST_SECONDS = 0.1  # with nothing else going on
COMING_SECONDS = 2.5  # until pages were told that the node is back: by it, and by the look of every second
LEAVING_SECONDS = 0.002  # for each page
GOLDEN = 0.618  # its multiples spread evenly over 0 to 1
PROVIDER = "provider-01"
TRIPPED, HEALED = b"1 of 20 breakers open", b"20 providers</span>"

PREPARE = """
import json
import sys
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.test import Client
from dashboard.services import nodes
from dashboard.services.actor import SYSTEM
user = User.objects.create(username="bench")
user.groups.add(Group.objects.get(name="viewer"))
client = Client()
client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
cookie = settings.SESSION_COOKIE_NAME + "=" + client.cookies[settings.SESSION_COOKIE_NAME].value
print(json.dumps([cookie, nodes.add(name="bench", actor=SYSTEM)[1]]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A server and how its pages are opened."""

    server: Server
    port: int
    cookie: str = ""
    token: str = ""
    stages: Path | None = None  # where the server notes them


@contextmanager
def contestants(*, with_peers: bool) -> Iterator[list[Contestant]]:
    """Start a dashboard and the limit's server; give what is measured; there is no peer to compare with."""
    allow_sockets(MANY)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="meshboard-bench-")))
        ours = start_dashboard(stack, scratch, stages=scratch / "stages")
        limit = _start_limit(stack, scratch)
        yield [
            Contestant(name=OURS, role=Role.OURS, measure=partial(_measure, ours, breakers, MANY)),
            Contestant(name=OURS_FEW, role=Role.OURS, measure=partial(_measure, ours, breakers, FEW)),
            *(
                Contestant(
                    name=f"group_send to {count}",
                    role=Role.LIMIT,
                    measure=partial(_measure, limit, group_sends, count),
                )
                for count in (MANY, FEW)
            ),
        ]


async def breakers(place: Place, count: int, seconds: float) -> Round:
    """Trip and heal for so long; return how long each change took to each page."""
    async with _node(place) as node:
        on_way = Round(count)
        pages = await opened(place.port, "/live?page=fleet", place.cookie, map(on_way.heard_by, range(count)))
        try:
            await asyncio.sleep(COMING_SECONDS)
            await _alternate(on_way, seconds, partial(_turn, node), rest_seconds=REST_SECONDS)
        finally:
            await _leave(pages)
    return on_way


async def group_sends(place: Place, count: int, seconds: float) -> Round:
    """Send to all for so long; return how long each sending took to each socket."""
    on_way = Round(count)
    pages = await opened(place.port, "/", "", map(on_way.heard_by, range(count)))
    try:
        await _alternate(on_way, seconds, lambda marker: pages[0].say(marker), rest_seconds=RAW_REST_SECONDS)
    finally:
        await _leave(pages)
    return on_way


async def _leave(pages: Sequence[Page]) -> None:
    """Close pages, and let the server and this process forget them: the next turn would wait for that."""
    for page in pages:
        page.close()
    await asyncio.sleep(len(pages) * LEAVING_SECONDS)
    gc.collect()


async def _alternate(
    on_way: Round, seconds: float, change: Callable[[bytes], None], *, rest_seconds: float
) -> None:
    ends_at = time.perf_counter() + seconds
    while (done := len(on_way.spans)) < CHANGES or time.perf_counter() < ends_at:
        marker = HEALED if done % 2 else TRIPPED
        on_way.begin(marker)
        change(marker)
        async with asyncio.timeout(CHANGE_SECONDS):
            await on_way.all_there.wait()
        await asyncio.sleep(rest_seconds * (1 + REST_SPREAD * (2 * (done * GOLDEN % 1) - 1)))


def _turn(node: SimulatedNode, marker: bytes) -> None:
    if marker == TRIPPED:
        node.trip(PROVIDER)
    else:
        node.heal(PROVIDER)


@asynccontextmanager
async def _node(place: Place) -> AsyncIterator[SimulatedNode]:
    url = f"http://127.0.0.1:{place.port}"
    plan = NodePlan(calls_per_second=0)
    # the same instance in every turn, which takes over at once; another one would be told to wait
    node = SimulatedNode("bench", place.token, url, plan, instance_id="bench")
    run = asyncio.create_task(node.run())
    try:
        async with asyncio.timeout(LINK_SECONDS):
            await node.link.first_descriptor.wait()
        yield node
    finally:
        run.cancel()
        await asyncio.wait([run])


def _measure(place: Place, turn: Callable[[Place, int, float], object], count: int, seconds: float) -> Sample:
    before, begin = place.server.cpu_seconds(), time.perf_counter()
    try:
        on_way: Round = asyncio.run(turn(place, count, seconds))  # type: ignore[arg-type]
    except TimeoutError as exc:
        raise ServerFailed(f"{place.server.name}: a change did not reach {count} pages") from exc
    return Sample(
        count=len(on_way.taken),
        seconds=time.perf_counter() - begin,
        cpu_seconds=place.server.cpu_seconds() - before,
        latencies=on_way.taken,
        stages=_stages(place, on_way),
    )


def _stages(place: Place, on_way: Round) -> dict[str, list[float]]:
    if place.stages is None:
        return {}
    stamps = live_stages.read(place.stages)
    return live_stages.by_stage(
        [
            live_stages.taken(stamps, begin=each.begin, first=each.first, last=each.last)
            for each in on_way.spans
        ]
    )


def start_dashboard(stack: ExitStack, scratch: Path, *, stages: Path | None = None) -> Place:
    """Start a dashboard that knows one node and one viewer; `stages` is where it notes them.

    Raises ServerFailed.
    """
    port = free_port()
    environ = {"MESH_VAR": str(scratch / "var"), "MESH_URL": f"http://127.0.0.1:{port}"}
    manage(environ, "migrate", "--verbosity", "0")
    printed = manage(environ, "shell", "--no-imports", "-c", PREPARE)
    cookie, token = json.loads(printed.splitlines()[-1])
    program = module("benchmarks.live_stages", str(stages)) if stages else [sys.executable, "manage.py"]
    command = [*program, "serve", "--port", str(port)]
    server = stack.enter_context(started("dashboard", command, scratch=scratch, environ=environ))
    _wait(server, port, "/healthz", b"ok")
    return Place(server=server, port=port, cookie=cookie, token=token, stages=stages)


def _start_limit(stack: ExitStack, scratch: Path) -> Place:
    port = free_port()
    command = module("benchmarks.group_send", str(port))
    server = stack.enter_context(started("group_send", command, scratch=scratch))
    server.wait_until_listening(port, seconds=READY_SECONDS)
    return Place(server=server, port=port)


def _wait(server: Server, port: int, path: str, marker: bytes) -> None:
    target = Target(url=f"http://127.0.0.1:{port}{path}", body=b"", headers={}, marker=marker)
    server.wait_until_answering(target, seconds=READY_SECONDS)
