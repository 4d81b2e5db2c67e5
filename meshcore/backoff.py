"""How long to wait before trying again: exponential backoff with full jitter.

Full jitter draws from the whole interval between nothing and the exponential bound, so that many who lost the
same server at the same moment come back spread out instead of in waves.
"""

from collections.abc import Callable
from dataclasses import dataclass

_MAX_DOUBLINGS = 64  # beyond this a float gains nothing: every sensible cap has long been reached


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Delays between `0` and `base_seconds * 2**attempt`, which never exceeds `cap_seconds`."""

    base_seconds: float = 1.0  # > 0
    cap_seconds: float = 30.0  # >= base_seconds

    def __post_init__(self) -> None:
        if not self.base_seconds > 0:
            raise ValueError(f"base_seconds={self.base_seconds!r}: expected a number above 0")
        if not self.cap_seconds >= self.base_seconds:
            raise ValueError(f"cap_seconds={self.cap_seconds!r}: expected at least {self.base_seconds!r}")

    def bound_seconds(self, attempt: int) -> float:
        """Return the longest wait before retry number `attempt`, which counts from 0."""
        if attempt < 0:
            raise ValueError(f"attempt={attempt!r}: expected 0 or more")
        return min(self.cap_seconds, self.base_seconds * 2.0 ** min(attempt, _MAX_DOUBLINGS))

    def delay_seconds(self, attempt: int, *, random: Callable[[], float]) -> float:
        """Return the wait before retry number `attempt`; `random` gives numbers in [0, 1)."""
        return random() * self.bound_seconds(attempt)
