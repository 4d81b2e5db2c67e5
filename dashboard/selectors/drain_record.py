"""The record of one drain: every step, by whoever saw it, with its time there and here."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby

from django.db.models import Q

from dashboard.models import Action, AuditEntry, Drain, DrainStatus, DrainStep, Run, Step, StepSource
from dashboard.selectors import drain_list
from dashboard.selectors.drain_list import DrainRow

STEPS_MAX = 500  # of one drain that are shown; of more the newest, and how many are left out is said
ENTRIES_MAX = 50
RUNS_MAX = 50  # that a drain moved and that are named
COUNTED_DOWN = Step.IN_FLIGHT.value


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSeen:
    """A step. `lag_seconds` from its time on the node to ours, None for what happened here.

    Several steps that only count down are one, from `at` to `last_at`; `times` says how many.
    """

    step: str
    at: datetime
    heard_at: datetime
    after_seconds: float
    lag_seconds: float | None
    generation: int
    in_flight: int | None
    edge: int | None
    detail: str
    last_at: datetime
    times: int = 1

    @property
    def here(self) -> bool:
        """Whether the dashboard saw it, and not the node."""
        return self.lag_seconds is None


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainRecord:
    """All that is kept of a drain; `more` counts older steps that are left out.

    `moved` are the runs that it handed to other nodes, as far as anything is known of them.
    """

    row: DrainRow
    steps: Sequence[StepSeen]
    more: int
    moved: Sequence[Run] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """The drain that is asked of a node now, with its steps, counting down in one."""

    drain: Drain
    steps: Sequence[StepSeen]


def read(*, pk: int, now: datetime) -> DrainRecord | None:
    """Return the record of a drain, or None when there is no such drain; at most six queries."""
    row = drain_list.named(pk=pk, now=now)
    if row is None:
        return None
    newest = list(row.drain.steps.order_by("-at", "-id")[:STEPS_MAX])
    more = row.drain.steps.count() - len(newest) if len(newest) == STEPS_MAX else 0
    moved = [step.detail for step in newest if step.step == Step.MOVED.value]
    return DrainRecord(row=row, steps=_seen(row.drain, reversed(newest)), more=more, moved=_runs(moved))


def present(*, node_id: int) -> Present | None:
    """Return the drain that is asked of a node, None when none is; two queries at most."""
    drain = Drain.objects.filter(node_id=node_id, status=DrainStatus.ACTIVE.value).first()
    if drain is None:
        return None
    newest = list(drain.steps.order_by("-at", "-id")[:STEPS_MAX])
    return Present(drain=drain, steps=_gathered(_seen(drain, reversed(newest))))


def entries(*, drain: Drain) -> list[AuditEntry]:
    """Return who asked for a drain, changed and ended it, from where; the oldest first, one query."""
    began = Q(action=Action.DRAIN.value, generation__gte=drain.first_generation)
    ended = Q(action=Action.UNDRAIN.value, generation__gt=drain.first_generation)
    found = AuditEntry.objects.filter(began | ended, target=f"node:{drain.node.name}")
    return list(found.filter(generation__lte=drain.generation).order_by("n")[:ENTRIES_MAX])


def _runs(run_ids: Sequence[str]) -> list[Run]:
    return list(Run.objects.filter(run_id__in=run_ids[:RUNS_MAX]).order_by("id")) if run_ids else []


def _seen(drain: Drain, steps: Iterable[DrainStep]) -> list[StepSeen]:
    return [_one(drain, step) for step in steps]


def _one(drain: Drain, step: DrainStep) -> StepSeen:
    here = step.source == StepSource.DASHBOARD.value
    return StepSeen(
        step=step.step,
        at=step.at,
        heard_at=step.received_at,
        after_seconds=(step.at - drain.started_at).total_seconds(),
        lag_seconds=None if here else (step.received_at - step.at).total_seconds(),
        generation=step.generation,
        in_flight=step.in_flight,
        edge=step.edge,
        detail=step.detail,
        last_at=step.at,
    )


def _gathered(steps: Sequence[StepSeen]) -> list[StepSeen]:
    runs = groupby(steps, key=lambda each: each.step if each.step == COUNTED_DOWN else id(each))
    return [_gather(list(run)) for _, run in runs]


def _gather(run: Sequence[StepSeen]) -> StepSeen:
    last = run[-1]
    return replace(last, at=run[0].at, after_seconds=run[0].after_seconds, times=len(run))
