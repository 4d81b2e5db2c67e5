"""Puts together the bigger parts of a node from its configuration."""

import os
import random
from collections.abc import Callable
from pathlib import Path

from meshcore.aio.bus import CapabilityBus
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
from meshcore.aio.http_transport import HttpTransport
from meshcore.aio.run_heart import home_name
from meshcore.aio.run_service import RunService
from meshcore.aio.run_terms import ExecutionPolicy
from meshcore.aio.runlog import RunLog, open_run_log
from meshcore.aio.runner import Runner, RunnerPolicy
from meshcore.api_keys import ApiKeys
from meshcore.clock import Clock, UtcNow
from meshcore.config_sections import NodeConfig
from meshcore.run_orphans import OrphanPolicy
from meshcore.runs import RunState


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
