"""A node's metrics, read by Prometheus's own parser."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families

from meshcore.aio.exposition import NodeMetrics
from meshcore.aio.health import TransitionEvent
from meshcore.breaker_terms import BreakerState, Evidence
from meshcore.drain import InFlight, NodeState, Readout
from meshcore.frames import BreakerReport
from meshcore.trace import Attempt, RoutingTrace

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Value = Callable[..., float | None]


@pytest.fixture
def metrics() -> NodeMetrics:
    readout = Readout(state=NodeState.DRAINING, accepting=False, in_flight=InFlight(calls=3, total=3), edge=2)
    breakers = [BreakerReport(key="alpha", state=BreakerState.OPEN)]
    return NodeMetrics("node-a", version="1.2", readout=lambda: readout, breakers=lambda: breakers)


@pytest.fixture
def value(metrics: NodeMetrics) -> Value:
    def value(name: str, **labels: str) -> float | None:
        samples = [
            sample.value
            for family in text_string_to_metric_families(metrics.text().decode())
            for sample in family.samples
            if sample.name == name and sample.labels == labels
        ]
        return samples[0] if samples else None

    return value


def trace(*attempts: Attempt, **changes: object) -> RoutingTrace:
    fields = {"trace_id": "t", "capability": "llm.chat", "started_at": NOW, "duration_ms": 1500.0}
    return RoutingTrace(**{**fields, "attempts": attempts, **changes})  # type: ignore[arg-type]


def test_what_is_true_now_is_read_at_every_scrape(value: Value) -> None:
    assert value("mesh_build_info", node="node-a", version="1.2") == 1
    assert value("mesh_node_up", node="node-a") == 1
    assert value("mesh_node_accepting", node="node-a") == 0
    assert value("mesh_node_in_flight_requests", node="node-a") == 3
    assert value("mesh_node_edge_requests", node="node-a") == 2


@pytest.mark.parametrize("state", BreakerState)
def test_each_breaker_has_one_state_of_all(value: Value, state: BreakerState) -> None:
    expected = 1 if state is BreakerState.OPEN else 0

    assert value("mesh_provider_breaker_state", node="node-a", provider="alpha", state=state) == expected


def test_a_call_counts_with_its_attempts_and_its_failovers(metrics: NodeMetrics, value: Value) -> None:
    metrics.on_trace(
        trace(
            Attempt(n=1, node="node-a", provider="alpha", outcome="error", code="timeout"),
            Attempt(n=2, node="node-b", provider="beta"),
            ttft_ms=200.0,
        )
    )

    assert value("mesh_calls_total", capability="llm.chat", outcome="ok", reason="") == 1
    assert value("mesh_route_attempts_total", capability="llm.chat", outcome="error", reason="timeout") == 1
    assert value("mesh_route_attempts_total", capability="llm.chat", outcome="ok", reason="") == 1
    assert value("mesh_failovers_total", from_node="node-a", to_node="node-b", reason="timeout") == 1
    assert value("mesh_call_duration_seconds_sum", capability="llm.chat") == 1.5
    assert value("mesh_time_to_first_token_seconds_bucket", capability="llm.chat", le="0.1") == 0
    assert value("mesh_time_to_first_token_seconds_bucket", capability="llm.chat", le="0.25") == 1


def test_an_alias_counts_for_the_entry_that_served(metrics: NodeMetrics, value: Value) -> None:
    served = Attempt(n=2, node="node-b", provider="beta", model="m2")
    metrics.on_trace(trace(Attempt(n=1, node="node-a", provider="alpha", model="m1"), served, alias="mesh/x"))
    metrics.on_trace(trace(served, alias="mesh/x", outcome="error", code="timeout"))
    metrics.on_trace(trace(served))

    assert value("mesh_alias_resolved_total", alias="mesh/x", target="beta/m2") == 1
    assert value("mesh_alias_resolved_total", alias="mesh/x", target="alpha/m1") is None


def test_a_call_without_a_first_token_has_no_time_to_it(metrics: NodeMetrics, value: Value) -> None:
    metrics.on_trace(trace(outcome="error", code="not_found"))

    assert value("mesh_calls_total", capability="llm.chat", outcome="error", reason="not_found") == 1
    assert value("mesh_time_to_first_token_seconds_count", capability="llm.chat") is None


def test_what_nobody_here_knows_is_counted_as_other(metrics: NodeMetrics, value: Value) -> None:
    for number in range(100):
        metrics.on_trace(trace(capability=f"x.{number}", outcome="error", code=f"code-{number}"))

    assert value("mesh_calls_total", capability="other", outcome="error", reason="other") == 100


def test_a_breakers_changes_are_counted(metrics: NodeMetrics, value: Value) -> None:
    metrics.on_transition(
        TransitionEvent(
            key="alpha",
            from_state=BreakerState.SUSPECT,
            to_state=BreakerState.OPEN,
            reason="two failures",
            evidence=Evidence.TRAFFIC,
            actor="",
            at=NOW,
        )
    )

    count = value("mesh_provider_breaker_transitions_total", node="node-a", provider="alpha", to="open")
    assert count == 1


def test_two_nodes_in_one_process_do_not_share_their_numbers(metrics: NodeMetrics) -> None:
    other = NodeMetrics(
        "node-b",
        version="1",
        readout=lambda: Readout(state=NodeState.RUNNING, accepting=True),
        breakers=lambda: [],
    )

    metrics.on_trace(trace())

    assert b'mesh_calls_total{capability="llm.chat"' not in other.text()
