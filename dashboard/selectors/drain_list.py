"""Drains as a list and one by one: how each stands, by its node's own word, and what came of it."""

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import Count, Max, Min, Q, QuerySet

from dashboard.models import Drain, DrainStatus, DrainStep, Node, Step, StepSource
from dashboard.selectors import drains, keyset
from dashboard.selectors.drains import DrainNow
from dashboard.selectors.nodes import presence_of
from dashboard.selectors.observed import AWAY
from dashboard.selectors.presence import health_seconds

LIVE_MAX = 200  # running drains that are pushed into open pages; of more the rows are fetched
NUMBERS = (Step.GATE_CLOSED, Step.IN_FLIGHT, Step.DRAINED, Step.SAFE_TO_STOP, Step.DEADLINE_EXCEEDED)


class Standing(enum.StrEnum):
    """The one word for a drain; while it is active, of what its node said last."""

    PENDING = "pending"
    NOT_ACKNOWLEDGED = "not acknowledged"
    UNREACHABLE = "unreachable"
    ACKNOWLEDGED = "acknowledged"
    DRAINING = "draining"
    DRAINED = "drained"
    SAFE_TO_STOP = "safe to stop"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    ENDED_BY_RESTART = "ended by restart"


ENDED = {
    DrainStatus.CANCELLED: Standing.CANCELLED,
    DrainStatus.EXPIRED: Standing.EXPIRED,
    DrainStatus.ENDED_BY_RESTART: Standing.ENDED_BY_RESTART,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainFilter:
    """What the list is narrowed to; empty means anything."""

    node: str = ""
    status: str = ""
    by: str = ""

    def split(self) -> tuple[Q, Q | None]:
        """Return the condition that an index serves, and what is left to judge row by row."""
        served = [Q(node__name=self.node)] if self.node else []
        wanted = [(self.status, Q(status=self.status)), (self.by, Q(by_name=self.by))]
        return keyset.narrow(served, [condition for value, condition in wanted if value])


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """When a node first told of a step, the most and least work in flight that it told with it, and how often
    it told it.
    """

    at: datetime
    most: int | None
    least: int | None
    times: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainRow:
    """One drain. `said` is its node's last word on it; None: it has ended, or the node has not told yet."""

    drain: Drain
    standing: Standing
    said: DrainNow | None = None
    reached: Mapping[str, Reached] = field(default_factory=dict)

    @property
    def active(self) -> bool:
        """Whether it goes on."""
        return self.drain.status == DrainStatus.ACTIVE.value

    @property
    def known(self) -> bool:
        """Whether its node ever told of work in flight."""
        return self.at_start is not None

    @property
    def unheard(self) -> bool:
        """Whether its numbers are the last ones of a node that is silent now."""
        return self.standing is Standing.UNREACHABLE

    @property
    def at_start(self) -> int | None:
        """The work in flight when the gate closed."""
        if self.said is not None:
            return self.said.at_start
        return max(self._counts("most"), default=None)

    @property
    def left(self) -> int | None:
        """The work in flight by the last word on it."""
        if self.said is not None:
            return self.said.left
        return min(self._counts("least"), default=None)

    @property
    def done(self) -> int:
        """How much of the work in flight has ended."""
        return (self.at_start or 0) - (self.left or 0)

    @property
    def drained_seconds(self) -> float | None:
        """After how long the node said that it was drained."""
        return self._seconds(Step.DRAINED)

    @property
    def safe_seconds(self) -> float | None:
        """After how long the node said that it was safe to stop."""
        return self._seconds(Step.SAFE_TO_STOP)

    @property
    def exceeded(self) -> bool:
        """Whether work was left at the deadline."""
        told = self.said is not None and self.said.deadline_exceeded
        return told or Step.DEADLINE_EXCEEDED.value in self.reached

    @property
    def forced(self) -> bool:
        """Whether work was ended by force, or runs moved by it."""
        return self.killed + self.moved > 0

    @property
    def killed(self) -> int:
        """How many calls were ended by force."""
        return self._times(Step.FORCED)

    @property
    def moved(self) -> int:
        """How many runs were handed to other nodes."""
        return self._times(Step.MOVED)

    @property
    def lasted_seconds(self) -> float | None:
        """How long it lasted, None while it goes on."""
        if self.drain.ended_at is None:
            return None
        return (self.drain.ended_at - self.drain.started_at).total_seconds()

    def _counts(self, which: str) -> list[int]:
        found = (getattr(self.reached[step], which) for step in NUMBERS if step in self.reached)
        return [count for count in found if count is not None]

    def _times(self, step: Step) -> int:
        return self.reached[step.value].times if step.value in self.reached else 0

    def _seconds(self, step: Step) -> float | None:
        reached = self.reached.get(step.value)
        return None if reached is None else max((reached.at - self.drain.started_at).total_seconds(), 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainPage:
    """One page of drains, newest first."""

    rows: Sequence[DrainRow]
    page: keyset.Page[Drain]


def page(
    *, wanted: DrainFilter, cursor: keyset.Cursor, now: datetime, rows: int = keyset.PAGE_ROWS
) -> DrainPage:
    """Return one page of drains; at most five queries."""
    served, rest = wanted.split()
    found = keyset.page(_with_nodes().filter(served), cursor=cursor, rest=rest, rows=rows)
    return DrainPage(rows=rows_of(found.rows, now=now), page=found)


def live(*, now: datetime, node: str = "") -> list[DrainRow]:
    """Return the drains whose cells are pushed: running ones and those of the newest page; four queries.

    With `node`, of that node alone.
    """
    base = _with_nodes().order_by("-id")
    base = base.filter(node__name=node) if node else base
    found = {each.pk: each for each in base[: keyset.PAGE_ROWS]}
    found |= {each.pk: each for each in base.filter(status=DrainStatus.ACTIVE.value)[:LIVE_MAX]}
    return rows_of(found.values(), now=now)


def rows_of(found: Iterable[Drain], *, now: datetime) -> list[DrainRow]:
    """Return drains, selected with node, link and desired state, as rows; two queries, none for no drain."""
    found = list(found)
    if not found:
        return []
    every = health_seconds(Node.objects.count())
    reached = _reached(found)
    return [_row(drain, reached.get(drain.pk, {}), now=now, every_seconds=every) for drain in found]


def named(*, pk: int, now: datetime) -> DrainRow | None:
    """Return one drain, or None; three queries."""
    return next(iter(rows_of(_with_nodes().filter(pk=pk), now=now)), None)


def _with_nodes() -> QuerySet[Drain]:
    return Drain.objects.select_related("node", "node__link", "node__desired")


def _row(drain: Drain, reached: Mapping[str, Reached], *, now: datetime, every_seconds: float) -> DrainRow:
    if drain.status != DrainStatus.ACTIVE.value:
        return DrainRow(drain=drain, standing=ENDED[DrainStatus(drain.status)], reached=reached)
    said = drains.drain_now(drains.readout_of(drain.node))
    acts = drain.node.observed_generation >= drain.generation
    return DrainRow(
        drain=drain,
        standing=_standing(
            drain.node, said if acts else None, now=now, every_seconds=every_seconds, acts=acts
        ),
        said=said if acts else None,
        reached=reached,
    )


def _standing(
    node: Node, said: DrainNow | None, *, now: datetime, every_seconds: float, acts: bool
) -> Standing:
    if presence_of(node, 0, now=now, every_seconds=every_seconds).state in AWAY:
        return Standing.UNREACHABLE
    if not acts:
        overdue = drains.order_of(node, now=now).overdue
        return Standing.NOT_ACKNOWLEDGED if overdue else Standing.PENDING
    if said is None:
        return Standing.ACKNOWLEDGED
    if said.safe_to_stop:
        return Standing.SAFE_TO_STOP
    return Standing.DRAINED if said.drained else Standing.DRAINING


def _reached(found: Sequence[Drain]) -> dict[int, dict[str, Reached]]:
    steps = DrainStep.objects.filter(drain__in=found, source=StepSource.NODE.value)
    told = steps.values_list("drain_id", "step").annotate(
        at=Min("at"), most=Max("in_flight"), least=Min("in_flight"), times=Count("pk")
    )
    reached: dict[int, dict[str, Reached]] = {}
    for drain_id, step, at, most, least, times in told.order_by():
        reached.setdefault(drain_id, {})[step] = Reached(at=at, most=most, least=least, times=times)
    return reached
