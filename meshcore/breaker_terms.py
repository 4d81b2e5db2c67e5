"""The terms of a circuit breaker: states, policy, and what its verbs take and return (bus-and-breaker §2)."""

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from meshcore.trace import Reason

if TYPE_CHECKING:
    from meshcore.breaker import Breaker


class BreakerState(enum.StrEnum):
    """States for people and the API; the values are stored and sent."""

    CLOSED = "closed"
    SUSPECT = "suspect"
    OPEN = "open"
    HALF_OPEN = "half_open"
    FORCED_OPEN = "forced_open"
    FORCED_CLOSED = "forced_closed"


class Evidence(enum.StrEnum):
    """What made a breaker change."""

    TRAFFIC = "traffic"
    PROBE = "probe"
    OPERATOR = "operator"
    TIME = "time"


class Outcome(enum.StrEnum):
    """What became of a permit; ABANDONED says nothing about the provider (cancelled, caller's fault, 429)."""

    SUCCESS = "success"
    FAILURE = "failure"
    ABANDONED = "abandoned"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerPolicy:
    """When to open and for how long."""

    failure_threshold: int = 2  # consecutive failures, >= 1
    backoff_seconds: float = 60.0  # open for so long, >= 0
    permit_seconds: float = 60.0  # a permit without a deadline of its own expires after so long, > 0
    cooling_seconds: float = 15.0  # after a 429 without Retry-After, >= 0
    cooling_max_seconds: float = 600.0  # a longer Retry-After is cut to this

    def __post_init__(self) -> None:
        if self.failure_threshold < 1:
            raise ValueError(
                f"failure_threshold={self.failure_threshold!r}: expected an integer of at least 1"
            )
        if not self.backoff_seconds >= 0:
            raise ValueError(f"backoff_seconds={self.backoff_seconds!r}: expected a number of at least 0")
        if not self.permit_seconds > 0:
            raise ValueError(f"permit_seconds={self.permit_seconds!r}: expected a number above 0")
        if not 0 <= self.cooling_seconds <= self.cooling_max_seconds:
            allowed = f"0 to cooling_max_seconds={self.cooling_max_seconds!r}"
            raise ValueError(f"cooling_seconds={self.cooling_seconds!r}: expected {allowed}")


class Permit(msgspec.Struct, eq=False):
    """Leave to try once; must be released exactly once. `expires_at` is in monotonic seconds."""

    breaker: "Breaker"
    generation: int
    expires_at: float  # an overdue trial counts as failed
    before: BreakerState  # visible when it was asked for
    trial: bool = False
    released: bool = False
    wide: "Permit | None" = None  # the permit of the whole provider, when this one is of one of its models


class Refusal(msgspec.Struct, frozen=True):
    """Why there is no permit, and for how long when that is known."""

    reason: Reason
    seconds_remaining: float | None = None


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the visible state; `at` in monotonic seconds."""

    key: str
    from_state: BreakerState
    to_state: BreakerState
    reason: str
    evidence: Evidence
    actor: str
    at: float


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """The machine below any override. `tripped` stays set in half-open; times are monotonic seconds."""

    tripped: bool
    failures: int  # of traffic, in a row
    probe_failures: int
    last_check: float | None  # None: never heard anything
    last_error: str | None
    open_until: float
    since: float  # the visible state's begin
