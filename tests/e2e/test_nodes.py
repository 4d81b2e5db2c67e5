"""Nodes without a dashboard, as their clients see them: drain, crash, stop."""

import json
import signal
from datetime import UTC, datetime
from functools import partial

import pytest

from meshcore.aio.drain_marker import clear_drain_request, write_drain_request
from tests.e2e.calls import Reader, call, chunks
from tests.e2e.harness import Mesh, Mock, Node, status_of, until

pytestmark = pytest.mark.e2e

PROBE_SOON = "[probe]\ninterval_seconds = 0.2\n[breaker]\nbackoff_seconds = 1.0\n"


def knows_a_peer(node: Node) -> bool:
    """Return whether the node has heard of another one."""
    return any(key.startswith("node:") for key in node.health()["providers"])


@pytest.fixture
def mock(mesh: Mesh) -> Mock:
    """The one provider that lives."""
    return mesh.mock("mock")


# Drain by the local marker.


@pytest.fixture
def twins(mesh: Mesh, mock: Mock) -> tuple[Node, Node]:
    """Two nodes with the same provider; they are peers."""
    node_a, node_b = mesh.node("node-a"), mesh.node("node-b")
    mesh.configure(node_a, providers={"mock": f"{mock.url}/v1"}, peers=[node_b], extra=PROBE_SOON)
    mesh.configure(node_b, providers={"mock": f"{mock.url}/v1"}, peers=[node_a], extra=PROBE_SOON)
    for node in (node_a, node_b):
        node.start()
    for node in (node_a, node_b):
        node.wait_until_ready()
        until(partial(knows_a_peer, node), f"{node.name} knows its peer")
    return node_a, node_b


def test_a_drained_node_finishes_its_stream_and_passes_new_calls_on(twins: tuple[Node, Node]) -> None:
    node_a, _ = twins
    reader = Reader(node_a, "slow:30x100")
    reader.start()
    until(lambda: "chunk-2 " in reader.text)

    write_drain_request(node_a.home, principal="the test")
    until(lambda: not node_a.ready(), "the gate is closed")
    during = node_a.health()["state"]
    passed_on = call(node_a, "many:3")
    still = (node_a.health()["state"], "chunk-30 " in reader.text)
    until(lambda: node_a.health()["state"] == "drained", "drained")

    assert during == "draining"
    assert (passed_on.routed_via, passed_on.text) == ("node-b", chunks(3))
    assert still == ("draining", False)
    reader.join(timeout=30)
    assert reader.text.endswith("chunk-30 ")
    assert status_of(f"{node_a.url}/healthz") == 200

    clear_drain_request(node_a.home)
    until(node_a.ready, "running again")


def test_a_draining_node_is_no_candidate_and_no_failure_for_its_peers(twins: tuple[Node, Node]) -> None:
    node_a, node_b = twins
    write_drain_request(node_a.home)
    until(lambda: not node_a.ready())

    served_by = {call(node_b).routed_via for _ in range(5)}

    assert served_by == {"local"}
    assert node_b.health()["providers"]["node:node-a"]["state"] == "closed"


# Crash, stop, and what is kept.


def test_a_desired_drain_outlives_a_crash(mesh: Mesh, mock: Mock) -> None:
    node = mesh.node("node-a")
    mesh.configure(node, providers={"mock": f"{mock.url}/v1"})
    node.home.mkdir()
    drain = {"since": datetime.now(UTC).isoformat(), "by": "alice", "reason": "update", "sticky": True}
    desired = {"type": "desired", "generation": 7, "drain": drain}
    (node.home / "desired.json").write_text(json.dumps(desired))

    states = []
    for _ in range(2):
        node.start_and_wait()
        states.append(node.health()["state"])
        node.kill()

    assert states == ["drained", "drained"]


def test_a_second_process_of_the_same_home_is_refused_by_name(mesh: Mesh, mock: Mock) -> None:
    node = mesh.node("node-a")
    mesh.configure(node, providers={"mock": f"{mock.url}/v1"})
    node.start_and_wait()
    second = mesh.process("second", node.argv, env={"MESH_SECRET": "x"})

    second.start()

    assert second.wait() == 1
    assert f"{node.home}/lock is held by process {node.pid}" in second.log()


def test_a_stopping_node_finishes_its_stream_and_ends(mesh: Mesh, mock: Mock) -> None:
    node = mesh.node("node-a")
    mesh.configure(node, providers={"mock": f"{mock.url}/v1"})
    node.start_and_wait()
    reader = Reader(node, "slow:20x100")
    reader.start()
    until(lambda: "chunk-2 " in reader.text)

    node.signal(signal.SIGTERM)

    assert node.wait() == 0
    reader.join(timeout=30)
    assert reader.text.endswith("chunk-20 ")
    assert '"stopping: SIGTERM"' in node.log()
