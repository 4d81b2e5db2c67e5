"""What a running dashboard does again and again, in its control lane; each turn is small and bounded."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.contrib.sessions.models import Session

from dashboard.services import (
    audit_refusals,
    audit_triggers,
    ballast,
    changes,
    drain,
    hours,
    node_minutes,
    outbox,
    overrides,
    retention,
)

CLEARED_ROWS = 1000  # old sessions deleted in one turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Call `function(now=...)` every so many seconds, and `last(now=...)` once when the process ends.

    `of_process`: it is about something that each process has, so a worker can't do it for the others.
    `order`: it carries out what people want, so on a full disk it may have the room that is kept for that.
    """

    name: str
    every_seconds: float
    function: Callable[..., object]
    of_process: bool = False
    order: bool = False
    last: Callable[..., object] | None = None


def clear_sessions(*, now: datetime) -> int:
    """Delete sessions that are over; returns how many."""
    old = Session.objects.filter(expire_date__lt=now).values_list("pk", flat=True)[:CLEARED_ROWS]
    deleted, _ = Session.objects.filter(pk__in=list(old)).delete()
    return deleted


JOBS = (
    Job(name="ending drains whose time is over", every_seconds=1.0, function=drain.expire, order=True),
    Job(name="ending overrides whose time is over", every_seconds=1.0, function=overrides.expire, order=True),
    Job(name="settling what waits in the outbox", every_seconds=5.0, function=outbox.settle, order=True),
    Job(
        name="trimming the change feed", every_seconds=10.0, function=changes.trim
    ),  # up to 500 rows a second
    Job(name="trimming the traffic of nodes", every_seconds=30.0, function=node_minutes.trim),
    Job(name="adding up hours", every_seconds=5.0, function=hours.make),  # 1 000 nodes within 5 minutes
    Job(name="removing minutes that are added up", every_seconds=5.0, function=hours.seal),
    Job(name="removing old traces", every_seconds=1.0, function=retention.sweep_traces),
    Job(name="removing old transitions", every_seconds=5.0, function=retention.trim_transitions),
    Job(name="removing old hours", every_seconds=10.0, function=retention.trim_hours),
    Job(name="removing old orders", every_seconds=60.0, function=retention.trim_outbox),
    Job(name="clearing old sessions", every_seconds=600.0, function=clear_sessions),
    Job(
        name="writing who was refused",
        every_seconds=10.0,
        function=audit_refusals.flush,
        of_process=True,  # they are in its memory
        last=audit_refusals.flush_all,
    ),
    Job(name="watching the disk", every_seconds=5.0, function=ballast.watch, of_process=True),
    Job(name="seeing that the audit is guarded", every_seconds=60.0, function=audit_triggers.watch),
)
