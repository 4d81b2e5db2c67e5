"""Simulated calls: plausible traces, and breakers that trip as under real traffic."""

import random
from dataclasses import dataclass, field

from meshcore.aio.health import ProviderHealthCache
from meshcore.aio.simulation.calls import BROKEN_SECONDS, LOOKED_AT, TRIED_MAX, Calls
from meshcore.breaker import BreakerState, Outcome
from meshcore.testing import ManualClock
from meshcore.trace import Reason, Why

PROVIDERS = tuple(f"p{n}" for n in range(8))


@dataclass
class World:
    """Calls of one node, at times of the test's choice."""

    breaks: float = 0.0
    clock: ManualClock = field(default_factory=ManualClock)

    def __post_init__(self) -> None:
        self.health = ProviderHealthCache(clock=self.clock, utcnow=self.clock.utcnow)
        self.calls = Calls(
            "sim-0001",
            PROVIDERS,
            self.health,
            clock=self.clock,
            utcnow=self.clock.utcnow,
            random=random.Random(7).random,
            trace_id=lambda: "t1",
            breaks=self.breaks,
        )


def test_a_call_goes_to_one_provider_and_takes_a_plausible_time() -> None:
    world = World()

    calls = [world.calls.begin() for _ in range(200)]

    assert {call.trace.outcome for call in calls} == {"ok"}
    assert all(len(call.trace.attempts) == 1 and call.permit is not None for call in calls)
    assert 0.2 < sorted(call.seconds for call in calls)[100] < 0.8
    assert len({call.trace.provider for call in calls}) == len(PROVIDERS)


def test_a_broken_provider_is_passed_over_and_its_breaker_trips() -> None:
    world = World()
    world.calls.break_provider("p3")

    calls = [world.calls.begin() for _ in range(100)]

    failed_over = [call.trace for call in calls if len(call.trace.attempts) > 1]
    assert {trace.why for trace in failed_over} == {Why.FAILOVER}
    assert {trace.attempts[0].code for trace in failed_over} == {"upstream_unavailable"}
    assert world.health.state("p3") is BreakerState.OPEN
    refusals = {candidate.reason for call in calls for candidate in call.trace.candidates}
    assert refusals == {None, Reason.BREAKER_OPEN}


def test_now_and_then_a_provider_breaks_by_itself() -> None:
    world = World(breaks=1.0)

    assert world.calls.begin().trace.outcome == "error"


def test_a_broken_provider_is_whole_again_after_a_while() -> None:
    world = World()
    world.calls.break_provider("p3")
    for _ in range(100):
        world.calls.begin()

    world.clock.advance(BROKEN_SECONDS + world.health.unhealthy_backoff_sec)
    for _ in range(100):
        world.calls.end(world.calls.begin())

    assert world.health.state("p3") is BreakerState.CLOSED


def test_a_call_that_nobody_serves_fails_after_so_many_attempts() -> None:
    world = World()
    for provider in PROVIDERS:
        world.calls.break_provider(provider)

    call = world.calls.begin()

    assert call.permit is None
    assert (call.trace.outcome, len(call.trace.attempts)) == ("error", TRIED_MAX)


def test_a_call_that_every_breaker_refuses_has_no_attempt_at_all() -> None:
    world = World()
    for provider in PROVIDERS:
        world.health.force_open(provider, actor="alice", reason="bills")

    call = world.calls.begin()

    assert call.trace.attempts == ()
    assert [candidate.reason for candidate in call.trace.candidates] == [Reason.FORCED_OPEN] * LOOKED_AT


def test_an_ended_call_gives_its_permit_back() -> None:
    world = World()
    call = world.calls.begin()
    assert world.health.permits_out == 1

    world.calls.end(call, Outcome.ABANDONED)

    assert world.health.permits_out == 0
