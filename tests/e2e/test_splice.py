"""A provider is killed in mid-answer: if another can go on, the client of a plain stream notices nothing."""

import json
import urllib.request
from collections.abc import Callable

import pytest

from tests.e2e.calls import MODEL, Reader, chunks, say
from tests.e2e.harness import Mesh, Mock, Node, ask, get_json, until

pytestmark = pytest.mark.e2e

CHUNKS = 60
ANSWER = f"slow:{CHUNKS}x50"  # 3 s: time enough to see it begin and to kill who gives it
PROVIDER = '[[providers]]\nname = "{}"\nbase_url = "{}/v1"\nmodels = ["mock-model"]\ncontinuation = "{}"\n'

StartNode = Callable[..., Node]


@pytest.fixture
def start(mesh: Mesh) -> StartNode:
    """Starts a node whose providers go on from a partial answer as it is said."""

    def start(name: str, *mocks: Mock, continuation: str, peers: tuple[Node, ...] = ()) -> Node:
        node = mesh.node(name)
        tables = "".join(PROVIDER.format(mock.name, mock.url, continuation) for mock in mocks)
        mesh.configure(node, providers={}, peers=peers, extra=tables)
        node.start_and_wait()
        return node

    return start


def serving(*mocks: Mock) -> Mock:
    """Return the provider that answers now."""
    return until(lambda: [mock for mock in mocks if mock.calls()["open"]], "a provider answers")[0]


def read_a_beginning(node: Node) -> Reader:
    """Return the reader of a stream that has begun."""
    reader = Reader(node, ANSWER)
    reader.start()
    until(lambda: reader.text.count("chunk-") >= 5, "the answer has begun")
    return reader


@pytest.mark.parametrize("continuation", ["prefill", "vllm"])
def test_the_client_gets_every_word_once(mesh: Mesh, start: StartNode, continuation: str) -> None:
    mocks = [mesh.mock("one"), mesh.mock("two")]
    reader = read_a_beginning(start("node-a", *mocks, continuation=continuation))

    killed = serving(*mocks)
    killed.kill()
    reader.join(60)

    assert reader.text == chunks(CHUNKS)
    (other,) = (mock for mock in mocks if mock is not killed)
    asked = other.calls()["last"]["body"]
    assert asked["messages"][-1]["role"] == "assistant"
    assert asked.get("continue_final_message", False) is (continuation == "vllm")


def test_a_peers_provider_goes_on(mesh: Mesh, start: StartNode) -> None:
    mine, theirs = mesh.mock("mine"), mesh.mock("theirs")
    node_b = start("node-b", theirs, continuation="prefill")
    node_a = start("node-a", mine, continuation="none", peers=(node_b,))
    until(lambda: "node:node-b" in node_a.health()["providers"], "node-a knows node-b")
    reader = read_a_beginning(node_a)

    mine.kill()
    reader.join(60)

    assert (reader.text, reader.routed_via) == (chunks(CHUNKS), "local")
    assert theirs.calls()["calls"] == 1


def test_when_nobody_can_go_on_there_is_one_error_event_and_no_done(mesh: Mesh, start: StartNode) -> None:
    mocks = [mesh.mock("one"), mesh.mock("two")]
    node = start("node-a", *mocks, continuation="none")
    body = json.dumps({"model": MODEL, "messages": say(ANSWER), "stream": True}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{node.url}/v1/chat/completions", data=body, headers=headers)

    with ask(request, seconds=60) as answer:
        beginning = b"".join(answer.readline() for _ in range(10))
        serving(*mocks).kill()
        rest = answer.read()

    events = [line.removeprefix(b"data: ") for line in rest.split(b"\n") if line]
    assert b"chunk-1 " in beginning
    assert b"[DONE]" not in rest
    assert [b'"error"' in event for event in events] == [False] * (len(events) - 1) + [True]
    error = json.loads(events[-1])["error"]
    assert error["code"] == "unavailable"
    assert error["message"].endswith("the answer can't be continued: no other provider can")
    assert get_json(f"{node.url}/readyz") == {"status": "ready"}
