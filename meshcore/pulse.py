"""When a node says its health, and how much of it (link-and-telemetry, "Frames", `health`).

Every `health_seconds` of the dashboard's descriptor, spread by a jitter so that nodes don't beat in step; at
once when something changed, as far as the pace allows (meshcore.pace). Breakers and runs are repeated in full
now and then, else only what changed. Nothing of a run hurries, and its progress alone is said every few
seconds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from meshcore.clock import Clock
from meshcore.frames import BreakerReport, Health
from meshcore.pace import Pace
from meshcore.run_events import TERMINAL
from meshcore.run_reports import RUNS_MAX, RunReport

DRIFT_SECONDS = 1.0  # a moment that moved by less is the same one, computed a moment later
PROGRESS_SECONDS = 5.0  # between two words on a run that only has more chunks
_ENDED = frozenset(status.value for status in TERMINAL)


@dataclass(frozen=True, slots=True)
class _Said:
    """A breaker as the other side knows it.

    What counts down or up is kept as the moment that it counts from.
    """

    report: BreakerReport  # without them
    moments: tuple[float | None, float | None, float | None]

    @classmethod
    def of(cls, report: BreakerReport, now: float) -> "_Said":
        since = None if report.since is None else report.since.timestamp()
        moments = _end(report.seconds_remaining, now), _end(report.cooling_seconds, now), since
        bare = msgspec.structs.replace(report, seconds_remaining=None, cooling_seconds=None, since=None)
        return cls(bare, moments)

    def tells(self, other: "_Said") -> bool:
        """Return whether who knows this knows `other` too."""
        return self.report == other.report and all(map(_same_moment, self.moments, other.moments))


class _Runs:
    """The runs of a node as the other side knows them."""

    def __init__(self) -> None:
        self._said: dict[str, tuple[RunReport, float]] = {}  # and when

    def vanished(self, present: Sequence[RunReport]) -> bool:
        """Return whether the other side knows of runs that aren't there any more."""
        return bool(self._said.keys() - {each.run_id for each in present})

    def news(self, present: Sequence[RunReport], now: float, *, full: bool) -> tuple[RunReport, ...]:
        """Return what the other side doesn't know; it does from now on, and of ended runs nothing more."""
        if full:
            self._said.clear()
        return tuple(each for each in present if self._is_news(each, now, full=full))

    def _is_news(self, each: RunReport, now: float, *, full: bool) -> bool:
        known, said_at = self._said.get(each.run_id, (None, now))
        if each.status in _ENDED:
            self._said.pop(each.run_id, None)
            return full or known is not None  # of one that was never said its own item tells
        if known is not None:
            progress = {"last_seq": each.last_seq, "chunks": each.chunks}
            is_same = msgspec.structs.replace(known, **progress) == each
            if is_same and (each.last_seq == known.last_seq or now < said_at + PROGRESS_SECONDS):
                return False
        self._said[each.run_id] = (each, now)
        return True


def _end(seconds: float | None, now: float) -> float | None:
    return None if seconds is None else now + seconds


def _same_moment(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return abs(one - other) <= DRIFT_SECONDS


class Pulse:
    """The health frames of one connection; silent until `start`."""

    def __init__(
        self,
        *,
        full_seconds: float,
        gap_seconds: float,
        jitter: float,
        clock: Clock,
        random: Callable[[], float],
    ) -> None:
        self._full_seconds = full_seconds
        self._pace = Pace(gap_seconds)
        self._jitter = jitter
        self._clock = clock
        self._random = random
        self._every_seconds = 0.0
        self._due_at: float | None = None
        self._full_at = -float("inf")
        self._no = 0
        self._said: dict[str, _Said] = {}
        self._runs = _Runs()

    def start(self, every_seconds: float) -> None:
        """Say health now, and every `every_seconds` from now on."""
        self._every_seconds = every_seconds
        self._due_at = self._clock()

    def hurry(self) -> None:
        """Say health as soon as the pace allows."""
        if self._due_at is not None:
            self._due_at = min(self._due_at, max(self._clock(), self._pace.next_at()))

    def due_at(self) -> float | None:
        """Return when health is due, by the clock; None before the start."""
        return self._due_at

    def is_due(self) -> bool:
        """Return whether health should be said now."""
        return self._due_at is not None and self._clock() >= self._due_at

    def number(self, health: Health) -> Health:
        """Return `health`, which has all breakers and runs, numbered and cut to what the other side doesn't
        know."""
        now = self._clock()
        present = {report.key: _Said.of(report, now) for report in health.breakers}
        vanished = bool(self._said.keys() - present.keys()) or self._runs.vanished(health.runs)
        full = vanished or now >= self._full_at + self._full_seconds
        news = tuple(r for r in health.breakers if full or not self._is_known(present[r.key]))
        self._no += 1
        self._pace.said(now)
        self._due_at = now + self._every_seconds * (1 + self._jitter * (2 * self._random() - 1))
        if full:
            self._full_at, self._said = now, {}
        self._said |= {report.key: present[report.key] for report in news}
        runs = self._runs.news(health.runs, now, full=full)
        return msgspec.structs.replace(health, no=self._no, full=full, breakers=news, runs=runs)

    def _is_known(self, present: _Said) -> bool:
        said = self._said.get(present.report.key)
        return said is not None and said.tells(present)


def newest(older: Health | None, newer: Health) -> Health:
    """Return one frame that says what both said, for a reader who was too slow to take the older one."""
    if older is None or newer.full:
        return newer
    reports = {report.key: report for report in (*older.breakers, *newer.breakers)}
    runs = {report.run_id: report for report in (*older.runs, *newer.runs)}
    kept = tuple(runs.values())[-RUNS_MAX:]
    return msgspec.structs.replace(
        newer,
        full=older.full,
        breakers=tuple(reports.values()),
        runs=kept,
        runs_more=newer.runs_more + len(runs) - len(kept),
    )


def is_news(before: Health | None, said: Health) -> bool:
    """Return whether a frame says more than that the node is there and how much it has to do just now."""
    if before is None or said.full or said.breakers or said.runs:
        return True
    return _standing(before) != _standing(said)


def _standing(health: Health) -> tuple[object, ...]:
    node = health.node
    return (
        *(node.state, node.accepting, node.drain, node.safe_to_stop, node.observed_generation, node.problems),
        health.version,
    )
