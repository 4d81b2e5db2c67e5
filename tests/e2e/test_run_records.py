"""What the dashboard knows of runs that real nodes execute on one log."""

import json
from functools import partial
from typing import Any

import pytest

from tests.e2e.harness import Node, until
from tests.e2e.room import Room
from tests.e2e.run_stage import make, text_comes

pytestmark = pytest.mark.e2e

ANSWER = "slow:200x100"  # 20 s: it doesn't end by itself before a drain or an order ends it
REST_OF_IT = "slow:30x100"


@pytest.fixture(scope="module")
def pair(room: Room) -> tuple[Node, Node]:
    """node-a and node-b with one log, each with the same provider."""
    mock = room.mesh.mock("mock")
    nodes = room.node("node-a"), room.node("node-b")
    log = f'[runs]\nlog = "sqlite:///{room.mesh.folder}/runs.sqlite3"\n'
    provider = (
        f'[[providers]]\nname = "mock"\nbase_url = "{mock.url}/v1"\nmodels = ["mock-model"]\n'
        'continuation = "prefill"\n'
    )
    for node, other in zip(nodes, reversed(nodes), strict=True):
        room.configure(node, providers={}, peers=[other], extra=log + provider)
    room.start(*nodes)
    return nodes


def known(room: Room, run_id: str) -> dict[str, Any]:
    """Return a run as the dashboard knows it, {} while it knows of none."""
    answer = room.send("GET", f"runs/{run_id}", program="reader")
    return dict(answer.body) if answer.status == 200 else {}


def is_known_as(room: Room, run_id: str, **fields: Any) -> dict[str, Any]:
    """Return a run once the dashboard knows it so, {} until then."""
    run = known(room, run_id)
    return run if all(run.get(name) == value for name, value in fields.items()) else {}


def test_a_forced_drain_moves_a_run_and_its_record_says_so(room: Room, pair: tuple[Node, Node]) -> None:
    run_id = make(pair[0], REST_OF_IT)
    text_comes(pair[0], run_id)
    live = until(partial(is_known_as, room, run_id, status="running"), "the run is known")

    order = {"deadline_seconds": 0, "force": True, "reason": "must go now", "override_guards": True}
    asked = room.send("PUT", "nodes/node-a/drain", json.dumps(order).encode(), program="deployer")
    assert asked.status in (200, 202), asked
    taken = until(partial(is_known_as, room, run_id, owner="node-b"), "node-b has it")
    ended = until(partial(is_known_as, room, run_id, status="completed"), "the run has ended")
    record = until(lambda: _moved(room), "the record says that it moved")
    trace = until(lambda: room.ask("traces", node="node-b", limit=1)["results"], "its call is told of")
    room.undrain("node-a")

    assert (live["owner"], live["epoch"], taken["epoch"], ended["takeovers"]) == ("node-a", 1, 2, 0)
    assert [(each["node"], each["superseded"]) for each in ended["epochs"]] == [
        ("node-a", False),
        ("node-b", False),
    ]
    assert ended["whole"] is True, ended["findings"]
    assert (record["runs_moved"], record["killed"]) == (1, 0)
    assert [step["detail"] for step in record["steps"] if step["step"] == "moved"] == [run_id]
    assert trace[0]["run_id"] == run_id


def _moved(room: Room) -> dict[str, Any] | None:
    record = room.drain_of("node-a")["last"]
    return record if record and record["runs_moved"] else None


def test_the_order_to_cancel_a_run_goes_to_its_owner(room: Room, pair: tuple[Node, Node]) -> None:
    run_id = make(pair[1], ANSWER)
    text_comes(pair[1], run_id)
    until(partial(is_known_as, room, run_id, owner="node-b"), "the run is known")

    answer = room.send("POST", f"runs/{run_id}/cancel", b'{"reason": "wrong"}', program="rescuer")
    ended = until(partial(is_known_as, room, run_id, status="cancelled"), "the run is cancelled")
    taken = until(lambda: room.audit(action="run.cancel.effect"), "a node took the order")

    assert answer.status == 202, answer
    assert (ended["owner"], ended["whole"], ended["cancelled_by"] != "") == ("node-b", True, True)
    assert [(entry["actor_name"], entry["target"]) for entry in taken] == [("node-b", f"run:{run_id}")]
