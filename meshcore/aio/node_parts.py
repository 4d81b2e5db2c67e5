"""Makes the parts of a node from its configuration."""

import os
import random
from collections.abc import Callable
from pathlib import Path

from meshcore.aio.bus import BusSettings, CapabilityBus
from meshcore.aio.bus_endpoint import BusEndpoint
from meshcore.aio.drain_marker import DrainController
from meshcore.aio.exposition import NodeMetrics
from meshcore.aio.gateway.admission import Admission
from meshcore.aio.gateway.client_routes import ClientLimits, ClientRoutes
from meshcore.aio.gateway.detached import DetachedCalls
from meshcore.aio.gateway.operator_routes import OperatorRoutes
from meshcore.aio.gateway.peer_routes import PeerRoutes
from meshcore.aio.gateway.run_proxy import RunProxy
from meshcore.aio.gateway.run_routes import RunRoutes
from meshcore.aio.gateway.server import Gateway
from meshcore.aio.health import ProviderHealthCache
from meshcore.aio.http_transport import HttpTransport
from meshcore.aio.peers import PeerPoller
from meshcore.aio.peers_file import PeersFile
from meshcore.aio.providers.base import Provider
from meshcore.aio.providers.from_config import provider_from
from meshcore.aio.run_heart import home_name
from meshcore.aio.run_service import RunService
from meshcore.aio.run_terms import ExecutionPolicy
from meshcore.aio.runlog import RunLog, open_run_log
from meshcore.aio.runner import Runner, RunnerPolicy
from meshcore.alias import AliasBook
from meshcore.api_keys import ApiKeys
from meshcore.clock import Clock, UtcNow
from meshcore.config_sections import NodeConfig
from meshcore.drain import DrainPolicy
from meshcore.run_orphans import OrphanPolicy
from meshcore.runs import RunState
from meshcore.trace import RoutingTrace


def drain_policy(config: NodeConfig) -> DrainPolicy:
    """Return how the node drains."""
    join_wait = config.dashboard.join_wait_seconds if config.dashboard else 0.0
    return DrainPolicy(join_wait_seconds=join_wait, edge_grace_seconds=config.gateway.edge_grace_seconds)


def make_providers(config: NodeConfig, *, clock: Clock, utcnow: UtcNow) -> list[Provider]:
    """Return the node's providers, not started."""
    keys = config.secrets.provider_keys
    return [provider_from(each, keys[each.name], clock=clock, utcnow=utcnow) for each in config.providers]


def make_transport(config: NodeConfig, *, clock: Clock, utcnow: UtcNow) -> HttpTransport | None:
    """Return the way to peers; without a mesh secret there is none, as no call could be signed for them."""
    secret = config.secrets.mesh_secret
    return HttpTransport(secret, clock=clock, utcnow=utcnow) if secret else None


def make_bus(
    config: NodeConfig,
    transport: HttpTransport | None,
    health: ProviderHealthCache,
    aliases: AliasBook,
    *,
    draining: Callable[[], bool],
    on_trace: Callable[[RoutingTrace], None],
    clock: Clock,
    utcnow: UtcNow,
) -> CapabilityBus:
    """Return the node's bus, without its providers."""
    settings = config.bus
    bus = CapabilityBus(
        config.node.id,
        config.node.community,
        transport,
        clock=clock,
        utcnow=utcnow,
        health=health,
        settings=BusSettings(
            max_attempts=settings.max_attempts,
            freshness_seconds=settings.freshness_seconds,
            deadline_seconds=settings.deadline_seconds,
            on_broken_stream=config.runs.on_broken_stream,
        ),
        aliases=aliases,
        on_trace=on_trace,
    )
    bus.draining = draining
    return bus


def make_poller(config: NodeConfig, bus: CapabilityBus, transport: HttpTransport | None) -> PeerPoller | None:
    """Return what follows the peers, when there is a way to them."""
    if transport is None:
        return None
    return PeerPoller(
        bus,
        transport,
        {peer.id: peer.url for peer in config.peers},
        file=PeersFile(Path(config.node.home)) if config.dashboard else None,
        allow_plain_http=config.gateway.allow_plain_http,
    )


def make_run_service(
    config: NodeConfig,
    bus: CapabilityBus,
    controller: DrainController,
    *,
    on_end: Callable[[str, RunState], None],
    on_fenced: Callable[[], None],
    on_open: Callable[[str], None],
    clock: Clock,
    utcnow: UtcNow,
) -> RunService:
    """Return the node's part in runs, not started. Raises OSError when its home can't be written."""
    runs = config.runs
    home = home_name(Path(config.node.home))
    policy = RunnerPolicy(
        heartbeat_seconds=runs.heartbeat_seconds,
        lease_seconds=runs.lease_seconds,
        orphans=OrphanPolicy(lease_seconds=runs.lease_seconds, stall_seconds=runs.stall_seconds),
        execution=ExecutionPolicy(
            on_broken_stream=runs.on_broken_stream,
            stall_seconds=runs.stall_seconds,
            max_chunks=runs.max_chunks,
            max_bytes=runs.max_bytes,
        ),
    )

    def make(log: RunLog) -> Runner:
        return Runner(
            log,
            bus,
            controller,
            home=home,
            policy=policy,
            on_end=on_end,
            on_fenced=on_fenced,
            clock=clock,
            utcnow=utcnow,
            random=random.random,
        )

    return RunService(
        lambda: open_run_log(runs.log, sync=runs.sync, now=utcnow),
        make,
        on_open=on_open,
        random=random.random,
    )


def make_gateway(
    config: NodeConfig,
    bus: CapabilityBus,
    endpoint: BusEndpoint,
    controller: DrainController,
    metrics: NodeMetrics,
    runs: RunService,
    transport: HttpTransport | None,
    *,
    clock: Clock,
    utcnow: UtcNow,
) -> Gateway:
    """Return the node's endpoint, not started."""
    limits, api_keys = config.gateway, ApiKeys(config.secrets.api_keys)
    run_routes = RunRoutes(
        runs,
        endpoint,
        RunProxy(bus.registry, transport),
        Admission(bus.node_id_full, controller, max_streams=limits.max_streams),
        api_keys=api_keys,
        max_body_bytes=limits.max_body_bytes,
        max_viewers=limits.max_streams,
    )
    clients = ClientRoutes(
        bus=bus,
        controller=controller,
        api_keys=api_keys,
        limits=ClientLimits(max_body_bytes=limits.max_body_bytes, max_streams=limits.max_streams),
        random=os.urandom,
        clock=clock,
        utcnow=utcnow,
        detached=DetachedCalls(run_routes, runs, utcnow=utcnow),
    )
    operators = OperatorRoutes(
        bus=bus,
        controller=controller,
        metrics=metrics,
        api_keys=api_keys,
        utcnow=utcnow,
        has_log=lambda: runs.is_ready,
    )
    peers = PeerRoutes(endpoint, controller, max_body_bytes=limits.max_body_bytes)
    return Gateway(clients, peers, operators, run_routes)
