"""One circuit breaker as a pure machine (bus-and-breaker §2).

            failure             threshold-th failure in a row
    CLOSED ─────────► SUSPECT ───────────────────────────────► OPEN ◄─┐ failure: the window
       ▲ ▲              │                                      │  ▲ └─┘ starts again
       │ └──────────────┘             window over, or a        │  │
       │     success                  probe that succeeded     │  │ trial failed or expired
       │                                                       ▼  │
       └──────────────────────────────────────────────────── HALF_OPEN: one permit (the trial) at a time
                          trial succeeded

    FORCED_OPEN and FORCED_CLOSED are an operator's word, laid over the machine until they expire or are reset;
    evidence goes on moving what lies below.

Two kinds of evidence have a counter each: traffic (what calls met) and probes. Cooling (after a 429) stands apart:
it refuses for a while and is no strike. Reading never changes anything; admission is `try_acquire` and `release`, and
a result counts only while the permit's generation is the present one, that is when no trip happened since.
"""

from collections import deque
from typing import Final

import msgspec

from meshcore.breaker_terms import (
    BreakerPolicy,
    BreakerState,
    Evidence,
    Outcome,
    Permit,
    Reading,
    Refusal,
    Transition,
)
from meshcore.clock import Clock
from meshcore.errors import IllegalMove
from meshcore.trace import Reason

__all__ = [
    "Breaker",
    "BreakerPolicy",
    "BreakerState",
    "Evidence",
    "Outcome",
    "Permit",
    "Reading",
    "Refusal",
    "Transition",
]

TRANSITIONS_MAX = 64  # not yet taken; a shell takes them after every verb, beyond it the oldest is dropped
REFUSING = frozenset({BreakerState.OPEN, BreakerState.FORCED_OPEN})
_NEVER: Final = float("inf")


class _Override(msgspec.Struct, frozen=True):
    state: BreakerState
    until: float


