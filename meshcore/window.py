"""A rolling window over an entry's last calls: for scores and for people, never for admission."""

from bisect import bisect_left, insort
from collections import deque

SIZE = 20  # calls; few enough that a provider which got slow or broke is seen within seconds of traffic


class Window:
    """Success rate over the last `SIZE` results, and how long the successful ones among them took.

    Its figures are for reading; they are kept, because each call is written once and read at every look at
    the candidates.
    """

    __slots__ = ("_durations", "_results", "p50_ms", "success_rate")

    def __init__(self) -> None:
        self.success_rate = 1.0  # share of successes; 1.0 when nothing is known
        self.p50_ms: float | None = None  # median duration of successful calls, None when there was none
        self._results: deque[float | None] = deque()  # a duration in milliseconds, None for a failure
        self._durations: list[float] = []  # the successful ones, sorted

    def succeeded(self, milliseconds: float) -> None:
        """Note a call that succeeded after `milliseconds`."""
        insort(self._durations, milliseconds)
        self._push(milliseconds)

    def failed(self) -> None:
        """Note a call that failed; how long that took says nothing about speed."""
        self._push(None)

    def p99_ms(self) -> float | None:
        """Return the 99th percentile of successful calls, None when there was none."""
        durations = self._durations
        return durations[int(len(durations) * 0.99)] if durations else None

    def _push(self, result: float | None) -> None:
        results, durations = self._results, self._durations
        results.append(result)
        if len(results) > SIZE and (oldest := results.popleft()) is not None:
            del durations[bisect_left(durations, oldest)]
        well = len(durations)
        self.success_rate = well / len(results)
        self.p50_ms = durations[well // 2] if well else None
