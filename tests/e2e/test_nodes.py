"""Nodes without a dashboard, as their clients see them: failover, upstreams, drain, crash."""

import json
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

import openai
import pytest

from meshcore.aio.drain_marker import clear_drain_request, write_drain_request
from tests.e2e.harness import Mesh, Mock, Node, free_port, status_of, until

pytestmark = pytest.mark.e2e

MESSAGES: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "many:3"}]
ANSWER = "chunk-1 chunk-2 chunk-3 "
PROBE_SOON = "[probe]\ninterval_seconds = 0.2\n[breaker]\nbackoff_seconds = 1.0\n"


def client_of(node: Node) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{node.url}/v1", api_key="none", max_retries=0, timeout=30)


def knows_a_peer(node: Node) -> bool:
    """Return whether the node has heard of another one."""
    return any(key.startswith("node:") for key in node.health()["providers"])


def text_of(stream: Iterator[openai.types.chat.ChatCompletionChunk]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


@pytest.fixture
def mock(mesh: Mesh) -> Mock:
    """The one provider that lives."""
    return mesh.mock("mock")


@pytest.fixture
def pair(mesh: Mesh, mock: Mock) -> tuple[Node, Node]:
    """node-a, whose only provider is dead, and node-b, which has one that lives; they are peers."""
    node_a, node_b = mesh.node("node-a"), mesh.node("node-b")
    dead = '[[providers]]\nname = "dead"\nbase_url = "http://127.0.0.1:%d/v1"\nmodels = ["mock-model"]\n'
    mesh.configure(node_a, providers={}, peers=[node_b], extra=dead % free_port())
    mesh.configure(node_b, providers={"alive": f"{mock.url}/v1"}, peers=[node_a])
    for node in (node_a, node_b):
        node.start()
    for node in (node_a, node_b):
        node.wait_until_ready()
        until(partial(knows_a_peer, node), f"{node.name} knows its peer")
    return node_a, node_b


# Failover.


def test_a_client_of_a_node_with_a_dead_provider_gets_its_answer_from_the_peer(
    pair: tuple[Node, Node],
) -> None:
    with client_of(pair[0]) as client:
        answer = client.chat.completions.with_raw_response.create(model="mock-model", messages=MESSAGES)

    assert answer.parse().choices[0].message.content == ANSWER
    assert answer.headers["X-Mesh-Routed-Via"] == "node-b"
    assert answer.headers["X-Mesh-Attempts"] == "2"


def test_a_streaming_client_of_a_node_with_a_dead_provider_is_served_by_the_peer(
    pair: tuple[Node, Node],
) -> None:
    with client_of(pair[0]) as client:
        answer = client.chat.completions.with_raw_response.create(
            model="mock-model", messages=MESSAGES, stream=True
        )
        text = text_of(answer.parse())

    assert text == ANSWER
    assert answer.headers["X-Mesh-Routed-Via"] == "node-b"


def test_a_node_that_serves_by_itself_says_local(pair: tuple[Node, Node]) -> None:
    with client_of(pair[1]) as client:
        answer = client.chat.completions.with_raw_response.create(model="mock-model", messages=MESSAGES)

    assert answer.headers["X-Mesh-Routed-Via"] == "local"


# Upstreams.


def test_the_endpoint_of_another_node_works_as_an_upstream(mesh: Mesh, mock: Mock) -> None:
    far, near = mesh.node("node-far"), mesh.node("node-near")
    mesh.configure(far, providers={"mock": f"{mock.url}/v1"})
    mesh.configure(near, providers={"far": f"{far.url}/v1"})
    far.start_and_wait()
    near.start_and_wait()

    with client_of(near) as client:
        whole = client.chat.completions.create(model="mock-model", messages=MESSAGES)
        text = text_of(client.chat.completions.create(model="mock-model", messages=MESSAGES, stream=True))

    assert whole.choices[0].message.content == text == ANSWER


# Drain by the local marker.


class Reader(threading.Thread):
    """Reads a stream of a node to its end."""

    def __init__(self, node: Node, content: str) -> None:
        super().__init__(daemon=True)
        self.text = ""
        self._node = node
        self._content = content

    def run(self) -> None:
        """Read; `text` has what came so far."""
        with client_of(self._node) as client:
            stream = client.chat.completions.create(
                model="mock-model", messages=[{"role": "user", "content": self._content}], stream=True
            )
            for chunk in stream:
                self.text += (chunk.choices[0].delta.content or "") if chunk.choices else ""


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
    with client_of(node_a) as client:
        passed_on = client.chat.completions.with_raw_response.create(model="mock-model", messages=MESSAGES)
    still = (node_a.health()["state"], "chunk-30 " in reader.text)
    until(lambda: node_a.health()["state"] == "drained", "drained")

    assert during == "draining"
    assert passed_on.headers["X-Mesh-Routed-Via"] == "node-b"
    assert passed_on.parse().choices[0].message.content == ANSWER
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

    with client_of(node_b) as client:
        for _ in range(5):
            answer = client.chat.completions.with_raw_response.create(model="mock-model", messages=MESSAGES)
            assert answer.headers["X-Mesh-Routed-Via"] == "local"

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
