"""Minute roll-ups: histograms of ten seconds, added straight into the row of their minute.

Within the transaction that moves the spools' marks, so that nothing is added twice; the lock of a node's link
keeps others away from its rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from dashboard.models import MinuteRollup
from dashboard.services import bulk_insert, columns, hours
from dashboard.services.columns import Unfit
from meshcore import histogram
from meshcore.frames import HistogramItem

UNIQUE = ("node", "minute", "provider", "capability", "outcome")
REPLACED = ("count", "failovers", "counts")
KEY = ("node_id", *UNIQUE[1:])
MINUTES = bulk_insert.Table(MinuteRollup, [*KEY, *REPLACED, "histogram_version"])

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
    found = MinuteRollup.objects.filter(node_id__in=nodes, minute__in=times)
    for *key, counts, failovers in found.values_list(*KEY, "counts", "failovers"):
        known = minutes.get(tuple(key))
        if known is not None:
            known.add({int(bucket): n for bucket, n in counts.items()}, failovers)
    stamp = columns.stamp_adapter()
    rows = [_row(key, minutes[key], stamp(key[1])) for key in sorted(minutes)]
    MINUTES.put(rows, unique=UNIQUE, replacing=REPLACED)
    hours.mark_dirty([(key[0], key[1]) for key in minutes])


def _row(key: Key, minute: _Minute, at: Any) -> bulk_insert.Row:
    """Return the values of a minute in the order of `MINUTES`."""
    counts = columns.json_text(dict(sorted(minute.counts.items())))
    total = histogram.total(minute.counts)
    return (key[0], at, *key[2:], total, minute.failovers, counts, histogram.VERSION)
