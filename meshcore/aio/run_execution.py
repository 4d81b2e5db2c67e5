"""One run, executed by its owner: what the provider says is stored, and visible only then (runs.md, "Rules").

                   ┌────────────── began anew, or goes on ──────────────┐
                   ▼                                                    │
claimed ──► generating ── the stream broke, and it may run again ───────┘
                   ├── the provider's end, a bound, an error ──► end
                   ├── cancel_requested is in the log ─────────► closed upstream, then end{cancelled}
                   ├── told to let go ─────────────────────────► closed upstream, then released
                   └── somebody else's, or the engine is gone ─► closed upstream, not another word
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from meshcore.aio.owned_calls import Resumption
from meshcore.aio.run_reading import Reading, close
from meshcore.aio.run_terms import Outcome, Tools
from meshcore.aio.runlog import EngineGone
from meshcore.aio.runlog.appending import append, catch_up
from meshcore.capability import RouteRequest
from meshcore.config_sections import OnBrokenStream
from meshcore.drain import Work
from meshcore.errors import CallError, Code, is_retryable
from meshcore.run_chunks import Chunking, begun_of, model_of
from meshcore.run_events import AnyEvent, Claimed, ClaimReason, End, EndReason, Released, RunStatus, size_of
from meshcore.run_record import batches
from meshcore.run_reports import RunReport, report
from meshcore.run_writer import RunWriter, Turn
from meshcore.runs import TAKEOVERS_MAX, RunState
from meshcore.splice import is_used_up

CLAIMS_MAX = 10  # of one run: whose streams break again and again, released or not, fails at last
WAITING_HELPS = frozenset({Code.CAPACITY_EXCEEDED, Code.RATE_LIMITED})
NO_PROVIDER = "no_provider"  # why a run was released that nobody can serve now

logger = logging.getLogger(__name__)


class _Ending(NamedTuple):
    status: RunStatus
    reason: str
    usage: dict[str, Any] | None = None

    def event(self, final_seq: int) -> End:
        return End(status=self.status, reason=self.reason, usage=self.usage, final_seq=final_seq)


class _Letting(NamedTuple):
    reason: str


class _Again(NamedTuple):
    """Begin anew."""


_Decision = _Ending | _Letting | _Again | Turn | Outcome


class Execution:
    """Executes the run that `writer` owns; `request` gives its call, made anew for each generation."""

    def __init__(
        self, run_id: str, writer: RunWriter, request: Callable[[], RouteRequest], work: Work, tools: Tools
    ) -> None:
        self.run_id = run_id
        self.work = work
        self._writer = writer
        self._state = writer.state
        self._request = request
        self._tools = tools
        self._news = asyncio.Event()
        self._is_to_look = False
        self._is_fenced = False
        self._letting: _Letting | None = None
        work.on_force = partial(self.release, "drain_forced")

    @property
    def state_seq(self) -> int:
        """The number of the last event that it knows of."""
        return self._state.last_seq

    @property
    def state(self) -> RunState:
        """What it knows of the run."""
        return self._state

    def report(self) -> RunReport:
        """Return what the dashboard is told of the run."""
        return report(self.run_id, self._state, provider=self.work.provider)

    def look(self) -> None:
        """There is news in the log: somebody wants the run to end, or has taken it."""
        self._is_to_look = True
        self._news.set()

    def release(self, reason: str) -> None:
        """Let the run go, for others to take it at once."""
        self._letting = self._letting or _Letting(reason)
        self._news.set()

    def fence(self) -> None:
        """Stop without another word: others may take this instance for dead."""
        self._is_fenced = True
        self._news.set()

    async def run(self) -> Outcome:
        """Execute until the run has ended or isn't this node's any more."""
        try:
            while True:
                outcome = await self._carry_out(await self._generate())
                if outcome is not None:
                    return outcome
        except EngineGone as exc:
            logger.warning("%s: the run log is gone, so it stops: %s", self.run_id, exc)
            return Outcome.ENGINE_GONE

    # One generation

    async def _generate(self) -> _Decision:
        resumption = self._resumption()
        request = self._request()
        if resumption is not None and is_used_up(request, resumption.begun):
            return _Ending(RunStatus.COMPLETED, EndReason.LENGTH)
        reading = Reading(
            Chunking(self._state.next_index, model=resumption.model if resumption else ""), self._news
        )
        task = asyncio.create_task(self._read(reading, request, resumption))
        try:
            return await self._store(reading)
        finally:
            await close(task)

    async def _read(self, reading: Reading, request: RouteRequest, resumption: Resumption | None) -> None:
        if request.stream:
            continues = self._tools.policy.on_broken_stream is OnBrokenStream.CONTINUE
            await reading.read(self._tools.calls.stream(request, resumption, continues=continues))
        else:
            reading.whole(await self._tools.calls.call(request))

    def _resumption(self) -> Resumption | None:
        owner = self._state.owner
        if owner is None or owner.reason is not ClaimReason.CONTINUED or self._state.next_index == 1:
            return None
        return Resumption(begun_of(self._state), model_of(self._state), owner.node)

    async def _store(self, reading: Reading) -> _Decision:
        """Store what comes until there is something to decide; what comes meanwhile is stored together."""
        progress_at = self._tools.clock()
        while True:
            if (ordered := await self._ordered()) is not None:
                return ordered
            if reading.waiting:
                self.work.provider = reading.provider
                for batch in batches(self._next_events(reading)):
                    if (turn := await self._append(*batch)) is not Turn.STORED:
                        return turn
                if self._state.end is not None:
                    return Outcome.ENDED
                progress_at = self._tools.clock()
                if self._is_over_bounds():
                    return _Ending(RunStatus.FAILED, EndReason.BUFFER_FULL)
            elif reading.done:
                return self._at_end(reading)
            elif (left := progress_at + self._tools.policy.stall_seconds - self._tools.clock()) <= 0:
                return _Ending(RunStatus.FAILED, EndReason.STALLED)
            else:
                await self._wait(left)

    def _next_events(self, reading: Reading) -> Sequence[AnyEvent]:
        """Return what is to be stored next, and be it the end with the last of it."""
        chunks = reading.take()
        bounds = self._tools.policy
        size_bytes = self._state.size_bytes + size_of(chunks)
        is_within = self._state.chunks + len(chunks) < bounds.max_chunks and size_bytes < bounds.max_bytes
        if self._tools.log.keeps_records or not (reading.is_over and is_within):
            return chunks
        said = (chunk.finish_reason for chunk in reversed(chunks) if chunk.finish_reason)
        completed = self._completed(next(said, self._state.finish_reason), reading)
        return [*chunks, completed.event(self._state.last_seq + len(chunks) + 1)]

    async def _wait(self, seconds: float) -> None:
        """Return when there is something to do, or when nothing came for so long."""
        with suppress(TimeoutError), self._tools.limits.within(seconds):
            await self._news.wait()
        self._news.clear()

    async def _ordered(self) -> _Decision | None:
        """Return what somebody else decided, if anybody did."""
        if self._is_fenced:
            return Outcome.FENCED
        if self._is_to_look:
            self._is_to_look = False
            if (turn := await catch_up(self._tools.log, self.run_id, self._writer)) is not Turn.STORED:
                return turn
        return self._letting

    def _is_over_bounds(self) -> bool:
        policy = self._tools.policy
        return self._state.chunks >= policy.max_chunks or self._state.size_bytes >= policy.max_bytes

    def _at_end(self, reading: Reading) -> _Decision:
        if reading.error is None:
            return self._completed(self._state.finish_reason, reading)
        return self._broken(reading.error)

    def _completed(self, finish_reason: str, reading: Reading) -> _Ending:
        return _Ending(RunStatus.COMPLETED, finish_reason or EndReason.STOP, reading.chunking.usage)

    def _broken(self, error: CallError) -> _Decision:
        """Decide what becomes of a run whose provider failed."""
        failed = _Ending(RunStatus.FAILED, str(error.code))
        created = self._state.created
        if self._state.next_index == 1 and error.code in WAITING_HELPS:
            return _Letting(NO_PROVIDER)  # others were faster: nothing was said, so nothing is lost
        if self._state.next_index == 1 or created is None or not created.restartable:
            return failed
        if self._tools.policy.on_broken_stream is OnBrokenStream.FAIL or not is_retryable(error.code):
            return failed
        if self._state.takeovers >= TAKEOVERS_MAX or self._state.epoch >= CLAIMS_MAX:
            return failed
        return _Again() if self._tools.calls.obstacle(self._request()) is None else _Letting(NO_PROVIDER)

    # What follows

    async def _carry_out(self, decision: _Decision) -> Outcome | None:
        """Write what was decided, now that nothing is open upstream; None: another generation begins."""
        match decision:
            case Outcome():
                return decision
            case _Ending():
                return await self._end(decision)
            case _Letting(reason):
                return await self._then(await self._append(Released(reason=reason)), Outcome.RELEASED)
            case _Again():
                return await self._then(await self._append(self._claim_again()), None)
            case _:
                return await self._then(decision, None)

    async def _then(self, turn: Turn, stored: Outcome | None) -> Outcome | None:
        if turn is Turn.STORED:
            return stored
        if turn is Turn.CANCEL:
            return await self._end(_Ending(RunStatus.CANCELLED, EndReason.CANCEL_REQUESTED))
        return Outcome.ENDED if self._state.end is not None else Outcome.FENCED

    async def _end(self, ending: _Ending) -> Outcome | None:
        if self._state.cancelled_by is not None:
            ending = _Ending(RunStatus.CANCELLED, EndReason.CANCEL_REQUESTED)
        event = ending.event(self._state.last_seq + 1)
        return await self._then(await self._append(event), Outcome.ENDED)

    def _claim_again(self) -> Claimed:
        owner = self._state.owner
        return Claimed(
            node=owner.node if owner else "",
            instance=self._writer.instance,
            epoch=self._state.epoch + 1,
            reason=ClaimReason.RESTARTED,
            superseded_from=self._state.generation_seq,
            at=self._tools.utcnow(),
        )

    async def _append(self, *events: AnyEvent) -> Turn:
        tools = self._tools
        return await append(
            tools.log, self.run_id, self._writer, tools.ids(), *events, clock=tools.clock, random=tools.random
        )
