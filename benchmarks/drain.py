"""From the call of the API to the closed gate: a drain is ordered, and the node's `/readyz` is asked until it
says 503; beside it one bare round trip to the same dashboard. Between two drains the node is given back.

Processor time is the dashboard's, with the node's reports in it, and of a drain also that of giving back.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.load import Target, in_ms, is_whole
from benchmarks.rounds import Contestant, Role, Sample
from benchmarks.servers import ROOT, Server, ServerFailed, free_port, module, started
from benchmarks.table import Goal

UNIT = "drains"
OURS = "API call to closed gate"
LIMIT = "bare round trip"
GOALS = (Goal(p99_ms=100),)
READY_SECONDS = 60.0
TURN_GRACE_SECONDS = 30.0  # a gate that takes longer hangs
LOOK_SECONDS = 0.001  # between two looks at the gate
REST_SECONDS = 0.1  # before the next order: what the last one caused is written down by then
PIECE_BYTES = 1 << 16
DRAIN = "/api/v1/nodes/bench/drain"
ASK = {"reason": "measured", "override_guards": True}  # one node alone is the last one

ENROL = """
import json
import os
from dashboard.models import Scope
from dashboard.services import nodes, tokens
from dashboard.services.actor import SYSTEM
node = nodes.add(name="bench", actor=SYSTEM)[1]
print(json.dumps([node, tokens.issue(name="bench", scopes=[Scope.NODES_DRAIN], actor=SYSTEM)[1]]))
"""

NODE = """
[node]
id = "bench"
listen = "127.0.0.1:{port}"
home = "home"
[dashboard]
url = "http://127.0.0.1:{dashboard}"
token_env = "BENCH_TOKEN"
[[providers]]
name = "nobody"
base_url = "http://127.0.0.1:{nobody}/v1"
models = ["bench"]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A dashboard and its node, as they are reached."""

    server: Server
    dashboard: int
    node: int
    token: str


class Line:
    """A kept-alive connection; one request at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str = "") -> None:
        self._reader = reader
        self._writer = writer
        self._token = token

    async def ask(self, method: str, path: str, body: bytes = b"") -> int:
        """Return the status. Raises ServerFailed when the other end hangs up."""
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
        head += "Content-Type: application/json\r\n" if body else ""
        head += f"Authorization: Bearer {self._token}\r\n" if self._token else ""
        self._writer.write(f"{head}\r\n".encode() + body)
        answer = bytearray()
        while not is_whole(answer):
            piece = await self._reader.read(PIECE_BYTES)
            if not piece:
                raise ServerFailed(f"{method} {path}: no whole answer")
            answer += piece
        return int(answer.split(b" ", 2)[1])


@asynccontextmanager
async def line(port: int, token: str = "") -> AsyncIterator[Line]:
    """Connect while the context lasts."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Line(reader, writer, token)
    finally:
        writer.close()
        await writer.wait_closed()


@contextmanager
def contestants(*, with_peers: bool) -> Iterator[list[Contestant]]:
    """Start a dashboard and a node; give what is measured; there is no peer to compare with."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="meshboard-bench-")))
        place = _start(stack, scratch)
        yield [
            Contestant(name=name, role=role, measure=partial(_measure, place, turn))
            for name, role, turn in ((OURS, Role.OURS, drains), (LIMIT, Role.LIMIT, round_trips))
        ]


async def drains(place: Place, seconds: float) -> list[float]:
    """Drain and give back for so long; return the seconds from each call to the closed gate."""
    taken: list[float] = []
    ends_at = time.perf_counter() + seconds
    async with line(place.dashboard, place.token) as api, line(place.node) as gate:
        while not taken or time.perf_counter() < ends_at:
            taken.append(await _turned(api, "PUT", json.dumps(ASK).encode(), gate, 503))
            await _turned(api, "DELETE", b"", gate, 200)
            await asyncio.sleep(REST_SECONDS)
    return taken


async def round_trips(place: Place, seconds: float) -> list[float]:
    """Ask the dashboard for its health for so long; return the seconds of each."""
    taken: list[float] = []
    ends_at = time.perf_counter() + seconds
    async with line(place.dashboard) as api:
        while not taken or time.perf_counter() < ends_at:
            begin = time.perf_counter()
            await api.ask("GET", "/healthz")
            taken.append(time.perf_counter() - begin)
    return taken


async def _turned(api: Line, method: str, body: bytes, gate: Line, status: int) -> float:
    """Order it and look at the gate meanwhile; return after how many seconds it answers `status`."""
    begin = time.perf_counter()
    order = asyncio.create_task(api.ask(method, DRAIN, body))
    while await gate.ask("GET", "/readyz") != status:  # noqa: ASYNC110 - the gate is another process's
        await asyncio.sleep(LOOK_SECONDS)
    passed = time.perf_counter() - begin
    answered = await order
    if answered not in (200, 202):
        raise ServerFailed(f"{method} {DRAIN} is answered with {answered}")
    return passed


def _measure(place: Place, turn: Callable[[Place, float], Awaitable[list[float]]], seconds: float) -> Sample:
    async def bounded() -> list[float]:
        async with asyncio.timeout(seconds + TURN_GRACE_SECONDS):
            return await turn(place, seconds)

    before, begin = place.server.cpu_seconds(), time.perf_counter()
    taken = asyncio.run(bounded())
    p50_ms, p99_ms = in_ms(taken)
    return Sample(
        count=len(taken),
        seconds=time.perf_counter() - begin,
        cpu_seconds=place.server.cpu_seconds() - before,
        p50_ms=p50_ms,
        p99_ms=p99_ms,
    )


def _start(stack: ExitStack, scratch: Path) -> Place:
    port, node_port = free_port(), free_port()
    environ = {"MESH_VAR": str(scratch / "var"), "MESH_URL": f"http://127.0.0.1:{port}"}
    manage(environ, "migrate", "--verbosity", "0")
    printed = manage(environ, "shell", "--no-imports", "-c", ENROL)
    node_token, token = json.loads(printed.splitlines()[-1])
    serve = ["manage.py", "serve", "--host", "127.0.0.1", "--port", str(port)]
    command = [sys.executable, *serve]
    server = stack.enter_context(started("dashboard", command, scratch=scratch, environ=environ))
    server.wait_until_answering(_cancel(port, token, marker=b'"was_draining"'), seconds=READY_SECONDS)
    config = scratch / "node.toml"
    config.write_text(NODE.format(port=node_port, dashboard=port, nobody=free_port()))
    run = module("meshcore", "node", "--config", str(config))
    node = stack.enter_context(started("node", run, scratch=scratch, environ={"BENCH_TOKEN": node_token}))
    node.wait_until_answering(_cancel(port, token, marker=b'"observed":"observed"'), seconds=READY_SECONDS)
    return Place(server=server, dashboard=port, node=node_port, token=token)


def _cancel(port: int, token: str, *, marker: bytes) -> Target:
    """Return an order that changes nothing, whose answer says how far the node is."""
    return Target(
        url=f"http://127.0.0.1:{port}{DRAIN}",
        body=b'{"action": "cancel"}',
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
        marker=marker,
    )


def manage(environ: Mapping[str, str], *arguments: str) -> str:
    """Run `manage.py` to its end and return what it prints. Raises ServerFailed."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ServerFailed(f"manage.py {arguments[0]}: {done.stderr[-200:]}")
    return done.stdout
