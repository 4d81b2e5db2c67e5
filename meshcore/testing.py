"""Fakes that ship with the product: time and randomness under a test's control."""

from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 1, tzinfo=UTC)


class ManualClock:
    """A clock that moves only when told to; call it for monotonic seconds, `utcnow()` for the matching
    wall time.
    """

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now
        self._begin = now

    def __call__(self) -> float:
        return self.now

    def utcnow(self) -> datetime:
        """Return the wall time that belongs to the present reading."""
        return START + timedelta(seconds=self.now - self._begin)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        if seconds < 0:
            raise ValueError(f"seconds={seconds!r}: a monotonic clock never goes back")
        self.now += seconds
