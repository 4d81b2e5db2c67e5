"""Old history goes, oldest first, in small batches that anything else may come between.

Of traces, what is dull (it went well at the first attempt) goes after days, failures and failovers later:

    oldest            swept_to                                   newest
      | no dull ones     | all of them                              |
      '- older than failure_days: all go     up to trace_days: the dull go; beyond the number: dull, then all

How far that has come is stored beside what was removed, in the transaction that removes it: a restart goes
on where it stopped, and of two processes that sweep at once one finds that the other did it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Count, F, Max, QuerySet

from dashboard.models import (
    History,
    HourRollup,
    OutboxRow,
    OutboxState,
    Removal,
    Trace,
    Transition,
)
from dashboard.retention import Retention
from dashboard.selectors.trace_filter import key_of

BATCH_ROWS = 500  # removed in one transaction, which holds the lock of SQLite's one writer for 5-15 ms
BATCHES = 4  # of traces in a turn of one second: twice what 1 000 nodes tell with a call a second each
LOOKED_AT = 5_000  # traces that are looked at for one batch; 10 ms, without a lock
COUNTED_ROWS = 50_000  # that are counted in a turn; 10 ms, without a lock
SETTLED = timedelta(seconds=30)  # younger keys may still come in between, from another process
ENDED = (OutboxState.DONE.value, OutboxState.FAILED.value)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Keys to remove, and up to where no dull trace is left then."""

    keys: list[int]
    swept_to: int


def sweep_traces(*, now: datetime) -> int:
    """Remove traces with their details, at most `BATCHES` batches; returns how many."""
    _count(now)
    removed = 0
    for _ in range(BATCHES):
        state = _state(History.TRACES)
        batch = _next(state, settings.MESH_RETENTION, now)
        if batch is None or not _remove(state, batch, now):
            break
        removed += len(batch.keys)
    return removed


def trim_transitions(*, now: datetime) -> int:
    """Remove a batch of old changes of breakers; returns how many."""
    old = Transition.objects.filter(at__lt=now - timedelta(days=settings.MESH_RETENTION.transition_days))
    return _trim(History.TRANSITIONS, old.order_by("at"), now)


def trim_hours(*, now: datetime) -> int:
    """Remove a batch of old hour rows; returns how many."""
    old = HourRollup.objects.filter(hour__lt=now - timedelta(days=settings.MESH_RETENTION.hour_days))
    return _trim(History.HOURS, old.order_by("hour"), now)


def trim_outbox(*, now: datetime) -> int:
    """Remove a batch of orders that ended long ago; returns how many."""
    before = now - timedelta(days=settings.MESH_RETENTION.outbox_days)
    return _trim(History.OUTBOX, OutboxRow.objects.filter(state__in=ENDED, expires_at__lt=before), now)


def _trim(kind: History, old: "QuerySet[Any]", now: datetime) -> int:
    keys = list(old.values_list("pk", flat=True)[:BATCH_ROWS])
    if not keys:
        return 0
    state = _state(kind)
    with transaction.atomic():
        old.model._default_manager.filter(pk__in=keys).delete()
        Removal.objects.filter(pk=state.pk).update(removed=F("removed") + len(keys), removed_at=now)
    return len(keys)


def _state(kind: History) -> Removal:
    return Removal.objects.get_or_create(kind=kind.value)[0]


def _next(state: Removal, kept: Retention, now: datetime) -> _Batch | None:
    """Return what goes next, None when nothing has to."""
    too_old = Trace.objects.filter(pk__lt=key_of(now - timedelta(days=kept.failure_days)))
    keys = list(too_old.order_by("pk").values_list("pk", flat=True)[:BATCH_ROWS])
    if keys:
        return _Batch(keys, max(state.swept_to, keys[-1]))
    dull = _dull(state.swept_to, key_of(now - timedelta(days=kept.trace_days)), BATCH_ROWS)
    excess = min(state.counted - kept.traces, BATCH_ROWS)
    if dull is None and excess > 0:
        dull = _dull(state.swept_to, key_of(now - SETTLED), excess)
    if dull is None and excess > 0:
        keys = list(Trace.objects.order_by("pk").values_list("pk", flat=True)[:excess])
        return _Batch(keys, state.swept_to)
    return dull


def _dull(above: int, below: int, most: int) -> _Batch | None:
    """Return the next dull traces between two keys; none may be among them; None at the end."""
    rows = (
        Trace.objects.filter(pk__gt=above, pk__lt=below).order_by("pk").values_list("pk", "outcome", "hops")
    )
    seen = list(rows[:LOOKED_AT])
    if not seen:
        return None
    keys = [pk for pk, outcome, hops in seen if outcome == "ok" and hops <= 1][:most]
    return _Batch(keys, keys[-1] if len(keys) == most else seen[-1][0])


def _remove(state: Removal, batch: _Batch, now: datetime) -> bool:
    """Remove a batch; False: another process did."""
    early = _early(batch.keys, now)
    counted = sum(key <= state.counted_to for key in batch.keys)
    mine = Removal.objects.filter(pk=state.pk, swept_to=state.swept_to, removed=state.removed)
    with transaction.atomic():
        won = mine.update(
            swept_to=batch.swept_to,
            removed=F("removed") + len(batch.keys),
            early=F("early") + early,
            counted=F("counted") - counted,
            removed_at=now if batch.keys else F("removed_at"),
        )
        if won and batch.keys:
            Trace.objects.filter(pk__in=batch.keys).delete()  # and their details
    return bool(won)


def _early(keys: Sequence[int], now: datetime) -> int:
    in_time = key_of(now - timedelta(days=settings.MESH_RETENTION.trace_days))
    return sum(key >= in_time for key in keys)


def _count(now: datetime) -> None:
    """Go on counting; another process that does the same makes no difference."""
    state = _state(History.TRACES)
    rows = Trace.objects.filter(pk__gt=state.counted_to, pk__lt=key_of(now - SETTLED)).order_by("pk")
    found = rows.values("pk")[:COUNTED_ROWS].aggregate(many=Count("pk"), last=Max("pk"))
    if found["many"]:
        uncounted = Removal.objects.filter(pk=state.pk, counted_to=state.counted_to)
        uncounted.update(counted=F("counted") + found["many"], counted_to=found["last"])
