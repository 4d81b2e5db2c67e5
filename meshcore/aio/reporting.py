"""A node's reports to its dashboard: what happened goes into the spool, what is goes over the link.

Without a dashboard in the configuration there is none of this, and the node runs all the same.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from meshcore.aio.drain_marker import DrainController
from meshcore.aio.health import ProviderHealthCache, TransitionEvent
from meshcore.aio.inbound_events import Handler
from meshcore.aio.link_client import LinkClient, OnPeers
from meshcore.aio.run_streams import RunStreams
from meshcore.aio.spool_file import SpoolFile
from meshcore.aio.telemetry_feed import TelemetryFeed
from meshcore.capability import Manifest
from meshcore.clock import Clock, UtcNow
from meshcore.config_sections import DashboardSection, NodeConfig
from meshcore.drain_steps import Step
from meshcore.frames import Health, Hello
from meshcore.run_reports import RunReport, fit
from meshcore.runs import RunState
from meshcore.trace import RoutingTrace
from meshcore.version import VERSION

logger = logging.getLogger(__name__)

IDLE_SECONDS = 2.0  # for the dashboard to say that it knows that the node goes


class Reporting:
    """Reports of the node whose parts are given; `manifest` says what it offers now.

    `on_peers` hears which other nodes the dashboard knows of, `on_inbound` what it orders once, `streams`
    sends the runs that are watched there, `log_id` says which run log this node has, and `runs` which runs it
    owns.
    """

    def __init__(
        self,
        config: NodeConfig,
        dashboard: DashboardSection,
        *,
        instance_id: str,
        controller: DrainController,
        health: ProviderHealthCache,
        manifest: Callable[[], Manifest],
        on_peers: OnPeers | None = None,
        on_inbound: Handler | None = None,
        streams: RunStreams | None = None,
        log_id: Callable[[], str] = str,
        runs: Callable[[], Iterable[RunReport]] = tuple,
        clock: Clock,
        utcnow: UtcNow,
    ) -> None:
        self._node_id = config.node.id
        self._instance_id = instance_id
        self._controller = controller
        self._health = health
        self._manifest = manifest
        self._log_id = log_id
        self._runs = runs
        self._utcnow = utcnow
        home = Path(config.node.home)
        self._spool = SpoolFile.open(home, config.spool.max_bytes, config.spool.max_items, utcnow=utcnow)
        self._feed = TelemetryFeed(self._spool, utcnow=utcnow)
        self._link = LinkClient(
            dashboard.url,
            config.secrets.dashboard_token,
            hello=self._hello,
            health=self._say_health,
            spool=self._spool,
            on_desired=controller.apply_desired,
            on_peers=on_peers,
            on_inbound=on_inbound,
            streams=streams,
            clock=clock,
        )

    def on_trace(self, trace: RoutingTrace) -> None:
        """Take a finished call."""
        self._feed.on_trace(trace)

    def on_transition(self, event: TransitionEvent) -> None:
        """Take a change of a breaker, and say it at once."""
        self._feed.on_transition(event)
        self._link.health_changed()

    def on_step(self, step: Step) -> None:
        """Take a step of a drain, and say it at once."""
        self._feed.on_step(step)
        self._link.health_changed()

    def on_run_end(self, run_id: str, state: RunState) -> None:
        """Take the end of a run."""
        self._feed.on_run_end(run_id, state)

    def on_log(self) -> None:
        """The run log is open now: a hello that was said before had no id of it."""
        self._link.hello_changed()

    def on_status(self, _: str) -> None:
        """Say at once that the node's state is another one."""
        self._link.health_changed()

    @asynccontextmanager
    async def spooling(self) -> AsyncIterator[None]:
        """Keep what is reported while the context lasts; all of it is on disk when it ends."""
        async with self._spool:
            try:
                yield
            finally:
                self._feed.flush()

    async def run(self) -> None:
        """Stay in touch with the dashboard until cancelled, and open the gate when it first answers."""
        async with asyncio.TaskGroup() as group:
            for work in (self._link.run(), self._feed.run(), self._join()):
                group.create_task(_alone(work))

    async def go_idle(self) -> None:
        """Tell the dashboard that the node goes on purpose."""
        await self._link.go_idle(IDLE_SECONDS)

    async def _join(self) -> None:
        await self._link.first_descriptor.wait()
        self._controller.joined()

    def _hello(self) -> Hello:
        return Hello(
            node_id=self._node_id,
            instance_id=self._instance_id,
            spool_id="",  # the link knows the spool
            clock=self._utcnow(),
            manifest=self._manifest(),
            boot_epoch=self._controller.boot_epoch,
            log_id=self._log_id(),
            desired_generation=self._controller.observed_generation,
        )

    def _say_health(self) -> Health:
        runs, runs_more = fit(self._runs())
        return Health(
            no=0,  # the link counts
            at=self._utcnow(),
            node=self._controller.readout(),
            breakers=tuple(self._health.reports()),
            runs=runs,
            runs_more=runs_more,
            spool=self._spool.report(),
            version=VERSION,
        )


async def _alone(work: Coroutine[Any, Any, None]) -> None:
    """Let `work` fail alone: whatever is wrong with reporting, the node goes on serving."""
    try:
        await work
    except Exception:
        logger.exception("reporting to the dashboard failed; serving goes on, a restart brings reports back")
