"""Drains: what is asked of a node, what the node says of it, and the record of the last ones."""

from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

import msgspec

from dashboard.models import DesiredState, Drain, DrainStep, Node
from meshcore.drain import DrainSource, NodeState, Readout

ACKNOWLEDGE_SECONDS = 10.0  # an older order without acknowledgement is worth a word (drain-and-control §2)
LAST_DRAINS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The desired state beside what the node acts on."""

    generation: int = 0
    observed: int = 0
    age_seconds: float = 0.0
    drains: bool = False  # whether the order is to drain

    @property
    def pending(self) -> bool:
        """Whether the node has not said yet that it acts on it."""
        return self.observed < self.generation

    @property
    def overdue(self) -> bool:
        """Whether the node should have said so by now."""
        return self.pending and self.age_seconds >= ACKNOWLEDGE_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainNow:
    """The drain a node is in, by its own word; `at_start`, `left` and `done` count its work."""

    local: bool
    by: str
    reason: str
    since: datetime | None
    deadline_at: datetime | None
    deadline_exceeded: bool
    force: bool
    sticky: bool
    generation: int
    at_start: int
    left: int
    done: int
    edge: int
    drained: bool
    safe_to_stop: bool


def readout_of(node: Node) -> Readout | None:
    """Return what the node said last of its own state, or None when it never spoke."""
    return msgspec.convert(node.readout, Readout) if node.readout else None


def order_of(node: Node, *, now: datetime) -> Order:
    """Return what is asked of the node, from `node.desired`; a node without one was never asked anything."""
    desired: DesiredState | None = getattr(node, "desired", None)
    if desired is None:
        return Order(observed=node.observed_generation)
    return order(
        generation=desired.generation,
        observed=node.observed_generation,
        changed_at=desired.changed_at,
        drains=desired.drain is not None,
        now=now,
    )


def order(*, generation: int, observed: int, changed_at: datetime, drains: bool, now: datetime) -> Order:
    """Return an order that was changed at `changed_at`."""
    age_seconds = max((now - changed_at).total_seconds(), 0.0)
    return Order(generation=generation, observed=observed, age_seconds=age_seconds, drains=drains)


def drain_now(readout: Readout | None) -> DrainNow | None:
    """Return the drain that a readout tells of, None when the gate is not closed by one."""
    if readout is None or readout.drain is None:
        return None
    drain, flight = readout.drain, readout.in_flight
    at_start = max(flight.at_start, flight.total)
    return DrainNow(
        local=drain.source is DrainSource.LOCAL,
        by=drain.by,
        reason=drain.reason,
        since=drain.since,
        deadline_at=drain.deadline_at,
        deadline_exceeded=drain.deadline_exceeded,
        force=drain.force,
        sticky=drain.sticky,
        generation=drain.generation,
        at_start=at_start,
        left=flight.total,
        done=at_start - flight.total,
        edge=readout.edge,
        drained=readout.state is NodeState.DRAINED,
        safe_to_stop=readout.safe_to_stop,
    )


def last_of(*, node: Node) -> list[Drain]:
    """Return the newest drains of a node with their steps; two queries."""
    return list(node.drains.order_by("-id").prefetch_related("steps")[:LAST_DRAINS])


@dataclass(frozen=True, slots=True, kw_only=True)
class StepLine:
    """A step as people read it; what came `times` in a row is one line, from `at` to `last_at`.

    `source` is who saw it, and `detail` what whoever saw it says of the first.
    """

    step: str
    at: datetime
    last_at: datetime
    times: int
    in_flight: int | None
    edge: int | None
    source: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainStory:
    """A drain and its steps."""

    drain: Drain
    steps: list[StepLine]


def stories_of(*, node: Node) -> list[DrainStory]:
    """Return the newest drains of a node as people read them; two queries."""
    return [DrainStory(drain=drain, steps=_lines(drain)) for drain in last_of(node=node)]


def _lines(drain: Drain) -> list[StepLine]:
    runs = groupby(drain.steps.all(), key=lambda step: (step.step, step.in_flight))
    return [_line(list(run)) for _, run in runs]


def _line(run: list[DrainStep]) -> StepLine:
    first, last = run[0], run[-1]
    return StepLine(
        step=first.step,
        at=first.at,
        last_at=last.at,
        times=len(run),
        in_flight=first.in_flight,
        edge=first.edge,
        source=first.source,
        detail=first.detail,
    )
