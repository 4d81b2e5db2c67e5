"""One circuit breaker as a pure machine (bus-and-breaker §2)."""

import enum


class BreakerState(enum.StrEnum):
    """States for people and the API; the values are stored and sent."""

    CLOSED = "closed"
    SUSPECT = "suspect"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    FORCED_CLOSED = "forced_closed"
