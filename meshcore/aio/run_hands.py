"""What a node executes of its log's runs: it claims them, works on them, and lets them go."""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from meshcore.aio.bus import CapabilityBus
from meshcore.aio.drain_marker import DrainController
from meshcore.aio.owned_calls import Resumption
from meshcore.aio.run_execution import Execution
from meshcore.aio.run_heart import Heart
from meshcore.aio.run_terms import Outcome, Tools
from meshcore.aio.runlog.appending import append
from meshcore.capability import RouteRequest
from meshcore.drain import Work, WorkKind
from meshcore.errors import CallError, Code
from meshcore.run_chunks import begun_of, model_of
from meshcore.run_events import AnyEvent, Claimed, ClaimReason
from meshcore.run_orphans import reason_to_claim
from meshcore.run_reports import RUNS_MAX, RunReport
from meshcore.run_request import RunRequest, parse_stored
from meshcore.run_writer import RunWriter, Turn
from meshcore.runs import RunState
from meshcore.splice import is_used_up, obstacle
from meshcore.traceparent import trace_ids

CALL_SECONDS = 3600.0  # the longest deadline that peers take; what runs for longer than that has failed
UNKNOWN = float("inf")  # the number of an event that there may be
STOP_SECONDS = 5.0  # for the last words of all runs
TOLD_SECONDS = 15.0  # that the end of a run is in its node's health: two of its longest intervals

logger = logging.getLogger(__name__)


