"""Carries out one attempt: hands the call to this node's provider or to a peer, within the attempt's time."""

import logging
from collections.abc import AsyncIterator, Awaitable
from typing import Any

from meshcore.aio.dispatch import Lease
from meshcore.aio.time_limits import TimeLimits
from meshcore.aio.transport import Transport
from meshcore.bus_wire import error_of
from meshcore.capability import CallInfo, RouteRequest
from meshcore.errors import CallError, Code, ExchangeError
from meshcore.journey import Journey
from meshcore.openai_wire import Chunk

# A peer gets a little less time than we wait, so that it can say `timeout` itself when its provider hangs:
# then that provider is struck, and not the peer.
ANSWER_MARGIN_SHARE = 0.2
ANSWER_MARGIN_MAX_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Exchange:
    """The two ways in which node `node_id` gets an answer: its own handlers, and `transport` to peers."""

    def __init__(self, node_id: str, transport: Transport | None) -> None:
        self._node_id = node_id
        self._transport = transport
        self.limits = TimeLimits()  # of all its attempts

    async def call(self, lease: Lease, journey: Journey) -> dict[str, Any]:
        """Return the result of one attempt; raises CallError, also for an error that was returned."""
        handler = lease.entry.handler
        try:
            with self.limits.within(lease.timeout_seconds):
                if handler is None:
                    result = await self._ask_peer(lease, journey)
                else:
                    request = journey.request_to(lease.entry, lease.model)
                    result = await handler(request, _info(lease, journey))
        except CallError:
            raise
        except Exception as exc:
            raise self.failure(lease, journey, exc) from exc
        if not isinstance(result, dict):
            raise CallError(Code.INTERNAL_ERROR, f"{_who(lease)} answered a {type(result).__name__}")
        if "error" in result and (error := error_of(result)) is not None:
            raise error
        return result

    def open(self, lease: Lease, journey: Journey) -> AsyncIterator[Chunk]:
        """Return the chunks of one attempt at a stream, or at the rest of one; raises CallError."""
        entry = lease.entry
        if entry.peer is not None:
            return self._reach().stream(entry.peer.record, self._forwarded(lease, journey))
        if entry.stream is None:
            raise CallError(Code.NOT_IMPLEMENTED, f"{_who(lease)} doesn't stream")
        return entry.stream(journey.request_to(entry, lease.model), _info(lease, journey))

    def failure(self, lease: Lease, journey: Journey, exc: Exception) -> CallError:
        """Return the error that an exception means; of an unexpected one only its type is told."""
        if isinstance(exc, CallError):
            return exc
        if isinstance(exc, TimeoutError):
            # A peer that accepted a stream is well; that its provider is slow is not the peer's strike.
            kind = CallError if lease.entry.is_local or journey.request.stream else ExchangeError
            return kind(Code.TIMEOUT, f"{_who(lease)} didn't answer within {lease.timeout_seconds:.3g} s")
        logger.error("%s failed", _who(lease), exc_info=exc)
        return CallError(Code.INTERNAL_ERROR, f"{_who(lease)} failed with {type(exc).__name__}")

    def _ask_peer(self, lease: Lease, journey: Journey) -> Awaitable[dict[str, Any]]:
        peer = lease.entry.peer
        if peer is None:
            raise CallError(Code.NOT_IMPLEMENTED, f"{_who(lease)} has no handler")
        return self._reach().call(peer.record, self._forwarded(lease, journey))

    def _reach(self) -> Transport:
        if self._transport is None:
            raise ExchangeError(Code.PARTITION, "this node has no transport to peers")
        return self._transport

    def _forwarded(self, lease: Lease, journey: Journey) -> RouteRequest:
        request = journey.request_to(lease.entry, lease.model)
        seconds = lease.timeout_seconds
        seconds -= min(ANSWER_MARGIN_SHARE * seconds, ANSWER_MARGIN_MAX_SECONDS)
        until = journey.deadline if request.stream else lease.started + seconds
        return RouteRequest(
            request.capability,
            request.version_req,
            request.body,
            self._node_id,
            request.trace_id,
            request.session_id,
            min(until, journey.deadline) * 1000,
            request.stream,
            (*request.path, self._node_id),
            request.traceparent,
        )


def _info(lease: Lease, journey: Journey) -> CallInfo:
    request = journey.request
    return CallInfo(
        trace_id=request.trace_id,
        capability=request.capability,
        caller=request.caller,
        deadline=journey.deadline,
        timeout_seconds=lease.timeout_seconds,
        model=lease.model,
        stream=request.stream,
        traceparent=request.traceparent,
    )


def _who(lease: Lease) -> str:
    if not lease.entry.is_local:
        return lease.entry.node_id
    return f"provider {lease.entry.descriptor.provider or lease.entry.descriptor.name}"
