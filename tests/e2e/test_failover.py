"""A client of a node whose provider is dead is served by another node, and the dashboard can tell why."""

import os
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Locator, expect

from tests.e2e.calls import MODEL, call, chunks
from tests.e2e.conftest import OpenWindow
from tests.e2e.harness import Mesh, Mock, Node, free_port, get_json
from tests.e2e.room import Room

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

# So many failures don't open a breaker, so that every test sees the dead provider tried.
PATIENT = "[breaker]\nfailure_threshold = 1000\n"
DEAD = '[[providers]]\nname = "dead"\nbase_url = "http://127.0.0.1:{port}/v1"\nmodels = ["{model}"]\n'
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@pytest.fixture(scope="module")
def mock(room: Room) -> Mock:
    """The one provider that lives."""
    return room.mesh.mock("alive")


@pytest.fixture(scope="module")
def node_a(room: Room, mock: Mock) -> Node:
    """A node with a dead provider; its peer node-b has one that lives. Both report to the dashboard."""
    node_a, node_b = room.node("node-a"), room.node("node-b")
    dead = DEAD.format(port=free_port(), model=MODEL)
    room.configure(node_a, providers={}, peers=[node_b], extra=dead + PATIENT)
    room.configure(node_b, providers={"alive": f"{mock.url}/v1"}, peers=[node_a], extra=PATIENT)
    room.start(node_a, node_b)
    return node_a


@STREAMED
def test_the_openai_client_gets_its_answer_from_the_peer(node_a: Node, stream: bool) -> None:
    answer = call(node_a, "many:3", stream=stream)

    assert answer.text == chunks(3)
    assert answer.routed_via == "node-b"
    assert answer.attempts == 2


@STREAMED
def test_the_api_tells_both_attempts_with_codes_times_and_reasons(
    room: Room, node_a: Node, stream: bool
) -> None:
    answer = call(node_a, stream=stream)

    story = room.trace(answer.trace_id)
    failed, served = story["attempts"]
    assert (story["node"], story["routed_via"], story["outcome"], story["why"]) == (
        "node-a",
        "node-b",
        "ok",
        "failover",
    )
    assert story["stream"] is stream
    assert (failed["n"], failed["node"], failed["provider"]) == (1, "node-a", "dead")
    assert (failed["outcome"], failed["code"]) == ("error", "unavailable")
    assert failed["message"] == "provider dead can't be reached: Connection refused"
    assert (served["n"], served["node"], served["provider"]) == (2, "node-b", "alive")
    assert served.get("outcome", "ok") == "ok"
    assert 0 < failed["ms"] <= served["started_ms"]
    assert 0 < served["ms"] <= story["duration_ms"]


def test_the_trace_page_shows_both_attempts_with_codes_times_and_reasons(
    room: Room, node_a: Node, window: OpenWindow
) -> None:
    answer = call(node_a)
    room.trace(answer.trace_id)

    page = window("bob").open("/traces/")
    newest = page.locator("#rows [data-row]").first
    expect(newest).to_contain_text("via node-a")
    newest.get_by_role("link").first.click()

    expect(page.get_by_text(answer.trace_id, exact=True)).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_contain_text("was served by node-b")
    attempts = page.get_by_role("region", name="Attempts", exact=True).locator("tbody tr")
    expect(attempts).to_have_count(2)
    failed, served = map(cells, attempts.all())
    assert (failed.node, failed.provider, failed.outcome) == ("node-a", "dead", "unavailable")
    assert failed.message == "provider dead can't be reached: Connection refused"
    assert (served.node, served.provider, served.outcome) == ("node-b", "alive", "ok")
    assert float(failed.ms) > 0
    assert float(served.ms) > 0


class AttemptRow(NamedTuple):
    """A row of the trace page's table."""

    n: str
    node: str
    provider: str
    model: str
    outcome: str
    began_after: str
    ms: str
    first_token: str
    breaker: str
    message: str


def cells(row: Locator) -> AttemptRow:
    return AttemptRow(*(text.strip() for text in row.locator("td").all_inner_texts()))


# Upstreams: a node's own endpoint is one; so is any real one, one variable away.


class Upstream(NamedTuple):
    """An OpenAI-compatible service; "" for `url`: the endpoint of another node of ours."""

    url: str = ""
    key: str = "none"
    model: str = ""


def upstreams() -> list[Any]:
    """Return another node's endpoint, and the one that MESH_E2E_UPSTREAM names, a URL that ends in /v1."""
    real = Upstream(
        os.environ.get("MESH_E2E_UPSTREAM", ""),
        os.environ.get("MESH_E2E_KEY", "none"),
        os.environ.get("MESH_E2E_MODEL", ""),
    )
    return [pytest.param(Upstream(), id="a-node"), *([pytest.param(real, id="real")] if real.url else [])]


@pytest.mark.parametrize("upstream", upstreams())
def test_an_upstream_answers_whole_and_streamed(mesh: Mesh, upstream: Upstream) -> None:
    url = upstream.url or endpoint_of_a_node(mesh)
    near = mesh.node("node-near", env={"UPSTREAM_KEY": upstream.key})
    provider = f'[[providers]]\nname = "far"\nbase_url = "{url}"\napi_key_env = "UPSTREAM_KEY"\n'
    mesh.configure(near, providers={}, extra=f"{provider}[gateway]\nallow_plain_http = true\n")
    near.start_and_wait()
    model = upstream.model or get_json(f"{near.url}/v1/models")["data"][0]["id"]

    whole = call(near, "Say hello.", model=model)
    streamed = call(near, "Say hello.", model=model, stream=True)

    assert whole.text
    assert streamed.text
    assert (whole.routed_via, whole.attempts) == ("local", 1)


def endpoint_of_a_node(mesh: Mesh) -> str:
    mock, far = mesh.mock("mock"), mesh.node("node-far")
    mesh.configure(far, providers={"mock": f"{mock.url}/v1"})
    far.start_and_wait()
    return f"{far.url}/v1"
