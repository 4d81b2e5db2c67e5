"""One attempt after the other: picks a candidate, holds its slot and its permit, and says what became of it.

Everything here is synchronous, so that from the look at the candidates to the slot nothing comes between.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec

from meshcore.aio.health import ProviderHealthCache
from meshcore.breaker import Outcome, Permit
from meshcore.clock import Clock
from meshcore.config_sections import OnBrokenStream
from meshcore.errors import CallError, Code, ExchangeError, is_retryable, is_strike
from meshcore.journey import Journey
from meshcore.registry import Entry, Registry
from meshcore.routing import Choice, Question, Ranked, choose, refused_by_breaker
from meshcore.sticky import Session, Sessions
from meshcore.trace import Attempt

_SUCCESS: Final = Outcome.SUCCESS  # looked up once, which in Python 3.11 is slow


@dataclass(frozen=True, slots=True, kw_only=True)
class BusSettings:
    """Bounds of a node's calls."""

    max_attempts: int = 3  # >= 1
    freshness_seconds: float = 60.0  # a peer that was not heard of for longer is not asked
    deadline_seconds: float = 300.0  # of a call whose caller names none
    trace_ring: int = 10_000  # traces kept in memory, the oldest dropped
    on_broken_stream: OnBrokenStream = OnBrokenStream.CONTINUE  # restarting is for runs: here it is failing

    def __post_init__(self) -> None:
        for name, least in (("max_attempts", 1), ("trace_ring", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected an integer of at least {least}")
        for name in ("freshness_seconds", "deadline_seconds"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)!r}: expected a number of seconds above 0")


class Lease(msgspec.Struct, eq=False, kw_only=True):
    """One attempt: an entry with a slot and a permit taken, to be settled exactly once."""

    entry: Entry
    permit: Permit
    model: str
    n: int
    started: float  # monotonic seconds
    timeout_seconds: float  # of a stream until its first token
    ttft_ms: float | None = None  # set when a stream was committed


class Dispatcher:
    """Chooses the attempts of a node's calls and accounts for them."""

    def __init__(
        self, registry: Registry, health: ProviderHealthCache, settings: BusSettings, *, clock: Clock
    ) -> None:
        self._registry = registry
        self._health = health
        self._settings = settings
        self._clock = clock
        self.sessions = Sessions(clock=clock)

    def next(self, journey: Journey, draining: bool) -> Lease | None:
        """Return the next attempt, or None when no candidate, no attempt or no time is left."""
        most = 1 if journey.local_only else self._settings.max_attempts
        attempts_left, now = most - len(journey.attempts), self._clock()
        if attempts_left <= 0 or now >= journey.deadline:
            return None
        choice = self.choose(journey, now, draining, attempts_left)
        journey.saw(choice)
        for ranked in choice.ordered:
            if (lease := self.take(journey, ranked, now)) is not None:
                return lease
        return None

    def choose(self, journey: Journey, now: float, draining: bool, attempts_left: int = 1) -> Choice:
        """Return whom the next attempt may be made with, at the monotonic moment `now`."""
        question = journey.question(draining)
        entries = self._registry.named(journey.request.capability)
        if journey.walk is None:
            choice = self._look(question, entries, now)
        else:
            look = partial(self._look, now=now)
            choice = journey.walk.choose(question, entries, look, attempts_left=attempts_left)
        if not journey.request.session_id or journey.attempts:
            return choice
        return self._seated(journey, choice)

    def take(self, journey: Journey, ranked: Ranked, now: float) -> Lease | None:
        """Return an attempt with a candidate; None, and its journey knows why, when its breaker refuses."""
        entry, model = ranked.entry, ranked.model
        timeout_seconds = min(entry.descriptor.timeout_seconds, journey.deadline - now)
        permit = self._health.try_acquire(
            entry.breaker_key, entry.breaker_model(model), now + timeout_seconds
        )
        if not isinstance(permit, Permit):
            journey.refused(refused_by_breaker(entry, permit))
            return None
        entry.in_flight += 1
        journey.trying(entry, model)
        return Lease(
            entry=entry,
            permit=permit,
            model=model,
            n=len(journey.attempts) + 1,
            started=now,
            timeout_seconds=timeout_seconds,
        )

    def committed(self, lease: Lease, journey: Journey) -> None:
        """A stream's first content came: that is the success which its permit waited for."""
        lease.ttft_ms = (self._clock() - lease.started) * 1000
        self._health.release(lease.permit, _SUCCESS)
        if journey.request.session_id:
            self._bind(lease, journey)

    def succeeded(self, lease: Lease, journey: Journey) -> None:
        """The attempt went well, to its end."""
        entry = lease.entry
        entry.in_flight -= 1
        if lease.ttft_ms is None:
            self._health.release(lease.permit, _SUCCESS)
        if entry.peer is not None:
            self._registry.heard_from(entry.node_id)
        attempt = self._attempt(lease, journey, None)
        entry.window.succeeded(attempt.ms if lease.ttft_ms is None else lease.ttft_ms)
        journey.made(attempt)
        if journey.request.session_id:
            self._bind(lease, journey)

    def failed(self, lease: Lease, journey: Journey, error: CallError) -> bool:
        """The attempt failed; return whether another one may be made."""
        lease.entry.in_flight -= 1
        answered = lease.entry.peer is not None and not isinstance(error, ExchangeError)
        if answered:
            self._heard(lease.entry, error)
        if lease.ttft_ms is not None:
            if not answered and is_strike(error.code):
                self._health.strike(lease.permit, str(error))
        else:
            self._release(lease, error, answered=answered)
        if is_strike(error.code):
            lease.entry.window.failed()
        journey.failed(self._attempt(lease, journey, error), error)
        return lease.ttft_ms is None and is_retryable(error.code)

    def abandoned(self, lease: Lease, journey: Journey, error: CallError) -> None:
        """The caller gave up: the slot and the permit come back, and nobody is to blame."""
        lease.entry.in_flight -= 1
        if lease.ttft_ms is None:
            self._health.release(lease.permit, Outcome.ABANDONED)
        journey.failed(self._attempt(lease, journey, error), error)

    def _look(self, question: Question, entries: Iterable[Entry], now: float) -> Choice:
        return choose(question, entries, now, self._settings.freshness_seconds, self._health.refusal)

    def _seated(self, journey: Journey, choice: Choice) -> Choice:
        """Return the choice with the seat of the call's session first."""
        seat = self.sessions.seat_of(_session(journey), choice.ordered)
        if seat is None:
            return choice
        journey.stays = seat.entry
        return Choice([seat, *(ranked for ranked in choice.ordered if ranked is not seat)], choice.refused)

    def _bind(self, lease: Lease, journey: Journey) -> None:
        self.sessions.bind(_session(journey), lease.entry.key, lease.model)

    def _release(self, lease: Lease, error: CallError, *, answered: bool) -> None:
        """Judge a permit by an error: a peer that answers is well, whatever its providers did."""
        if error.code == Code.RATE_LIMITED and lease.entry.is_local:
            key, model = lease.entry.breaker_key, lease.entry.breaker_model(lease.model)
            self._health.cool(key, model, seconds=error.retry_after_seconds)
        if answered:
            outcome = Outcome.SUCCESS
        else:
            outcome = Outcome.FAILURE if is_strike(error.code) else Outcome.ABANDONED
        self._health.release(lease.permit, outcome, f"{error.code}: {error.message}")

    def _heard(self, entry: Entry, error: CallError) -> None:
        self._registry.heard_from(entry.node_id)
        if error.code == Code.DRAINING and entry.peer is not None:
            entry.peer.draining = True  # until its manifest says otherwise

    def _attempt(self, lease: Lease, journey: Journey, error: CallError | None) -> Attempt:
        return Attempt(
            n=lease.n,
            node=lease.entry.node_id,
            provider=lease.entry.descriptor.provider,
            model=lease.model,
            outcome="ok" if error is None else "error",
            code="" if error is None else str(error.code),
            message="" if error is None else error.message,
            started_ms=(lease.started - journey.started) * 1000,
            ms=(self._clock() - lease.started) * 1000,
            ttft_ms=lease.ttft_ms,
            breaker=lease.permit.before,
            committed=lease.ttft_ms is not None,
        )


def _session(journey: Journey) -> Session:
    request = journey.request
    return Session(request.capability, journey.model_asked, request.session_id or "")
