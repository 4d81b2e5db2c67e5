"""Traffic of whole nodes by the minute, added up beside the roll-ups and in their transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from dashboard.models import NodeMinute
from dashboard.services import bulk_insert, columns
from dashboard.services.rollups import Sums
from meshcore import histogram

KEPT = timedelta(hours=1)  # pages look back for 15 min; what is told of later than this is only rolled up
TRIM_ROWS = 5000  # at most so many at a time; 1 000 nodes make so many in 5 min
UNIQUE = ("node", "minute")
REPLACED = ("calls", "errors", "failovers", "counts")
MINUTES = bulk_insert.Table(NodeMinute, ["node_id", "minute", *REPLACED])


@dataclass(slots=True)
class _Minute:
    calls: int = 0
    errors: int = 0
    failovers: int = 0
    counts: histogram.Counts = field(default_factory=dict)

    def add(self, sums: Sums) -> None:
        calls = histogram.total(sums.counts)
        self.calls += calls
        self.errors += calls if sums.key[-1] != "ok" else 0
        self.failovers += sums.failovers
        histogram.merge(self.counts, sums.counts)

    def add_row(self, calls: int, errors: int, failovers: int, counts: Mapping[str, int]) -> None:
        self.calls += calls
        self.errors += errors
        self.failovers += failovers
        histogram.merge(self.counts, {int(bucket): n for bucket, n in counts.items()})


def add(sums: Sequence[Sums], *, now: datetime) -> None:
    """Add histograms to the minutes of their nodes, in the caller's transaction: two queries in all."""
    minutes: dict[tuple[int, datetime], _Minute] = {}
    for each in sums:
        node_id, minute = each.key[:2]
        if minute > now - KEPT:
            minutes.setdefault((node_id, minute), _Minute()).add(each)
    if not minutes:
        return
    nodes, times = {key[0] for key in minutes}, {key[1] for key in minutes}
    stored = NodeMinute.objects.filter(node_id__in=nodes, minute__in=times)
    for node_id, at, *row in stored.values_list("node_id", "minute", *REPLACED):
        if (known := minutes.get((node_id, at))) is not None:
            known.add_row(*row)
    stamp = columns.stamp_adapter()
    rows = [_row(key[0], stamp(key[1]), minutes[key]) for key in sorted(minutes)]
    MINUTES.put(rows, unique=UNIQUE, replacing=REPLACED)


def trim(*, now: datetime) -> int:
    """Delete rows older than an hour, at most `TRIM_ROWS`; returns how many."""
    old = NodeMinute.objects.filter(minute__lt=now - KEPT).values_list("id", flat=True)[:TRIM_ROWS]
    deleted, _ = NodeMinute.objects.filter(id__in=list(old)).delete()
    return deleted


def _row(node_id: int, at: Any, minute: _Minute) -> bulk_insert.Row:
    """Return the values of a minute in the order of `MINUTES`."""
    counts = columns.json_text(dict(sorted(minute.counts.items())))
    return (node_id, at, minute.calls, minute.errors, minute.failovers, counts)
