"""The plain circuit below a breaker: what evidence and time alone make of it (bus-and-breaker §2).

            failure             threshold-th failure in a row
    CLOSED ─────────► SUSPECT ───────────────────────────────► OPEN ◄─┐ failure: the window
       ▲ ▲              │                                      │  ▲ └─┘ starts again
       │ └──────────────┘             window over, or a        │  │
       │     success                  probe that succeeded     │  │ trial failed or expired
       │                                                       ▼  │
       └──────────────────────────────────────────────────── HALF_OPEN: one permit (the trial) at a time
                          trial succeeded

Half-open is not stored: it is what a tripped circuit is once its window is over. Time comes as `now`, in
monotonic seconds, from the breaker that owns the circuit.
"""

from typing import Final

from meshcore.breaker_terms import BreakerPolicy, BreakerState, Permit, Refusal
from meshcore.trace import Reason

_CLOSED: Final = BreakerState.CLOSED  # looked up once, which in Python 3.11 is slow


class Circuit:
    """Counters, window and trial. Its fields are for reading; only its verbs change them."""

    __slots__ = (
        "_last_success",
        "_policy",
        "failures",
        "generation",
        "last_check",
        "last_error",
        "open_until",
        "probe_failures",
        "trial",
        "tripped",
    )

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self._last_success = float("-inf")  # of traffic
        self.generation = 0  # trips and resets so far
        self.tripped = False
        self.open_until = 0.0
        self.failures = 0  # of traffic, in a row
        self.probe_failures = 0
        self.trial: Permit | None = None
        self.last_check: float | None = None  # None: never heard anything
        self.last_error: str | None = None

    def state_at(self, now: float) -> BreakerState:
        """Return the state at `now`, whatever was settled so far."""
        if self.tripped:
            return BreakerState.OPEN if self.open_until_at(now) > now else BreakerState.HALF_OPEN
        return BreakerState.SUSPECT if self.is_suspect() else _CLOSED

    def open_until_at(self, now: float) -> float:
        """Return the window's end, seeing an overdue trial as the failure that it is."""
        if self.trial is not None and self.trial.expires_at <= now:
            return self.trial.expires_at + self._policy.backoff_seconds
        return self.open_until

    def is_suspect(self) -> bool:
        """Return whether any failure is remembered."""
        return bool(self.failures or self.probe_failures)

    def refusal_at(self, now: float) -> Refusal | None:
        """Return why nobody may try at `now`, or None."""
        if not self.tripped:
            return None
        if (until := self.open_until_at(now)) > now:
            return Refusal(Reason.BREAKER_OPEN, until - now)
        if self.trial is not None and now < self.trial.expires_at:
            return Refusal(Reason.HALF_OPEN_BUSY)
        return None

    def expire_trial(self, now: float) -> float | None:
        """Fail the trial if it is overdue; return the moment at which it failed."""
        if self.trial is None or self.trial.expires_at > now:
            return None
        failed_at = self.trial.expires_at
        self.failures += 1
        self.last_error = "trial expired"
        self._trip(failed_at)
        return failed_at

    def succeed(self, now: float) -> bool:
        """A call succeeded: close, forget failures, and believe no probe against it for a while."""
        self._last_success = now
        return self.heal(now)

    def heal(self, now: float) -> bool:
        """Close and forget all failures; return whether there was any."""
        self.last_check = now
        if not (self.tripped or self.failures or self.probe_failures or self.last_error):
            return False
        self.clear()
        return True

    def fail(self, now: float, reason: str) -> None:
        """Count a failure of traffic: trip at the threshold or in half-open, start an open window again."""
        self.failures += 1
        self.last_check = now
        self.last_error = reason
        if self.tripped and self.open_until > now:
            self.open_until = now + self._policy.backoff_seconds
        elif self.tripped or self.failures >= self._policy.failure_threshold:
            self._trip(now)

    def probe_succeeded(self, now: float) -> None:
        """Clear probe failures, end the window early; failures of traffic stay."""
        self.last_check = now
        self.probe_failures = 0
        self.open_until = min(self.open_until, now)

    def probe_failed(self, now: float, reason: str, interval_seconds: float) -> None:
        """Count a failed probe; trip at the threshold unless calls succeeded within interval × threshold."""
        self.last_check = now
        self.last_error = reason
        if self.tripped:
            return
        self.probe_failures += 1
        threshold = self._policy.failure_threshold
        if self.probe_failures >= threshold and now > self._last_success + interval_seconds * threshold:
            self._trip(now)

    def clear(self) -> None:
        """Close and forget all failures, whatever there was."""
        self.tripped = False
        self.open_until = 0.0
        self.failures = 0
        self.probe_failures = 0
        self.trial = None
        self.last_error = None

    def reset(self) -> None:
        """Clear, and let no permit given before count."""
        self.generation += 1
        self.clear()

    def _trip(self, now: float) -> None:
        self.tripped = True
        self.open_until = now + self._policy.backoff_seconds
        self.generation += 1
        self.trial = None