class RunHands:
    """See the module. `on_end` hears of runs that ended here, `on_fenced` of each that was taken away."""

    def __init__(
        self,
        bus: CapabilityBus,
        controller: DrainController,
        heart: Heart,
        tools: Tools,
        *,
        on_end: Callable[[str, RunState], None],
        on_fenced: Callable[[], None],
    ) -> None:
        self._bus = bus
        self._controller = controller
        self._heart = heart
        self._tools = tools
        self._on_end = on_end
        self._on_fenced = on_fenced
        self._executing: dict[str, Execution] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._held: dict[str, float] = {}  # runs that are being made or claimed; there is news up to where
        self._ended: deque[tuple[float, RunReport]] = deque(maxlen=RUNS_MAX)  # and when, the oldest first
        self._is_stopping = False
        self._trace_ids = trace_ids(secrets.token_bytes)

    def has(self, run_id: str) -> bool:
        """Return whether a run is executed here, or about to be."""
        return run_id in self._executing or run_id in self._held

    @contextmanager
    def holding(self, run_id: str, work: Work | None) -> Iterator[None]:
        """Have a run in hand while the context lasts; its work is counted out unless it is executed then."""
        self._held[run_id] = 0
        try:
            yield
        finally:
            self._held.pop(run_id, None)
            execution = self._executing.get(run_id)
            if work is not None and (execution is None or execution.work is not work):
                work.close()

    def reports(self) -> Iterator[RunReport]:
        """Yield what is to be told of runs that ended here just now, then of those that are executed."""
        told_until = self._tools.clock() - TOLD_SECONDS
        while self._ended and self._ended[0][0] < told_until:
            self._ended.popleft()
        yield from (said for _, said in self._ended)
        yield from (execution.report() for execution in self._executing.values())

    def look(self, run_id: str, seq: int | None = None) -> bool:
        """Let who executes a run look at news, unless it has read to `seq`; False when nobody here does."""
        execution = self._executing.get(run_id)
        if execution is not None:
            if seq is None or seq > execution.state_seq:
                execution.look()
        elif run_id in self._held:
            self._held[run_id] = UNKNOWN if seq is None else max(seq, self._held[run_id])
        return execution is not None

    def look_all(self) -> None:
        """News of any run may have been missed."""
        self._held = dict.fromkeys(self._held, UNKNOWN)
        for execution in self._executing.values():
            execution.look()

    async def stop(self) -> None:
        """Claim nothing more, and let all runs go, for peers to take them at once."""
        self._is_stopping = True
        for execution in list(self._executing.values()):
            execution.release("stopping")
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
        for task in list(self._tasks):
            task.cancel()

    def route(self, request: RunRequest, client: str, *, run_id: str, trace_id: str = "") -> RouteRequest:
        """Return the call that a run's request stands for, of a trace of its own unless one is given."""
        return request.route(
            self._bus.registry.named(request.capability),
            caller=client,
            deadline=self._tools.clock() + CALL_SECONDS,
            trace_id=trace_id or next(self._trace_ids),
            run_id=run_id,
        )

    async def append(self, run_id: str, writer: RunWriter, *events: AnyEvent) -> Turn:
        """Append events as one record and return what follows. Raises EngineGone."""
        tools = self._tools
        return await append(
            tools.log, run_id, writer, tools.ids(), *events, clock=tools.clock, random=tools.random
        )

    def may_own(self) -> bool:
        """Return whether this node may own runs."""
        return self._heart.is_alive and not self._is_stopping

    async def claim(self, run_id: str, reader: RunWriter) -> bool:
        """Claim a run and execute it, if that can be done here now; return whether it was tried."""
        if not (self._controller.accepts() and self.may_own()):
            return False
        reason = self._reason_to_claim(run_id, reader.state)
        if reason is None:
            return False  # it waits for somebody who can
        work = self._controller.ledger.admit(WorkKind.RUN, run_id)
        writer = RunWriter(self._heart.instance, reader.state, reader.head)
        with self.holding(run_id, work):
            turn = await self.append(run_id, writer, self.claimed(writer, reason))
            if turn in (Turn.STORED, Turn.CANCEL) and writer.owns:
                logger.info("%s: %s, epoch %d", run_id, reason, writer.state.epoch)
                self.start(run_id, writer, work, None)
        return True

    def _reason_to_claim(self, run_id: str, state: RunState) -> ClaimReason | None:
        """Return how this node would take a run, None when nobody here can serve it now."""
        route = self._stored_route(run_id, state)
        begun, owned = begun_of(state), self._bus.owned
        if state.owner is not None and model_of(state) and not obstacle(route, begun):
            resumption = Resumption(begun, model_of(state), state.owner.node)
            if is_used_up(route, begun) or owned.obstacle(route, resumption) is None:
                return reason_to_claim(state, can_continue=True)
        return reason_to_claim(state, can_continue=False) if owned.obstacle(route) is None else None

    def _stored_route(self, run_id: str, state: RunState) -> RouteRequest:
        created = state.created
        if created is None:
            raise CallError(Code.NOT_FOUND, "the run's request isn't there any more")
        request = parse_stored(created.capability, bytes(created.request))
        return self.route(request, created.key, run_id=run_id, trace_id=created.trace_id)

    def claimed(self, writer: RunWriter, reason: ClaimReason) -> Claimed:
        """Return the claim of a run by this node."""
        state = writer.state
        return Claimed(
            node=self._bus.node_id_full,
            instance=writer.instance,
            epoch=state.epoch + 1,
            reason=reason,
            superseded_from=state.generation_seq if reason is ClaimReason.RESTARTED else None,
            at=self._tools.utcnow(),
        )

    def start(self, run_id: str, writer: RunWriter, work: Work, request: RunRequest | None) -> None:
        """Execute a run in hand that was claimed, unless this isn't the instance any more that did so.

        `request` None: it is read from the log.
        """
        if writer.instance != self._heart.instance or not self.may_own():
            return
        work.work_id, work.kind = run_id, WorkKind.RUN
        route = partial(self._stored_route, run_id, writer.state)
        if request is not None and (created := writer.state.created) is not None:
            route = partial(self.route, request, created.key, run_id=run_id, trace_id=created.trace_id)
        execution = Execution(run_id, writer, route, work, self._tools)
        if self._held.get(run_id, UNKNOWN) > writer.head.seq:
            execution.look()  # it may have been cancelled in the same breath
        self._executing[run_id] = execution
        task = asyncio.create_task(self._execute(execution))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _execute(self, execution: Execution) -> None:
        run_id = execution.run_id
        try:
            outcome = await execution.run()
            execution.work.moved = outcome is Outcome.RELEASED
        except Exception:  # the run is open and nobody's any more: the next sweep releases it
            logger.exception("%s: executing it failed", run_id)
            return
        finally:
            del self._executing[run_id]
            execution.work.close()
        if outcome is not Outcome.ENDED:
            logger.info("%s: %s", run_id, outcome.name.lower())
        if outcome is Outcome.FENCED:
            self._on_fenced()
        elif outcome is Outcome.ENDED:
            self._ended.append((self._tools.clock(), execution.report()))
            self._on_end(run_id, execution.state)

    def fence(self) -> None:
        """Stop executing without another word."""
        for execution in list(self._executing.values()):
            execution.fence()
