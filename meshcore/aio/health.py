"""A node's breakers, and the probes that feed them (bus-and-breaker §2).

`ProviderHealthCache` keeps one breaker for each key: `provider`, `provider/model` where a provider serves
several, `node:<id>` for peers. It belongs to one event loop: every verb is synchronous, so nothing can come
between a look and a permit. `HealthProbe` (`health_probe.py`) asks providers whether they live.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from meshcore.aio.health_news import HealthListener, HealthNews, TransitionEvent, TransitionListener
from meshcore.aio.health_probe import HealthProbe
from meshcore.breaker import Breaker, BreakerPolicy, BreakerState, Outcome, Permit, Refusal
from meshcore.clock import Clock, UtcNow, monotonic, utcnow
from meshcore.frames import BreakerReport

__all__ = [
    "DEFAULT_FAILURE_THRESHOLD",
    "DEFAULT_UNHEALTHY_BACKOFF_SEC",
    "HealthProbe",
    "ProviderHealthCache",
    "ProviderState",
    "TransitionEvent",
]

DEFAULT_FAILURE_THRESHOLD = 2
DEFAULT_UNHEALTHY_BACKOFF_SEC = 60.0
LAST_ERROR_MAX_CHARS = 500  # of an upstream's text; enough to recognise it, small enough to send every second


@dataclass
class ProviderState:
    """What is known of a provider: a plain copy. Times are seconds of the cache's clock."""

    healthy: bool = True
    consecutive_failures: int = 0
    last_check: float = 0.0
    last_error: str | None = None
    unhealthy_until: float = 0.0


