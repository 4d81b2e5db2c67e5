"""Health, readiness and metrics: for probes, load balancers, Prometheus and people."""

from collections.abc import Callable, Iterable
from ipaddress import IPv6Address, ip_address
from typing import Any

from meshcore.aio.bus import CapabilityBus
from meshcore.aio.drain_marker import DrainController
from meshcore.aio.exposition import CONTENT_TYPE, NodeMetrics
from meshcore.aio.gateway.answers import Answer, json_answer
from meshcore.aio.gateway.message import Request
from meshcore.aio.gateway.requests import caller_of, is_asked_locally
from meshcore.aio.gateway.routes import Route
from meshcore.api_keys import ApiKeys
from meshcore.breaker_terms import BreakerState
from meshcore.clock import UtcNow
from meshcore.errors import Code
from meshcore.frames import BreakerReport

READY_RETRY_SECONDS = "5"
UNHEALTHY = frozenset({BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.FORCED_OPEN})


class OperatorRoutes:
    """`/healthz` and `/readyz` are open, `/metrics` is on loopback; the rest wants a client's key."""

    def __init__(
        self,
        *,
        bus: CapabilityBus,
        controller: DrainController,
        metrics: NodeMetrics,
        api_keys: ApiKeys,
        utcnow: UtcNow,
        has_log: Callable[[], bool] = lambda: True,
    ) -> None:
        self._bus = bus
        self._controller = controller
        self._metrics = metrics
        self._api_keys = api_keys
        self._utcnow = utcnow
        self._has_log = has_log

    def routes(self) -> Iterable[Route]:
        """Return the routes."""
        yield Route("GET", "/healthz", self._alive)
        yield Route("GET", "/readyz", self._ready)
        yield Route("GET", "/metrics", self._show_metrics)
        yield Route("GET", "/v1/health", self._show_health)
        yield Route("GET", "/v1/aliases", self._show_aliases)

    async def _alive(self, _: Request) -> Answer:
        return json_answer({"status": "ok"})

    async def _ready(self, _: Request) -> Answer:
        accepts = self._controller.accepts()
        if accepts and self._has_log():
            return json_answer({"status": "ready"})
        readout = self._controller.readout()
        said = {
            "status": Code.LOG_UNREACHABLE if accepts else readout.state,
            "safe_to_stop": readout.safe_to_stop,
        }
        return json_answer(said, status=503, headers={"Retry-After": READY_RETRY_SECONDS})

    async def _show_metrics(self, http: Request) -> Answer:
        if not (is_loopback(http.remote) and is_asked_locally(http)):
            caller_of(http, self._api_keys)
        return Answer(self._metrics.text(), content_type=CONTENT_TYPE)

    async def _show_health(self, http: Request) -> Answer:
        caller_of(http, self._api_keys)
        reports = self._bus.health.reports()
        own = {entry.breaker_key for entry in self._bus.registry.all_local()}
        up = {report.key: report.state not in UNHEALTHY for report in reports if report.key in own}
        return json_answer(
            {
                "status": "healthy" if all(up.values()) else "degraded" if any(up.values()) else "unhealthy",
                "node": self._bus.node_id_full,
                "state": self._controller.readout().state,
                "observed_at": self._utcnow(),
                "providers": {report.key: _provider(report) for report in reports},
            }
        )

    async def _show_aliases(self, http: Request) -> Answer:
        caller_of(http, self._api_keys)
        book = self._bus.aliases
        aliases = [{"name": name, "chain": list(map(str, chain))} for name, chain in book.chains().items()]
        return json_answer({"source": book.source, "problems": book.problems, "aliases": aliases})


def _provider(report: BreakerReport) -> dict[str, Any]:
    return {
        "status": "unhealthy" if report.state in UNHEALTHY else "healthy",
        "state": report.state,
        "consecutive_failures": report.strikes,
        "seconds_remaining": report.seconds_remaining,
        "cooling_seconds": report.cooling_seconds,
        "last_error": report.last_error,
    }


def is_loopback(address: str | None) -> bool:
    """Return whether an address is this machine's loopback, in either family or as IPv4 inside IPv6."""
    if address is None:
        return False
    ip = ip_address(address.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return (mapped or ip).is_loopback
