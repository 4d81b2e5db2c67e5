"""Minute roll-ups: histograms of ten seconds, added straight into the row of their minute.

Within the transaction that moves the spool's mark, so that nothing is added twice; the mark's lock keeps
others away from this node's rows.
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

Key = tuple[datetime, str, str, str]
"""(minute, provider, capability, outcome)."""


@dataclass(frozen=True, slots=True)
class Sums:
    """A histogram that was checked, and its minute's key."""

    key: Key
    counts: histogram.Counts
    failovers: int


def parse(item: HistogramItem) -> Sums:
    """Return what is to be added; raises Unfit."""
    if item.histogram_version != histogram.VERSION:
        raise Unfit(f"histogram_version={item.histogram_version}: expected {histogram.VERSION}")
    counts = {_bucket(text): count for text, count in item.counts.items() if count}
    minute = item.at.replace(second=0, microsecond=0)
    return Sums((minute, item.provider, item.capability, item.outcome), counts, item.failovers)


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


def add(*, node_id: int, sums: Sequence[Sums]) -> None:
    """Add histograms of one node to their minutes, in the caller's transaction: three queries in all."""
    if not sums:
        return
    minutes: dict[Key, _Minute] = {}
    for each in sums:
        minutes.setdefault(each.key, _Minute()).add(each.counts, each.failovers)
    for row in MinuteRollup.objects.filter(node_id=node_id, minute__in={key[0] for key in minutes}):
        key = (row.minute, row.provider, row.capability, row.outcome)
        if key in minutes:
            minutes[key].add({int(bucket): n for bucket, n in row.counts.items()}, row.failovers)
    rows = [_row(node_id, key, minute) for key, minute in sorted(minutes.items(), key=lambda item: item[0])]
    bulk_insert.insert(rows, unique=UNIQUE, replacing=("count", "failovers", "counts"))
    hours.mark_dirty(node_id=node_id, minutes=[key[0] for key in minutes])


def _row(node_id: int, key: Key, minute: _Minute) -> MinuteRollup:
    at, provider, capability, outcome = key
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
