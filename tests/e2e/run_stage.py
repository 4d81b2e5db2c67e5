"""What the scenarios of runs share: nodes of one log, viewers, and a log's engine that can be stopped.

`RunScenarios` is played on SQLite by tests/e2e and on JetStream by tests/engines: it asks for the fixture
`engine`, which each of them has.
"""

import asyncio
import contextlib
import json
import os
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from meshcore.aio.runlog import open_run_log
from meshcore.aio.runlog.appending import behind
from meshcore.run_events import AnyEvent, Claimed, ClaimReason, Created, Released
from meshcore.run_record import EMPTY
from meshcore.run_writer import RunWriter
from tests.e2e.calls import MODEL, say
from tests.e2e.harness import Mesh, Mock, Node, ask, get_json, until

RACES = int(os.environ.get("MESH_RUN_RACES", "10"))
OUTAGE_SECONDS = float(os.environ.get("MESH_RUN_OUTAGE_SECONDS", "4"))  # beyond the self-fence, at least
LIVE_RUNS = int(os.environ.get("MESH_RUN_LIVE", "40"))
LEASE_SECONDS = 4.0
CHUNKS = 40
ANSWER = f"slow:{CHUNKS}x80"  # 3.2 s: time enough to see it begin and to end who gives it
PROVIDER = '[[providers]]\nname = "{}"\nbase_url = "{}/v1"\nmodels = ["mock-model"]\n'


class Engine(Protocol):
    """What keeps the log at `url`."""

    url: str

    def stop(self) -> None:
        """Let nothing be stored any more."""

    def start(self) -> None:
        """Let it work, again or for the first time."""

    def is_free(self) -> bool:
        """Return whether nobody keeps others from storing anything."""


class SqliteEngine:
    """A file; it is stopped by whoever holds its lock and doesn't let go."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path}"
        self.path = path
        self._holding: sqlite3.Connection | None = None

    def stop(self) -> None:
        """Hold the lock, as a process would that was frozen in the middle of a commit."""
        self._holding = sqlite3.connect(self.path, timeout=20, isolation_level=None)
        self._holding.execute("PRAGMA journal_mode = WAL")
        self._holding.execute("BEGIN IMMEDIATE")

    def start(self) -> None:
        """Let go."""
        if self._holding is not None:
            self._holding.close()
            self._holding = None

    def is_free(self) -> bool:
        """Return whether its lock can be had."""
        with contextlib.closing(sqlite3.connect(self.path, timeout=0.5, isolation_level=None)) as probe:
            try:
                probe.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            return True


def post(node: Node, path: str, body: dict[str, Any], **headers: str) -> tuple[int, dict[str, Any]]:
    """Return status and body of a POST."""
    request = urllib.request.Request(
        node.url + path,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **headers},
        method="POST",
    )
    try:
        with ask(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, json.load(exc)


def chat(content: str) -> dict[str, Any]:
    """Return the body of a chat."""
    return {"model": MODEL, "messages": say(content)}


def make(node: Node, content: str, **headers: str) -> str:
    """Make a run and return its id."""
    status, body = post(node, "/v1/runs", chat(content), **headers)
    assert status == 202, body
    assert body["attach"] == f"/v1/runs/{body['id']}/attach"
    return str(body["id"])


def show(node: Node, run_id: str) -> dict[str, Any]:
    """Return a run as a node shows it."""
    run: dict[str, Any] = get_json(f"{node.url}/v1/runs/{run_id}")
    return run


def text_comes(node: Node, run_id: str, *, chunks: int = 5) -> None:
    """Wait until an answer has begun."""
    until(lambda: show(node, run_id)["text"].count("chunk-") >= chunks, "the answer has begun")


def fenced(node: Node) -> float:
    """Return how many runs a node lost to others."""
    with ask(f"{node.url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith("mesh_runs_fenced_total")).split()[-1])


def alive(nodes: Sequence[Node]) -> list[Node]:
    """Return the nodes whose process is there."""
    return [node for node in nodes if node.exit_code() is None]


def owner_but(killed: Sequence[str], node: Node, run_id: str) -> str:
    """Return who executes a run, "" when that is nobody, or one that was killed."""
    run = show(node, run_id)
    is_cared_for = run["status"] == "running" and run["owner"] not in killed
    return str(run["owner"]) if is_cared_for else ""


def events_of(url: str, run_ids: Sequence[str]) -> dict[str, list[AnyEvent]]:
    """Return all that stands in the logs of runs, also what no viewer is shown."""

    async def read() -> dict[str, list[AnyEvent]]:
        log = await open_run_log(url)
        try:
            return {
                run_id: [event async for record, _ in behind(log, run_id, EMPTY) for event in record.events]
                for run_id in run_ids
            }
        finally:
            await log.close()

    return asyncio.run(read())


def beats_of(url: str) -> dict[str, int]:
    """Return the last sign of life of each instance in a log."""

    async def read() -> dict[str, int]:
        log = await open_run_log(url)
        try:
            return {beat.instance: beat.counter for beat in await log.beats()}
        finally:
            await log.close()

    return asyncio.run(read())


def write_released(url: str, run_ids: Sequence[str]) -> None:
    """Write runs that were begun and released, one after the other."""

    async def write() -> None:
        log = await open_run_log(url)
        for run_id in run_ids:
            created = Created(capability="llm.chat", request=msgspec.Raw(b"{}"), log_id=log.log_id)
            claimed = Claimed(node="gone", instance="gone", epoch=1, reason=ClaimReason.STARTED)
            events = (created, claimed, Released(reason="a race"))
            await log.append(run_id, EMPTY, RunWriter("gone").draft(run_id, *events))
        await log.close()

    asyncio.run(write())


class Stage:
    """Nodes of one log, each with the same provider."""

    def __init__(self, mesh: Mesh, engine: Engine) -> None:
        self.mesh = mesh
        self.engine = engine
        self.mock: Mock = mesh.mock("mock")

    def nodes(self, count: int, **of_node: Any) -> Sequence[Node]:
        """Start nodes and wait until they may own runs."""
        nodes = [self.node(f"node-{number}", **of_node) for number in range(count)]
        self.start(nodes)
        return nodes

    def node(
        self,
        name: str,
        *,
        id: str = "",
        log: str = "",
        continuation: str = "none",
        max_concurrent: int = 64,
        **of_node: Any,
    ) -> Node:
        """Return a node that isn't started; `id` when another has its name, `log` its own way to the log."""
        node = self.mesh.node(name, **of_node)
        runs = f'[runs]\nlog = "{log or self.engine.url}"\nlease_seconds = {LEASE_SECONDS}\n'
        provider = PROVIDER.format("mock", self.mock.url)
        provider += f'continuation = "{continuation}"\nmax_concurrent = {max_concurrent}\n'
        self.mesh.configure(node, providers={}, extra=runs + provider)
        if id:
            text = node.config.read_text()
            node.config.write_text(text.replace(f'id = "{name}"', f'id = "{id}"', 1))
        return node

    @staticmethod
    def start(nodes: Sequence[Node]) -> None:
        """Start nodes and wait until they may own runs."""
        for node in nodes:
            node.start()
        for node in nodes:
            node.wait_until_ready()
            until(node.ready, "it may own runs")


def put(path: Path, text: str) -> None:
    """Write a file that others read at any time: they find the old one, or all of the new one."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)
