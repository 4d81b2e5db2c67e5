"""The capability bus of a node: each call goes to a local provider or to a peer, and fails over
(bus-and-breaker §1).

An **outermost** call may go anywhere, is tried up to `max_attempts` times, and is stamped with who
answered. A peer's call (`local_only`) sees local candidates alone, is tried once, and is not stamped: so a
call crosses one hop and two nodes never play ping-pong.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypedDict, Unpack

import msgspec

from meshcore.aio.bus_stream import BusStream
from meshcore.aio.dispatch import BusSettings, Dispatcher
from meshcore.aio.exchange import Exchange
from meshcore.aio.health import ProviderHealthCache
from meshcore.aio.offering import (
    AnyHandler,
    AnyStreamHandler,
    Provider,
    Service,
    adapt,
    adapt_stream,
    offer,
)
from meshcore.aio.owned_calls import OwnedCalls
from meshcore.aio.scatter import Scatter
from meshcore.aio.transport import InMemoryTransport, Transport
from meshcore.alias import AliasBook
from meshcore.capability import CapabilityDescriptor, Manifest, RouteRequest, Version, asked_model
from meshcore.chain import walk_for
from meshcore.clock import Clock, UtcNow, monotonic, utcnow
from meshcore.config_sections import OnBrokenStream
from meshcore.errors import CallError
from meshcore.journey import Journey
from meshcore.openai_wire import usage_of
from meshcore.registry import Entry, ParamsCompatible, Registry
from meshcore.routing import turned_away
from meshcore.topology import manifest_of, topology_of
from meshcore.trace import RoutingTrace, TraceRing, stamped
from meshcore.traceparent import trace_ids

__all__ = ["BusSettings", "BusStream", "CallOptions", "CapabilityBus"]

SCATTER_SECONDS = 5.0  # for each provider that is asked at once with others

logger = logging.getLogger(__name__)


class CallOptions(TypedDict, total=False):
    """What may be said of an outermost call beside its question."""

    session_id: str | None  # calls of one session stay with one provider
    deadline_seconds: float | None  # None: the bus's own
    caller: str  # name of the client's key
    trace_id: str | None  # None: a new one
    traceparent: str


class CapabilityBus:
    """Node `node_id_full`'s bus; it belongs to one event loop.

    `on_trace` gets the trace of every finished outermost call; all traces, of peers' calls too, are in
    `traces`. `draining` may be set to a function that tells whether the node's gate is closed.
    """

    def __init__(
        self,
        node_id_full: str,
        community_id: str = "default",
        transport: Transport | None = None,
        *,
        clock: Clock = monotonic,
        utcnow: UtcNow = utcnow,
        health: ProviderHealthCache | None = None,
        settings: BusSettings | None = None,
        aliases: AliasBook | None = None,
        on_trace: Callable[[RoutingTrace], None] | None = None,
    ) -> None:
        self.node_id_full = node_id_full
        self.community_id = community_id
        self.settings = settings or BusSettings()
        self.health = health or ProviderHealthCache(clock=clock, utcnow=utcnow)
        self.aliases = aliases or AliasBook()
        self.registry = Registry(node_id_full, clock=clock)
        self.traces = TraceRing(self.settings.trace_ring)
        self.draining: Callable[[], bool] = lambda: False
        self._clock = clock
        self._utcnow = utcnow
        self._on_trace = on_trace
        self._trace_ids = trace_ids(secrets.token_bytes)
        self._dispatcher = Dispatcher(self.registry, self.health, self.settings, clock=clock)
        self._exchange = Exchange(node_id_full, transport)
        self._scatter = Scatter(self._dispatcher, self._exchange, clock=clock, finished=self._finished)
        self.owned = OwnedCalls(
            self._dispatcher,
            self._exchange,
            begin=partial(self._journey, local_only=False),
            carry_out=self._run,
            finished=self._finished,
            clock=clock,
        )
        if isinstance(transport, InMemoryTransport):
            transport.attach(self)

    def register_service(self, service: Service) -> None:
        """Offer all capabilities of a service."""
        for descriptor, handler, *rest in service.capabilities():
            self.register_capability(descriptor, handler, *rest, stream=getattr(handler, "stream", None))

    def register_capability(
        self,
        descriptor: CapabilityDescriptor,
        handler: AnyHandler,
        params_compatible: ParamsCompatible | None = None,
        *,
        stream: AnyStreamHandler | None = None,
    ) -> Entry:
        """Offer one capability, served by `handler(request)` or `handler(request, call)`."""
        entry = self.registry.register_local(
            descriptor, adapt(handler), stream=adapt_stream(stream), params_compatible=params_compatible
        )
        self.health.ensure(entry.breaker_key)
        return entry

    def register_provider(self, provider: Provider) -> None:
        """Offer what a provider can do, now and whenever that changes."""
        provider.on_change = lambda: self._offer(provider)
        self._offer(provider)

    def call(
        self,
        capability: str,
        version: Version,
        body: dict[str, Any],
        *,
        draining: bool = False,
        **options: Unpack[CallOptions],
    ) -> Coroutine[Any, Any, dict[str, Any]]:
        """Give the result of an outermost call, or `{"error", "message", "attempts", …}`; it raises
        nothing.

        `draining` refuses this node's own providers. `_routed_via`, `_trace_id` and `_attempts` (how many)
        are always in the result.
        """
        journey = self._journey(self._request(capability, version, body, **options), False)
        return self._run(journey, draining or self.draining())

    def stream(
        self,
        capability: str,
        version: Version,
        body: dict[str, Any],
        *,
        draining: bool = False,
        **options: Unpack[CallOptions],
    ) -> BusStream:
        """Return the chunks of an outermost call; nothing happens before its `start` or first chunk."""
        request = self._request(capability, version, body, stream=True, **options)
        return self._stream(request, local_only=False, draining=draining)

    async def call_all(
        self,
        capability: str,
        version: Version,
        body: dict[str, Any],
        *,
        timeout_seconds: float = SCATTER_SECONDS,
        caller: str = "",
        trace_id: str | None = None,
    ) -> list[tuple[str, dict[str, Any]]]:
        """Return (node id, result) of up to 8 providers asked at once; who fails or is late is left out."""
        said = CallOptions(deadline_seconds=timeout_seconds, caller=caller, trace_id=trace_id)
        request = self._request(capability, version, body, **said)
        begin = partial(self._journey, request, local_only=False)
        return await self._scatter.call(begin, draining=self.draining())

    async def handle_call(self, request: RouteRequest, local_only: bool = False) -> dict[str, Any]:
        """Return the result of a call made elsewhere; `local_only` for every call that comes from a peer."""
        if local_only and (refusal := self._refusal(request)) is not None:
            return refusal.as_result()
        journey = self._journey(request, local_only)
        return await self._run(journey, not local_only and self.draining())

    def handle_stream(self, request: RouteRequest, local_only: bool = True) -> BusStream:
        """Return the chunks of a call made elsewhere."""
        return self._stream(request, local_only=local_only, draining=False)

    def manifest(self, *, url: str = "", log_id: str = "", draining: bool | None = None) -> Manifest:
        """Return what this node offers to peers; `draining` None asks the gate."""
        return manifest_of(
            self.registry,
            node_id=self.node_id_full,
            community=self.community_id,
            url=url,
            log_id=log_id,
            draining=self.draining() if draining is None else draining,
            is_healthy=self.health.is_healthy,
        )

    def topology_snapshot(self) -> dict[str, Any]:
        """Return peers, capabilities, breakers, aliases and the last calls, as plain data for people."""
        return topology_of(
            self.registry,
            node_id=self.node_id_full,
            now=self._clock(),
            observed_at=self._utcnow(),
            draining=self.draining(),
            traces=self.traces,
            breakers=self.health.reports(),
            aliases=self.aliases,
            sessions=len(self._dispatcher.sessions),
        )

    def _offer(self, provider: Provider) -> None:
        offer(provider, self.registry)
        self.health.ensure(provider.name)

    def _request(
        self,
        capability: str,
        version: Version,
        body: dict[str, Any],
        *,
        stream: bool = False,
        session_id: str | None = None,
        deadline_seconds: float | None = None,
        caller: str = "",
        trace_id: str | None = None,
        traceparent: str = "",
    ) -> RouteRequest:
        trace_id = trace_id or next(self._trace_ids)
        deadline_ms = 0.0 if deadline_seconds is None else (self._clock() + deadline_seconds) * 1000
        return RouteRequest(
            capability, version, body, caller, trace_id, session_id, deadline_ms, stream, (), traceparent
        )

    def _journey(self, request: RouteRequest, local_only: bool) -> Journey:
        if not request.trace_id:
            request = msgspec.structs.replace(request, trace_id=next(self._trace_ids))
        now, params = self._clock(), request.params()
        model = asked_model(params)
        deadline = request.deadline_ms / 1000 if request.deadline_ms else now + self.settings.deadline_seconds
        walk = None if local_only else walk_for(model, params, request.body, self.aliases)
        return Journey(
            request, self.node_id_full, now, self._utcnow(), deadline, local_only, params, model, walk
        )

    def _refusal(self, request: RouteRequest) -> CallError | None:
        return turned_away(request, node_id=self.node_id_full, draining=self.draining())

    def _stream(self, request: RouteRequest, *, local_only: bool, draining: bool) -> BusStream:
        return BusStream(
            self._journey(request, local_only=local_only),
            self._dispatcher,
            self._exchange,
            clock=self._clock,
            draining=draining or (not local_only and self.draining()),
            refusal=self._refusal(request) if local_only else None,
            finished=self._finished,
            continues=not local_only and self.settings.on_broken_stream is OnBrokenStream.CONTINUE,
        )

    async def _run(self, journey: Journey, draining: bool) -> dict[str, Any]:
        while (lease := self._dispatcher.next(journey, draining)) is not None:
            try:
                result = await self._exchange.call(lease, journey)
            except CallError as exc:
                if not self._dispatcher.failed(lease, journey, exc):
                    break
            except asyncio.CancelledError:
                self._dispatcher.abandoned(lease, journey, journey.cancelled())
                self._finished(journey, journey.cancelled())
                raise
            else:
                self._dispatcher.succeeded(lease, journey)
                journey.answered(result.get("model"), usage_of(result))
                return stamped(result, self._finished(journey, None))
        error = journey.surfaced(journey.question(draining=draining))
        return stamped(error.as_result(), self._finished(journey, error))

    def _finished(self, journey: Journey, error: CallError | None) -> RoutingTrace:
        trace = journey.trace(self._clock(), error)
        self.traces.push(trace)
        if self._on_trace is not None and not journey.local_only:
            try:
                self._on_trace(trace)
            except Exception:
                logger.exception("the trace of %s was not taken", trace.trace_id)
        return trace
