"""`/metrics` in Prometheus' format: open to this machine itself, else for whoever may read."""

from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.http.request import split_domain_port, validate_host
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily

from dashboard import runtime
from dashboard.edge.address import is_local, values
from dashboard.edge.responses import problem, respond
from dashboard.models import Action
from dashboard.runtime import Runtime
from dashboard.selectors import sessions
from dashboard.services import audit_refusals, ballast, rights, tokens
from dashboard.services.rights import Right
from dashboard.services.tokens import TokenRejected, TokensUnavailable

Scope = dict[str, Any]


async def metrics(scope: Scope, receive: Any, send: Any) -> None:
    """Answer with the metrics of this process."""
    running = runtime.current()
    if scope["method"] not in ("GET", "HEAD"):
        await problem(send, HTTPStatus.METHOD_NOT_ALLOWED, "only GET", (b"allow", b"GET, HEAD"))
        return
    refusal = None if _is_open_to(scope) else await running.in_control(_refusal, scope)
    if refusal is not None:
        status, detail = refusal
        audit_refusals.note(
            actor=audit_refusals.stranger(scope["client"][0]),
            action=Action.ACCESS,
            target="GET metrics",
            status=status.value,
            reason=detail,
        )
        await problem(send, status, detail, *_challenge(status))
        return
    body = b"" if scope["method"] == "HEAD" else generate_latest(_registry(running))
    await respond(send, HTTPStatus.OK, body, CONTENT_TYPE_LATEST.encode())


def _is_open_to(scope: Scope) -> bool:
    """Return whether this machine asks, and by one of our names: a foreign page can't borrow its browser."""
    host = next(iter(values(scope, b"host")), "")
    return is_local(scope) and validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS)


def _refusal(scope: Scope) -> tuple[HTTPStatus, str] | None:
    """Return why not, by token if there is one, else by session; reads the database."""
    secret = tokens.secret_in(values(scope, b"authorization"))
    try:
        if secret:
            token = tokens.authenticate(secret, address=scope["client"][0])
            may = rights.token_rights(token)
        else:
            user = sessions.user_of(sessions.key_of(scope))
            if user is None:
                return HTTPStatus.UNAUTHORIZED, "a token with the scope `read` is needed"
            may = rights.user_rights(user)
    except TokenRejected:
        return HTTPStatus.UNAUTHORIZED, "this token is not known"
    except TokensUnavailable:
        return HTTPStatus.SERVICE_UNAVAILABLE, "tokens can't be checked now"
    return None if Right.READ in may else (HTTPStatus.FORBIDDEN, "the scope `read` is needed")


def _challenge(status: HTTPStatus) -> list[tuple[bytes, bytes]]:
    return [(b"www-authenticate", b"Bearer")] if status is HTTPStatus.UNAUTHORIZED else []


def _registry(running: Runtime) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(_RuntimeCollector(running))
    return registry


class _RuntimeCollector:
    """Reads a runtime when it is asked; it counts nothing itself."""

    def __init__(self, running: Runtime) -> None:
        self._running = running

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the families."""
        running = self._running
        yield _gauge("change_id", "Id of the newest change that was announced", running.cursor)
        yield _gauge("node_links", "Nodes whose link is open here", len(running.links))
        held = ballast.current()
        if held is not None:
            yield _gauge("telemetry_stopped", "1 while the disk is full", float(held.stopped_at is not None))
            yield _gauge("ballast_bytes", "Room that is kept for orders", held.held_bytes)
        for name, read in sorted(running.gauges.items()):
            yield _gauge(name, name.replace("_", " "), read())
        waiting = GaugeMetricFamily("meshboard_lane_waiting", "Calls given to a lane", labels=["lane"])
        for lane in running.lanes:
            waiting.add_metric([lane.name], lane.waiting)
        yield waiting
        nodes = GaugeMetricFamily("meshboard_nodes", "Nodes by the state that is shown", labels=["state"])
        for state, count in sorted(Counter(look.state.value for look in running.looks.values()).items()):
            nodes.add_metric([state], count)
        yield nodes


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"meshboard_{name}", text, value=value)
