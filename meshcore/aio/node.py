"""The composition root: wires a node's parts, lets them live in one task group, and ends them in order.

Ending: the gate closes first, so that work can only fall; what is in flight may finish; then the dashboard is
told that the node goes, and everything is closed in the reverse order of its opening.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec

from meshcore.aio.alias_file import AliasFile
from meshcore.aio.bus_endpoint import BusEndpoint
from meshcore.aio.drain_marker import DrainController
from meshcore.aio.exposition import NodeMetrics
from meshcore.aio.health import HealthProbe, ProviderHealthCache
from meshcore.aio.lock_file import held_lock
from meshcore.aio.node_parts import (
    drain_policy,
    make_bus,
    make_gateway,
    make_poller,
    make_providers,
    make_run_service,
    make_transport,
)
from meshcore.aio.reporting import Reporting
from meshcore.aio.run_streams import RunStreams
from meshcore.aio.standing_orders import StandingOrders
from meshcore.aio.stop_requests import StopRequests
from meshcore.alias import AliasBook
from meshcore.capability import Manifest
from meshcore.clock import Clock, UtcNow, monotonic, utcnow
from meshcore.config_sections import NodeConfig
from meshcore.drain_steps import Step
from meshcore.errors import DrainForced
from meshcore.runs import RunState
from meshcore.trace import RoutingTrace
from meshcore.version import VERSION

logger = logging.getLogger(__name__)

FINISH_SECONDS = 20.0  # for work in flight when the node stops: within the 30 s that orchestrators give
BREAKER_TICK_SECONDS = 0.2  # what time alone does to breakers is told at most so late


async def run_node(
    config: NodeConfig,
    *,
    announce: Callable[[str], None],
    lifeline: bool = False,
    alias_file: AliasFile | None = None,
) -> None:
    """Run a node until it is told to stop; `announce` gets its URL once it listens.

    Its aliases follow `alias_file`, when there is one.

    Raises AlreadyRunning when another process has its home, OSError when it can't listen or write.
    """
    requests = StopRequests()
    with held_lock(Path(config.node.home) / "lock"), requests.listening(lifeline=lifeline):
        await Node(config, alias_file=alias_file).run(requests, announce)


class Node:
    """A node's parts. It needs a running loop, and its home for itself."""

    def __init__(
        self,
        config: NodeConfig,
        *,
        alias_file: AliasFile | None = None,
        clock: Clock = monotonic,
        utcnow: UtcNow = utcnow,
    ) -> None:
        self._config = config
        self._alias_file = alias_file
        self._aliases = AliasBook(config.aliases)
        self._url = config.node.advertise or f"http://{config.node.listen}"
        instance_id = secrets.token_hex(16)
        self._health = ProviderHealthCache(
            failure_threshold=config.breaker.failure_threshold,
            unhealthy_backoff_sec=config.breaker.backoff_seconds,
            clock=clock,
            utcnow=utcnow,
        )
        self._orders = StandingOrders(self._health, self._aliases, utcnow=utcnow)
        self._controller = DrainController(
            home=config.node.home,
            on_status=self._on_status,
            on_step=self._on_step,
            on_desired=self._orders.obey,
            problems=self._orders.problems,
            policy=drain_policy(config),
            instance_id=instance_id,
            clock=clock,
            utcnow=utcnow,
        )
        self._transport = make_transport(config, clock=clock, utcnow=utcnow)
        self._bus = make_bus(
            config,
            self._transport,
            self._health,
            self._aliases,
            draining=lambda: not self._controller.accepts(),
            on_trace=self._on_trace,
            clock=clock,
            utcnow=utcnow,
        )
        self._poller = make_poller(config, self._bus, self._transport)
        self._metrics = NodeMetrics(
            config.node.id, version=VERSION, readout=self._controller.readout, breakers=self._health.reports
        )
        self._providers = make_providers(config, clock=clock, utcnow=utcnow)
        self._endpoint = BusEndpoint(
            self._bus, config.secrets.mesh_secret, clock=clock, utcnow=utcnow, url=self._url
        )
        self._runs = make_run_service(
            config,
            self._bus,
            self._controller,
            on_end=self._on_run_end,
            on_fenced=self._metrics.on_run_fenced,
            on_open=self._on_log,
            clock=clock,
            utcnow=utcnow,
        )
        self._gateway = make_gateway(
            config,
            self._bus,
            self._endpoint,
            self._controller,
            self._metrics,
            self._runs,
            self._transport,
            clock=clock,
            utcnow=utcnow,
        )
        self._reporting = self._make_reporting(instance_id, clock, utcnow)
        self._health.add_transition_listener(self._metrics.on_transition)
        if self._reporting is not None:
            self._health.add_transition_listener(self._reporting.on_transition)
        for provider in self._providers:
            self._bus.register_provider(provider)
        self._orders.obey(self._controller.desired)

    async def run(self, requests: StopRequests, announce: Callable[[str], None]) -> None:
        """Live until `requests.stop`; everything is closed when this returns."""
        async with AsyncExitStack() as stack:
            await self._open(stack)
            self._controller.tick()  # before the first call can come
            listen = self._config.node.listen
            url = await self._gateway.start(listen.host, listen.port)
            stack.push_async_callback(self._gateway.stop)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(work) for work in self._works(requests)]
                announce(url)
                logger.info("%s listens on %s", self._config.node.id, url)
                await requests.stop.wait()
                await self._wind_down(requests.hurry)
                for task in tasks:
                    task.cancel()
        self._controller.mark_stopped()

    async def _open(self, stack: AsyncExitStack) -> None:
        if self._reporting is not None:
            await stack.enter_async_context(self._reporting.spooling())
        if self._transport is not None:
            stack.push_async_callback(self._transport.close)
        for provider in self._providers:
            stack.push_async_callback(provider.close)
        stack.push_async_callback(self._runs.close)
        await asyncio.gather(self._runs.start(), *(provider.start() for provider in self._providers))

    def _works(self, requests: StopRequests) -> Iterator[Coroutine[Any, Any, None]]:
        """Yield what goes on for as long as the node lives."""
        if self._alias_file is not None:
            yield self._alias_file.follow(self._aliases, requests.hangup)
        yield self._controller.watch()
        yield self._advance_breakers()
        yield self._probe()
        yield self._runs.run()
        if self._poller is not None:
            yield self._poller.run()
        if self._reporting is not None:
            yield self._reporting.run()

    async def _advance_breakers(self) -> None:
        while True:
            await asyncio.sleep(BREAKER_TICK_SECONDS)
            self._health.advance()

    async def _probe(self) -> None:
        settings = self._config.probe
        probes = {provider.name: provider.probe for provider in self._providers}
        probe = HealthProbe(self._health, probes, settings.interval_seconds, settings.timeout_seconds)
        probe.start()
        try:
            await asyncio.Event().wait()
        finally:
            await probe.stop()

    async def _wind_down(self, hurry: asyncio.Event) -> None:
        self._controller.begin_shutdown()
        await self._runs.stop()  # peers go on with them now, not when all else is done
        finished = asyncio.create_task(self._controller.until_quiet())
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait({finished, hurried}, timeout=FINISH_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not finished.done():
            logger.warning("stopping with %d in flight", self._controller.readout().in_flight.total)
        finished.cancel()
        hurried.cancel()
        if self._reporting is not None:
            await self._reporting.go_idle()

    def _on_status(self, status: str) -> None:
        if self._reporting is not None:
            self._reporting.on_status(status)

    def _on_step(self, step: Step) -> None:
        if self._reporting is not None:
            self._reporting.on_step(step)

    def _on_trace(self, trace: RoutingTrace) -> None:
        if trace.outcome != "ok" and self._controller.ended_by_force(trace.trace_id):
            forced = DrainForced(self._config.node.id)
            trace = msgspec.structs.replace(trace, code=str(forced.code), message=forced.message)
        self._metrics.on_trace(trace)
        if self._reporting is not None:
            self._reporting.on_trace(trace)

    def _on_run_end(self, run_id: str, state: RunState) -> None:
        if self._reporting is not None:
            self._reporting.on_run_end(run_id, state)

    def _on_log(self, log_id: str) -> None:
        self._endpoint.log_id = log_id
        if self._reporting is not None:
            self._reporting.on_log()

    def _manifest(self) -> Manifest:
        return self._bus.manifest(url=self._url, log_id=self._runs.log_id)

    def _make_reporting(self, instance_id: str, clock: Clock, utcnow: UtcNow) -> Reporting | None:
        if self._config.dashboard is None:
            return None
        return Reporting(
            self._config,
            self._config.dashboard,
            instance_id=instance_id,
            controller=self._controller,
            health=self._health,
            manifest=self._manifest,
            on_peers=self._poller.hear if self._poller else None,
            log_id=lambda: self._runs.log_id,
            runs=self._runs.reports,
            on_inbound=self._runs.obey,
            streams=RunStreams(self._runs),
            clock=clock,
            utcnow=utcnow,
        )
