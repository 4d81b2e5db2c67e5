"""Runs as a list and one by one: how each stands by the last word of whoever owns it."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import Count, Q, Sum

from dashboard.models import Node, Run, Trace
from dashboard.selectors import keyset
from dashboard.selectors.nodes import presence_of
from dashboard.selectors.observed import AWAY
from dashboard.selectors.presence import health_seconds
from meshcore.run_events import RunStatus

LIVE_MAX = 200  # live runs that are pushed into open pages beside the newest page
OF_NODE_MAX = 50  # live runs on a node's page
TRACES_MAX = 20  # calls of a run: one for each of its generations, at least
OWNED = frozenset({RunStatus.RUNNING.value, RunStatus.CANCELLING.value})


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """What the list is narrowed to; empty means anything. `node` owns the run, or did last."""

    node: str = ""
    status: str = ""
    live: bool = False

    def split(self) -> tuple[Q, Q | None]:
        """Return the condition that an index serves, and what is left to judge row by row."""
        conditions = [
            (self.live, Q(ended_at=None)),
            (self.node, Q(owner=self.node)),
            (self.status, Q(status=self.status)),
        ]
        return keyset.narrow([condition for value, condition in conditions if value])


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One run. `unheard`: whoever owns it is not heard now, so its numbers are a last word."""

    run: Run
    unheard: bool = False

    @property
    def live(self) -> bool:
        """Whether it hasn't ended, as far as anybody told."""
        return self.run.ended_at is None

    @property
    def owner_heard(self) -> bool:
        """Whether its owner is there, or nobody needs to be."""
        return not self.unheard

    @property
    def began_at(self) -> datetime:
        """When it was made, or else first heard of."""
        return self.run.created_at or self.run.first_heard_at

    @property
    def lasted_seconds(self) -> float | None:
        """How long it lasted, None while it goes on."""
        return None if self.run.ended_at is None else (self.run.ended_at - self.began_at).total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
    """One page of runs, newest first."""

    rows: Sequence[RunRow]
    page: keyset.Page[Run]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many runs live, by status, as their rows say it.

    `unheard` are those whose owner is not heard now, by the last status that was told; `untold` are beyond
    what their nodes have room to tell of.
    """

    statuses: dict[str, int]
    unheard: dict[str, int] = field(default_factory=dict)
    untold: int = 0

    @property
    def live(self) -> int:
        """All of them that are told of."""
        return sum(self.statuses.values()) + sum(self.unheard.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class OfNode:
    """The live runs of a node, the newest of them, and how many more there are."""

    rows: Sequence[RunRow]
    more: int = 0


def page(*, wanted: RunFilter, cursor: keyset.Cursor, now: datetime, rows: int = keyset.PAGE_ROWS) -> RunPage:
    """Return one page of runs; at most four queries."""
    served, rest = wanted.split()
    found = keyset.page(Run.objects.filter(served), cursor=cursor, rest=rest, rows=rows)
    return RunPage(rows=rows_of(found.rows, now=now), page=found)


def shown(*, now: datetime) -> list[RunRow]:
    """Return the runs whose cells are pushed: those of the newest page, and live ones; four queries."""
    found = {each.pk: each for each in Run.objects.all()[: keyset.PAGE_ROWS]}
    found |= {each.pk: each for each in Run.objects.filter(ended_at=None)[:LIVE_MAX]}
    return rows_of(found.values(), now=now)


def of_node(*, name: str, now: datetime) -> OfNode:
    """Return the live runs that a node owns; at most four queries."""
    owned = Run.objects.filter(owner=name, ended_at=None, status__in=OWNED)
    found = list(owned[: OF_NODE_MAX + 1])
    more = owned.count() - OF_NODE_MAX if len(found) > OF_NODE_MAX else 0
    return OfNode(rows=rows_of(found[:OF_NODE_MAX], now=now), more=more)


def named(*, run_id: str, now: datetime) -> RunRow | None:
    """Return one run, or None; at most three queries."""
    return next(iter(rows_of(Run.objects.filter(run_id=run_id), now=now)), None)


def tally(*, now: datetime) -> Tally:
    """Return how many runs live; at most four queries."""
    living = Run.objects.filter(ended_at=None).order_by("status", "owner")
    counted = list(living.values_list("status", "owner").annotate(Count("pk")))
    heard = _heard({owner for status, owner, _ in counted if status in OWNED}, now=now)
    statuses, unheard = Counter[str](), Counter[str]()
    for status, owner, count in counted:
        (unheard if status in OWNED and owner not in heard else statuses)[status] += count
    untold = Node.objects.aggregate(untold=Sum("runs_more"))["untold"] or 0
    return Tally(statuses=dict(statuses), unheard=dict(unheard), untold=untold)


def traces_of(*, run_id: str) -> list[Trace]:
    """Return the newest calls that were made for a run; one query."""
    calls = Trace.objects.select_related("node").filter(run_id=run_id).exclude(run_id="")
    return list(calls.order_by("-id")[:TRACES_MAX])


def rows_of(found: Iterable[Run], *, now: datetime) -> list[RunRow]:
    """Return runs as rows; two queries, none when nobody owns one of them."""
    found = list(found)
    heard = _heard({run.owner for run in found if _is_owned(run)}, now=now)
    return [RunRow(run=run, unheard=_is_owned(run) and run.owner not in heard) for run in found]


def _is_owned(run: Run) -> bool:
    return run.ended_at is None and run.status in OWNED


def _heard(names: Collection[str], *, now: datetime) -> set[str]:
    """Return those of `names` that are nodes of this dashboard and are there."""
    if not names:
        return set()
    every = health_seconds(Node.objects.count())
    nodes = Node.objects.select_related("link").filter(name__in=names)
    return {
        node.name for node in nodes if presence_of(node, 0, now=now, every_seconds=every).state not in AWAY
    }
