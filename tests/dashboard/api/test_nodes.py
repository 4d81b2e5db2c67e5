"""`/api/v1/nodes`: who is there, and who comes in."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from dashboard.models import AuditEntry, Node, ProviderHealth, Scope
from dashboard.services import drain
from dashboard.services.actor import SYSTEM

pytestmark = pytest.mark.django_db
Make = Callable[..., Any]


def test_nodes_are_listed_by_name_with_the_one_word_for_each(
    online: Node, now: datetime, caller: Make
) -> None:
    Node.objects.create(name="a-first", created_at=now)

    told = caller(Scope.READ).get("nodes").json()

    assert [(node["id"], node["state"]) for node in told["results"]] == [
        ("a-first", "never seen"),
        ("node-a", "running"),
    ]
    assert told["next"] is None


def test_a_node_shows_its_order_and_breakers(online: Node, now: datetime, caller: Make) -> None:
    ProviderHealth.objects.create(node=online, key="ollama", state="open", strikes=2, observed_at=now)
    drain.request(node=online, actor=SYSTEM, now=now)

    told = caller(Scope.READ).get("nodes/node-a").json()

    assert (told["state"], told["generation"], told["observed_generation"]) == ("degraded", 1, 0)
    assert told["draining"] is True
    assert [(breaker["key"], breaker["state"]) for breaker in told["breakers"]] == [("ollama", "open")]


def test_an_unknown_node_is_404(caller: Make) -> None:
    assert caller(Scope.READ).get("nodes/node-z").status_code == 404


def test_nodes_come_in_pages_that_new_nodes_do_not_disturb(now: datetime, caller: Make) -> None:
    for name in ("b", "d", "f"):
        Node.objects.create(name=name, created_at=now)
    api = caller(Scope.READ)

    first = api.get("nodes?limit=2").json()
    Node.objects.create(name="a", created_at=now)
    Node.objects.create(name="e", created_at=now)
    rest = api.get(first["next"].removeprefix("/api/v1/")).json()

    assert [node["id"] for node in first["results"]] == ["b", "d"]
    assert [node["id"] for node in rest["results"]] == ["e", "f"]
    assert rest["next"] is None


def test_a_node_comes_in_with_all_that_starts_it(caller: Make) -> None:
    answer = caller(Scope.ADMIN).send("nodes", b'{"id": "laptop", "community": "home"}')

    told = answer.json()
    assert (answer.status_code, answer["Location"]) == (201, "/api/v1/nodes/laptop")
    assert (told["id"], told["community"]) == ("laptop", "home")
    assert told["token"].startswith("msh_")
    assert 'id = "laptop"' in told["configuration"]
    assert Node.objects.get(name="laptop").community == "home"
    assert AuditEntry.objects.get(action="node.add").actor_name == "ci"


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b"", 400, "id"),
        (b'{"id": 7}', 400, "id"),
        (b'{"id": "node-a"}', 409, "id"),
        (b'{"id": "x", "name": "x"}', 400, "name"),
    ],
)
def test_who_cant_come_in_is_told_why_and_audited(
    body: bytes, status: int, field: str, node: Node, caller: Make
) -> None:
    answer = caller(Scope.ADMIN).send("nodes", body)

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (status, field)
    assert AuditEntry.objects.get(outcome="refused").action == "node.add"
    assert Node.objects.count() == 1


def test_a_name_that_is_none_is_refused(caller: Make) -> None:
    answer = caller(Scope.ADMIN).send("nodes", b'{"id": "Node A"}')

    assert answer.status_code == 400
    assert "Node A" in answer.json()["detail"]


def test_a_node_that_could_not_start_is_refused_and_not_added(caller: Make) -> None:
    answer = caller(Scope.ADMIN).send("nodes", b'{"id": "laptop", "upstream": "nowhere"}')

    assert answer.status_code == 400
    assert "nowhere" in answer.json()["detail"]
    assert not Node.objects.exists()


def test_where_it_stands_is_in_its_configuration(caller: Make) -> None:
    told = caller(Scope.ADMIN).send("nodes", b'{"id": "laptop", "listen": "127.0.0.1:9000"}').json()

    assert 'listen = "127.0.0.1:9000"' in told["configuration"]


def test_a_node_is_forgotten_and_its_name_free(node: Node, caller: Make) -> None:
    admin = caller(Scope.ADMIN)

    answer = admin.send("nodes/node-a?reason=sold", method="DELETE")

    assert (answer.status_code, answer.content) == (204, b"")
    assert caller(Scope.READ).get("nodes/node-a").status_code == 404
    assert AuditEntry.objects.get(action="node.forget").reason == "sold"
    assert admin.send("nodes/node-a", method="DELETE").status_code == 404
    assert admin.send("nodes", b'{"id": "node-a"}').status_code == 201


def test_a_node_that_is_connected_is_forgotten_only_when_that_is_said(online: Node, caller: Make) -> None:
    admin = caller(Scope.ADMIN)

    refused = admin.send("nodes/node-a", method="DELETE")
    done = admin.send("nodes/node-a?even_connected=true", method="DELETE")

    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (409, "even_connected")
    assert AuditEntry.objects.get(outcome="refused").action == "node.forget"
    assert done.status_code == 204
