"""From calls to telemetry: every outermost call as a `trace` item, and latency histograms of 10 s.

Histograms are kept per (provider, capability, outcome) of the moment in which the call ended; they add up, so
a call that comes late just makes another item for its 10 s (link-and-telemetry, "Histograms").
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

from meshcore import histogram
from meshcore.frames import HistogramItem, TraceItem
from meshcore.trace import RoutingTrace

WINDOW_SECONDS = 10
OPEN_MAX = 4096  # histograms under way; beyond it all are handed out early, which costs rows but no counts

Outcome = Literal["ok", "error"]


class _Key(NamedTuple):
    begin: int  # of the 10 s, in seconds since 1970
    provider: str
    capability: str
    outcome: Outcome


@dataclass(slots=True)
class _Sums:
    counts: histogram.Counts = field(default_factory=dict)
    failovers: int = 0


class Collector:
    """Turns finished calls into items; items carry number 0 until the spool numbers them."""

    def __init__(self) -> None:
        self._open: dict[_Key, _Sums] = {}

    def on_trace(self, trace: RoutingTrace) -> list[TraceItem | HistogramItem]:
        """Return what is to be spooled now; the callee's side of a peer's call is no call of its own."""
        if trace.inbound:
            return []
        at = trace.started_at + timedelta(milliseconds=trace.duration_ms)
        self._count(trace, _begin(at))
        early = self.flush() if len(self._open) > OPEN_MAX else []
        return [TraceItem(seq=0, at=at, trace=trace), *early]

    def tick(self, now: datetime) -> list[HistogramItem]:
        """Return the histograms whose 10 s are over, oldest first."""
        begin = _begin(now)
        return self._hand_out([key for key in self._open if key.begin < begin])

    def flush(self) -> list[HistogramItem]:
        """Return all histograms, also those under way: at the end of the process nothing may be missing."""
        return self._hand_out(list(self._open))

    def _count(self, trace: RoutingTrace, begin: int) -> None:
        outcome: Outcome = "ok" if trace.outcome == "ok" else "error"
        key = _Key(begin, trace.provider, trace.capability, outcome)
        sums = self._open.get(key)
        if sums is None:
            sums = self._open[key] = _Sums()
        histogram.add(sums.counts, trace.duration_ms)
        sums.failovers += max(len(trace.attempts) - 1, 0)

    def _hand_out(self, keys: list[_Key]) -> list[HistogramItem]:
        return [_item(key, self._open.pop(key)) for key in sorted(keys)]


def _begin(at: datetime) -> int:
    return int(at.timestamp()) // WINDOW_SECONDS * WINDOW_SECONDS


def _item(key: _Key, sums: _Sums) -> HistogramItem:
    return HistogramItem(
        seq=0,
        at=datetime.fromtimestamp(key.begin, UTC),
        provider=key.provider,
        capability=key.capability,
        outcome=key.outcome,
        counts={str(bucket): count for bucket, count in sorted(sums.counts.items())},
        failovers=sums.failovers,
        histogram_version=histogram.VERSION,
    )
