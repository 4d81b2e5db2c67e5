"""Is a node there? Computed from the age of its last word, on read (link-and-telemetry, "Current state")."""

import enum
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from meshcore.breaker import BreakerState
from meshcore.drain import NodeState

STALE_FLOOR_SECONDS = 5.0
LOST_SHOWN = timedelta(days=7)  # so long pages say that a restored database lacks something
CLOSED_GRACE_SECONDS = 5.0  # a socket may be away this long before the node counts as unreachable


class Composite(enum.StrEnum):
    """The one word shown for a node, strongest first."""

    UNREACHABLE = "unreachable"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DRAINING = "draining"
    DRAINED = "drained"
    JOINING = "joining"
    IDLE = "idle"
    DEGRADED = "degraded"
    RUNNING = "running"
    NEVER_SEEN = "never seen"


ABSENT = frozenset(  # not heard, and known for it
    {Composite.UNREACHABLE, Composite.STOPPING, Composite.STOPPED, Composite.IDLE, Composite.NEVER_SEEN}
)
ATTENTION = {  # order on the Fleet page (dashboard.md, "Pages"); the rest by name
    Composite.UNREACHABLE: 0,
    Composite.DEGRADED: 1,
    Composite.STOPPING: 2,
    Composite.STOPPED: 2,
    Composite.DRAINING: 3,
    Composite.DRAINED: 3,
    Composite.JOINING: 4,
}
ATTENTION_REST = 5
TROUBLED = frozenset(
    {BreakerState.OPEN, BreakerState.HALF_OPEN}
)  # an operator's force_open is a wish, not trouble


def health_seconds(nodes: int) -> float:
    """Return how often each of `nodes` nodes says health: nodes / 200, from 1 to 5 s."""
    return min(max(nodes / 200, 1.0), 5.0)


def stale_seconds(every_seconds: float) -> float:
    """Return the age from which the last word of a node that speaks so often counts as stale."""
    return max(3 * every_seconds, STALE_FLOOR_SECONDS)


def telemetry_seconds(nodes: int) -> float:
    """Return how long each of `nodes` nodes gathers telemetry: nodes / 500, up to 2 s; up to 100 not at all.

    A frame costs as much as five items in it: so a thousand nodes send no more than 500 frames a second.
    """
    return min(nodes / 500, 2.0) if nodes > 100 else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """What is known of a node's being there; `age_seconds` None: it never spoke."""

    state: Composite
    stale: bool
    age_seconds: float | None


def presence(
    *,
    reported: str,
    breakers_open: int,
    last_heard_at: datetime | None,
    closed_at: datetime | None,
    idle: bool,
    now: datetime,
    every_seconds: float,
) -> Presence:
    """Return the composite state of a node that reports `reported` and has `breakers_open` open breakers."""
    if last_heard_at is None:
        return Presence(state=Composite.NEVER_SEEN, stale=False, age_seconds=None)
    age = max((now - last_heard_at).total_seconds(), 0.0)
    stale = age >= stale_seconds(every_seconds)
    if idle and closed_at is not None:
        return Presence(state=Composite.IDLE, stale=stale, age_seconds=age)
    closed = closed_at is not None and (now - closed_at).total_seconds() >= CLOSED_GRACE_SECONDS
    if closed or age >= max(6 * every_seconds, STALE_FLOOR_SECONDS):
        return Presence(state=Composite.UNREACHABLE, stale=True, age_seconds=age)
    state = _said(NodeState(reported)) if reported else Composite.JOINING
    if state is Composite.RUNNING and breakers_open:
        state = Composite.DEGRADED
    return Presence(state=state, stale=stale, age_seconds=age)


class Row(Protocol):
    """A node as it is read for this; the last two are of its link."""

    @property
    def pk(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def last_heard_at(self) -> datetime | None: ...
    @property
    def closed_at(self) -> datetime | None: ...
    @property
    def idle(self) -> bool | None: ...


def judge(
    rows: Collection[Row],
    unexplained: Callable[[frozenset[str]], Mapping[int, int]],
    *,
    now: datetime,
    every_seconds: float,
) -> dict[int, Presence]:
    """Return whether each node is there, by its id.

    Judged twice: a peer's open breaker makes no node degraded when that peer is known to be away.
    `unexplained` gets the names of those that are, and returns how many open breakers of a node say something
    new, by its id.
    """
    there = {row.pk: of_row(row, 0, now=now, every_seconds=every_seconds) for row in rows}
    counts = unexplained(frozenset(row.name for row in rows if there[row.pk].state in ABSENT))
    for row in rows:
        if row.pk in counts:
            there[row.pk] = of_row(row, counts[row.pk], now=now, every_seconds=every_seconds)
    return there


def of_row(row: Row, breakers_open: int, *, now: datetime, every_seconds: float) -> Presence:
    """Return whether a node is there."""
    return presence(
        reported=row.state,
        breakers_open=breakers_open,
        last_heard_at=row.last_heard_at,
        closed_at=row.closed_at,
        idle=bool(row.idle),
        now=now,
        every_seconds=every_seconds,
    )


def _said(state: NodeState) -> Composite:
    return Composite(state.value)