class ProviderHealthCache:
    """The breakers of a node. Unknown keys are healthy and have no state."""

    def __init__(
        self,
        *,
        failure_threshold: int = DEFAULT_FAILURE_THRESHOLD,
        unhealthy_backoff_sec: float = DEFAULT_UNHEALTHY_BACKOFF_SEC,
        clock: Clock = monotonic,
        utcnow: UtcNow = utcnow,
    ) -> None:
        self._policy = BreakerPolicy(
            failure_threshold=failure_threshold, backoff_seconds=unhealthy_backoff_sec
        )
        self._clock = clock
        self._utcnow = utcnow
        self._breakers: dict[str, Breaker] = {}
        self._news = HealthNews(clock=clock, utcnow=utcnow)

    @property
    def failure_threshold(self) -> int:
        """Consecutive failures that open a breaker."""
        return self._policy.failure_threshold

    @property
    def unhealthy_backoff_sec(self) -> float:
        """Seconds for which a breaker stays open."""
        return self._policy.backoff_seconds

    @property
    def permits_out(self) -> int:
        """Permits of all breakers that were given and not yet released."""
        return sum(breaker.permits_out for breaker in self._breakers.values())

    def is_healthy(self, key: str) -> bool:
        """Return whether calls may go there now; takes nothing, however often it is asked."""
        breaker = self._breakers.get(key)
        return breaker is None or breaker.is_healthy()

    def get_state(self, key: str) -> ProviderState | None:
        """Return a copy of what is known, or None when nothing was ever heard."""
        breaker = self._breakers.get(key)
        return None if breaker is None else _state_of(breaker)

    def snapshot(self, expected: Iterable[str] | None = None) -> dict[str, ProviderState]:
        """Return a copy of every known state, with a blank one for each expected key that is not known."""
        states = {key: ProviderState() for key in expected or ()}
        for key, breaker in self._breakers.items():
            if (state := _state_of(breaker)) is not None:
                states[key] = state
        return states

    def mark_healthy(self, key: str) -> None:
        """Close the breaker and forget its failures."""
        breaker = self._breaker(key)
        breaker.mark_healthy()
        self._news.tell(breaker)

    def mark_unhealthy(self, key: str, reason: str) -> None:
        """Count a failure."""
        breaker = self._breaker(key)
        breaker.mark_unhealthy(reason[:LAST_ERROR_MAX_CHARS])
        self._news.tell(breaker)

    def add_listener(self, listener: HealthListener) -> None:
        """Call `listener(provider, healthy)` at each trip and recovery; what it raises is logged."""
        self._news.health_listeners.append(listener)

    def add_transition_listener(self, listener: TransitionListener) -> None:
        """Call `listener(event)` at each change of a visible state; what it raises is logged."""
        self._news.transition_listeners.append(listener)

    def ensure(self, key: str) -> None:
        """Have a breaker for `key`, so that reports list it before its first call."""
        self._breaker(key)

    def forget(self, key: str) -> None:
        """Drop the breaker of `key` and of its models."""
        for known in [known for known in self._breakers if known == key or known.startswith(f"{key}/")]:
            del self._breakers[known]
            self._news.forget(known)

    def state(self, key: str, model: str = "") -> BreakerState:
        """Return the visible state; of the model's own breaker when there is a model."""
        breaker = self._breakers.get(_name(key, model))
        return BreakerState.CLOSED if breaker is None else breaker.state()

    def refusal(self, key: str, model: str = "") -> Refusal | None:
        """Return why `try_acquire` would refuse now, or None; takes nothing."""
        breaker = self._breakers.get(key)
        refusal = breaker.refusal() if breaker is not None else None
        return self.refusal(_name(key, model)) if refusal is None and model else refusal

    def try_acquire(self, key: str, model: str = "", expires_at: float | None = None) -> Permit | Refusal:
        """Return a permit, or why there is none; with a model, its own breaker and its provider's must agree.

        It expires at the monotonic moment `expires_at`, and must be released exactly once.
        """
        breaker = self._breakers.get(key) or self._breaker(key)
        permit = breaker.try_acquire(expires_at)
        if breaker.transitions:
            self._news.tell(breaker)
        if not model or not isinstance(permit, Permit):
            return permit
        fine = self.try_acquire(_name(key, model), expires_at=expires_at)
        if isinstance(fine, Permit):
            fine.wide = permit
        else:
            breaker.release(permit, Outcome.ABANDONED)
        return fine

    def release(self, permit: Permit, outcome: Outcome, reason: str = "") -> None:
        """Give a permit back with what became of it.

        With a model a failure is held against that alone, except that a provider's trial has failed.
        """
        breaker = permit.breaker
        breaker.release(permit, outcome, reason and reason[:LAST_ERROR_MAX_CHARS])
        if breaker.transitions:
            self._news.tell(breaker)
        if (wide := permit.wide) is not None:
            spared = outcome is Outcome.FAILURE and not wide.trial
            self.release(wide, Outcome.ABANDONED if spared else outcome, reason)

    def strike(self, permit: Permit, reason: str) -> None:
        """Count a failure that came after its permit was released as a success."""
        permit.breaker.strike(permit, reason[:LAST_ERROR_MAX_CHARS])
        self._news.tell(permit.breaker)

    def cool(self, key: str, model: str = "", *, seconds: float | None = None) -> None:
        """Refuse for `seconds` after a 429; no strike."""
        self._breaker(_name(key, model)).cool(seconds)

    def probe_succeeded(self, key: str) -> None:
        """Take a probe's good word."""
        breaker = self._breaker(key)
        breaker.probe_succeeded()
        self._news.tell(breaker)

    def probe_failed(self, key: str, reason: str, *, interval_seconds: float) -> None:
        """Count a failed probe of a series with this interval."""
        breaker = self._breaker(key)
        breaker.probe_failed(reason[:LAST_ERROR_MAX_CHARS], interval_seconds)
        self._news.tell(breaker)

    def force_open(self, key: str, *, actor: str, reason: str, seconds: float | None = None) -> None:
        """Refuse everything, by an operator's word."""
        breaker = self._breaker(key)
        breaker.force_open(actor=actor, reason=reason, seconds=seconds)
        self._news.tell(breaker)

    def force_closed(self, key: str, *, actor: str, reason: str, seconds: float | None = None) -> None:
        """Admit in spite of failures, by an operator's word."""
        breaker = self._breaker(key)
        breaker.force_closed(actor=actor, reason=reason, seconds=seconds)
        self._news.tell(breaker)

    def reset(self, key: str, *, actor: str, reason: str) -> None:
        """Close and forget everything, by an operator's word."""
        breaker = self._breaker(key)
        breaker.reset(actor=actor, reason=reason)
        self._news.tell(breaker)

    def lift(self, key: str, *, actor: str, reason: str) -> None:
        """End an override, by an operator's word; without one nothing changes."""
        if (breaker := self._breakers.get(key)) is not None:
            breaker.lift(actor=actor, reason=reason)
            self._news.tell(breaker)

    def advance(self) -> None:
        """Let time do its part and tell listeners; call it when `next_deadline` has come."""
        for breaker in self._breakers.values():
            breaker.advance()
            self._news.tell(breaker)

    def next_deadline(self) -> float | None:
        """Return the next monotonic moment at which time alone changes a report, or None."""
        moments = (breaker.next_deadline() for breaker in self._breakers.values())
        return min((moment for moment in moments if moment is not None), default=None)

    def reports(self) -> list[BreakerReport]:
        """Return every breaker as it is now, after `advance`."""
        self.advance()
        now, wall = self._clock(), self._utcnow()
        return [_report(breaker, now, wall) for breaker in self._breakers.values()]

    def _breaker(self, key: str) -> Breaker:
        breaker = self._breakers.get(key)
        if breaker is None:
            breaker = self._breakers[key] = Breaker(key, self._policy, clock=self._clock)
        return breaker


def _name(key: str, model: str) -> str:
    return f"{key}/{model}" if model else key


def _state_of(breaker: Breaker) -> ProviderState | None:
    reading = breaker.reading()
    if reading.last_check is None:
        return None
    return ProviderState(
        healthy=not reading.tripped,
        consecutive_failures=reading.failures,
        last_check=reading.last_check,
        last_error=reading.last_error,
        unhealthy_until=reading.open_until,
    )


def _report(breaker: Breaker, now: float, wall: datetime) -> BreakerReport:
    reading = breaker.reading()
    return BreakerReport(
        key=breaker.key,
        state=breaker.state(),
        strikes=max(reading.failures, reading.probe_failures),
        threshold=breaker.policy.failure_threshold,
        backoff_seconds=breaker.policy.backoff_seconds,
        seconds_remaining=breaker.seconds_remaining(),
        cooling_seconds=breaker.cooling_seconds(),
        last_error=reading.last_error or "",
        since=wall - timedelta(seconds=now - reading.since),
    )
