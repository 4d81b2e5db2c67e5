"""The drain state machine and what a node says of it (drain-and-control §1).

    joining ──joined, or waited long enough──▶ running
    joining, running ──asked──▶ draining ──nobody asks──▶ running, or joining while that wait lasts
    any ──begin_shutdown──▶ stopping ──mark_stopped──▶ stopped          a shutdown wins over everything

A drain is reversible and touches no work in flight: it closes the gate, so that work can only end. `drained`
is what the readout says of a draining node without work; it is no state of the machine.
"""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

import msgspec

from meshcore.clock import Clock, UtcNow


class NodeState(enum.StrEnum):
    """States of a node; the values are what is sent. `DRAINED` is only ever a value of the readout."""

    JOINING = "joining"
    RUNNING = "running"
    DRAINING = "draining"
    DRAINED = "drained"
    STOPPING = "stopping"
    STOPPED = "stopped"


CLOSING = frozenset({NodeState.DRAINING, NodeState.STOPPING, NodeState.STOPPED})
"""States in which work in flight can only fall, so that the node may become safe to stop."""


class DrainSource(enum.StrEnum):
    """Who asks for the drain: the marker file on the machine, or the dashboard's desired state."""

    LOCAL = "local"
    DESIRED = "desired"


class DrainInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why the gate is closed."""

    source: DrainSource
    generation: int = 0  # 0 for a local drain
    since: datetime | None = None
    by: str = ""
    reason: str = ""
    deadline_at: datetime | None = None
    deadline_exceeded: bool = False
    sticky: bool = False


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


class Readout(msgspec.Struct, frozen=True, kw_only=True):
    """What the node says of its own state; the only source of `drained`."""

    state: NodeState
    accepting: bool
    drain: DrainInfo | None = None
    in_flight: InFlight = InFlight()
    edge: int = 0
    safe_to_stop: bool = False
    active_work: tuple[ActiveWork, ...] = ()
    observed_generation: int = 0


class WorkKind(enum.StrEnum):
    """What a piece of work is; `RESERVED` until its request is understood."""

    RESERVED = "reserved"
    CALL = "call"
    STREAM = "stream"
    RUN = "run"


class Work:
    """One piece of admitted work; `kind` and `provider` may be set while it goes on."""

    __slots__ = ("_end", "kind", "provider", "since", "work_id")

    def __init__(self, work_id: str, kind: WorkKind, since: float, end: Callable[["Work"], None]) -> None:
        self.work_id = work_id
        self.kind = kind
        self.provider = ""
        self.since = since  # monotonic seconds
        self._end = end

    def close(self) -> None:
        """Count this work out when it has ended; doing so again changes nothing."""
        self._end(self)


class WorkLedger:
    """Counts the work that this node owns, and the calls that it merely passes on to peers (`edge`).

    `on_quiet` is called whenever either of the two falls to zero: a drain may be over.
    """

    def __init__(self, *, clock: Clock, utcnow: UtcNow, on_quiet: Callable[[], None] = lambda: None) -> None:
        self._clock = clock
        self._utcnow = utcnow
        self._owned: dict[Work, None] = {}  # in order of admission
        self._edge: dict[Work, None] = {}
        self._idle_since = utcnow()
        self.on_quiet = on_quiet

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

    def _end_owned(self, work: Work) -> None:
        if work not in self._owned:
            return
        del self._owned[work]
        if not self._owned:
            self._idle_since = self._utcnow()
            self.on_quiet()

    def _end_edge(self, work: Work) -> None:
        if work not in self._edge:
            return
        del self._edge[work]
        if not self._edge:
            self.on_quiet()


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainPolicy:
    """How long a node waits for the dashboard's first word, and how long a draining one passes calls on."""

    join_wait_seconds: float = 0.0  # >= 0; 0: there is no dashboard to wait for
    edge_grace_seconds: float = 30.0  # >= 0

    def __post_init__(self) -> None:
        if not (self.join_wait_seconds >= 0 and self.edge_grace_seconds >= 0):
            raise ValueError(f"{self}: expected seconds from 0")


