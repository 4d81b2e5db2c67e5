"""How calls reach other nodes: one protocol, in memory and over HTTP (bus-and-breaker §1, §5).

A transport says a peer's answer as it came, an error included, as a plain `CallError`; what goes wrong with
the exchange itself is an `ExchangeError`, and only that strikes the peer's breaker.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Protocol

from meshcore.aio.http_transport import HttpTransport
from meshcore.capability import RouteRequest
from meshcore.errors import Code, ExchangeError
from meshcore.openai_wire import Chunk
from meshcore.registry import PeerRecord

__all__ = ["HttpTransport", "InMemoryTransport", "Transport"]


class Transport(Protocol):
    """Carries a request to a peer, which serves it with its local providers alone."""

    async def call(self, peer: PeerRecord, request: RouteRequest) -> dict[str, Any]:
        """Return the peer's result, an error result included; raises ExchangeError."""

    def stream(self, peer: PeerRecord, request: RouteRequest) -> AsyncIterator[Chunk]:
        """Yield the peer's chunks; raises the peer's error as CallError, and ExchangeError."""

    async def close(self) -> None:
        """Close what is kept open between calls."""


class _Inbound(Protocol):
    """The side of a bus that a transport talks to."""

    node_id_full: str

    async def handle_call(self, request: RouteRequest, local_only: bool = False) -> dict[str, Any]: ...

    def handle_stream(self, request: RouteRequest, local_only: bool = True) -> "_InboundStream": ...


class _InboundStream(Protocol):
    def __aiter__(self) -> AsyncIterator[Chunk]: ...

    async def aclose(self) -> None: ...


class InMemoryTransport:
    """Joins the buses of one process, for tests and demos; a bus given this transport registers itself."""

    def __init__(self) -> None:
        self._buses: dict[str, _Inbound] = {}

    def attach(self, bus: _Inbound) -> None:
        """Let others reach `bus` by its node id."""
        self._buses[bus.node_id_full] = bus

    def detach(self, node_id: str) -> None:
        """Cut a node off; calls to it fail with `partition`."""
        self._buses.pop(node_id, None)

    async def call(self, peer: PeerRecord, request: RouteRequest) -> dict[str, Any]:
        """Return the result of the peer's bus."""
        return await self._bus(peer).handle_call(request, local_only=True)

    async def stream(self, peer: PeerRecord, request: RouteRequest) -> AsyncIterator[Chunk]:
        """Yield the chunks of the peer's bus."""
        async with aclosing(self._bus(peer).handle_stream(request, local_only=True)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def close(self) -> None:
        """Nothing is kept open."""

    def _bus(self, peer: PeerRecord) -> _Inbound:
        bus = self._buses.get(peer.node_id_full)
        if bus is None:
            raise ExchangeError(Code.PARTITION, f"{peer.node_id_full} can't be reached")
        return bus
