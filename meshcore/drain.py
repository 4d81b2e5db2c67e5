"""The drain state machine and what a node says of it (drain-and-control §1).

    joining ──joined, or waited long enough──▶ running
    joining, running ──asked──▶ draining ──nobody asks──▶ running, or joining while that wait lasts
    any ──begin_shutdown──▶ stopping ──mark_stopped──▶ stopped          a shutdown wins over everything

A drain is reversible and touches no work in flight: it closes the gate, so that work can only end. `drained`
is what the readout says of a draining node without work; it is no state of the machine. Only a drain that
says `force` ends work itself, once its deadline is over.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from meshcore.clock import Clock, UtcNow
from meshcore.work_ledger import ACTIVE_WORK_MAX, ActiveWork, InFlight, Work, WorkKind, WorkLedger

__all__ = [
    "ACTIVE_WORK_MAX",
    "CLOSING",
    "ActiveWork",
    "DrainInfo",
    "DrainMachine",
    "DrainPolicy",
    "DrainSource",
    "InFlight",
    "NodeState",
    "Readout",
    "Work",
    "WorkKind",
    "WorkLedger",
]


class NodeState(enum.StrEnum):
    """States of a node; the values are what is sent. `DRAINED` is only ever a value of the readout."""

    JOINING = "joining"
    RUNNING = "running"
    DRAINING = "draining"
    DRAINED = "drained"
    STOPPING = "stopping"
    STOPPED = "stopped"


_NEVER = float("inf")
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
    deadline_exceeded: bool = False  # there was work at the deadline, and without `force` it goes on
    force: bool = False  # what is left at the deadline is ended
    sticky: bool = False


class Readout(msgspec.Struct, frozen=True, kw_only=True):
    """What the node says of its own state; the only source of `drained`.

    `problems` are sentences for people: what of its orders the node couldn't take, and holds to former ones.
    """

    state: NodeState
    accepting: bool
    drain: DrainInfo | None = None
    in_flight: InFlight = InFlight()
    edge: int = 0
    safe_to_stop: bool = False
    active_work: tuple[ActiveWork, ...] = ()
    observed_generation: int = 0
    problems: tuple[str, ...] = ()


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
        if self.state() is not NodeState.DRAINING or self._closed_at is None or self.forces():
            return False
        return self._clock() - self._closed_at < self._policy.edge_grace_seconds

    def forces(self) -> bool:
        """Return whether work that is left must end now: a drain with `force` is past its deadline.

        One whose deadline is its beginning is past it whatever the clocks of node and dashboard say.
        """
        return any(self._seconds_to_force(ask) <= 0 for ask in self._asks if ask.force)

    def next_deadline(self) -> float | None:
        """Return when something changes by time alone, in the clock's seconds, or None."""
        moments = [self._join_until] if self.state() is NodeState.JOINING else []
        waits = (self._seconds_to_force(ask) for ask in self._asks if ask.force)
        moments += [self._clock() + seconds for seconds in waits if 0 < seconds < _NEVER]
        return min(moments, default=None)

    def readout(self, *, observed_generation: int = 0, problems: tuple[str, ...] = ()) -> Readout:
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
            problems=problems,
        )

    def _seconds_to_force(self, ask: DrainInfo) -> float:
        if ask.deadline_at is None:
            return _NEVER
        if ask.since is not None and ask.deadline_at <= ask.since:
            return 0.0
        return (ask.deadline_at - self._utcnow()).total_seconds()

    def _drain(self) -> DrainInfo:
        shown = self._asks[0]
        if shown.deadline_at is None or shown.force:
            return shown
        over = (self._ledger.idle_since or self._utcnow()) >= shown.deadline_at
        return msgspec.structs.replace(shown, deadline_exceeded=over)

    def _note_gate(self) -> None:
        if not self._asks and not self._stopping:
            self._closed_at, self._at_start = None, 0
        elif self._closed_at is None:
            self._closed_at, self._at_start = self._clock(), self._ledger.total