class Breaker:
    """The breaker of `key`; `clock` gives monotonic seconds."""

    def __init__(self, key: str, policy: BreakerPolicy, *, clock: Clock) -> None:
        self.key = key
        self.policy = policy
        self._clock = clock
        self._generation = 0  # trips and resets so far
        self._tripped = False
        self._open_until = 0.0
        self._failures = 0
        self._probe_failures = 0
        self._trial: Permit | None = None
        self._permits_out = 0
        self._cooling_until = 0.0
        self._override: _Override | None = None
        self._last_check: float | None = None
        self._last_error: str | None = None
        self._last_success = -_NEVER  # of traffic
        self._announced = BreakerState.CLOSED
        self._since = clock()
        self._transitions: deque[Transition] = deque(maxlen=TRANSITIONS_MAX)

    # Reading: nothing here changes anything.

    @property
    def permits_out(self) -> int:
        """Permits given and not yet released."""
        return self._permits_out

    def state(self) -> BreakerState:
        """Return the state that people see now."""
        return self._state_at(self._clock())

    def is_healthy(self) -> bool:
        """Return whether calls may be let through now; half-open is healthy, and reading takes no trial."""
        return self._state_at(self._clock()) not in REFUSING

    def refusal(self) -> Refusal | None:
        """Return why `try_acquire` would refuse now, or None."""
        if not (self._tripped or self._override or self._cooling_until):
            return None
        return self._refusal_at(self._clock())

    def reading(self) -> Reading:
        """Return what is known, as of the last verb."""
        return Reading(
            tripped=self._tripped,
            failures=self._failures,
            last_check=self._last_check,
            last_error=self._last_error,
            open_until=self._open_until,
            since=self._since,
        )

    def seconds_remaining(self) -> float | None:
        """Return for how long the present state lasts by itself, when it is open or forced with an end."""
        now = self._clock()
        state = self._state_at(now)
        if state is BreakerState.OPEN:
            return self._open_until_at(now) - now
        if self._override is not None and state is self._override.state and self._override.until < _NEVER:
            return self._override.until - now
        return None

    def cooling_seconds(self) -> float | None:
        """Return for how long the key still cools, or None."""
        left = self._cooling_until - self._clock()
        return left if left > 0 else None

    def next_deadline(self) -> float | None:
        """Return the next monotonic moment at which time alone changes what this breaker says, or None."""
        now = self._clock()
        moments = [self._cooling_until]
        if self._tripped:
            moments.append(self._open_until_at(now))
        if self._trial is not None:
            moments.append(self._trial.expires_at)
        if self._override is not None:
            moments.append(self._override.until)
        return min((moment for moment in moments if now < moment < _NEVER), default=None)

    # Admission.

    def try_acquire(self, expires_at: float | None = None) -> Permit | Refusal:
        """Return a permit that expires at the monotonic moment `expires_at`, or why there is none."""
        now = self._clock()
        if self._tripped or self._override or self._cooling_until:
            self._settle(now)
            if (refusal := self._refusal_at(now)) is not None:
                return refusal
        trial = self._tripped and self._override is None
        expiry = now + self.policy.permit_seconds if expires_at is None else expires_at
        permit = Permit(self, self._generation, expiry, trial)
        if trial:
            self._trial = permit
        self._permits_out += 1
        return permit

    def release(self, permit: Permit, outcome: Outcome, reason: str = "") -> None:
        """Give a permit back with what became of it; raises IllegalMove when that was already done."""
        if permit.released:
            raise IllegalMove("released", "release")
        permit.released = True
        self._permits_out -= 1
        now = self._clock()
        self._settle(now)
        if permit.generation != self._generation:
            return
        if permit is self._trial:
            self._trial = None
        if outcome is Outcome.SUCCESS:
            self._last_success = now
            self._heal(now, "")
        elif outcome is Outcome.FAILURE:
            self._fail(now, reason)

    def strike(self, permit: Permit, reason: str) -> None:
        """Count a failure that came after the permit was released as a success: a stream that broke later."""
        now = self._clock()
        self._settle(now)
        if permit.generation == self._generation:
            self._fail(now, reason)

    # Evidence without a permit.

    def mark_healthy(self) -> None:
        """Close and forget all failures, from any state."""
        now = self._clock()
        self._settle(now)
        self._heal(now, "marked healthy")

    def mark_unhealthy(self, reason: str) -> None:
        """Count a failure: the threshold-th opens, one while open or half-open starts the window again."""
        now = self._clock()
        self._settle(now)
        self._fail(now, reason)

    def probe_succeeded(self) -> None:
        """Clear probe failures; an open breaker becomes half-open early. Failures of traffic stay."""
        now = self._clock()
        self._settle(now)
        self._last_check = now
        self._probe_failures = 0
        if self._tripped and self._open_until > now:
            self._open_until = now
        self._announce(now, "probe succeeded", Evidence.PROBE)

    def probe_failed(self, reason: str, interval_seconds: float) -> None:
        """Count a failed probe of a series with this interval.

        The threshold-th opens, unless traffic succeeded within interval × threshold: then calls know better.
        """
        now = self._clock()
        self._settle(now)
        self._last_check = now
        self._last_error = reason
        if self._tripped:
            return
        self._probe_failures += 1
        believed_until = self._last_success + interval_seconds * self.policy.failure_threshold
        if self._probe_failures >= self.policy.failure_threshold and now > believed_until:
            self._trip(now)
        self._announce(now, reason, Evidence.PROBE)

    def cool(self, seconds: float | None = None) -> None:
        """Refuse for `seconds` (the policy's default when None, cut to its maximum); no strike."""
        wanted = self.policy.cooling_seconds if seconds is None else max(seconds, 0.0)
        until = self._clock() + min(wanted, self.policy.cooling_max_seconds)
        self._cooling_until = max(self._cooling_until, until)

    # The operator.

    def force_open(self, *, actor: str, reason: str, seconds: float | None = None) -> None:
        """Refuse everything for `seconds`, or until reset."""
        self._force(BreakerState.FORCED_OPEN, actor, reason, seconds)

    def force_closed(self, *, actor: str, reason: str, seconds: float | None = None) -> None:
        """Admit in spite of failures for `seconds`, or until reset; cooling still holds."""
        self._force(BreakerState.FORCED_CLOSED, actor, reason, seconds)

    def reset(self, *, actor: str, reason: str) -> None:
        """Close, and forget failures, cooling and override. Results of permits given before don't count."""
        now = self._clock()
        self._settle(now)
        if not (self._tripped or self._failures or self._probe_failures or self._override or self._cooling_until):
            return
        self._override = None
        self._cooling_until = 0.0
        self._generation += 1
        self._clear()
        self._announce(now, reason, Evidence.OPERATOR, actor)

    # Time.

    def advance(self) -> None:
        """Let time do its part up to now, so that its transitions can be taken."""
        self._settle(self._clock())

    def take_transitions(self) -> list[Transition]:
        """Return the transitions since the last taking, oldest first."""
        taken = list(self._transitions)
        self._transitions.clear()
        return taken

    def _base_state_at(self, now: float) -> BreakerState:
        if self._tripped:
            return BreakerState.OPEN if self._open_until_at(now) > now else BreakerState.HALF_OPEN
        if self._failures or self._probe_failures:
            return BreakerState.SUSPECT
        return BreakerState.CLOSED

    def _open_until_at(self, now: float) -> float:
        """Return the window's end, seeing an overdue trial as the failure that it is."""
        trial = self._trial
        if trial is not None and trial.expires_at <= now:
            return trial.expires_at + self.policy.backoff_seconds
        return self._open_until

    def _state_at(self, now: float) -> BreakerState:
        if self._override is not None and now < self._override.until:
            return self._override.state
        return self._base_state_at(now)

    def _refusal_at(self, now: float) -> Refusal | None:
        state = self._state_at(now)
        if state is BreakerState.OPEN:
            return Refusal(Reason.BREAKER_OPEN, self._open_until_at(now) - now)
        if state is BreakerState.HALF_OPEN and self._trial is not None and now < self._trial.expires_at:
            return Refusal(Reason.HALF_OPEN_BUSY)
        if self._cooling_until > now:
            return Refusal(Reason.COOLING, self._cooling_until - now)
        if state is BreakerState.FORCED_OPEN and self._override is not None:
            until = self._override.until
            return Refusal(Reason.FORCED_OPEN, until - now if until < _NEVER else None)
        return None

    def _settle(self, now: float) -> None:
        if self._cooling_until <= now:
            self._cooling_until = 0.0
        if self._override is not None and self._override.until <= now:
            ended, self._override = self._override, None
            self._announce(ended.until, "override expired", Evidence.TIME)
        if self._trial is not None and self._trial.expires_at <= now:
            expired_at = self._trial.expires_at
            self._failures += 1
            self._last_error = "trial expired"
            self._trip(expired_at)
            self._announce(expired_at, "trial expired", Evidence.TRAFFIC)
        if self._tripped and self._open_until <= now:
            self._announce(max(self._open_until, self._since), "backoff over", Evidence.TIME)

    def _fail(self, now: float, reason: str) -> None:
        self._failures += 1
        self._last_check = now
        self._last_error = reason
        if self._tripped and self._open_until > now:
            self._open_until = now + self.policy.backoff_seconds
        elif self._tripped or self._failures >= self.policy.failure_threshold:
            self._trip(now)
        self._announce(now, reason, Evidence.TRAFFIC)

    def _heal(self, now: float, reason: str) -> None:
        self._last_check = now
        if self._tripped or self._failures or self._probe_failures or self._last_error:
            self._clear()
            self._announce(now, reason, Evidence.TRAFFIC)

    def _clear(self) -> None:
        self._tripped = False
        self._open_until = 0.0
        self._failures = 0
        self._probe_failures = 0
        self._trial = None
        self._last_error = None

    def _trip(self, now: float) -> None:
        self._tripped = True
        self._open_until = now + self.policy.backoff_seconds
        self._generation += 1
        self._probe_failures = 0
        self._trial = None

    def _force(self, state: BreakerState, actor: str, reason: str, seconds: float | None) -> None:
        now = self._clock()
        self._settle(now)
        self._override = _Override(state, _NEVER if seconds is None else now + seconds)
        self._announce(now, reason, Evidence.OPERATOR, actor)

    def _announce(self, at: float, reason: str, evidence: Evidence, actor: str = "") -> None:
        """Note the transition when the visible state is another than the last one noted."""
        before, after = self._announced, self._state_at(at)
        if after is before:
            return
        self._announced = after
        self._since = at
        self._transitions.append(
            Transition(
                key=self.key,
                from_state=before,
                to_state=after,
                reason=reason,
                evidence=evidence,
                actor=actor,
                at=at,
            )
        )
