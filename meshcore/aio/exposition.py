"""A node's metrics for Prometheus. Names and labels are a contract with people's alerts: add, never rename.

Labels come from closed sets, so that no peer and no client can make the series grow: a code that this version
does not know is counted as "other", an alias is one of the operator's. Prompts, users and keys are never
labels. Failovers and resolved aliases count what was tried, not what stood next in a list.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import cache

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from meshcore.aio.health_news import TransitionEvent
from meshcore.breaker_terms import BreakerState
from meshcore.drain import Readout
from meshcore.errors import Code
from meshcore.frames import BreakerReport
from meshcore.openai_wire import Operation
from meshcore.trace import RoutingTrace

CONTENT_TYPE = CONTENT_TYPE_LATEST
OTHER = "other"
DURATION_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
"""Bucket borders: from a gateway's own milliseconds to the default deadline of a call."""

_CODES = frozenset(Code)
_CAPABILITIES = frozenset(Operation)


class NodeMetrics:
    """Counts what happens, and reads what is: `readout` and `breakers` are asked at every scrape."""

    def __init__(
        self,
        node_id: str,
        *,
        version: str,
        readout: Callable[[], Readout],
        breakers: Callable[[], Iterable[BreakerReport]],
    ) -> None:
        self._node_id = node_id
        self._registry = CollectorRegistry()
        self._registry.register(_Present(node_id, version, readout, breakers))

        def counter(name: str, what: str, *labels: str) -> Counter:
            return Counter(name, what, labels, registry=self._registry)

        def histogram(name: str, what: str) -> Histogram:
            return Histogram(name, what, ("capability",), buckets=DURATION_SECONDS, registry=self._registry)

        # Looked up by labels once, for every call touches them; closed sets of labels bound the caches, too.
        reasons = ("capability", "outcome", "reason")
        self._calls = cache(counter("mesh_calls", "Calls of clients.", *reasons).labels)
        self._attempts = cache(counter("mesh_route_attempts", "Tries for clients.", *reasons).labels)
        self._failovers = counter(
            "mesh_failovers", "Tries after a failed one.", "from_node", "to_node", "reason"
        )
        self._resolved = counter("mesh_alias_resolved", "Calls by alias that were served.", "alias", "target")
        self._transitions = counter(
            "mesh_provider_breaker_transitions", "Changes of breakers.", "node", "provider", "to"
        )
        self._fenced = counter("mesh_runs_fenced", "Runs that another node had taken over meanwhile.", "node")
        self._fenced.labels(node_id)  # there from the start: an alert on its rise needs the zero
        self._duration = cache(
            histogram("mesh_call_duration_seconds", "Whole duration of clients' calls.").labels
        )
        self._first_token = cache(
            histogram("mesh_time_to_first_token_seconds", "Until the first token.").labels
        )

    def on_trace(self, trace: RoutingTrace) -> None:
        """Count a finished call of a client."""
        capability = trace.capability if trace.capability in _CAPABILITIES else OTHER
        self._calls(capability, trace.outcome, _reason(trace.code)).inc()
        self._duration(capability).observe(trace.duration_ms / 1000)
        if trace.ttft_ms is not None:
            self._first_token(capability).observe(trace.ttft_ms / 1000)
        previous = None
        for attempt in trace.attempts:
            self._attempts(capability, attempt.outcome, _reason(attempt.code)).inc()
            if previous is not None:
                self._failovers.labels(previous.node, attempt.node, _reason(previous.code)).inc()
            previous = attempt
        if trace.alias and previous is not None and trace.outcome == "ok":
            self._resolved.labels(trace.alias, f"{previous.provider}/{previous.model}").inc()

    def on_transition(self, event: TransitionEvent) -> None:
        """Count a breaker's change."""
        self._transitions.labels(self._node_id, event.key, event.to_state).inc()

    def on_run_fenced(self) -> None:
        """Count a run that this node executed and that is another's now."""
        self._fenced.labels(self._node_id).inc()

    def text(self) -> bytes:
        """Return everything in the text format; its content type is `CONTENT_TYPE`."""
        return generate_latest(self._registry)


class _Present(Collector):
    """What is true at the moment of a scrape."""

    def __init__(
        self,
        node_id: str,
        version: str,
        readout: Callable[[], Readout],
        breakers: Callable[[], Iterable[BreakerReport]],
    ) -> None:
        self._node_id = node_id
        self._version = version
        self._readout = readout
        self._breakers = breakers

    def collect(self) -> Iterator[Metric]:
        build = GaugeMetricFamily("mesh_build_info", "The software of this node.", labels=("node", "version"))
        build.add_metric((self._node_id, self._version), 1)
        yield build
        readout = self._readout()
        yield self._of_node("mesh_node_up", "1: the node answers.", 1)
        yield self._of_node("mesh_node_accepting", "1: the node takes new calls.", readout.accepting)
        in_flight = readout.in_flight.total
        yield self._of_node("mesh_node_in_flight_requests", "Work that this node owns.", in_flight)
        yield self._of_node("mesh_node_edge_requests", "Calls passed on while draining.", readout.edge)
        yield self._states()

    def _of_node(self, name: str, what: str, value: float) -> Metric:
        family = GaugeMetricFamily(name, what, labels=("node",))
        family.add_metric((self._node_id,), value)
        return family

    def _states(self) -> Metric:
        labels = ("node", "provider", "state")
        family = GaugeMetricFamily("mesh_provider_breaker_state", "1: the breaker's state.", labels=labels)
        for report in self._breakers():
            for state in BreakerState:
                family.add_metric((self._node_id, report.key, state), report.state is state)
        return family


def _reason(code: str) -> str:
    return code if not code or code in _CODES else OTHER
