"""`/api/v1/drains`: every drain there was, and the steps of one."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from dashboard.models import Drain, Node, Scope
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
        ("node=node-a&status=active", []),
        ("node=nobody", []),
    ],
)
def test_drains_are_filtered(query: str, found: list[str], past: Node, caller: Make) -> None:
    assert reasons(caller(Scope.READ).get(f"drains?{query}").json()) == found


def test_one_drain_tells_its_steps(past: Node, caller: Make) -> None:
    wanted = Drain.objects.get(reason="update 1")

    told = caller(Scope.READ).get(f"drains/{wanted.pk}").json()

    assert (told["drain"]["id"], told["drain"]["node"]) == (str(wanted.pk), "node-a")
    assert told["drain"]["status"] == "cancelled"
    assert [step["step"] for step in told["steps"]] == ["requested", "cancelled"]
    assert told["left_out"] == 0


@pytest.mark.parametrize("ident", ["0", "999", "x", "²", "9" * 30])
def test_a_drain_that_is_not_there_is_404(ident: str, caller: Make) -> None:
    assert caller(Scope.READ).get(f"drains/{ident}").status_code == 404
