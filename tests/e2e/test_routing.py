"""The cases that decide (bus-and-breaker §7), each with real nodes and providers over real sockets."""

import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial

import openai
import pytest

from tests.e2e.calls import MODEL, call, chunks, client_of, say
from tests.e2e.harness import Mesh, Mock, Node, free_port, get_json, until

pytestmark = pytest.mark.e2e

SOON = "[breaker]\nbackoff_seconds = 1.0\n"
LATER = "[breaker]\nbackoff_seconds = 600.0\n"
PROVIDER = '[[providers]]\nname = "{name}"\nbase_url = "{url}/v1"\nmax_concurrent = {at_once}\n'


def provider(mock: Mock, *, at_once: int = 64) -> str:
    """Return the table of a provider."""
    return PROVIDER.format(name=mock.name, url=mock.url, at_once=at_once)


def start_all(mesh: Mesh, *nodes: tuple[Node, str]) -> None:
    """Start nodes with these tables, each other’s peers, and wait until each knows what all can serve."""
    everybody = [node for node, _ in nodes]
    for node, tables in nodes:
        others = [other for other in everybody if other is not node]
        mesh.configure(node, providers={}, peers=others, extra=tables)
        node.start()
    for node in everybody:
        node.wait_until_ready()
    for node in everybody:
        until(partial(knows_all, node, everybody), f"{node.name} knows the others")


def knows_all(node: Node, everybody: Sequence[Node]) -> bool:
    """Return whether a node has had an answer from every other one."""
    wanted = {f"node:{other.name}" for other in everybody if other is not node}
    return wanted <= node.health()["providers"].keys() and bool(models(node))


def models(node: Node) -> set[str]:
    """Return what a node says that it can serve now."""
    return {model["id"] for model in get_json(f"{node.url}/v1/models")["data"]}


def state(node: Node, key: str) -> dict[str, object]:
    """Return what a node says of one breaker."""
    found: dict[str, object] = node.health()["providers"][key]
    return found


@contextmanager
def in_flight(node: Node, *, model: str = MODEL) -> Iterator[None]:
    """Keep one stream in flight that has begun and takes 30 s."""
    with client_of(node) as client:
        asked = client.chat.completions.create(model=model, messages=say("slow:600x50"), stream=True)
        with asked as stream:
            until(lambda: next(stream).choices[0].delta.content, "the answer has begun")
            yield


def test_the_stamp_names_the_remote_and_both_sides_have_one_trace_id(mesh: Mesh) -> None:
    alpha, beta = mesh.mock("alpha", model="near"), mesh.mock("beta", model="far")
    node_a, node_b = mesh.node("node-a"), mesh.node("node-b")
    start_all(mesh, (node_a, provider(alpha)), (node_b, provider(beta)))
    until(lambda: "far" in models(node_a), "node-a knows what node-b has")

    answer = call(node_a, model="far")

    assert answer.routed_via == "node-b"
    assert beta.calls()["last"]["traceparent"].split("-")[1] == answer.trace_id


def test_two_dead_nodes_that_know_each_other_try_once_each(mesh: Mesh) -> None:
    alpha, beta = mesh.mock("alpha"), mesh.mock("beta")
    node_a, node_b = mesh.node("node-a"), mesh.node("node-b")
    start_all(mesh, (node_a, provider(alpha)), (node_b, provider(beta)))
    for mock in (alpha, beta):
        mock.set_faults(http=503)

    with pytest.raises(openai.InternalServerError) as caught:
        call(node_a)

    assert (alpha.calls()["calls"], beta.calls()["calls"]) == (1, 1)
    assert caught.value.response.headers["X-Mesh-Attempts"] == "2"


def test_a_remote_that_is_gone_fails_over_to_another_remote(mesh: Mesh) -> None:
    mock = mesh.mock("mock")
    nodes = [mesh.node(name) for name in ("node-a", "node-b", "node-c")]
    start_all(mesh, (nodes[0], LATER), *((node, provider(mock)) for node in nodes[1:]))
    until(lambda: "mock-model" in models(nodes[0]))
    first = call(nodes[0]).routed_via
    gone, left = sorted(nodes[1:], key=lambda node: node.name != first)

    gone.kill()
    answer = call(nodes[0])

    assert (answer.routed_via, answer.attempts) == (left.name, 2)


