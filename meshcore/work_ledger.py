"""The work that a node has in hand: what a drain waits for, and what a forced one ends."""

import enum
from collections.abc import Callable
from datetime import datetime
from itertools import islice

import msgspec

from meshcore.clock import Clock, UtcNow


class InFlight(msgspec.Struct, frozen=True, kw_only=True):
    """Work that this node owns; `total` is the sum of the four, `at_start` the total when the gate closed."""

    runs: int = 0
    calls: int = 0
    streams: int = 0
    reserved: int = 0
    total: int = 0
    at_start: int = 0


class ActiveWork(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One piece of work that a drain waits for; `kind` is call, stream or run."""

    id: str
    kind: str
    age_seconds: float
    provider: str = ""


ACTIVE_WORK_MAX = 20  # entries in a readout; the counts are complete, the list is for people


class WorkKind(enum.StrEnum):
    """What a piece of work is; `RESERVED` until its request is understood."""

    RESERVED = "reserved"
    CALL = "call"
    STREAM = "stream"
    RUN = "run"


class Work:
    """One piece of admitted work; `kind` and `provider` may be set while it goes on.

    `on_force` ends it, or for a run hands it to a peer; whoever does the work sets it, and closes the work as
    soon as that is done. `moved` says that it goes on elsewhere.
    """

    __slots__ = ("_end", "forced", "kind", "moved", "on_force", "provider", "since", "work_id")

    def __init__(self, work_id: str, kind: WorkKind, since: float, end: Callable[["Work"], None]) -> None:
        self.work_id = work_id
        self.kind = kind
        self.provider = ""
        self.since = since  # monotonic seconds
        self.forced = False
        self.moved = False
        self.on_force: Callable[[], object] | None = None
        self._end = end

    def force(self) -> bool:
        """End this work before its time; False when it can't be ended now, or was already."""
        if self.forced or self.on_force is None:
            return False
        self.forced = True
        self.on_force()
        return True

    def close(self) -> None:
        """Count this work out when it has ended; doing so again changes nothing."""
        self._end(self)


class WorkLedger:
    """Counts the work that this node owns, and the calls that it merely passes on to peers (`edge`).

    `on_quiet` is called whenever either of the two falls to zero: a drain may be over. `on_forced_end` gets
    each piece of work that was forced, as soon as it is counted out.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        utcnow: UtcNow,
        on_quiet: Callable[[], None] = lambda: None,
        on_forced_end: Callable[[Work], None] = lambda work: None,
    ) -> None:
        self._clock = clock
        self._utcnow = utcnow
        self._owned: dict[Work, None] = {}  # in order of admission
        self._edge: dict[Work, None] = {}
        self._idle_since = utcnow()
        self.on_quiet = on_quiet
        self.on_forced_end = on_forced_end

    def admit(self, kind: WorkKind, work_id: str) -> Work:
        """Count new work in; call it right behind the gate's check, without an await between."""
        work = Work(work_id, kind, self._clock(), self._end_owned)
        self._owned[work] = None
        return work

    def edge(self, work_id: str = "") -> Work:
        """Count in a call that a peer's gateway will own."""
        work = Work(work_id, WorkKind.CALL, self._clock(), self._end_edge)
        self._edge[work] = None
        return work

    @property
    def total(self) -> int:
        """How much work this node owns."""
        return len(self._owned)

    @property
    def edge_count(self) -> int:
        """How many calls are being passed on."""
        return len(self._edge)

    @property
    def idle_since(self) -> datetime | None:
        """Since when there is no owned work, or None while there is some."""
        return None if self._owned else self._idle_since

    def in_flight(self, *, at_start: int = 0) -> InFlight:
        """Return the counts by kind."""
        kinds = [work.kind for work in self._owned]
        return InFlight(
            runs=kinds.count(WorkKind.RUN),
            calls=kinds.count(WorkKind.CALL),
            streams=kinds.count(WorkKind.STREAM),
            reserved=kinds.count(WorkKind.RESERVED),
            total=len(kinds),
            at_start=at_start,
        )

    def active_work(self) -> tuple[ActiveWork, ...]:
        """Return the oldest pieces of work, at most `ACTIVE_WORK_MAX`."""
        now = self._clock()
        return tuple(
            ActiveWork(id=work.work_id, kind=work.kind, age_seconds=now - work.since, provider=work.provider)
            for work in islice(self._owned, ACTIVE_WORK_MAX)
        )

    def in_order_of_force(self) -> list[Work]:
        """Return all work as a forced drain ends it: runs first, for they go on elsewhere, then the rest."""
        owned = sorted(self._owned, key=lambda work: work.kind is not WorkKind.RUN)
        return [*owned, *self._edge]

    def _end_owned(self, work: Work) -> None:
        if work not in self._owned:
            return
        del self._owned[work]
        if work.forced:
            self.on_forced_end(work)
        if not self._owned:
            self._idle_since = self._utcnow()
            self.on_quiet()

    def _end_edge(self, work: Work) -> None:
        if work not in self._edge:
            return
        del self._edge[work]
        if work.forced:
            self.on_forced_end(work)
        if not self._edge:
            self.on_quiet()
