"""When a node dials the dashboard again (link-and-telemetry, "Rules").

Exponential with full jitter, so that a thousand nodes that lost one dashboard don't come back in step. Only a
connection that stayed up counts as success: a server that takes every connection and drops it at once is
still met ever more slowly.
"""

from collections.abc import Callable

from meshcore.backoff import Backoff
from meshcore.link import CloseCode

MAX_SECONDS = 30.0
STABLE_SECONDS = 10.0  # a connection that was up for so long makes the next delay the first one again
SPREAD = 0.2  # share by which the fixed delays differ between nodes
FIXED_SECONDS: dict[int, float] = {
    CloseCode.SUPERSEDED: 60.0,  # another connection of ours counts: it may be the one that we will lose
    CloseCode.DUPLICATE_NODE: 12.0,  # the other process counts as gone 10 s after its last word
}
FINAL = frozenset({int(CloseCode.UNAUTHORIZED)})


class Redial:
    """The delays of one dialler; `random` returns 0 to 1."""

    def __init__(self, *, base_seconds: float, random: Callable[[], float]) -> None:
        self._backoff = Backoff(base_seconds=base_seconds, cap_seconds=max(base_seconds, MAX_SECONDS))
        self._random = random
        self._failures = 0

    def delay_after(self, code: int | None, up_seconds: float) -> float | None:
        """Return the seconds to wait after a connection that was up for `up_seconds` was closed with `code`.

        None: never again. A dial that failed was up for 0 s.
        """
        if code in FINAL:
            return None
        if up_seconds >= STABLE_SECONDS:
            self._failures = 0
        if code is not None and code in FIXED_SECONDS:
            return FIXED_SECONDS[code] * (1 + SPREAD * (2 * self._random() - 1))
        self._failures += 1
        return self._backoff.delay_seconds(self._failures - 1, random=self._random)
