"""Nodes that no configuration told of each other: the dashboard does, and they remember when it is away."""

from functools import partial
from pathlib import Path

import pytest

from tests.e2e.calls import MODEL, call
from tests.e2e.enrolment import Enrolment
from tests.e2e.harness import Dashboard, Mesh, Mock, Node, free_port, until
from tests.e2e.room import Room

pytestmark = pytest.mark.e2e

DEAD = '[[providers]]\nname = "dead"\nbase_url = "http://127.0.0.1:{port}/v1"\nmodels = ["{model}"]\n'


def knows(node: Node, other: str) -> bool:
    """Return whether a node has a breaker for another one, as it has for every peer."""
    return f"node:{other}" in node.health()["providers"]


@pytest.fixture(scope="module")
def mock(room: Room) -> Mock:
    """The one provider that lives."""
    return room.mesh.mock("alive")


@pytest.fixture(scope="module")
def pair(room: Room, mock: Mock) -> tuple[Node, Node]:
    """node-a with a dead provider, node-b with one that lives; neither names the other."""
    node_a, node_b = room.node("node-a"), room.node("node-b")
    room.configure(node_a, providers={}, extra=DEAD.format(port=free_port(), model=MODEL))
    room.configure(node_b, providers={"alive": f"{mock.url}/v1"})
    room.dashboard.start_and_wait()
    for node in (node_a, node_b):
        node.start_and_wait()
    until(partial(knows, node_a, "node-b"), "node-a knows node-b")
    until(partial(knows, node_b, "node-a"), "node-b knows node-a")
    return node_a, node_b


def test_nodes_of_one_dashboard_serve_each_other(pair: tuple[Node, Node]) -> None:
    assert call(pair[0]).routed_via == "node-b"


def test_a_node_that_dies_is_let_go_and_found_again_when_it_is_back(pair: tuple[Node, Node]) -> None:
    node_a, node_b = pair

    node_b.kill()
    until(lambda: not knows(node_a, "node-b"), "node-a has let node-b go")
    node_b.start_and_wait()
    until(partial(knows, node_a, "node-b"), "node-a knows node-b again")

    assert call(node_a).routed_via == "node-b"


def test_a_node_that_starts_while_the_dashboard_is_away_knows_its_peers(
    room: Room, pair: tuple[Node, Node]
) -> None:
    node_a, _ = pair
    room.dashboard.kill()
    node_a.kill()

    node_a.start_and_wait()
    until(node_a.ready, "node-a takes calls without its dashboard")
    until(partial(knows, node_a, "node-b"), "node-a knows node-b")

    assert call(node_a).routed_via == "node-b"


def test_nodes_that_are_added_beside_the_dashboard_join_the_mesh_by_themselves(
    mesh: Mesh, mock: Mock, enrolled: tuple[Path, Enrolment]
) -> None:
    dashboard = mesh.dashboard(like=enrolled[0])
    dashboard.start_and_wait()
    laptop = added(mesh, dashboard, "laptop", upstream=f"http://127.0.0.1:{free_port()}/v1")
    desk = added(mesh, dashboard, "desk", upstream=f"{mock.url}/v1")

    for node in (laptop, desk):
        node.start_and_wait()
    until(partial(knows, laptop, "desk"), "the laptop knows the desk")

    assert call(laptop).routed_via == "desk"


def added(mesh: Mesh, dashboard: Dashboard, name: str, *, upstream: str) -> Node:
    """Return a node as `add_node` sets it up, not started."""
    node = mesh.node(name)
    folder = mesh.folder / f"{name}-files"
    listen = node.url.removeprefix("http://")
    dashboard.manage(*("add_node", name, "--folder", str(folder), "--listen", listen, "--upstream", upstream))
    node.argv[-1] = str(folder / "node.toml")
    return node
