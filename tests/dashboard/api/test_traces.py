"""`/api/v1/traces`: what lists and single calls tell."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from dashboard.models import ErrorSignature, Node, Scope, Trace, TraceDetail
from dashboard.selectors import keyset

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


def test_calls_that_failed_over_are_found(node: Node, now: datetime, caller: Make) -> None:
    call(node, now, 1, hops=2)
    call(node, now, 2)

    told = caller(Scope.READ).get("traces?failed_over=true").json()

    assert [trace["trace_id"] for trace in told["results"]] == ["t-1"]


def test_traces_are_filtered_by_what_errors_have_in_common_and_by_numbers(
    node: Node, now: datetime, caller: Make
) -> None:
    kind = ErrorSignature.objects.create(text="timeout: after # s")
    call(node, now, 1, outcome="error", error_signature=kind)
    call(node, now, 2, outcome="error", skipped=1 << 6)
    reader = caller(Scope.READ)

    def found(**query: str) -> list[str]:
        return [each["trace_id"] for each in reader.get(f"traces?{urlencode(query)}").json()["results"]]

    [told] = reader.get("traces?trace_id=t-1").json()["results"]
    assert found(error_signature=told["error_signature"]) == ["t-1"]
    assert found(error_signature="unknown") == []
    assert found(skipped="draining") == ["t-2"]
    assert found(duration_ms_min="12.5", duration_ms_max="1e2") == ["t-2", "t-1"]
    assert found(since=(now + timedelta(seconds=2)).isoformat()) == ["t-2"]
    assert reader.get("traces?tokens_min=-1").status_code == 400


def test_a_search_that_gave_up_says_how_far_it_came(
    node: Node, now: datetime, caller: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        call(node, now, number)
    monkeypatch.setattr(keyset, "WALK_ROWS", 2)

    told = caller(Scope.READ).get("traces?code=timeout").json()

    assert told["results"] == [] and told["next"]
    assert told["searched_to"] == "2026-01-01T12:00:02Z"
