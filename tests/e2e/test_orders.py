"""What was asked of a node is done, whoever was away or died when it was asked."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import container
from tests.e2e.cable import Cable
from tests.e2e.gate import watched_gate
from tests.e2e.harness import Node, until
from tests.e2e.room import Room
from tests.e2e.visitor import Visitor

pytestmark = pytest.mark.e2e

DRAIN = "nodes/node-b/drain"
JOIN_WAIT = "join_wait_seconds = 60\n"  # until it has heard from the dashboard, however busy the machine is


@pytest.fixture(scope="module")
def proc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `/proc` of the container that node-b is in."""
    folder = tmp_path_factory.mktemp("proc")
    container.new(folder, life=1)
    return folder


@pytest.fixture(scope="module")
def cable(room: Room) -> Iterator[Cable]:
    """What connects node-b with the dashboard."""
    cable = Cable(room.dashboard.url)
    yield cable
    cable.close()


@pytest.fixture(scope="module")
def contained(room: Room, proc: Path, cable: Cable) -> Node:
    """node-b, in a container, beside node-a, which has the same model."""
    alpha, beta = room.mesh.mock("alpha"), room.mesh.mock("beta")
    node_a, node_b = room.node("node-a"), room.node("node-b")
    node_b.argv[2:3] = ["tests.e2e.container", str(proc)]
    room.configure(node_a, providers={"alpha": f"{alpha.url}/v1"}, peers=[node_b])
    room.configure(
        node_b,
        providers={"beta": f"{beta.url}/v1"},
        peers=[node_a],
        through=cable.url,
        extra=JOIN_WAIT,
    )
    room.start(node_a, node_b)
    return node_b


@pytest.fixture
def node_b(room: Room, contained: Node) -> Iterator[Node]:
    """A node that serves, and serves again behind the test."""
    yield contained
    room.undrain("node-b")


def test_a_node_that_was_off_when_it_was_asked_to_drain_never_opens_its_gate(
    room: Room, node_b: Node
) -> None:
    node_b.kill()
    room.wait_for("node-b", "unreachable")

    asked = room.send("POST", DRAIN, b'{"reason": "new disk", "sticky": true}', program="deployer")
    with watched_gate(node_b) as words:
        node_b.start_and_wait()
        room.wait_for("node-b", "drained")

    assert (asked.status, asked.body["observed"]) == (202, "unreachable")
    assert {"drained"} <= set(words) <= {"", "joining", "draining", "drained"}
    order = room.drain_of("node-b")
    assert order["observed_generation"] == order["generation"] == asked.body["generation"]


def test_an_order_whose_dashboard_died_before_it_was_delivered_is_delivered_by_its_next_life(
    room: Room, node_b: Node, cable: Cable
) -> None:
    cable.hold()
    asked = room.send("POST", DRAIN, b'{"reason": "new disk"}', program="deployer")
    room.dashboard.kill()
    cable.cut()
    undelivered = node_b.ready()

    room.dashboard.start_and_wait()
    room.wait_for("node-b", "drained")

    assert asked.status == 202
    assert undelivered
    assert not node_b.ready()
    order = room.drain_of("node-b")
    assert order["observed_generation"] == order["generation"] == asked.body["generation"]
    assert order["drain"]["reason"] == "new disk"


def test_in_a_new_container_the_drain_of_a_token_is_over_by_the_systems_word(
    room: Room, node_b: Node, proc: Path
) -> None:
    asked = room.send("POST", DRAIN, b'{"reason": "rolling out"}', program="deployer")
    room.wait_for("node-b", "drained")

    node_b.kill()
    node_b.start_and_wait()
    room.wait_for("node-b", "drained")
    restarted = room.drain_of("node-b")["generation"]
    node_b.kill()
    container.new(proc, life=2)
    node_b.start_and_wait()
    room.wait_for("node-b", "running")

    assert restarted == asked.body["generation"]
    assert until(node_b.ready)
    state = room.drain_of("node-b")
    assert (state["drain"], state["generation"]) == (None, restarted + 1)
    assert state["last"]["status"] == "ended_by_restart"
    assert "ended_by_restart" in {step["step"] for step in state["last"]["steps"]}
    ended = room.audit(action="undrain")[0]
    assert (ended["actor_kind"], ended["target"]) == ("system", "node:node-b")
    assert (ended["generation"], ended["reason"]) == (restarted + 1, "the node was started anew")


def test_in_a_new_container_the_drain_of_a_person_goes_on(room: Room, node_b: Node, proc: Path) -> None:
    alice = Visitor(room.dashboard.url).sign_in("alice")
    form = {"reason": "new disk", "deadline": "", "expires": "", "sticky": "1"}
    assert "Asked node-b to drain" in alice.act("/nodes/node-b/drain/", form).text
    room.wait_for("node-b", "drained")
    before = room.drain_of("node-b")

    node_b.kill()
    container.new(proc, life=3)
    with watched_gate(node_b) as words:
        node_b.start_and_wait()
        room.wait_for("node-b", "drained")

    assert {"drained"} <= set(words) <= {"", "drained"}
    after = room.drain_of("node-b")
    assert (after["generation"], after["drain"]) == (before["generation"], before["drain"])
    assert after["last"]["status"] == "active"
