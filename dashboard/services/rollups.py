"""Minute roll-ups: histograms of ten seconds, added straight into the row of their minute.

Within the transaction that moves the spools' marks, so that nothing is added twice; the lock of a node's link
keeps others away from its rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from dashboard.models import MinuteRollup
from dashboard.services import bulk_insert, hours
from dashboard.services.columns import Unfit
from meshcore import histogram
from meshcore.frames import HistogramItem

UNIQUE = ("node", "minute", "provider", "capability", "outcome")

Key = tuple[int, datetime, str, str, str]
"""(node, minute, provider, capability, outcome), as `UNIQUE`; rows are written in this order."""


@dataclass(frozen=True, slots=True)
class Sums:
    """A histogram that was checked, and its minute's key."""

    key: Key
    counts: histogram.Counts
    failovers: int


def parse(item: HistogramItem, *, node_id: int) -> Sums:
    """Return what is to be added; raises Unfit."""
    if item.histogram_version != histogram.VERSION:
        raise Unfit(f"histogram_version={item.histogram_version}: expected {histogram.VERSION}")
    counts = {_bucket(text): count for text, count in item.counts.items() if count}
    minute = item.at.replace(second=0, microsecond=0)
    return Sums((node_id, minute, item.provider, item.capability, item.outcome), counts, item.failovers)


def _bucket(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= histogram.LAST_BUCKET):
        raise Unfit(f"bucket {text[:8]!r}: expected 0 to {histogram.LAST_BUCKET}")
    return int(text)


@dataclass(slots=True)
class _Minute:
    counts: histogram.Counts = field(default_factory=dict)
    failovers: int = 0

    def add(self, counts: histogram.Counts, failovers: int) -> None:
        histogram.merge(self.counts, counts)
        self.failovers += failovers


def add(sums: Sequence[Sums]) -> None:
    """Add histograms to their minutes, in the caller's transaction: three queries in all."""
    if not sums:
        return
    minutes: dict[Key, _Minute] = {}
    for each in sums:
        minutes.setdefault(each.key, _Minute()).add(each.counts, each.failovers)
    nodes, times = {key[0] for key in minutes}, {key[1] for key in minutes}
    for row in MinuteRollup.objects.filter(node_id__in=nodes, minute__in=times):
        key = (row.node_id, row.minute, row.provider, row.capability, row.outcome)
        if key in minutes:
            minutes[key].add({int(bucket): n for bucket, n in row.counts.items()}, row.failovers)
    rows = [_row(key, minute) for key, minute in sorted(minutes.items(), key=lambda item: item[0])]
    bulk_insert.insert(rows, unique=UNIQUE, replacing=("count", "failovers", "counts"))
    hours.mark_dirty([(key[0], key[1]) for key in minutes])


def _row(key: Key, minute: _Minute) -> MinuteRollup:
    node_id, at, provider, capability, outcome = key
    return MinuteRollup(
        node_id=node_id,
        minute=at,
        provider=provider,
        capability=capability,
        outcome=outcome,
        count=histogram.total(minute.counts),
        failovers=minute.failovers,
        counts={str(bucket): n for bucket, n in sorted(minute.counts.items())},
        histogram_version=histogram.VERSION,
    )
