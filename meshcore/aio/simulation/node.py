"""One simulated node: link, spool, breakers and drain are the real ones, its calls are not."""

import asyncio
import random as chance
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from meshcore import clock as real
from meshcore.aio.health import ProviderHealthCache, TransitionEvent
from meshcore.aio.link_client import LinkClient
from meshcore.aio.simulation.calls import CAPABILITY, UNAVAILABLE, Calls, SimulatedCall
from meshcore.aio.simulation.memory_spool import MemorySpool
from meshcore.aio.standing_orders import StandingOrders
from meshcore.aio.telemetry_feed import TelemetryFeed
from meshcore.alias import AliasBook
from meshcore.breaker import Outcome
from meshcore.capability import Manifest, Offer
from meshcore.clock import Clock, UtcNow
from meshcore.desired import drain_asked, is_newer
from meshcore.drain import DrainMachine, Readout
from meshcore.drain_steps import forced, steps_between
from meshcore.frames import Desired, Health, Hello
from meshcore.version import VERSION
from meshcore.work_ledger import Work, WorkKind, WorkLedger

TICK_SECONDS = 1.0  # between two looks at the deadline of a drain


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlan:
    """What each simulated node is like."""

    providers: int = 20  # >= 1
    calls_per_second: float = 1.0  # >= 0, on average
    max_items: int = 2_000  # in its spool; an item has about 1 kB

    def __post_init__(self) -> None:
        if self.providers < 1 or self.calls_per_second < 0 or self.max_items < 1:
            raise ValueError(f"{self}: expected a provider, a rate from 0, room for an item")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the providers, the same on all nodes."""
        return tuple(f"provider-{n:02d}" for n in range(1, self.providers + 1))


class SimulatedNode:
    """See the module; `run` it, everything else may be called beside it."""

    def __init__(
        self,
        name: str,
        token: str,
        dashboard_url: str,
        plan: NodePlan,
        *,
        instance_id: str = "",
        clock: Clock = real.monotonic,
        utcnow: UtcNow = real.utcnow,
        random: Callable[[], float] = chance.random,
    ) -> None:
        self.name = name
        self.calls_ended = self.calls_failed = self.calls_refused = 0
        self._plan = plan
        self._utcnow = utcnow
        self._random = random
        self._instance_id = instance_id or uuid.uuid4().hex
        self._boot_epoch = uuid.uuid4().hex
        self._held = Desired(generation=0)
        self._health = ProviderHealthCache(clock=clock, utcnow=utcnow)
        self._health.add_transition_listener(self._on_transition)
        self._orders = StandingOrders(self._health, AliasBook(), utcnow=utcnow)
        self._ledger = WorkLedger(clock=clock, utcnow=utcnow, on_forced_end=self._on_forced_end)
        self._machine = DrainMachine(self._ledger, clock=clock, utcnow=utcnow)
        self.calls = Calls(
            name,
            plan.names,
            self._health,
            clock=clock,
            utcnow=utcnow,
            random=random,
            trace_id=lambda: uuid.uuid4().hex,
        )
        self.spool = MemorySpool(max_items=plan.max_items, make_id=lambda: uuid.uuid4().hex)
        self._feed = TelemetryFeed(self.spool, utcnow=utcnow)
        self.link = LinkClient(
            dashboard_url,
            token,
            hello=self._hello,
            health=self._say_health,
            spool=self.spool,
            on_desired=self._obey,
            clock=clock,
            random=random,
        )
        self._told = self.readout()

    def readout(self) -> Readout:
        """Return what the node says of itself now."""
        return self._machine.readout(
            observed_generation=self._held.generation, problems=self._orders.problems()
        )

    def has_caught_up(self) -> bool:
        """Return whether the dashboard has committed all that was ever spooled."""
        return self.link.first_descriptor.is_set() and self.spool.acknowledged_to == self.spool.last_seq

    def remember(self, calls: int) -> None:
        """Spool so many calls as if they had been made while the dashboard was away."""
        for _ in range(calls):
            call = self.calls.begin()
            self._finish(call)

    def trip(self, provider: str) -> None:
        """Let the breaker of a provider trip now."""
        for _ in range(self._health.failure_threshold):
            self._health.mark_unhealthy(provider, UNAVAILABLE)

    def heal(self, provider: str) -> None:
        """Let the breaker of a provider close now."""
        self._health.mark_healthy(provider)

    async def run(self) -> None:
        """Make calls, and report, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for work in (self.link.run(), self._feed.run(), self._make_calls(), self._tick()):
                group.create_task(work)

    async def _make_calls(self) -> None:
        if not self._plan.calls_per_second:
            return
        while True:
            await asyncio.sleep(2 * self._random() / self._plan.calls_per_second)
            if self._machine.accepts():
                self._admit()
            else:
                self.calls_refused += 1

    def _admit(self) -> None:
        call = self.calls.begin()
        work = self._ledger.admit(WorkKind.STREAM, call.trace.trace_id)
        work.provider = call.trace.provider
        timer = asyncio.get_running_loop().call_later(call.seconds, self._end, work, call)
        work.on_force = lambda: self._cut_off(work, call, timer)

    def _end(self, work: Work, call: SimulatedCall) -> None:
        self._finish(call)
        work.close()
        self._tell()

    def _cut_off(self, work: Work, call: SimulatedCall, timer: asyncio.TimerHandle) -> None:
        timer.cancel()
        self.calls.end(call, Outcome.ABANDONED)
        self.calls_failed += 1
        work.close()

    def _finish(self, call: SimulatedCall) -> None:
        self.calls.end(call)
        self.calls_ended += 1
        self.calls_failed += call.trace.outcome != "ok"
        self._feed.on_trace(call.trace)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            if self._machine.draining:
                self._look_at_deadline()

    def _look_at_deadline(self) -> None:
        if self._machine.forces():
            for work in self._ledger.in_order_of_force():
                work.force()
        self._tell()

    async def _obey(self, order: Desired) -> None:
        if not is_newer(order, self._held):
            return
        self._held = order
        asked = drain_asked(order)
        self._machine.ask([asked] if asked else [])
        self._orders.obey(order)
        self._look_at_deadline()

    def _tell(self) -> None:
        """Report the steps of a drain since the last look, and say so at once."""
        drains = self._machine.draining or self._told.drain is not None
        if not drains and self._told.observed_generation == self._held.generation:
            return
        before, self._told = self._told, self.readout()
        steps = steps_between(before, self._told)
        for step in steps:
            self._feed.on_step(step)
        if steps:
            self.link.health_changed()

    def _on_forced_end(self, work: Work) -> None:
        self._feed.on_step(forced(work, self.readout()))

    def _on_transition(self, event: TransitionEvent) -> None:
        self._feed.on_transition(event)
        self.link.health_changed()

    def _hello(self) -> Hello:
        return Hello(
            node_id=self.name,
            instance_id=self._instance_id,
            spool_id="",  # the link knows the spool
            clock=self._utcnow(),
            manifest=self._manifest(),
            boot_epoch=self._boot_epoch,
            desired_generation=self._held.generation,
        )

    def _manifest(self) -> Manifest:
        offers = (
            Offer(name=CAPABILITY, provider=name, params={"model": f"{name}-large"})
            for name in self._plan.names
        )
        return Manifest(
            node_id=self.name,
            community="simulation",
            version=VERSION,
            draining=self._machine.draining,
            capabilities=tuple(offers),
        )

    def _say_health(self) -> Health:
        return Health(
            no=0,  # the link counts
            at=self._utcnow(),
            node=self.readout(),
            breakers=tuple(self._health.reports()),
            spool=self.spool.report(),
            version=VERSION,
        )
