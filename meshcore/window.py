"""A rolling window over an entry's last calls: for scores and for people, never for admission."""

from bisect import bisect_left, insort
from collections import deque

SIZE = 20  # calls; few enough that a provider which got slow or broke is seen within seconds of traffic


class Window:
    """Success rate over the last `SIZE` results, and how long the successful ones among them took."""

    __slots__ = ("_durations", "_results")

    def __init__(self) -> None:
        self._results: deque[float | None] = deque()  # a duration in milliseconds, None for a failure
        self._durations: list[float] = []  # the successful ones, sorted

    def succeeded(self, milliseconds: float) -> None:
        """Note a call that succeeded after `milliseconds`."""
        self._push(milliseconds)
        insort(self._durations, milliseconds)

    def failed(self) -> None:
        """Note a call that failed; how long that took says nothing about speed."""
        self._push(None)

    def success_rate(self) -> float:
        """Return the share of successes, 1.0 when nothing is known."""
        return len(self._durations) / len(self._results) if self._results else 1.0

    def p50_ms(self) -> float | None:
        """Return the median duration of successful calls, None when there was none."""
        durations = self._durations
        return durations[len(durations) // 2] if durations else None

    def p99_ms(self) -> float | None:
        """Return the 99th percentile of successful calls, None when there was none."""
        durations = self._durations
        return durations[int(len(durations) * 0.99)] if durations else None

    def _push(self, result: float | None) -> None:
        self._results.append(result)
        if len(self._results) <= SIZE:
            return
        oldest = self._results.popleft()
        if oldest is not None:
            del self._durations[bisect_left(self._durations, oldest)]
