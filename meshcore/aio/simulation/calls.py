"""Plausible calls: which providers are tried, how long each takes, which of them is broken for a while.

Nothing is sent anywhere: permits come from the node's real breakers, so these trip, refuse and recover as
they would under such traffic.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from meshcore.aio.health import ProviderHealthCache
from meshcore.breaker import Outcome, Permit, Refusal
from meshcore.clock import Clock, UtcNow
from meshcore.trace import Attempt, Candidate, RoutingTrace, Why

CAPABILITY = "llm.chat"
TRIED_MAX = 3  # providers that one call goes to at most
LOOKED_AT = 6  # providers whose breaker one call asks at most
MEDIAN_MS = 400.0  # of an attempt that succeeds
SPREAD = 0.6  # of its logarithm: one in a hundred takes four times as long
CALL_MAX_MS = 60_000.0
FAILING_MS = 40.0  # a broken provider answers soon
BREAKS = 1 / 2000  # chance that a provider breaks with a call to it
BROKEN_SECONDS = 30.0
UNAVAILABLE = "the provider answers 503: overloaded"
DEAD = "every provider that was tried failed"


@dataclass(frozen=True, slots=True)
class SimulatedCall:
    """A call under way: `trace` is what will be told of it, `permit` what it holds until it ends."""

    trace: RoutingTrace
    permit: Permit | None

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return self.trace.duration_ms / 1000


class Calls:
    """Makes the calls of one node; `random` returns 0 to 1, `trace_id` a new id."""

    def __init__(
        self,
        node_id: str,
        providers: Sequence[str],
        health: ProviderHealthCache,
        *,
        clock: Clock,
        utcnow: UtcNow,
        random: Callable[[], float],
        trace_id: Callable[[], str],
        breaks: float = BREAKS,
    ) -> None:
        self._node_id = node_id
        self._providers = providers
        self._health = health
        self._clock = clock
        self._utcnow = utcnow
        self._random = random
        self._trace_id = trace_id
        self._breaks = breaks
        self._broken_until: dict[str, float] = {}
        for provider in providers:
            health.ensure(provider)

    def break_provider(self, provider: str, seconds: float = BROKEN_SECONDS) -> None:
        """Let every attempt at `provider` fail for so long."""
        self._broken_until[provider] = self._clock() + seconds

    def begin(self) -> SimulatedCall:
        """Begin a call; `end` it after its seconds."""
        started_at, spent = self._utcnow(), 0.0
        candidates: list[Candidate] = []
        attempts: list[Attempt] = []
        for provider in self._order():
            if len(attempts) == TRIED_MAX:
                break
            permit = self._health.try_acquire(provider)
            if isinstance(permit, Refusal):
                candidates.append(self._refused(provider, permit))
                continue
            candidates.append(Candidate(node=self._node_id, provider=provider, rank=len(attempts) + 1))
            attempt = self._attempt(provider, len(attempts) + 1, spent, permit)
            attempts.append(attempt)
            spent += attempt.ms
            if attempt.committed:
                return SimulatedCall(self._trace(started_at, spent, candidates, attempts), permit)
            self._health.release(permit, Outcome.FAILURE, attempt.message)
        return SimulatedCall(self._trace(started_at, spent, candidates, attempts), None)

    def end(self, call: SimulatedCall, outcome: Outcome = Outcome.SUCCESS) -> None:
        """Give back what the call holds."""
        if call.permit is not None:
            self._health.release(call.permit, outcome)

    def _order(self) -> list[str]:
        """Return the providers that this call would go to, in order: a random stretch of the circle."""
        begin = int(self._random() * len(self._providers))
        circle = [*self._providers[begin:], *self._providers[:begin]]
        return circle[:LOOKED_AT]

    def _is_broken(self, provider: str) -> bool:
        if self._random() < self._breaks:
            self.break_provider(provider)
        return self._clock() < self._broken_until.get(provider, 0.0)

    def _attempt(self, provider: str, n: int, spent_ms: float, permit: Permit) -> Attempt:
        broken = self._is_broken(provider)
        ms = FAILING_MS if broken else self._duration_ms()
        return Attempt(
            n=n,
            node=self._node_id,
            provider=provider,
            model=f"{provider}-large",
            outcome="error" if broken else "ok",
            code="upstream_unavailable" if broken else "",
            message=UNAVAILABLE if broken else "",
            started_ms=spent_ms,
            ms=ms,
            ttft_ms=None if broken else ms / 4,
            breaker=permit.before.value,
            committed=not broken,
        )

    def _duration_ms(self) -> float:
        bell = sum(self._random() for _ in range(12)) - 6.0  # close to normal, of deviation 1
        return min(MEDIAN_MS * math.exp(SPREAD * bell), CALL_MAX_MS)

    def _refused(self, provider: str, refusal: Refusal) -> Candidate:
        return Candidate(
            node=self._node_id,
            provider=provider,
            reason=refusal.reason,
            seconds_remaining=refusal.seconds_remaining,
        )

    def _trace(
        self,
        started_at: datetime,
        duration_ms: float,
        candidates: Sequence[Candidate],
        attempts: Sequence[Attempt],
    ) -> RoutingTrace:
        last = attempts[-1] if attempts else None
        served = last is not None and last.committed
        return RoutingTrace(
            trace_id=self._trace_id(),
            capability=CAPABILITY,
            started_at=started_at,
            caller="simulation",
            alias="chat",
            model_asked="chat",
            model_served=last.model if last and served else "",
            duration_ms=duration_ms,
            ttft_ms=last.ttft_ms if last else None,
            tokens_in=200 if served else None,
            tokens_out=80 if served else None,
            stream=True,
            outcome="ok" if served else "error",
            code="" if served else "upstream_unavailable",
            message="" if served else DEAD,
            provider=last.provider if last else "",
            why=Why.FAILOVER if len(attempts) > 1 else Why.SCORE,
            candidates=tuple(candidates),
            attempts=tuple(attempts),
        )
