"""What the API lets tokens read."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from dashboard.models import AuditEntry, Node, ProviderHealth, Scope, Trace, TraceDetail
from dashboard.services import audit_chain, drain
from dashboard.services.actor import SYSTEM

pytestmark = pytest.mark.django_db
Make = Callable[..., Any]


def call(node: Node, now: datetime, number: int, **more: Any) -> Trace:
    """Store a finished call; a higher number is later."""
    at = now + timedelta(seconds=number)
    return Trace.objects.create(
        id=int(at.timestamp() * 1000) << 20,
        trace_id=f"t-{number}",
        node=node,
        started_at=at,
        received_at=at,
        capability="llm.chat",
        duration_ms=12.5,
        **{"outcome": "ok", **more},
    )


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


def test_traces_come_newest_first_in_pages(node: Node, now: datetime, caller: Make) -> None:
    for number in range(5):
        call(node, now, number)
    api = caller(Scope.READ)

    first = api.get("traces?limit=3").json()
    rest = api.get(first["next"].removeprefix("/api/v1/")).json()

    assert [trace["trace_id"] for trace in first["results"]] == ["t-4", "t-3", "t-2"]
    assert [trace["trace_id"] for trace in rest["results"]] == ["t-1", "t-0"]
    assert rest["next"] is None


def test_a_trace_is_found_by_the_id_that_its_node_gave_it(node: Node, now: datetime, caller: Make) -> None:
    wanted = call(node, now, 1)
    call(node, now, 2)

    [found] = caller(Scope.READ).get("traces?trace_id=t-1").json()["results"]

    assert (found["id"], found["trace_id"], found["node"]) == (str(wanted.pk), "t-1", "node-a")


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("outcome=error", ["t-1"]),
        ("node=node-z", []),
        ("provider=groq&code=timeout", ["t-1"]),
        ("code=x", []),
    ],
)
def test_traces_are_filtered(query: str, found: list[str], node: Node, now: datetime, caller: Make) -> None:
    call(node, now, 1, outcome="error", provider="groq", code="timeout")
    call(node, now, 2, provider="groq")

    told = caller(Scope.READ).get(f"traces?{query}").json()

    assert [trace["trace_id"] for trace in told["results"]] == found


def test_one_trace_tells_its_whole_story(node: Node, now: datetime, caller: Make) -> None:
    trace = call(node, now, 1, outcome="error")
    attempts = [{"n": 1, "node": "node-a", "provider": "ollama", "code": "timeout"}]
    more = {"splices": [{"after_chunks": 4}], "alias_skips": [{"entry": "groq/x"}]}
    TraceDetail.objects.create(
        trace=trace, attempts=attempts, candidates=[{"node": "b"}], message="too slow", **more
    )

    told = caller(Scope.READ).get(f"traces/{trace.pk}").json()

    assert (told["id"], told["attempts"], told["message"]) == (str(trace.pk), attempts, "too slow")
    assert told["candidates"] == [{"node": "b"}]
    assert {key: told[key] for key in more} == more


@pytest.mark.parametrize("ident", ["1", "t-1", "²", "9" * 30])
def test_a_trace_that_is_not_there_is_404(ident: str, caller: Make) -> None:
    assert caller(Scope.READ).get(f"traces/{ident}").status_code == 404


def test_the_audit_can_be_verified_from_what_is_told(node: Node, now: datetime, caller: Make) -> None:
    drain.request(node=node, actor=SYSTEM, reason="update", now=now)

    told = caller(Scope.AUDIT_READ).get("audit").json()["results"]

    oldest_first = told[::-1]
    assert [entry["n"] for entry in oldest_first] == list(range(1, AuditEntry.objects.count() + 1))
    previous = audit_chain.GENESIS
    for entry in oldest_first:
        assert entry["hash"] == audit_chain.link(previous, entry["canonical"])
        previous = entry["hash"]


@pytest.mark.parametrize(
    "query", ["action=drain", "actor=system&action=drain", "target=node:node-a&action=drain"]
)
def test_the_audit_is_filtered(query: str, node: Node, now: datetime, caller: Make) -> None:
    drain.request(node=node, actor=SYSTEM, reason="update", now=now)

    [entry] = caller(Scope.AUDIT_READ).get(f"audit?{query}").json()["results"]

    assert (entry["action"], entry["reason"]) == ("drain", "update")


def test_a_parameter_that_nobody_knows_is_400(caller: Make) -> None:
    answer = caller(Scope.READ).get("traces?limits=3")

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "limits"


def test_the_schema_lists_the_routes(caller: Make) -> None:
    told = caller(Scope.READ).get("schema").json()

    assert "/api/v1/nodes/{name}/drain" in told["paths"]
    assert told["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