def test_fifty_calls_at_half_open_reach_the_provider_once(mesh: Mesh) -> None:
    alpha, beta = mesh.mock("alpha"), mesh.mock("beta")
    node_a, node_b = mesh.node("node-a"), mesh.node("node-b")
    start_all(mesh, (node_a, SOON + provider(alpha)), (node_b, provider(beta)))
    alpha.set_faults(http=503)
    until(lambda: call(node_a) and state(node_a, "alpha")["state"] == "open", "the breaker is open")
    alpha.set_faults(delay_ms=50_000)
    until(lambda: state(node_a, "alpha")["state"] == "half_open", "a trial may come")
    before = alpha.calls()["calls"]

    with ThreadPoolExecutor(50) as clients:
        together = threading.Barrier(50)
        calls = [clients.submit(_call_behind, together, node_a) for _ in range(50)]
        until(lambda: sum(each.done() for each in calls) == 49, "all but the trial are answered")
        during = (alpha.calls()["calls"] - before, state(node_a, "alpha")["state"])
        alpha.kill()

    assert during == (1, "half_open")
    assert {each.result() for each in calls} == {"node-b"}
    assert state(node_a, "alpha")["state"] == "open"


def _call_behind(together: threading.Barrier, node: Node) -> str:
    together.wait(timeout=60)
    return call(node, "slow:2x0").routed_via


def test_429_takes_the_next_of_the_chain_without_a_strike(mesh: Mesh) -> None:
    alpha, beta = mesh.mock("alpha"), mesh.mock("beta")
    node_a = mesh.node("node-a")
    chain = "[aliases]\n'mesh/fast' = ['alpha/mock-model', 'beta/mock-model']\n"
    start_all(mesh, (node_a, provider(alpha) + provider(beta) + chain))
    alpha.set_faults(http=429, retry_after=60)

    limited = call(node_a, model="mesh/fast")
    cooled = call(node_a, model="mesh/fast")

    assert (limited.attempts, cooled.attempts) == (2, 1)
    assert (alpha.calls()["calls"], beta.calls()["calls"]) == (1, 2)
    seen = state(node_a, "alpha")
    assert (seen["state"], seen["consecutive_failures"]) == ("closed", 0)


def test_a_manifest_that_changes_during_two_calls_keeps_count_of_them(mesh: Mesh) -> None:
    beta, port = mesh.mock("beta", model="far"), free_port()
    node_a, node_b = mesh.node("node-a"), mesh.node("node-b")
    late = PROVIDER.format(name="late", url=f"http://127.0.0.1:{port}", at_once=64)
    probing = "[probe]\ninterval_seconds = 0.2\n"
    start_all(mesh, (node_a, ""), (node_b, probing + provider(beta, at_once=2) + late))
    until(lambda: "far" in models(node_a), "node-a knows what node-b has")
    argv = [sys.executable, "-m", "meshcore", "mock-ai", "--port", str(port), "--name", "late"]

    with ExitStack() as calls:
        for _ in range(2):
            calls.enter_context(in_flight(node_a, model="far"))
        mesh.process("late", [*argv, "--model", "late"]).start_and_wait()
        until(lambda: "late" in models(node_a), "node-a has heard of what came")
        with pytest.raises(openai.RateLimitError) as caught:
            call(node_a, model="far")
        still = beta.calls()

    assert caught.value.code == "capacity_exceeded"
    assert (still["calls"], still["open"]) == (2, 2)


def test_a_saturated_sole_provider_says_so(mesh: Mesh) -> None:
    alpha, node_a = mesh.mock("alpha"), mesh.node("node-a")
    start_all(mesh, (node_a, provider(alpha, at_once=1)))

    with in_flight(node_a), pytest.raises(openai.RateLimitError) as caught:
        call(node_a)

    assert caught.value.code == "capacity_exceeded"
    assert int(caught.value.response.headers["Retry-After"]) >= 1


def test_an_error_behind_a_mere_role_still_fails_over(mesh: Mesh) -> None:
    alpha, beta = mesh.mock("alpha"), mesh.mock("beta")
    node_a, node_b = mesh.node("node-a"), mesh.node("node-b")
    start_all(mesh, (node_a, LATER + provider(alpha)), (node_b, provider(beta)))
    alpha.set_faults(err_after=0)

    with client_of(node_a) as client:
        stream = client.chat.completions.create(model="mock-model", messages=say("slow:3x0"), stream=True)
        heard = list(stream)

    assert "".join(chunk.choices[0].delta.content or "" for chunk in heard) == chunks(3)
    assert [chunk.choices[0].delta.role for chunk in heard].count("assistant") == 1
    assert (alpha.calls()["calls"], beta.calls()["calls"]) == (1, 1)
