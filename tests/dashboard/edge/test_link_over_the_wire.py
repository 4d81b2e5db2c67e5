"""Both ends of the link, each the real thing: a node's client and `manage.py serve`, killed in between."""

import asyncio
import re
import shutil
import socket
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from meshcore.aio.link_client import LinkClient, WebSocketRelayTransport
from meshcore.aio.spool_file import SpoolFile
from meshcore.aio.testing import wait_until
from meshcore.breaker import BreakerState
from meshcore.capability import Manifest
from meshcore.clock import utcnow
from meshcore.drain import NodeState, Readout
from meshcore.frames import BreakerReport, Desired, Health, Hello, TraceItem
from meshcore.link import CloseCode
from meshcore.trace import RoutingTrace
from tests.dashboard.served import Served, environment, manage, serving

PATIENCE_SECONDS = 30.0
AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def var(migrated_state: Path, tmp_path: Path) -> Path:
    """A folder with a migrated database."""
    return shutil.copytree(migrated_state, tmp_path / "var")


@pytest.fixture
def secret(var: Path) -> str:
    """The token of node-a."""
    done = manage("add_node", "node-a", env=environment(var))
    found = re.search(r"msh_[a-z0-9]{8}_[A-Za-z0-9_-]{43}", done.stdout)
    assert found, done.stdout + done.stderr
    return found[0]


@pytest.fixture
def port() -> Iterator[int]:
    """A port to come back to."""
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        number = int(probe.getsockname()[1])
    yield number


def ask(var: Path, sql: str) -> list[Any]:
    """Read the dashboard's database from outside."""
    with closing(sqlite3.connect(var / "meshboard.sqlite3")) as database:
        return [row[0] for row in database.execute(sql)]


class Present:
    """What the node says of itself."""

    def __init__(self) -> None:
        self.breaker = BreakerState.CLOSED

    def __call__(self) -> Health:
        report = BreakerReport(key="alpha", state=self.breaker)
        readout = Readout(state=NodeState.RUNNING, accepting=True)
        return Health(no=0, at=utcnow(), node=readout, breakers=(report,))


class Wanted:
    """The desired state as it came."""

    def __init__(self) -> None:
        self.generations: list[int] = []

    async def __call__(self, desired: Desired) -> None:
        self.generations.append(desired.generation)


@asynccontextmanager
async def client(port: int, secret: str, spool: SpoolFile, present: Present) -> AsyncIterator[LinkClient]:
    wanted = Wanted()
    made = LinkClient(
        f"http://127.0.0.1:{port}",
        secret,
        hello=lambda: Hello(
            node_id="node-a",
            instance_id="i1",
            spool_id="",
            clock=utcnow(),
            manifest=Manifest(node_id="node-a"),
        ),
        health=present,
        spool=spool,
        on_desired=wanted,
        reconnect_backoff_s=0.1,
    )
    run = asyncio.create_task(made.run())
    yield made
    run.cancel()
    await asyncio.wait([run])


def trace(n: int) -> TraceItem:
    call = RoutingTrace(trace_id=f"t{n}", capability="llm.chat", started_at=AT, provider="alpha")
    return TraceItem(seq=0, at=AT, trace=call)


@asynccontextmanager
async def dashboard(var: Path, port: int) -> AsyncIterator[Served]:
    """A served dashboard, started beside the loop."""
    context = serving(var, "--port", str(port))
    served = await asyncio.to_thread(context.__enter__)
    try:
        yield served
    finally:
        await asyncio.to_thread(context.__exit__, None, None, None)


async def until_stored(var: Path, count: int) -> None:
    sql = "SELECT count(*) FROM dashboard_trace"
    await wait_until(lambda: ask(var, sql)[0] >= count, seconds=PATIENCE_SECONDS)


@pytest.mark.e2e
async def test_every_trace_is_there_once_though_the_dashboard_was_killed_in_between(
    var: Path, secret: str, port: int, tmp_path: Path
) -> None:
    async with SpoolFile.open(tmp_path / "home") as spool, client(port, secret, spool, Present()) as link:
        async with dashboard(var, port) as served:
            for n in range(1500):
                spool.append("trace", trace(n))
            await until_stored(var, 1)
            served.process.kill()
        for n in range(1500, 3000):
            spool.append("trace", trace(n))
        async with dashboard(var, port):
            await until_stored(var, 3000)
            await wait_until(lambda: spool.report().size == 0, seconds=PATIENCE_SECONDS)
            assert link.first_descriptor.is_set()

    stored = ask(var, "SELECT trace_id FROM dashboard_trace ORDER BY id")
    assert stored == [f"t{n}" for n in range(3000)]


@pytest.mark.e2e
async def test_a_breaker_is_seen_at_once_and_a_clean_stop_is_idle(
    var: Path, secret: str, port: int, tmp_path: Path
) -> None:
    state = "SELECT state FROM dashboard_providerhealth"
    present = Present()
    async with (
        SpoolFile.open(tmp_path / "home") as spool,
        dashboard(var, port),
        client(port, secret, spool, present) as link,
    ):
        await wait_until(lambda: ask(var, state) == ["closed"], seconds=PATIENCE_SECONDS)

        present.breaker = BreakerState.OPEN
        link.health_changed()

        await wait_until(lambda: ask(var, state) == ["open"], seconds=PATIENCE_SECONDS)
        assert await link.go_idle(5)
        assert ask(var, "SELECT idle FROM dashboard_nodelink") == [1]


@pytest.mark.e2e
async def test_a_wrong_token_is_told_so_and_does_not_come_again(var: Path, port: int, secret: str) -> None:
    wrong = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    async with dashboard(var, port):
        transport = WebSocketRelayTransport(
            f"ws://127.0.0.1:{port}/link/v1", "node-a", token=wrong, reconnect=True
        )
        await transport.connect()
        async with asyncio.timeout(PATIENCE_SECONDS):
            end = await transport.ended()

    assert end.code == CloseCode.UNAUTHORIZED
    assert end.reason == "unknown or revoked token"
    assert wrong not in (var / "stderr").read_text()
