"""From a breaker that trips in a node to bytes at open pages; beside it one raw group_send to as many.

Each page shows the fleet of one node with 20 providers and acknowledges what comes. A turn trips and heals
one breaker again and again, each time once every page has the last change. What rendering costs doesn't
depend on the number of pages; what sending costs does: processor time is the server's, for each page and
change, with the opening of the pages in it.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.drain import READY_SECONDS, manage
from benchmarks.load import Target, in_ms
from benchmarks.pages import Round, allow_sockets, opened
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
REST_SECONDS = 0.5  # between two changes: longer than a page waits between two messages
PROVIDER = "provider-01"
TRIPPED, HEALED = b"1 of 20 breakers open", b"20 providers</span>"

PREPARE = """
import json
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


@contextmanager
def contestants(*, with_peers: bool) -> Iterator[list[Contestant]]:
    """Start a dashboard and the limit's server; give what is measured; there is no peer to compare with."""
    allow_sockets(MANY)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="meshboard-bench-")))
        ours, limit = start_dashboard(stack, scratch), _start_limit(stack, scratch)
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


async def breakers(place: Place, count: int, seconds: float) -> list[float]:
    """Trip and heal for so long; return the seconds from each change to each page."""
    async with _node(place) as node:
        on_way = Round(count)
        pages = await opened(place.port, "/live?page=fleet", place.cookie, map(on_way.heard_by, range(count)))
        try:
            await asyncio.sleep(REST_SECONDS)
            await _alternate(on_way, seconds, partial(_turn, node))
        finally:
            for page in pages:
                page.close()
    return on_way.taken


async def group_sends(place: Place, count: int, seconds: float) -> list[float]:
    """Send to all for so long; return the seconds from each sending to each socket."""
    on_way = Round(count)
    pages = await opened(place.port, "/", "", map(on_way.heard_by, range(count)))
    try:
        await _alternate(on_way, seconds, lambda marker: pages[0].say(marker))
    finally:
        for page in pages:
            page.close()
    return on_way.taken


async def _alternate(on_way: Round, seconds: float, change: Callable[[bytes], None]) -> None:
    ends_at = time.perf_counter() + seconds
    tripped = False
    while not on_way.taken or time.perf_counter() < ends_at:
        tripped = not tripped
        marker = TRIPPED if tripped else HEALED
        on_way.begin(marker)
        change(marker)
        async with asyncio.timeout(CHANGE_SECONDS):
            await on_way.all_there.wait()
        await asyncio.sleep(REST_SECONDS)


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
        taken: list[float] = asyncio.run(turn(place, count, seconds))  # type: ignore[arg-type]
    except TimeoutError as exc:
        raise ServerFailed(f"{place.server.name}: a change did not reach {count} pages") from exc
    p50_ms, p99_ms = in_ms(taken)
    return Sample(
        count=len(taken),
        seconds=time.perf_counter() - begin,
        cpu_seconds=place.server.cpu_seconds() - before,
        p50_ms=p50_ms,
        p99_ms=p99_ms,
    )


def start_dashboard(stack: ExitStack, scratch: Path) -> Place:
    """Start a dashboard that knows one node and one viewer. Raises ServerFailed."""
    port = free_port()
    environ = {"MESH_VAR": str(scratch / "var"), "MESH_URL": f"http://127.0.0.1:{port}"}
    manage(environ, "migrate", "--verbosity", "0")
    printed = manage(environ, "shell", "--no-imports", "-c", PREPARE)
    cookie, token = json.loads(printed.splitlines()[-1])
    command = [sys.executable, "manage.py", "serve", "--port", str(port)]
    server = stack.enter_context(started("dashboard", command, scratch=scratch, environ=environ))
    _wait(server, port, "/healthz", b"ok")
    return Place(server=server, port=port, cookie=cookie, token=token)


def _start_limit(stack: ExitStack, scratch: Path) -> Place:
    port = free_port()
    command = module("benchmarks.group_send", str(port))
    server = stack.enter_context(started("group_send", command, scratch=scratch))
    server.wait_until_listening(port, seconds=READY_SECONDS)
    return Place(server=server, port=port)


def _wait(server: Server, port: int, path: str, marker: bytes) -> None:
    target = Target(url=f"http://127.0.0.1:{port}{path}", body=b"", headers={}, marker=marker)
    server.wait_until_answering(target, seconds=READY_SECONDS)
