"""Every route against every scope."""

from collections.abc import Callable
from typing import Any

import pytest

from dashboard.api.permissions import scope_of
from dashboard.models import DesiredState, Node, Scope
from dashboard.services.rights import Right
from meshcore.clock import utcnow

pytestmark = pytest.mark.django_db
Make = Callable[..., Any]
PATH = "nodes/node-a/drain"


def generation() -> int:
    """Return node-a's desired generation."""
    return DesiredState.objects.get(node__name="node-a").generation


@pytest.mark.parametrize(
    "scope", [Scope.READ, Scope.AUDIT_READ, Scope.RUNS_CANCEL, Scope.BREAKERS_WRITE, Scope.ADMIN]
)
def test_a_token_of_another_scope_is_403(scope: Scope, node: Node, caller: Make) -> None:
    answer = caller(scope).send(PATH)

    assert answer.status_code == 403
    assert "nodes:drain" in answer.json()["detail"]
    assert generation() == 0


def test_a_node_drains_itself_with_its_own_token_and_no_other(node: Node, caller: Make) -> None:
    other = Node.objects.create(name="node-b", created_at=utcnow())

    assert caller(Scope.NODES_PUSH, node=other).send(PATH).status_code == 403
    assert caller(Scope.NODES_PUSH, node=node).send(PATH).status_code == 202


@pytest.mark.parametrize(
    ("path", "opens"),
    [
        ("nodes", Scope.READ),
        ("nodes/node-a", Scope.READ),
        ("nodes/node-a/drain", Scope.READ),
        ("traces", Scope.READ),
        ("schema", Scope.READ),
        ("audit", Scope.AUDIT_READ),
    ],
)
def test_a_route_opens_to_its_scope_alone(path: str, opens: Scope, node: Node, caller: Make) -> None:
    others = set(Scope) - {opens, Scope.NODES_PUSH}

    assert caller().get(path).status_code == 401
    assert caller(Scope.NODES_PUSH, node=node).get(path).status_code == 403
    assert caller(*others).get(path).status_code == 403
    assert caller(opens).get(path).status_code == 200


def test_the_refusal_names_the_scope_that_is_missing(node: Node, caller: Make) -> None:
    assert "audit:read" in caller(Scope.READ).get("audit").json()["detail"]


def test_every_right_has_a_scope() -> None:
    assert {scope_of(right) for right in Right} == {scope.value for scope in Scope} - {"nodes:push"}
