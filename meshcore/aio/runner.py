"""A node's part in the runs of one log: it makes them, executes its own, and looks after those of the dead.

beats     a sign of life every second, and the end of everything when none is stored any more
sweep     every half a second, and at once when somebody lets a run go: what orphans are there?
follow    one feed for all runs: a run that is executed here is to end, or was taken
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

from meshcore.aio.bus import CapabilityBus
from meshcore.aio.drain_marker import DrainController
from meshcore.aio.run_desk import RunDesk
from meshcore.aio.run_hands import RunHands
from meshcore.aio.run_heart import Heart
from meshcore.aio.run_sweep import Sweeper
from meshcore.aio.run_terms import ExecutionPolicy, Tools
from meshcore.aio.runlog import EngineGone, RunLog
from meshcore.aio.time_limits import TimeLimits
from meshcore.clock import Clock, UtcNow
from meshcore.run_events import CancelRequested, End, Released, beside_chunks
from meshcore.run_orphans import OrphanPolicy
from meshcore.run_record import Record, append_ids
from meshcore.run_reports import RunReport
from meshcore.runs import RunState

SWEEP_SECONDS = 0.5
TRIM_SECONDS = 60.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerPolicy:
    """How a node beats, and its bounds for runs; seconds above 0."""

    heartbeat_seconds: float = 1.0
    lease_seconds: float = 4.0
    orphans: OrphanPolicy = field(default_factory=OrphanPolicy)
    execution: ExecutionPolicy = field(default_factory=ExecutionPolicy)


class Runner:
    """See the module. `on_end` hears of runs that ended here, `on_fenced` of each that was taken away."""

    def __init__(
        self,
        log: RunLog,
        bus: CapabilityBus,
        controller: DrainController,
        *,
        home: str,
        policy: RunnerPolicy,
        on_end: Callable[[str, RunState], None] = lambda run_id, state: None,
        on_fenced: Callable[[], None] = lambda: None,
        clock: Clock,
        utcnow: UtcNow,
        random: Callable[[], float],
    ) -> None:
        self.log = log
        self._utcnow = utcnow
        self._random = random
        self._wake = asyncio.Event()
        ids = partial(next, append_ids(secrets.token_hex))
        tools = Tools(log, bus.owned, policy.execution, ids, clock, utcnow, random, TimeLimits())
        self._heart = Heart(
            log,
            node=bus.node_id_full,
            home=home,
            heartbeat_seconds=policy.heartbeat_seconds,
            lease_seconds=policy.lease_seconds,
            on_fenced=lambda: self._hands.fence(),
            clock=clock,
        )
        self._hands = RunHands(bus, controller, self._heart, tools, on_end=on_end, on_fenced=on_fenced)
        self.desk = RunDesk(log, bus, self._heart, self._hands, utcnow=utcnow)
        self._sweeper = Sweeper(
            self._heart,
            tools,
            policy=policy.orphans,
            claim=self._hands.claim,
            is_in_hand=self._hands.has,
            on_end=on_end,
        )

    @property
    def is_ready(self) -> bool:
        """Whether this node may own runs."""
        return self._heart.is_alive

    def reports(self) -> Iterator[RunReport]:
        """Yield what the dashboard is told of the runs of this node now."""
        return self._hands.reports()

    async def take_place(self) -> None:
        """Begin to live in the log. Raises IdentityTaken, EngineGone."""
        await self._heart.take_place()

    async def run(self) -> None:
        """Live until cancelled."""
        async with asyncio.TaskGroup() as group:
            for work in (self._heart.run(), self._sweep_on(), self._follow_on(), self._trim_on()):
                group.create_task(work)

    async def stop(self) -> None:
        """Let all runs go, for peers to take them at once, and say that this instance ended."""
        await self._hands.stop()
        try:
            await self._heart.stop()
        except EngineGone as exc:
            logger.warning("the run log wasn't told that this node ends: %s", exc)

    async def _sweep_on(self) -> None:
        while True:
            self._wake.clear()
            await self._guarded("a sweep", self._sweeper.sweep())
            try:
                async with asyncio.timeout(SWEEP_SECONDS * (0.75 + self._random() / 2)):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _follow_on(self) -> None:
        while True:
            await self._guarded("the feed", self._follow())
            await asyncio.sleep(SWEEP_SECONDS)

    async def _follow(self) -> None:
        async with aclosing(self.log.feed()) as feed:
            self._hear("", None)  # what came before was not heard
            async for run_id, record in feed:
                self._hear(run_id, record if run_id else None)

    def _hear(self, run_id: str, record: Record | None) -> None:
        """Take news of a run; no record: news of any may have been missed."""
        if record is None:
            self._sweeper.look_at_all()
            self._hands.look_all()
            return
        if self._hands.look(run_id, record.last_seq):
            return
        for event in beside_chunks(record.events):
            if isinstance(event, End):
                self._sweeper.forget(run_id)
            elif isinstance(event, CancelRequested | Released):
                self._sweeper.look_at(run_id)
                self._wake.set()

    async def _trim_on(self) -> None:
        while True:
            await asyncio.sleep(TRIM_SECONDS)
            await self._guarded("trimming", self._trim(self._utcnow()))

    async def _trim(self, now: datetime) -> None:
        await self.log.trim(now)

    async def _guarded(self, what: str, work: Coroutine[Any, Any, None]) -> None:
        """Do what fails alone: a node whose sweep died would leave runs to themselves."""
        try:
            await work
        except EngineGone as exc:
            logger.warning("%s failed: %s", what, exc)
        except Exception:
            logger.exception("%s failed", what)
