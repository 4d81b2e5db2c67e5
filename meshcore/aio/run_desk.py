"""What clients ask of runs: make one, look at one, have one end. Any node of a log can do so for any run."""

import asyncio
import secrets
from typing import NamedTuple

import msgspec

from meshcore.aio.bus import CapabilityBus
from meshcore.aio.run_hands import RunHands
from meshcore.aio.run_heart import Heart
from meshcore.aio.run_loading import load
from meshcore.aio.run_sweep import is_waiting
from meshcore.aio.runlog import EngineGone, RunLog
from meshcore.aio.runlog.base import Tail
from meshcore.clock import UtcNow
from meshcore.drain import Work
from meshcore.errors import CallError, Code
from meshcore.run_events import CancelRequested, ClaimReason, Created, RunStatus
from meshcore.run_request import RunRequest, idempotent_run_id, new_run_id, same_request
from meshcore.run_writer import RunWriter, Turn
from meshcore.runs import RunState
from meshcore.traceparent import trace_ids

CANCEL_SECONDS = 2.0  # to get a cancellation into the log
REFUSED_AT_ONCE = frozenset({Code.NOT_FOUND, Code.BAD_REQUEST})  # waiting wouldn't help


class Made(NamedTuple):
    """A run that is there now; `tail` has what comes of one that was not there before, for who watches it.

    `trace_id` is that of the request: a run that was there before has another.
    """

    run_id: str
    trace_id: str
    tail: Tail | None = None


class RunDesk:
    """See the module."""

    def __init__(
        self, log: RunLog, bus: CapabilityBus, heart: Heart, hands: RunHands, *, utcnow: UtcNow
    ) -> None:
        self._log = log
        self._utcnow = utcnow
        self._bus = bus
        self._heart = heart
        self._hands = hands
        self._own_ids = trace_ids(secrets.token_bytes)  # a run's own is one of the same kind

    async def create(
        self,
        request: RunRequest,
        *,
        client: str,
        idempotency_key: str = "",
        trace_id: str = "",
        stream: bool,
        work: Work | None,
        watched: bool = False,
    ) -> Made:
        """Make a run; with `work`, which counts it in, it is executed here if it can be.

        Whoever wants it `watched` closes the tail. Raises CallError, also when the key was used for another
        request.
        """
        log_id, now = self._log.log_id, self._utcnow()
        run_id = (
            idempotent_run_id(log_id, client, idempotency_key)
            if idempotency_key
            else new_run_id(log_id, next(self._own_ids), now)
        )
        created = Created(
            capability=request.capability,
            request=msgspec.Raw(request.raw),
            log_id=log_id,
            key=client,
            trace_id=trace_id,
            restartable=self._is_restartable(request.capability),
            stream=stream,
            at=now,
        )
        with self._hands.holding(run_id, work):
            why_not = self._bus.owned.obstacle(self._hands.route(request, client, run_id=run_id))
            if why_not is not None and why_not.code in REFUSED_AT_ONCE:
                raise why_not
            is_executed_here = work is not None and why_not is None and self._hands.may_own()
            # It listens before there is anything to miss, and passes over what is written here at once.
            written = 2 if is_executed_here else 1
            tail = self._log.tail(run_id, written, is_new=True) if watched else None
            is_new = False
            try:
                is_new = await self._make(run_id, created, request, work if is_executed_here else None)
            finally:
                if tail is not None and not is_new:
                    await tail.aclose()
        return Made(run_id, trace_id, tail if is_new else None)

    async def load(self, run_id: str) -> RunState:
        """Return a run as it is now. Raises CallError."""
        try:
            return (await load(self._log, run_id)).state
        except EngineGone as exc:
            raise log_unreachable(self._log.log_id) from exc

    def status(self, state: RunState) -> RunStatus:
        """Return how a run stands, by its log and by whether its owner lives."""
        status = state.status
        if status is RunStatus.RUNNING and state.owner is not None:
            life = self._heart.life(state.owner.instance)
            return RunStatus.WAITING if is_waiting(state, life) else status
        return status

    async def cancel(self, run_id: str, by: str) -> bool:
        """Have a run end; False when it has already. Raises CallError, and then nothing is certain."""
        try:
            async with asyncio.timeout(CANCEL_SECONDS):
                return await self._cancel(run_id, by)
        except (EngineGone, TimeoutError) as exc:
            raise log_unreachable(self._log.log_id) from exc

    async def _cancel(self, run_id: str, by: str) -> bool:
        writer = await load(self._log, run_id)
        while writer.state.end is None and writer.state.cancelled_by is None:
            await self._hands.append(run_id, writer, CancelRequested(by=by))
            self._hands.look(run_id)
        return writer.state.end is None

    async def _make(self, run_id: str, created: Created, request: RunRequest, work: Work | None) -> bool:
        """Write that there is a run and, with `work`, that it is executed here; False: it was there."""
        writer = RunWriter(self._heart.instance)
        claim = [self._hands.claimed(writer, ClaimReason.STARTED)] if work is not None else []
        try:
            turn = await self._hands.append(run_id, writer, created, *claim)
            if turn is Turn.STOP:
                await self._agree(run_id, created)
                return False
            if work is not None:
                self._hands.start(run_id, writer, work, request)
        except EngineGone as exc:
            raise log_unreachable(self._log.log_id) from exc
        return True

    async def _agree(self, run_id: str, created: Created) -> None:
        """Take the run that is there for the one that is asked for. Raises CallError when it is another."""
        there = (await load(self._log, run_id)).state.created
        if there is not None and not same_request(bytes(there.request), bytes(created.request)):
            raise IdempotencyConflict(run_id)

    def _is_restartable(self, capability: str) -> bool:
        return all(entry.descriptor.restartable for entry in self._bus.registry.named(capability))


class IdempotencyConflict(CallError):
    """The client's key belongs to a run that was asked for something else."""

    def __init__(self, run_id: str) -> None:
        super().__init__(
            Code.IDEMPOTENCY_CONFLICT, f"Idempotency-Key: used for another request, that of {run_id}"
        )


def log_unreachable(log_id: str) -> CallError:
    """Return the error for a log that doesn't answer, or that nobody has who can be reached."""
    return CallError(
        Code.LOG_UNREACHABLE, f"the run log {log_id[:6]} can't be reached", retry_after_seconds=2.0
    )
