"""`/api/v1/providers`, `breakers`, `breakers/overrides`: who is sick, and what operators want of it."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from dashboard.models import AuditEntry, DesiredState, Node, NodeLink, ProviderHealth, Scope
from dashboard.services import nodes
from dashboard.services.actor import SYSTEM
from meshcore.clock import utcnow

pytestmark = pytest.mark.django_db
Make = Callable[..., Any]
OVERRIDES = "breakers/overrides"


@pytest.fixture
def mesh(now: datetime) -> None:
    """Three nodes that are heard: node-a alone sees ollama down, all see groq well."""
    for name in ("node-a", "node-b", "node-c"):
        node = nodes.add(name=name, actor=SYSTEM, now=now)[0]
        Node.objects.filter(pk=node.pk).update(state="running", last_heard_at=utcnow())
        NodeLink.objects.filter(node=node).update(opened_at=utcnow(), closed_at=None)
        states = {
            "ollama": "open" if name == "node-a" else "closed",
            "groq": "closed",
            "groq/llama": "closed",
        }
        for key, state in states.items():
            ProviderHealth.objects.create(node=node, key=key, state=state, observed_at=now)
    ProviderHealth.objects.create(
        node=Node.objects.get(name="node-a"), key="node:node-b", state="closed", observed_at=now
    )


def order(**wanted: Any) -> bytes:
    return json.dumps({"key": "ollama", "action": "force_open", **wanted}).encode()


def held(name: str) -> dict[str, str]:
    """What is wanted of the breakers of a node: action by key."""
    return {each["key"]: each["action"] for each in DesiredState.objects.get(node__name=name).overrides}


def refusals() -> list[tuple[str, str]]:
    entries = AuditEntry.objects.filter(outcome="refused").order_by("n")
    return list(entries.values_list("action", "target"))


def test_a_provider_tells_what_its_nodes_words_amount_to(mesh: None, caller: Make) -> None:
    told = caller(Scope.READ).get("providers").json()

    assert [(row["key"], row["provider"], row["model"]) for row in told["results"]] == [
        ("groq", "groq", ""),
        ("groq/llama", "groq", "llama"),
        ("ollama", "ollama", ""),
    ]
    ollama = told["results"][2]
    assert (ollama["states"], ollama["nodes"], ollama["down"]) == ({"open": 1, "closed": 2}, 3, 1)
    assert ollama["finding"] == "only node-a sees it down: path, not provider"
    assert told["next"] is None


def test_providers_come_in_pages(mesh: None, now: datetime, caller: Make) -> None:
    api = caller(Scope.READ)

    first = api.get("providers?limit=2").json()
    ProviderHealth.objects.create(
        node=Node.objects.get(name="node-b"), key="aaa", state="closed", observed_at=now
    )
    rest = api.get(first["next"].removeprefix("/api/v1/")).json()

    assert [row["key"] for row in first["results"]] == ["groq", "groq/llama"]
    assert [row["key"] for row in rest["results"]] == ["ollama"]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 10),
        ("node=node-a", 4),
        ("node=node-a&state=open", 1),
        ("state=open", 1),
        ("key=groq", 3),
        ("provider=groq", 6),
        ("provider=gro", 0),
    ],
)
def test_breakers_are_filtered(query: str, count: int, mesh: None, caller: Make) -> None:
    told = caller(Scope.READ).get(f"breakers?{query}").json()

    assert (len(told["results"]), told["next"]) == (count, None)


def test_breakers_come_in_pages(mesh: None, caller: Make) -> None:
    api = caller(Scope.READ)

    first = api.get("breakers?limit=6").json()
    rest = api.get(first["next"].removeprefix("/api/v1/")).json()

    rows = [*first["results"], *rest["results"]]
    assert len({(row["node"], row["key"]) for row in rows}) == len(rows) == 10


def test_a_breaker_is_forced_open_on_one_node(mesh: None, caller: Make) -> None:
    answer = caller(Scope.BREAKERS_WRITE).send(OVERRIDES, order(node="node-b", reason="bills too much"))

    [told] = answer.json()["results"]
    assert answer.status_code == 202
    assert (told["node"], told["generation"], told["changed"], told["observed"]) == (
        "node-b",
        1,
        True,
        "pending",
    )
    assert (held("node-a"), held("node-b")) == ({}, {"ollama": "force_open"})
    entry = AuditEntry.objects.get(action="breaker.force_open")
    assert (entry.target, entry.actor_name, entry.reason) == ("node:node-b", "ci", "bills too much")


def test_a_breaker_is_forced_open_wherever_it_is(mesh: None, caller: Make) -> None:
    told = caller(Scope.BREAKERS_WRITE).send(OVERRIDES, order(expires_seconds=60)).json()

    assert [row["node"] for row in told["results"]] == ["node-a", "node-b", "node-c"]


def test_an_override_that_all_nodes_confirmed_is_200(mesh: None, caller: Make) -> None:
    api = caller(Scope.BREAKERS_WRITE)
    api.send(OVERRIDES, order())
    Node.objects.update(observed_generation=1)

    assert api.send(OVERRIDES, order()).status_code == 200


def test_overrides_are_listed_by_node_and_key_in_pages(mesh: None, caller: Make) -> None:
    write, read = caller(Scope.BREAKERS_WRITE), caller(Scope.READ)
    for key in ("ollama", "groq", "groq/llama"):
        write.send(OVERRIDES, order(key=key, node="node-a", reason=key))
    write.send(OVERRIDES, order(key="ollama", node="node-c", action="force_closed"))

    first = read.get(f"{OVERRIDES}?limit=2").json()
    rest = read.get(first["next"].removeprefix("/api/v1/")).json()

    assert [(row["node"], row["key"]) for row in first["results"]] == [
        ("node-a", "groq"),
        ("node-a", "groq/llama"),
    ]
    assert [(row["node"], row["action"], row["by"]) for row in rest["results"]] == [
        ("node-a", "force_open", "ci"),
        ("node-c", "force_closed", "ci"),
    ]
    assert rest["next"] is None
    assert [row["key"] for row in read.get(f"{OVERRIDES}?node=node-c").json()["results"]] == ["ollama"]


def test_an_override_is_lifted_on_one_node_and_on_all(mesh: None, caller: Make) -> None:
    api = caller(Scope.BREAKERS_WRITE)
    api.send(OVERRIDES, order())

    one = api.send(f"{OVERRIDES}?key=ollama&node=node-a&reason=well", method="DELETE").json()
    rest = api.send(f"{OVERRIDES}?key=ollama", method="DELETE").json()

    assert [row["node"] for row in one["results"]] == ["node-a"]
    assert [row["node"] for row in rest["results"]] == ["node-b", "node-c"]
    assert [held(name) for name in ("node-a", "node-b", "node-c")] == [{}, {}, {}]


def test_lifting_what_is_nowhere_is_200_and_audited(mesh: None, caller: Make) -> None:
    answer = caller(Scope.BREAKERS_WRITE).send(f"{OVERRIDES}?key=nothing", method="DELETE")

    assert (answer.status_code, answer.json()) == (200, {"results": []})
    assert AuditEntry.objects.get(action="breaker.lift").target == "breaker:nothing"


@pytest.mark.parametrize(
    ("body", "field", "audited"),
    [
        (b"", "key", ("breaker.force_open", "breaker:?")),
        (b'{"key": "ollama"}', "action", ("breaker.force_open", "breaker:?")),
        (order(action="explode"), "action", ("breaker.force_open", "breaker:?")),
        (order(node="node-z"), "node", ("breaker.force_open", "breaker:?")),
        (order(key="a\nb"), "key", ("breaker.force_open", "breaker:?")),
        (order(node=""), "node", ("breaker.force_open", "breaker:?")),
        (order(action="reset", expires_seconds=5), "expires_seconds", ("breaker.reset", "breaker:ollama")),
        (order(expires_seconds=0, node="node-a"), "expires_seconds", ("breaker.force_open", "node:node-a")),
        (order(key=" "), "key", ("breaker.force_open", "breaker: ")),
        (order(key="x" * 331), "key", ("breaker.force_open", "breaker:" + "x" * 192)),
    ],
)
def test_an_override_that_cant_be_is_named_audited_and_changes_nothing(
    body: bytes, field: str, audited: tuple[str, str], mesh: None, caller: Make
) -> None:
    answer = caller(Scope.BREAKERS_WRITE).send(OVERRIDES, body)

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, field)
    assert refusals() == [audited]
    assert not DesiredState.objects.filter(generation__gt=0).exists()


@pytest.mark.parametrize("query", ["", "?key=", "?key=ollama&node=", "?key=ollama&node=node-z"])
def test_a_lift_that_says_too_little_lifts_nothing(query: str, mesh: None, caller: Make) -> None:
    api = caller(Scope.BREAKERS_WRITE)
    api.send(OVERRIDES, order())

    assert api.send(f"{OVERRIDES}{query}", method="DELETE").status_code == 400
    assert held("node-a") == {"ollama": "force_open"}


def test_an_order_to_one_node_may_insist_on_a_generation(mesh: None, caller: Make) -> None:
    api = caller(Scope.BREAKERS_WRITE)

    late = api.send(OVERRIDES, order(node="node-a"), headers={"If-Match": '"7"'})
    right = api.send(OVERRIDES, order(node="node-a"), headers={"If-Match": '"0"'})
    of_all = api.send(OVERRIDES, order(), headers={"If-Match": '"0"'})

    assert (late.status_code, right.status_code, of_all.status_code) == (412, 202, 400)
    assert of_all.json()["errors"][0]["field"] == "If-Match"
    assert refusals() == [
        ("breaker.force_open", "node:node-a"),
        ("breaker.force_open", "breaker:ollama"),
    ]
