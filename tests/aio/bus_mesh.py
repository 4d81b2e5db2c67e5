"""What the tests of the bus share: nodes in memory and over real HTTP, handlers that count, bodies."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from meshcore.aio.bus import CapabilityBus
from meshcore.aio.bus_endpoint import BusEndpoint
from meshcore.aio.health import ProviderHealthCache
from meshcore.aio.transport import Transport
from meshcore.capability import CallInfo, CapabilityDescriptor, RouteRequest
from meshcore.clock import Clock, monotonic
from meshcore.errors import CallError
from meshcore.openai_wire import Chunk, parse_chunk
from meshcore.registry import PeerRecord

SECRET = "mesh-secret"
CHAT = ("llm.chat", (1, 0))
BODY: dict[str, Any] = {"params": {}, "input": {"messages": [{"role": "user", "content": "hi"}]}}

ROLE = b'{"choices":[{"delta":{"role":"assistant"}}]}'
STOP = b'{"choices":[{"delta":{},"finish_reason":"stop"}]}'
USAGE = b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}'


def says(text: str) -> bytes:
    """Return a content chunk's data."""
    return b'{"choices":[{"delta":{"content":"%s"}}]}' % text.encode()


Step = bytes | Exception | Callable[[], Awaitable[object]]
"""Data of a chunk to yield, an error to raise, or something to wait for."""


class Script:
    """A service whose every call plays the same steps; `calls`, `closed` and `running` count."""

    def __init__(self, *steps: Step, model: str = "m", **fields: Any) -> None:
        self.steps = steps
        self.calls = 0
        self.closed = 0
        self.running = 0
        self.requests: list[RouteRequest] = []
        self.infos: list[CallInfo] = []
        self.descriptor = CapabilityDescriptor(
            **{
                "name": "llm.chat",
                "provider": "scripted",
                "params": {"model": model},
                "max_concurrent": 100,
                **fields,
            }
        )

    def offer_to(self, bus: CapabilityBus) -> "Script":
        """Register with a bus."""
        bus.register_capability(self.descriptor, self.call, stream=self.stream)
        return self

    async def call(self, request: RouteRequest, info: CallInfo) -> dict[str, Any]:
        """Play all steps, then answer with what they said together."""
        said = [chunk.text async for chunk in self.stream(request, info)]
        return {"output": {"message": {"role": "assistant", "content": "".join(said)}}, "model": info.model}

    async def stream(self, request: RouteRequest, info: CallInfo) -> AsyncGenerator[Chunk, None]:
        """Play the steps."""
        self.calls += 1
        self.running += 1
        self.requests.append(request)
        self.infos.append(info)
        try:
            for step in self.steps:
                if isinstance(step, bytes):
                    yield parse_chunk(step)
                elif isinstance(step, Exception):
                    raise step
                else:
                    await step()
        finally:
            self.running -= 1
            self.closed += 1


def fails(code: str, message: str = "scripted", **fields: Any) -> CallError:
    """Return an error to play."""
    return CallError(code, message, **fields)


def make_bus(
    node_id: str,
    transport: Transport | None = None,
    *,
    clock: Clock = monotonic,
    threshold: int = 2,
    **fields: Any,
) -> CapabilityBus:
    """Return a bus whose breakers open after `threshold` failures."""
    health = ProviderHealthCache(failure_threshold=threshold, clock=clock)
    return CapabilityBus(node_id, "default", transport, clock=clock, health=health, **fields)


def introduce(bus: CapabilityBus, peer: CapabilityBus, url: str = "") -> None:
    """Let `bus` know what `peer` offers."""
    record = PeerRecord(peer.node_id_full, endpoints=[url] if url else [])
    bus.registry.update_from_peer_manifest(record, peer.manifest())


def content(result: dict[str, Any]) -> str:
    """Return the answer's text."""
    text: str = result["output"]["message"]["content"]
    return text


def is_at_rest(*buses: CapabilityBus) -> bool:
    """Return whether nothing is in flight and no permit is out."""
    return all(
        bus.health.permits_out == 0 and all(entry.in_flight == 0 for entry in bus.registry.all())
        for bus in buses
    )


@asynccontextmanager
async def serve(bus: CapabilityBus, *, secret: str = SECRET, **fields: Any) -> AsyncIterator[str]:
    """Serve a bus on a free port, as the gateway does, and give its URL."""
    endpoint = BusEndpoint(bus, secret, **fields)

    async def handle(request: web.Request) -> web.StreamResponse:
        answer = await endpoint.handle(request.method, request.path, request.headers, await request.read())
        if answer.events is None:
            return web.Response(
                status=answer.status,
                body=answer.body,
                content_type=answer.content_type,
                headers=answer.headers,
            )
        response = web.StreamResponse(headers={**answer.headers, "Content-Type": answer.content_type})
        await response.prepare(request)
        try:
            async for event in answer.events:
                await response.write(event)
        finally:
            await answer.events.aclose()
        return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    async with serve_app(app) as url:
        yield url


@asynccontextmanager
async def serve_app(app: web.Application) -> AsyncIterator[str]:
    """Serve an application on a free port and give its URL."""
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()
