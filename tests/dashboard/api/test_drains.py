"""`/api/v1/drains`: every drain there was, and the steps of one."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from dashboard.models import Drain, DrainStep, Node, Scope
from dashboard.services import drain, nodes
from dashboard.services.actor import SYSTEM

pytestmark = pytest.mark.django_db
Make = Callable[..., Any]


@pytest.fixture
def past(node: Node, now: datetime) -> Node:
    """node-a, drained and given back three times, and node-b, drained now."""
    other = nodes.add(name="node-b", actor=SYSTEM, now=now)[0]
    for hour in range(3):
        at = now + timedelta(hours=hour)
        drain.request(node=node, actor=SYSTEM, reason=f"update {hour}", now=at)
        drain.cancel(node=node, actor=SYSTEM, now=at)
    drain.request(node=other, actor=SYSTEM, reason="disk", override_guards=True, now=now)
    return node


def reasons(told: Any) -> list[str]:
    return [row["reason"] for row in told["results"]]


def test_drains_come_newest_first_in_pages(past: Node, now: datetime, caller: Make) -> None:
    api = caller(Scope.READ)

    first = api.get("drains?limit=2").json()
    drain.request(node=past, actor=SYSTEM, reason="later", override_guards=True, now=now)
    rest = api.get(first["next"].removeprefix("/api/v1/")).json()

    assert (reasons(first), reasons(rest)) == (["disk", "update 2"], ["update 1", "update 0"])
    assert rest["next"] is None


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("node=node-b", ["disk"]),
        ("node=node-a", ["update 2", "update 1", "update 0"]),
        ("status=active", ["disk"]),
        ("by=system&node=node-b", ["disk"]),
        ("by=nobody", []),
        ("node=node-a&status=active", []),
        ("node=nobody", []),
    ],
)
def test_drains_are_filtered(query: str, found: list[str], past: Node, caller: Make) -> None:
    assert reasons(caller(Scope.READ).get(f"drains?{query}").json()) == found


def test_one_drain_tells_its_steps(past: Node, caller: Make) -> None:
    wanted = Drain.objects.get(reason="update 1")

    told = caller(Scope.READ).get(f"drains/{wanted.pk}").json()

    assert (told["id"], told["node"], told["by"]) == (str(wanted.pk), "node-a", "system")
    assert (told["status"], told["standing"], told["lasted_seconds"]) == ("cancelled", "cancelled", 0.0)
    assert [(step["step"], step["source"]) for step in told["steps"]] == [
        ("requested", "dashboard"),
        ("cancelled", "dashboard"),
    ]
    assert told["steps_left_out"] == 0


def test_a_drain_tells_what_its_node_told(past: Node, now: datetime, caller: Make) -> None:
    wanted = Drain.objects.get(reason="disk")
    for after, step, left in ((1, "gate_closed", 3), (5, "drained", 0), (6, "safe_to_stop", 0)):
        at = now + timedelta(seconds=after)
        DrainStep.objects.create(
            drain=wanted, step=step, source="node", at=at, received_at=at, generation=1, in_flight=left
        )

    told = caller(Scope.READ).get(f"drains/{wanted.pk}").json()

    assert (told["in_flight_at_start"], told["in_flight"]) == (3, 0)
    assert (told["drained_seconds"], told["safe_to_stop_seconds"], told["lasted_seconds"]) == (5.0, 6.0, None)
    assert told["steps"][-1] | {"source": "node", "in_flight": 0, "after_seconds": 6.0} == told["steps"][-1]


def test_a_drain_tells_which_guards_were_overridden(past: Node, now: datetime, caller: Make) -> None:
    drain.request(node=past, actor=SYSTEM, reason="both", override_guards=True, now=now)

    [told] = caller(Scope.READ).get("drains?node=node-a&status=active").json()["results"]

    assert told["override_guards"] is True
    assert [blocker["kind"] for blocker in told["blockers"]] == ["too_many_draining"]


@pytest.mark.parametrize("ident", ["0", "999", "x", "²", "9" * 30])
def test_a_drain_that_is_not_there_is_404(ident: str, caller: Make) -> None:
    assert caller(Scope.READ).get(f"drains/{ident}").status_code == 404
