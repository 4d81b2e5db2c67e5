"""One circuit breaker as a pure machine (bus-and-breaker §2).

    FORCED_OPEN · FORCED_CLOSED            an operator's word, until it expires or is reset
       laid over
    CLOSED · SUSPECT · OPEN · HALF_OPEN    the circuit, drawn in `meshcore/circuit.py`; moved by evidence
       beside
    cooling                                after a 429: refuses for a while, is no strike and no state

Reading never changes anything and takes no permit. Admission is `try_acquire` and `release`; a result counts
only while its permit's generation is the present one, that is when nothing tripped or was reset since. Every
change of the visible state is a `Transition`, to be taken after each verb.
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
from meshcore.circuit import Circuit
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
_SUCCESS: Final = Outcome.SUCCESS  # Python 3.11 takes longer to look up a member than to give a permit


class _Override(msgspec.Struct, frozen=True):
    state: BreakerState
    until: float


class Breaker:
    """The breaker of `key`; `clock` gives monotonic seconds."""

    def __init__(self, key: str, policy: BreakerPolicy, *, clock: Clock) -> None:
        self.key = key
        self.policy = policy
        self._clock = clock
        self._circuit = Circuit(policy)
        self._permits_out = 0
        self._cooling_until = 0.0
        self._override: _Override | None = None
        self._plain = True  # nothing stands in the way of a call, and time alone can't change that
        self._announced = BreakerState.CLOSED
        self._since = clock()
        self.transitions: deque[Transition] = deque(maxlen=TRANSITIONS_MAX)  # not yet taken

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
        return None if self._plain else self._refusal_at(self._clock())

    def reading(self) -> Reading:
        """Return what is known of the circuit, as of the last verb."""
        circuit = self._circuit
        return Reading(
            tripped=circuit.tripped,
            failures=circuit.failures,
            probe_failures=circuit.probe_failures,
            last_check=circuit.last_check,
            last_error=circuit.last_error,
            open_until=circuit.open_until,
            since=self._since,
        )

    def seconds_remaining(self) -> float | None:
        """Return for how long the visible state lasts by itself, when it is open or forced with an end."""
        now = self._clock()
        if self._override is not None and now < self._override.until:
            return self._override.until - now if self._override.until < _NEVER else None
        if self._circuit.state_at(now) is BreakerState.OPEN:
            return self._circuit.open_until_at(now) - now
        return None

    def cooling_seconds(self) -> float | None:
        """Return for how long the key still cools, or None."""
        left = self._cooling_until - self._clock()
        return left if left > 0 else None

    def next_deadline(self) -> float | None:
        """Return the next monotonic moment at which time alone changes what this breaker says, or None."""
        now = self._clock()
        moments = [self._cooling_until, self._circuit.open_until_at(now)]
        if self._circuit.trial is not None:
            moments.append(self._circuit.trial.expires_at)
        if self._override is not None:
            moments.append(self._override.until)
        return min((moment for moment in moments if now < moment < _NEVER), default=None)

    def try_acquire(self, expires_at: float | None = None) -> Permit | Refusal:
        """Return a permit that expires at the monotonic moment `expires_at`, or why there is none."""
        expiry = self._clock() + self.policy.permit_seconds if expires_at is None else expires_at
        trial = False
        if not self._plain:
            now = self._settled_now()
            if (refusal := self._refusal_at(now)) is not None:
                return refusal
            trial = self._circuit.tripped and self._override is None
        permit = Permit(self, self._circuit.generation, expiry, self._announced, trial)
        if trial:
            self._circuit.trial = permit
        self._permits_out += 1
        return permit

    def release(self, permit: Permit, outcome: Outcome, reason: str = "") -> None:
        """Give a permit back with what became of it; raises IllegalMove when that was already done."""
        if permit.released:
            raise IllegalMove("released", "release")
        permit.released = True
        self._permits_out -= 1
        now, circuit = self._clock(), self._circuit
        if not self._plain:
            self._settle(now)
        if permit.generation != circuit.generation:
            return
        if permit is circuit.trial:
            circuit.trial = None
        if outcome is _SUCCESS:
            if circuit.succeed(now):
                self._announce(now, "call succeeded", Evidence.TRAFFIC)
        elif outcome is Outcome.FAILURE:
            circuit.fail(now, reason)
            self._announce(now, reason, Evidence.TRAFFIC)

    def strike(self, permit: Permit, reason: str) -> None:
        """Count a failure that came after the permit was released as a success: a stream that broke later."""
        now = self._settled_now()
        if permit.generation == self._circuit.generation:
            self._circuit.fail(now, reason)
            self._announce(now, reason, Evidence.TRAFFIC)

    def mark_healthy(self) -> None:
        """Close and forget all failures, from any state."""
        now = self._settled_now()
        self._circuit.heal(now)
        self._announce(now, "marked healthy", Evidence.TRAFFIC)

    def mark_unhealthy(self, reason: str) -> None:
        """Count a failure: the threshold-th opens, one while open or half-open starts the window again."""
        now = self._settled_now()
        self._circuit.fail(now, reason)
        self._announce(now, reason, Evidence.TRAFFIC)

    def probe_succeeded(self) -> None:
        """Clear probe failures; an open breaker becomes half-open early. Failures of traffic stay."""
        now = self._settled_now()
        self._circuit.probe_succeeded(now)
        self._announce(now, "probe succeeded", Evidence.PROBE)

    def probe_failed(self, reason: str, interval_seconds: float) -> None:
        """Count a failed probe of a series with this interval; lately successful traffic is believed more."""
        now = self._settled_now()
        self._circuit.probe_failed(now, reason, interval_seconds)
        self._announce(now, reason, Evidence.PROBE)

    def cool(self, seconds: float | None = None) -> None:
        """Refuse for `seconds` (the policy's default when None, cut to its maximum); no strike."""
        wanted = self.policy.cooling_seconds if seconds is None else max(seconds, 0.0)
        until = self._clock() + min(wanted, self.policy.cooling_max_seconds)
        self._cooling_until = max(self._cooling_until, until)
        self._plain = False

    def force_open(self, *, actor: str, reason: str, seconds: float | None = None) -> None:
        """Refuse everything for `seconds`, or until reset."""
        self._force(BreakerState.FORCED_OPEN, actor, reason, seconds)

    def force_closed(self, *, actor: str, reason: str, seconds: float | None = None) -> None:
        """Admit in spite of failures for `seconds`, or until reset; cooling still holds."""
        self._force(BreakerState.FORCED_CLOSED, actor, reason, seconds)

    def reset(self, *, actor: str, reason: str) -> None:
        """Close, and forget failures, cooling and override; results of permits given before don't count."""
        now = self._settled_now()
        if self._plain and not self._circuit.is_suspect():
            return
        self._override = None
        self._cooling_until = 0.0
        self._circuit.reset()
        self._announce(now, reason, Evidence.OPERATOR, actor)

    def lift(self, *, actor: str, reason: str) -> None:
        """End an override, if there is one; the circuit's own evidence counts again."""
        now = self._settled_now()
        self._override = None
        self._announce(now, reason, Evidence.OPERATOR, actor)

    def advance(self) -> None:
        """Let time do its part up to now, so that its transitions can be taken."""
        self._settled_now()

    def take_transitions(self) -> list[Transition]:
        """Return the transitions since the last taking, oldest first."""
        taken = list(self.transitions)
        self.transitions.clear()
        return taken

    def _state_at(self, now: float) -> BreakerState:
        if self._override is not None and now < self._override.until:
            return self._override.state
        return self._circuit.state_at(now)

    def _refusal_at(self, now: float) -> Refusal | None:
        override = self._override if self._override is not None and now < self._override.until else None
        if override is None and (refusal := self._circuit.refusal_at(now)) is not None:
            return refusal
        if self._cooling_until > now:
            return Refusal(Reason.COOLING, self._cooling_until - now)
        if override is not None and override.state is BreakerState.FORCED_OPEN:
            return Refusal(Reason.FORCED_OPEN, self.seconds_remaining())
        return None

    def _settled_now(self) -> float:
        now = self._clock()
        self._settle(now)
        return now

    def _settle(self, now: float) -> None:
        if self._plain:
            return
        if self._cooling_until <= now:
            self._cooling_until = 0.0
        if self._override is not None and self._override.until <= now:
            ended, self._override = self._override, None
            self._announce(ended.until, "override expired", Evidence.TIME)
        if (failed_at := self._circuit.expire_trial(now)) is not None:
            self._announce(failed_at, "trial expired", Evidence.TRAFFIC)
        if self._circuit.tripped and self._circuit.open_until <= now:
            self._announce(self._circuit.open_until, "backoff over", Evidence.TIME)
        self._note_plain()

    def _force(self, state: BreakerState, actor: str, reason: str, seconds: float | None) -> None:
        now = self._settled_now()
        self._override = _Override(state, _NEVER if seconds is None else now + seconds)
        self._announce(now, reason, Evidence.OPERATOR, actor)

    def _note_plain(self) -> None:
        self._plain = not (self._circuit.tripped or self._override or self._cooling_until)

    def _announce(self, at: float, reason: str, evidence: Evidence, actor: str = "") -> None:
        """Note a transition when the visible state is another than the last one noted."""
        self._note_plain()
        before, after = self._announced, self._state_at(at)
        if after is before:
            return
        self._announced = after
        self._since = max(at, self._since)  # an override may have hidden when the window ended
        self.transitions.append(
            Transition(
                key=self.key,
                from_state=before,
                to_state=after,
                reason=reason,
                evidence=evidence,
                actor=actor,
                at=self._since,
            )
        )
