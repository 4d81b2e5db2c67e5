"""How often something may be said: at once after a while of quiet, and never more than so often in a second.

    gap 1/3 s:   x x . . x . . x . . x        two may follow each other at once, then one a gap
                 |------ 1 s ------|          at most four in any second

The gap is one between two on average, of which one may come early (the generic cell rate algorithm, with a
burst of two). With a fixed gap, news would wait behind whatever was said just before, however dull it was.
Who can tell news from what is dull says what is dull at `rested_at`, and so leaves the early one to news.
"""

FOUR_A_SECOND = 1 / 3  # seconds of the gap with which no second, its end left out, holds more than four


class Pace:
    """See the module; times are monotonic seconds."""

    __slots__ = ("_gap_seconds", "rested_at")

    def __init__(self, gap_seconds: float) -> None:
        self._gap_seconds = gap_seconds
        self.rested_at = float("-inf")
        """When the gaps behind all that was said are over: behind the next one may still come early."""

    def next_at(self) -> float:
        """Return when the next may be said."""
        return self.rested_at - self._gap_seconds

    def said(self, now: float) -> None:
        """Note that something is said."""
        self.rested_at = max(now, self.rested_at) + self._gap_seconds
