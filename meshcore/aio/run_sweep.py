"""Runs that this node doesn't execute: which to look at, and what to do about each (runs.md, "Rules").

Every node of a log does this. Two that come to the same conclusion append the same thing, and the log lets
one of them through.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence

from meshcore.aio.run_heart import Heart
from meshcore.aio.run_loading import RunMissing, load
from meshcore.aio.run_terms import Tools
from meshcore.aio.runlog import OpenRun
from meshcore.aio.runlog.appending import append, catch_up
from meshcore.errors import CallError, FrameError, IllegalMove
from meshcore.run_events import AnyEvent, End, Released
from meshcore.run_orphans import CANCELLED, Life, Move, OrphanPolicy, judge
from meshcore.run_writer import RunWriter, Turn
from meshcore.runs import RunState

LOOK_SECONDS = 5.0  # between two looks at a run whose owner lives: a third of the shortest of its bounds
MISSING_SECONDS = 60.0  # a run that isn't there for so long was never made, though its hint was
CLAIMS_MAX = 5  # in one sweep: the others have some room, too
NOT_EXECUTED = "not_executed"

logger = logging.getLogger(__name__)

Claim = Callable[[str, RunWriter], Awaitable[bool]]
"""Claims a run, unless this node can't execute it now; returns whether it tried."""


class _Watched:
    """A run as this node knows it; times are monotonic seconds."""

    def __init__(self, writer: RunWriter, now: float) -> None:
        self.writer = writer
        self.grown_at = now
        self.looked_at = now


class Sweeper:
    """Looks after the open runs of a log; `on_end` is told of runs that it ended."""

    def __init__(
        self,
        heart: Heart,
        tools: Tools,
        *,
        policy: OrphanPolicy,
        claim: Claim,
        is_in_hand: Callable[[str], bool],
        on_end: Callable[[str, RunState], None],
    ) -> None:
        self._heart = heart
        self._tools = tools
        self._policy = policy
        self._claim = claim
        self._is_in_hand = is_in_hand
        self._on_end = on_end
        self._watched: dict[str, _Watched] = {}
        self._urgent: set[str] = set()
        self._unreadable: set[str] = set()
        self._missing: dict[str, float] = {}  # since when a run isn't there that is said to be open

    def look_at(self, run_id: str) -> None:
        """There is news of a run: look at it with the next sweep."""
        self._urgent.add(run_id)

    def look_at_all(self) -> None:
        """News may have been missed."""
        self._urgent.update(self._watched)

    def forget(self, run_id: str) -> None:
        """A run has ended, or is in hand."""
        self._watched.pop(run_id, None)
        self._urgent.discard(run_id)

    async def sweep(self) -> None:
        """Look at all open runs that it is time for. Raises EngineGone."""
        await self._heart.look()
        opened = [run for run in await self._tools.log.open_runs() if not self._is_in_hand(run.run_id)]
        names = {run.run_id for run in opened}
        for run_id in self._watched.keys() - names:
            self.forget(run_id)
        self._unreadable &= names
        for run_id in self._missing.keys() - names:
            del self._missing[run_id]
        await self._look_after(sorted(filter(self._is_due, opened), key=lambda _: self._tools.random()))

    async def _look_after(self, due: Sequence[OpenRun]) -> None:
        claims = 0
        for run in due:
            if self._is_in_hand(run.run_id):
                continue
            try:
                claims += await self._decide(run.run_id, may_claim=claims < CLAIMS_MAX)
            except RunMissing:
                await self._miss(run.run_id)
            except (CallError, FrameError, IllegalMove) as exc:
                self._skip(run.run_id, exc)

    def _is_due(self, run: OpenRun) -> bool:
        watched = self._watched.get(run.run_id)
        if run.run_id in self._unreadable:
            return False
        if watched is None or run.run_id in self._urgent:
            return True
        state = watched.writer.state
        owner = state.owner.instance if state.owner else run.owner
        if not owner or state.released or state.cancelled_by is not None:
            return True
        if owner == self._heart.instance or self._heart.life(owner) is not Life.ALIVE:
            return True
        return self._tools.clock() - watched.looked_at >= LOOK_SECONDS

    async def _decide(self, run_id: str, *, may_claim: bool) -> bool:
        """Do what is to be done about a run; return whether a claim was tried."""
        watched = await self._look(run_id)
        state = watched.writer.state
        if self._is_ours(state):
            await self._let_go(run_id, watched.writer)
            return False
        if state.end is not None:
            await self._tools.log.amend(run_id, watched.writer.head)
            return False
        verdict = judge(
            state,
            self._heart.life(state.owner.instance) if state.owner else Life.UNKNOWN,
            quiet_seconds=self._tools.clock() - watched.grown_at,
            policy=self._policy,
        )
        if verdict.move is Move.END:
            end = End(status=verdict.status, reason=verdict.reason, final_seq=state.last_seq + 1)
            await self._write(run_id, watched.writer, end)
        is_claimed = verdict.move is Move.CLAIM and may_claim and await self._claim(run_id, watched.writer)
        if is_claimed:
            self.forget(run_id)  # its log is another one now, whoever was faster
        return is_claimed

    def _is_ours(self, state: RunState) -> bool:
        """Return whether this process owns an open run, be it under a name from before a fence."""
        owner = state.owner
        if owner is None or state.released or state.end is not None:
            return False
        return owner.instance == self._heart.instance or self._heart.was(owner.instance)

    async def _look(self, run_id: str) -> _Watched:
        """Return a run as it is now."""
        now = self._tools.clock()
        self._urgent.discard(run_id)
        watched = self._watched.get(run_id)
        if watched is None:
            watched = self._watched[run_id] = _Watched(await load(self._tools.log, run_id), now)
            return watched
        seq = watched.writer.head.seq
        await catch_up(self._tools.log, run_id, watched.writer)
        watched.looked_at = now
        if watched.writer.head.seq != seq:
            watched.grown_at = now
        return watched

    async def _let_go(self, run_id: str, writer: RunWriter) -> None:
        """Give up what this instance owns and doesn't execute."""
        state = writer.state
        if state.cancelled_by is not None:
            end = End(status=CANCELLED.status, reason=CANCELLED.reason, final_seq=state.last_seq + 1)
            await self._write(run_id, writer, end)
        else:
            await self._write(run_id, writer, Released(reason=NOT_EXECUTED))

    async def _write(self, run_id: str, reader: RunWriter, event: AnyEvent) -> None:
        """Append an event, if nothing came in between; what is known of the run is read anew then."""
        self.forget(run_id)
        writer = RunWriter(self._heart.instance, reader.state, reader.head)
        tools = self._tools
        turn = await append(
            tools.log, run_id, writer, tools.ids(), event, clock=tools.clock, random=tools.random
        )
        logger.info("%s: %s", run_id, event)
        if turn is Turn.STORED and isinstance(event, End):
            self._on_end(run_id, writer.state)

    async def _miss(self, run_id: str) -> None:
        """Take note of a run that isn't there, as when its first append failed behind its hint."""
        self.forget(run_id)
        now = self._tools.clock()
        if now - self._missing.setdefault(run_id, now) >= MISSING_SECONDS:
            await self._tools.log.amend(run_id, None)

    def _skip(self, run_id: str, exc: Exception) -> None:
        """Leave a run alone that can't be read, as one of a newer version."""
        self.forget(run_id)
        logger.error("%s can't be read: %s", run_id, exc)
        self._unreadable.add(run_id)


def is_waiting(state: RunState, life: Life) -> bool:
    """Return whether nobody executes an open run at present."""
    return state.end is None and (state.owner is None or state.released or life is Life.DEAD)
