"""Rates, errors and percentiles, added up from minute histograms: nothing here averages a percentile."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, TypeVar

from dashboard.models import MinuteRollup
from meshcore import histogram

SPARK_MINUTES = 15
RECENT_MINUTES = 5  # errors and percentiles: short enough to follow a fault, long enough to be calm
RATE_MINUTES = 2
MINUTE = timedelta(minutes=1)
REPORT_SECONDS = 10  # nodes report closed windows of this length
REPORT_LAG_SECONDS = 2  # what a closed window takes from the node into the table

Key = TypeVar("Key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What went through in the last `RECENT_MINUTES`; `rates` and `bad` are by minute, oldest first.

    Figures are None where nothing was counted. `newest_at` is the begin of the newest minute with any call.
    """

    requests: int = 0
    errors: int = 0
    failovers: int = 0
    per_second: float | None = None
    error_percent: float | None = None
    failover_percent: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    newest_at: datetime | None = None
    failovers_spark: int = 0  # in the last SPARK_MINUTES
    rates: tuple[float, ...] = ()  # requests a second
    bad: tuple[int, ...] = ()  # errors


NOTHING = Traffic()


class Minute(NamedTuple):
    """One roll-up as it is read; in the order of `_COLUMNS`."""

    node_id: int
    provider: str
    minute: datetime
    outcome: str
    calls: int
    failovers: int
    counts: dict[str, int]
    histogram_version: int


_COLUMNS = ("node_id", "provider", "minute", "outcome", "count", "failovers", "counts", "histogram_version")


@dataclass(frozen=True, slots=True)
class Window:
    """The minutes that count at one moment, oldest first; the running one once something of it was told."""

    minutes: tuple[datetime, ...]
    last_seconds: int  # how much of the last minute the nodes have told about

    @classmethod
    def at(cls, now: datetime) -> "Window":
        """Return the window that ends at `now`."""
        running = now.replace(second=0, microsecond=0)
        told = max(now.second - REPORT_LAG_SECONDS, 0) // REPORT_SECONDS * REPORT_SECONDS
        last = running if told else running - MINUTE
        return cls(tuple(last - MINUTE * back for back in reversed(range(SPARK_MINUTES))), told or 60)

    def seconds(self, minutes: int) -> int:
        """Return how many seconds the last `minutes` of the window have."""
        return 60 * (minutes - 1) + self.last_seconds


@dataclass(slots=True)
class Tally:
    """Adds up minutes."""

    requests: dict[datetime, int] = field(default_factory=dict)
    errors: dict[datetime, int] = field(default_factory=dict)
    failovers: dict[datetime, int] = field(default_factory=dict)
    recent: histogram.Counts = field(default_factory=dict)

    def add(self, minute: datetime, calls: int, errors: int, failovers: int) -> None:
        """Add what went through in a minute."""
        _count(self.requests, minute, calls)
        _count(self.errors, minute, errors)
        _count(self.failovers, minute, failovers)

    def merge(self, counts: Mapping[str, int]) -> None:
        """Add durations of the recent minutes, by bucket."""
        for bucket, count in counts.items():
            number = int(bucket)
            self.recent[number] = self.recent.get(number, 0) + count

    def add_rollup(self, row: Minute, *, recent_since: datetime) -> None:
        """Add a roll-up."""
        self.add(row.minute, row.calls, row.calls if row.outcome != "ok" else 0, row.failovers)
        if row.minute >= recent_since and row.histogram_version == histogram.VERSION:
            self.merge(row.counts)

    def traffic(self, window: Window) -> Traffic:
        """Return what it amounts to."""
        recent, rated = window.minutes[-RECENT_MINUTES:], window.minutes[-RATE_MINUTES:]
        requests, errors, failovers = (
            _sum(of, recent) for of in (self.requests, self.errors, self.failovers)
        )
        return Traffic(
            requests=requests,
            errors=errors,
            failovers=failovers,
            per_second=_sum(self.requests, rated) / window.seconds(RATE_MINUTES),
            error_percent=100 * errors / requests if requests else None,
            failover_percent=100 * failovers / requests if requests else None,
            p50_ms=histogram.quantile(self.recent, 0.50),
            p95_ms=histogram.quantile(self.recent, 0.95),
            p99_ms=histogram.quantile(self.recent, 0.99),
            newest_at=max(self.requests),
            failovers_spark=_sum(self.failovers, window.minutes),
            rates=tuple(
                self.requests.get(minute, 0) / (60 if minute != window.minutes[-1] else window.last_seconds)
                for minute in window.minutes
            ),
            bad=tuple(self.errors.get(minute, 0) for minute in window.minutes),
        )


@dataclass(frozen=True, slots=True)
class Readings:
    """The roll-ups of a window, read once, to be added up in several ways."""

    window: Window
    rows: tuple[Minute, ...]

    def whole(self) -> Traffic:
        """Return the traffic of everything read."""
        return self._by(lambda row: "").get("", NOTHING)

    def by_node(self) -> dict[int, Traffic]:
        """Return the traffic of each node by its row's id; nodes without any are left out."""
        return self._by(lambda row: row.node_id)

    def by_provider(self) -> dict[str, Traffic]:
        """Return the traffic by the provider that answered, the busiest first."""
        found = self._by(lambda row: row.provider)
        return dict(sorted(found.items(), key=lambda item: (-item[1].requests, item[0])))

    def _by(self, key: Callable[[Minute], Key]) -> dict[Key, Traffic]:
        tallies: dict[Key, Tally] = {}
        recent_since = self.window.minutes[-RECENT_MINUTES]
        for row in self.rows:
            tallies.setdefault(key(row), Tally()).add_rollup(row, recent_since=recent_since)
        return {name: tally.traffic(self.window) for name, tally in tallies.items()}


def read(*, now: datetime, node_id: int | None = None) -> Readings:
    """Return the roll-ups of the last `SPARK_MINUTES`, of one node when given; one query."""
    window = Window.at(now)
    found = MinuteRollup.objects.filter(minute__gte=window.minutes[0], minute__lte=window.minutes[-1])
    if node_id is not None:
        found = found.filter(node_id=node_id)
    return Readings(window, tuple(Minute(*row) for row in found.values_list(*_COLUMNS)))


def _count(into: dict[datetime, int], minute: datetime, count: int) -> None:
    into[minute] = into.get(minute, 0) + count


def _sum(of: dict[datetime, int], minutes: Iterable[datetime]) -> int:
    return sum(of.get(minute, 0) for minute in minutes)
