"""A node's endpoint as tests want it: real bus, real gate, real sockets; only the upstreams are mocks."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from meshcore.aio.bus import CapabilityBus
from meshcore.aio.bus_endpoint import BusEndpoint
from meshcore.aio.drain_marker import DrainController
from meshcore.aio.exposition import NodeMetrics
from meshcore.aio.gateway import ClientLimits, ClientRoutes, Gateway, OperatorRoutes, PeerRoutes
from meshcore.aio.gateway.admission import Admission
from meshcore.aio.gateway.detached import DetachedCalls
from meshcore.aio.gateway.run_proxy import RunProxy
from meshcore.aio.gateway.run_routes import RunRoutes
from meshcore.aio.health import ProviderHealthCache
from meshcore.aio.http_transport import HttpTransport
from meshcore.aio.mock_ai import MockAi
from meshcore.aio.providers import OpenAiProvider
from meshcore.aio.run_service import RunService
from meshcore.aio.runlog import EngineGone, RunLog
from meshcore.aio.runlog.memory import MemoryLog
from meshcore.aio.runner import Runner, RunnerPolicy
from meshcore.api_keys import ApiKeys
from meshcore.clock import monotonic, utcnow
from meshcore.config_sections import ProviderSection
from meshcore.drain import DrainPolicy
from meshcore.registry import PeerRecord
from meshcore.trace import RoutingTrace

SECRET = "the mesh's own secret"
KEYS = ("alice:a-key", "charlie:c-key")


@dataclass
class Node:
    """One node and what tests look at."""

    url: str
    bus: CapabilityBus
    controller: DrainController
    gateway: Gateway
    metrics: NodeMetrics
    traces: list[RoutingTrace] = field(repr=False)
    home: Path
    log_id: str = ""

    def knows(self, other: "Node") -> None:
        """Learn what another node offers."""
        record = PeerRecord(other.bus.node_id_full, endpoints=[other.url])
        manifest = other.bus.manifest(url=other.url, log_id=other.log_id)
        self.bus.registry.update_from_peer_manifest(record, manifest)


StartNode = Callable[..., Awaitable[Node]]
StartProvider = Callable[..., Awaitable[OpenAiProvider]]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def start_provider(stack: AsyncExitStack) -> StartProvider:
    async def start(url: str, name: str = "alpha", **settings: Any) -> OpenAiProvider:
        settings = {"models": ("mock-model",), "first_token_seconds": 5.0, **settings}
        section = ProviderSection(name=name, base_url=f"{url}/v1", **settings)
        provider = OpenAiProvider(section, clock=monotonic, utcnow=utcnow)
        await provider.start()
        stack.push_async_callback(provider.close)
        return provider

    return start


@pytest.fixture
def start_node(stack: AsyncExitStack, tmp_path: Path) -> StartNode:
    async def start(
        node_id: str = "node-a",
        *providers: Any,
        api_keys: tuple[str, ...] = (),
        limits: ClientLimits | None = None,
        policy: DrainPolicy | None = None,
        health: ProviderHealthCache | None = None,
        log: RunLog | None = None,
    ) -> Node:
        limits = limits or ClientLimits()
        transport = HttpTransport(SECRET)
        stack.push_async_callback(transport.close)
        traces: list[RoutingTrace] = []
        bus = CapabilityBus(node_id, transport=transport, on_trace=traces.append, health=health)
        for provider in providers:
            bus.register_provider(provider)
        controller = DrainController(
            home=tmp_path / node_id, on_status=lambda _: None, policy=policy or DrainPolicy()
        )
        bus.draining = lambda: not controller.accepts()
        metrics = NodeMetrics(node_id, version="1", readout=controller.readout, breakers=bus.health.reports)
        keys = ApiKeys(api_keys)
        endpoint = BusEndpoint(bus, SECRET)
        service, run_routes = await start_runs(stack, bus, controller, endpoint, transport, keys, limits, log)
        gateway = Gateway(
            ClientRoutes(
                bus=bus,
                controller=controller,
                api_keys=keys,
                limits=limits,
                random=os.urandom,
                clock=monotonic,
                utcnow=utcnow,
                detached=DetachedCalls(run_routes, service, utcnow=utcnow),
            ),
            PeerRoutes(endpoint, controller, max_body_bytes=limits.max_body_bytes),
            OperatorRoutes(
                bus=bus,
                controller=controller,
                metrics=metrics,
                api_keys=keys,
                utcnow=utcnow,
                has_log=lambda: log is None or service.is_ready,
            ),
            run_routes,
        )
        url = await gateway.start("127.0.0.1", 0)
        stack.push_async_callback(gateway.stop)
        return Node(url, bus, controller, gateway, metrics, traces, tmp_path / node_id, service.log_id)

    return start


async def start_runs(
    stack: AsyncExitStack,
    bus: CapabilityBus,
    controller: DrainController,
    endpoint: BusEndpoint,
    transport: HttpTransport,
    keys: ApiKeys,
    limits: ClientLimits,
    log: RunLog | None,
) -> tuple[RunService, RunRoutes]:
    """Return a node's part in runs, alive in `log`; without one it can't be opened."""

    async def open_log() -> RunLog:
        if log is None:
            raise EngineGone("there is none")
        return log

    def make(log: RunLog) -> Runner:
        return Runner(
            log,
            bus,
            controller,
            home=f"home-{bus.node_id_full}",
            policy=RunnerPolicy(),
            clock=monotonic,
            utcnow=utcnow,
            random=random.random,
        )

    service = RunService(
        open_log, make, on_open=lambda log_id: setattr(endpoint, "log_id", log_id), random=random.random
    )
    if log is not None:
        await service.start()
        life = asyncio.create_task(service.run())
        stack.push_async_callback(asyncio.wait, [life])
        stack.callback(life.cancel)
        stack.push_async_callback(service.stop)
    routes = RunRoutes(
        service,
        endpoint,
        RunProxy(bus.registry, transport),
        Admission(bus.node_id_full, controller, max_streams=limits.max_streams),
        api_keys=keys,
        max_body_bytes=limits.max_body_bytes,
        max_viewers=limits.max_streams,
    )
    return service, routes


@pytest.fixture
def mock() -> MockAi:
    return MockAi()


@pytest.fixture
async def node(
    mock: MockAi, stack: AsyncExitStack, start_node: StartNode, start_provider: StartProvider
) -> Node:
    url = await stack.enter_async_context(mock.serve())
    return await start_node("node-a", await start_provider(url))


@pytest.fixture
async def mesh(stack: AsyncExitStack) -> HttpTransport:
    """How another node of the mesh calls."""
    transport = HttpTransport(SECRET)
    stack.push_async_callback(transport.close)
    return transport


@pytest.fixture
async def http(stack: AsyncExitStack) -> aiohttp.ClientSession:
    return await stack.enter_async_context(aiohttp.ClientSession())


@pytest.fixture
def client_of(stack: AsyncExitStack) -> Callable[..., openai.AsyncOpenAI]:
    def client(node: Node, api_key: str = "none") -> openai.AsyncOpenAI:
        client = openai.AsyncOpenAI(base_url=f"{node.url}/v1", api_key=api_key, max_retries=0)
        stack.push_async_callback(client.close)
        return client

    return client


@pytest.fixture
async def upstream(mock: MockAi, stack: AsyncExitStack) -> str:
    return await stack.enter_async_context(mock.serve())


@pytest.fixture
async def run_node(start_node: StartNode, start_provider: StartProvider, upstream: str) -> Node:
    """A node that asks for keys and has a run log."""
    return await start_node("node-a", await start_provider(upstream), api_keys=KEYS, log=MemoryLog())