class DrainMachine:
    """Decides whether the node takes new work, from who asks for a drain, the join wait and the shutdown."""

    def __init__(
        self, ledger: WorkLedger, *, policy: DrainPolicy = DrainPolicy(), clock: Clock, utcnow: UtcNow
    ) -> None:
        self._ledger = ledger
        self._policy = policy
        self._clock = clock
        self._utcnow = utcnow
        self._asks: tuple[DrainInfo, ...] = ()
        self._join_until = clock() + policy.join_wait_seconds
        self._joined = policy.join_wait_seconds == 0
        self._stopping = self._stopped = False
        self._closed_at: float | None = None  # when the gate closed for a drain or the shutdown
        self._at_start = 0
        self._written = self.state()

    def ask(self, asks: Sequence[DrainInfo]) -> None:
        """Learn who asks for a drain now; the first one is shown. Nobody: the drain ends."""
        self._asks = tuple(asks)
        self._note_gate()

    def joined(self) -> None:
        """Learn that the dashboard answered, so the wait for it is over."""
        self._joined = True

    def begin_shutdown(self) -> None:
        """Close the gate for good."""
        self._stopping = True
        self._note_gate()

    def mark_stopped(self) -> None:
        """Refuse everything from now on, internal work too."""
        self._stopping = self._stopped = True
        self._note_gate()

    @property
    def draining(self) -> bool:
        """Whether somebody asks for a drain, whatever else the node does."""
        return bool(self._asks)

    def state(self) -> NodeState:
        """Return the state; the wait for the dashboard ends by time alone."""
        if self._stopped:
            return NodeState.STOPPED
        if self._stopping:
            return NodeState.STOPPING
        if self._asks:
            return NodeState.DRAINING
        if not self._joined and self._clock() < self._join_until:
            return NodeState.JOINING
        return NodeState.RUNNING

    def status_to_write(self) -> NodeState | None:
        """Return the state when it isn't the one that was returned last, else None."""
        state = self.state()
        if state is self._written:
            return None
        self._written = state
        return state

    def accepts(self, *, internal: bool = False) -> bool:
        """Return whether new work may begin; `internal` is work that this node already owns."""
        if internal:
            return not self._stopped
        return self.state() is NodeState.RUNNING

    def edge_open(self) -> bool:
        """Return whether a draining node still passes new calls on to peers."""
        if self.state() is not NodeState.DRAINING or self._closed_at is None:
            return False
        return self._clock() - self._closed_at < self._policy.edge_grace_seconds

    def next_deadline(self) -> float | None:
        """Return when the state changes by time alone, in the clock's seconds, or None."""
        return self._join_until if self.state() is NodeState.JOINING else None

    def readout(self, *, observed_generation: int = 0) -> Readout:
        """Return what the node says of itself now."""
        state, total, edge = self.state(), self._ledger.total, self._ledger.edge_count
        closing = state in CLOSING
        return Readout(
            state=NodeState.DRAINED if state is NodeState.DRAINING and total == 0 else state,
            accepting=self.accepts(),
            drain=self._drain() if self._asks else None,
            in_flight=self._ledger.in_flight(at_start=self._at_start),
            edge=edge,
            safe_to_stop=closing and total == 0 and edge == 0,
            active_work=self._ledger.active_work() if closing else (),
            observed_generation=observed_generation,
        )

    def _drain(self) -> DrainInfo:
        shown = self._asks[0]
        if shown.deadline_at is None:
            return shown
        over = (self._ledger.idle_since or self._utcnow()) >= shown.deadline_at
        return msgspec.structs.replace(shown, deadline_exceeded=over)

    def _note_gate(self) -> None:
        if not self._asks and not self._stopping:
            self._closed_at, self._at_start = None, 0
        elif self._closed_at is None:
            self._closed_at, self._at_start = self._clock(), self._ledger.total
