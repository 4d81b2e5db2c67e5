"""Tells the world what changed in a breaker: one log line for each trip and recovery, and listeners."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from meshcore.breaker import Breaker, BreakerState, Evidence, Transition
from meshcore.clock import Clock, UtcNow

logger = logging.getLogger(__name__)


class TransitionEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A breaker changed its visible state; `at` is aware UTC."""

    key: str
    from_state: BreakerState
    to_state: BreakerState
    reason: str
    evidence: Evidence
    actor: str
    at: datetime


HealthListener = Callable[[str, bool], None]
"""(provider, healthy), called when a breaker trips and when it has recovered."""

TransitionListener = Callable[[TransitionEvent], None]


class HealthNews:
    """Who wants to hear of breakers; a listener that raises is logged and harms no other."""

    def __init__(self, *, clock: Clock, utcnow: UtcNow) -> None:
        self.health_listeners: list[HealthListener] = []
        self.transition_listeners: list[TransitionListener] = []
        self._clock = clock
        self._utcnow = utcnow
        self._tripped: set[str] = set()  # keys of which False was told last

    def tell(self, breaker: Breaker) -> None:
        """Pass on what changed since the last telling."""
        if not breaker.transitions:
            return
        tripped = breaker.reading().tripped
        if tripped is not (breaker.key in self._tripped):
            self._flip(breaker, healthy=not tripped)
        for transition in breaker.take_transitions():
            event = self._event(transition)
            for listener in self.transition_listeners:
                try:
                    listener(event)
                except Exception:
                    logger.exception("a transition listener failed for %s", breaker.key)

    def forget(self, key: str) -> None:
        """Forget what was told of `key`."""
        self._tripped.discard(key)

    def _flip(self, breaker: Breaker, *, healthy: bool) -> None:
        if healthy:
            self._tripped.discard(breaker.key)
            logger.info("provider %s recovered", breaker.key)
        else:
            self._tripped.add(breaker.key)
            reading = breaker.reading()
            failures = max(reading.failures, reading.probe_failures)
            backoff = breaker.policy.backoff_seconds
            logger.warning(
                "provider %s tripped after %d failures, refused for %g s: %s",
                breaker.key,
                failures,
                backoff,
                reading.last_error,
            )
        for listener in self.health_listeners:
            try:
                listener(breaker.key, healthy)
            except Exception:
                logger.exception("a health listener failed for %s", breaker.key)

    def _event(self, transition: Transition) -> TransitionEvent:
        ago = timedelta(seconds=self._clock() - transition.at)
        return TransitionEvent(
            key=transition.key,
            from_state=transition.from_state,
            to_state=transition.to_state,
            reason=transition.reason,
            evidence=transition.evidence,
            actor=transition.actor,
            at=self._utcnow() - ago,
        )
