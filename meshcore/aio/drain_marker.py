"""Obeys the local marker file and the dashboard's stored order: the node's gate (drain-and-control §1).

The functions that write and read the marker are in `marker_file` and come from here, too.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from meshcore import desired, drain_request
from meshcore.aio.boot import boot_epoch
from meshcore.aio.desired_file import DesiredFile
from meshcore.aio.marker_file import (
    clear_drain_request,
    drain_request_path,
    drain_requested,
    is_stale,
    look,
    read_drain_request,
    write_drain_request,
)
from meshcore.clock import Clock, UtcNow, monotonic, utcnow
from meshcore.drain import (
    DrainInfo,
    DrainMachine,
    DrainPolicy,
    DrainSource,
    NodeState,
    Readout,
    Work,
    WorkLedger,
)
from meshcore.drain_request import Witness
from meshcore.drain_steps import Step, forced, steps_between
from meshcore.frames import Desired

__all__ = [
    "DrainController",
    "clear_drain_request",
    "drain_request_path",
    "drain_requested",
    "read_drain_request",
    "write_drain_request",
]

logger = logging.getLogger(__name__)
AT_ONCE = DrainPolicy()


class DrainController:
    """Closes and opens the node's gate as the marker and the stored desired state ask, and says so.

    `on_status` gets each change of state once ("draining", "running", "stopping", …), `on_step` each step of
    a drain, `on_desired` each order once it is stored, and `problems` says what of the last one wasn't taken.
    The gate is closed from the first moment when a drain is stored; `tick` looks at the marker and must run
    before the first call is accepted, `watch` does so ever after.
    """

    def __init__(
        self,
        *,
        home: Path | str,
        on_status: Callable[[str], None],
        interval: float = 1.0,
        ledger: WorkLedger | None = None,
        policy: DrainPolicy = AT_ONCE,
        instance_id: str = "",
        on_step: Callable[[Step], None] = lambda step: None,
        on_desired: Callable[[Desired], None] = lambda order: None,
        problems: Callable[[], tuple[str, ...]] = tuple,
        clock: Clock = monotonic,
        utcnow: UtcNow = utcnow,
    ) -> None:
        self.ledger = ledger or WorkLedger(clock=clock, utcnow=utcnow)
        self.ledger.on_quiet = self._look_again
        self.ledger.on_forced_end = self._tell_forced
        self._home = Path(home)
        self._on_status = on_status
        self._on_step = on_step
        self._on_desired = on_desired
        self._problems = problems
        self._interval = interval
        self._instance_id = instance_id
        self._clock = clock
        self._utcnow = utcnow
        self.boot_epoch = boot_epoch()
        self._machine = DrainMachine(self.ledger, policy=policy, clock=clock, utcnow=utcnow)
        self._file = DesiredFile(self._home)
        self._held = self._file.load()
        self._unstored: Desired | None = None  # an order that the disk didn't take yet
        self._disk_problem = ""  # why it didn't
        self._storing = asyncio.Lock()
        self._local: DrainInfo | None = None
        self._marker_error = ""
        self._wake = asyncio.Event()
        self._quiet = asyncio.Event()
        self._machine.ask(self._desired_asks())
        self._told = Readout(
            state=NodeState.JOINING, accepting=False, observed_generation=self.observed_generation
        )

    @property
    def draining(self) -> bool:
        """Whether somebody asks for a drain, whatever else the node does."""
        return self._machine.draining

    @property
    def observed_generation(self) -> int:
        """Generation of the desired state that is stored and acted on; 0: none yet."""
        return max(self._held.generation, 0)

    @property
    def desired(self) -> Desired:
        """The desired state that is stored and acted on."""
        return self._held

    def accepts(self, internal: bool = False) -> bool:
        """Return whether new work may begin; admit it without an await in between."""
        return self._machine.accepts(internal=internal)

    def edge_open(self) -> bool:
        """Return whether a draining node still passes new calls on to peers."""
        return self._machine.edge_open()

    def ended_by_force(self, work_id: str) -> bool:
        """Return whether the work of that id, which is still counted, ends because of a drain's deadline."""
        if not self._machine.forces():
            return False
        return any(work.forced and work.work_id == work_id for work in self.ledger.in_order_of_force())

    def readout(self) -> Readout:
        """Return what the node says of itself now."""
        problems = (self._disk_problem,) if self._disk_problem else ()
        return self._machine.readout(
            observed_generation=self.observed_generation, problems=(*problems, *self._problems())
        )

    def enter(self) -> None:
        """Begin to drain at once, until the next look at who asks for it."""
        if not self._machine.draining:
            self._machine.ask([DrainInfo(source=DrainSource.LOCAL, since=self._utcnow())])
            self._tell()

    def exit(self) -> None:
        """End the drain at once, until the next look at who asks for it."""
        self._machine.ask([])
        self._tell()

    def joined(self) -> None:
        """Open the gate, unless a drain closes it: the dashboard has answered."""
        self._machine.joined()
        self._tell()

    def begin_shutdown(self) -> None:
        """Close the gate for good."""
        self._machine.begin_shutdown()
        self._tell()

    def mark_stopped(self) -> None:
        """Refuse everything and end the watch."""
        self._machine.mark_stopped()
        self._tell()
        self._wake.set()

    async def apply_desired(self, order: Desired) -> None:
        """Store an order of the dashboard, then act on it; an old one is ignored.

        What the disk refuses isn't acted on: the watch tries again, and until then the generation stays
        unobserved.
        """
        async with self._storing:
            if not desired.is_newer(order, self._held):
                return
            try:
                await asyncio.to_thread(self._file.store, order)
            except OSError as exc:
                self._note_unstored(order, exc)
                return
            self._held, self._unstored, self._disk_problem = order, None, ""
        self.tick()
        self._wake.set()  # it may have brought a deadline
        self._on_desired(order)

    def tick(self) -> None:
        """Look at who asks for a drain now and act on it."""
        self._local = self._look_at_marker()
        self._machine.ask([*self._desired_asks(), *filter(None, [self._local])])
        self._tell()
        if self._machine.forces():
            self._force()

    async def watch(self) -> None:
        """Tick now, with every interval and at every event, until the node is stopped; errors are logged."""
        while self._machine.state() is not NodeState.STOPPED:
            self._wake.clear()
            try:
                if self._unstored:
                    await self.apply_desired(self._unstored)
                self.tick()
            except Exception:  # a node whose watcher died could neither be drained nor given back
                logger.exception("a look at the drain failed; the next one comes in %g s", self._interval)
            await self._wait()

    async def until_quiet(self) -> None:
        """Wait until nothing is in flight, neither owned nor passed on."""
        while self.ledger.total or self.ledger.edge_count:
            self._quiet.clear()
            await self._quiet.wait()

    async def _wait(self) -> None:
        deadline = self._machine.next_deadline()
        seconds = self._interval if deadline is None else min(self._interval, deadline - self._clock())
        try:
            async with asyncio.timeout(max(seconds, 0)):
                await self._wake.wait()
        except TimeoutError:
            return

    def _look_again(self) -> None:
        self._wake.set()
        self._quiet.set()

    def _desired_asks(self) -> list[DrainInfo]:
        asked = desired.drain_asked(self._held)
        return [asked] if asked else []

    def _note_unstored(self, order: Desired, error: OSError) -> None:
        self._disk_problem = f"desired state {order.generation} can't be stored: {error}"
        if self._unstored is None:
            logger.error("%s", self._disk_problem)
        self._unstored = order

    def _force(self) -> None:
        """End what is left; each piece is told of as it ends."""
        ended = sum(work.force() for work in self.ledger.in_order_of_force())
        if ended:
            logger.warning("the deadline of the drain is over: ending %d in flight", ended)

    def _tell_forced(self, work: Work) -> None:
        self._on_step(forced(work, self.readout()))

    def _look_at_marker(self) -> DrainInfo | None:
        try:
            content = look(self._home)
        except OSError as exc:
            if str(exc) != self._marker_error:
                logger.error("the drain marker can't be read, so nothing changes: %s", exc)
            self._marker_error = str(exc)
            return self._local
        self._marker_error = ""
        witness = Witness(self.boot_epoch, self._instance_id, self._utcnow())
        if content is None or is_stale(self._home, content, witness):
            return None
        asked = drain_request.drain_info(content)
        # A keep-alive rewrites the time of the request; the drain began when it was first seen.
        return msgspec.structs.replace(asked, since=self._local.since if self._local else asked.since)

    def _tell(self) -> None:
        before, self._told = self._told, self.readout()
        status = self._machine.status_to_write()
        if status is not None:
            logger.info("%s: %d in flight", status, self._told.in_flight.total)
            self._on_status(status.value)
        for step in steps_between(before, self._told):
            self._on_step(step)
