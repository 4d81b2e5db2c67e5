"""The breakers of a node. Cases are those of bus-and-health §4."""

import logging
from datetime import timedelta

import pytest

from meshcore.aio.health import (
    DEFAULT_FAILURE_THRESHOLD,
    DEFAULT_UNHEALTHY_BACKOFF_SEC,
    LAST_ERROR_MAX_CHARS,
    ProviderHealthCache,
    ProviderState,
    TransitionEvent,
)
from meshcore.breaker import BreakerState, Outcome, Permit, Refusal
from meshcore.testing import START, ManualClock
from meshcore.trace import Reason


def make(clock: ManualClock, *, threshold: int = 2) -> ProviderHealthCache:
    return ProviderHealthCache(failure_threshold=threshold, clock=clock, utcnow=clock.utcnow)


def state(cache: ProviderHealthCache, key: str = "ollama") -> ProviderState:
    known = cache.get_state(key)
    assert known is not None
    return known


def acquire(cache: ProviderHealthCache, key: str = "ollama", model: str = "") -> Permit:
    permit = cache.try_acquire(key, model)
    assert isinstance(permit, Permit)
    return permit


# Seed 001


def test_case_5_the_defaults_and_bounds() -> None:
    cache = ProviderHealthCache()

    assert (cache.failure_threshold, cache.unhealthy_backoff_sec) == (2, 60.0)
    assert (DEFAULT_FAILURE_THRESHOLD, DEFAULT_UNHEALTHY_BACKOFF_SEC) == (2, 60.0)
    with pytest.raises(ValueError, match="failure_threshold"):
        ProviderHealthCache(failure_threshold=0)
    with pytest.raises(ValueError, match="backoff"):
        ProviderHealthCache(unhealthy_backoff_sec=-1)


def test_case_6_an_unknown_provider_is_healthy_and_has_no_state() -> None:
    cache = make(ManualClock())

    assert cache.is_healthy("ollama")
    assert cache.get_state("ollama") is None
    assert cache.snapshot() == {}
    assert cache.snapshot(expected=["ollama", "groq"]) == {"ollama": ProviderState(), "groq": ProviderState()}


def test_case_7_the_threshold_th_failure_trips() -> None:
    clock = ManualClock()
    cache = make(clock)

    cache.mark_unhealthy("ollama", "fail-1")
    after_one = (cache.is_healthy("ollama"), state(cache).healthy, state(cache).consecutive_failures)
    cache.mark_unhealthy("ollama", "fail-2")

    assert after_one == (True, True, 1)
    assert not cache.is_healthy("ollama")
    assert state(cache) == ProviderState(False, 2, clock(), "fail-2", clock() + 60.0)


def test_case_7_a_threshold_of_one_trips_at_once() -> None:
    cache = make(ManualClock(), threshold=1)

    cache.mark_unhealthy("ollama", "fail")

    assert not cache.is_healthy("ollama")


def test_case_8_marking_healthy_forgets_everything() -> None:
    clock = ManualClock()
    cache = make(clock, threshold=1)
    cache.mark_unhealthy("ollama", "fail")

    cache.mark_healthy("ollama")

    assert state(cache) == ProviderState(True, 0, clock(), None, 0.0)


def test_case_9_the_window_ends_is_extended_and_armed_again() -> None:
    clock = ManualClock()
    cache = make(clock, threshold=1)
    cache.mark_unhealthy("ollama", "fail")
    clock.advance(30.0)
    at_30 = cache.is_healthy("ollama")
    clock.advance(31.0)
    at_61 = [cache.is_healthy("ollama") for _ in range(3)]
    cache.mark_unhealthy("ollama", "again")

    assert (at_30, at_61) == (False, [True, True, True])
    assert not cache.is_healthy("ollama")
    clock.advance(20.0)
    cache.mark_unhealthy("ollama", "and again")
    assert state(cache).unhealthy_until == clock() + 60.0


def test_case_10_one_info_line_for_each_recovery_and_one_warning_for_each_trip(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = ManualClock()
    cache = make(clock)

    with caplog.at_level(logging.INFO):
        for _ in range(4):
            cache.mark_unhealthy("ollama", "fail")
        clock.advance(61.0)
        cache.mark_unhealthy("ollama", "trial failed")
        for _ in range(3):
            cache.mark_healthy("ollama")

    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "recovered" in caplog.messages[1]
    assert "fail" in caplog.messages[0]


def test_case_11_snapshots_are_copies() -> None:
    clock = ManualClock()
    cache = make(clock)
    cache.mark_unhealthy("groq", "rate-limit")

    snapshot = cache.snapshot(expected=["ollama", "groq"])
    snapshot["groq"].consecutive_failures = 99
    snapshot["groq"].healthy = False

    assert snapshot["ollama"] == ProviderState()
    assert state(cache, "groq") == ProviderState(True, 1, clock(), "rate-limit", 0.0)


# Upstream


def test_case_12_listeners_hear_of_trips_and_recoveries_alone() -> None:
    cache = make(ManualClock())
    heard: list[tuple[str, bool]] = []
    cache.add_listener(lambda key, healthy: heard.append((key, healthy)))

    for _ in range(3):
        cache.mark_healthy("fresh")
    cache.mark_unhealthy("ollama", "one")
    after_one = list(heard)
    cache.mark_unhealthy("ollama", "two")
    cache.mark_healthy("ollama")

    assert after_one == []
    assert heard == [("ollama", False), ("ollama", True)]


def test_case_12_a_listener_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    cache = make(ManualClock(), threshold=1)
    heard: list[bool] = []
    events: list[TransitionEvent] = []

    def broken(*_: object) -> None:
        raise RuntimeError("no")

    cache.add_listener(broken)
    cache.add_listener(lambda _, healthy: heard.append(healthy))
    cache.add_transition_listener(broken)
    cache.add_transition_listener(events.append)
    cache.mark_unhealthy("ollama", "one")

    assert heard == [False]
    assert [event.to_state for event in events] == ["open"]
    assert not cache.is_healthy("ollama")
    assert caplog.text.count("listener failed") == 2


# Ours


def test_transitions_are_told_with_the_wall_time_at_which_they_happened() -> None:
    clock = ManualClock()
    cache = make(clock, threshold=1)
    events: list[TransitionEvent] = []
    cache.add_transition_listener(events.append)
    cache.mark_unhealthy("ollama", "one")

    clock.advance(75.0)
    cache.advance()

    assert [(event.from_state, event.to_state, event.evidence) for event in events] == [
        ("closed", "open", "traffic"),
        ("open", "half_open", "time"),
    ]
    assert [event.at for event in events] == [START, START + timedelta(seconds=60)]


def test_a_permit_counts_and_abandoned_ones_leave_no_state() -> None:
    cache = make(ManualClock())

    permit = acquire(cache)
    out = cache.permits_out
    cache.release(permit, Outcome.ABANDONED)

    assert (out, cache.permits_out) == (1, 0)
    assert cache.get_state("ollama") is None


def test_failures_by_permit_trip_and_refuse() -> None:
    clock = ManualClock()
    cache = make(clock)
    for _ in range(2):
        cache.release(acquire(cache), Outcome.FAILURE, "x" * 10_000)

    refusal = cache.try_acquire("ollama")

    assert refusal == Refusal(Reason.BREAKER_OPEN, 60.0) == cache.refusal("ollama")
    assert len(state(cache).last_error or "") == LAST_ERROR_MAX_CHARS
    assert cache.next_deadline() == clock() + 60.0


def test_a_failing_model_leaves_its_provider_and_its_siblings_alone() -> None:
    cache = make(ManualClock())
    for _ in range(2):
        cache.release(acquire(cache, "groq", "slow"), Outcome.FAILURE, "timeout")

    assert isinstance(cache.try_acquire("groq", "slow"), Refusal)
    assert cache.refusal("groq", "slow") is not None
    assert cache.refusal("groq", "fast") is None
    assert cache.state("groq", "slow") is BreakerState.OPEN
    assert cache.state("groq") is BreakerState.CLOSED
    assert cache.permits_out == 0


def test_a_provider_that_is_open_refuses_all_its_models() -> None:
    cache = make(ManualClock())
    for _ in range(2):
        cache.probe_failed("groq", "no answer", interval_seconds=30.0)

    assert cache.refusal("groq", "fast") == Refusal(Reason.BREAKER_OPEN, 60.0)
    assert isinstance(cache.try_acquire("groq", "fast"), Refusal)


@pytest.mark.parametrize(
    ("outcome", "state_after"),
    [(Outcome.SUCCESS, "closed"), (Outcome.FAILURE, "open"), (Outcome.ABANDONED, "half_open")],
)
def test_a_models_call_is_its_providers_trial(outcome: Outcome, state_after: str) -> None:
    clock = ManualClock()
    cache = make(clock)
    for _ in range(2):
        cache.probe_failed("groq", "no answer", interval_seconds=30.0)
    clock.advance(60.0)

    permit = acquire(cache, "groq", "fast")
    busy = cache.refusal("groq", "other")
    cache.release(permit, outcome, "because")

    assert busy == Refusal(Reason.HALF_OPEN_BUSY)
    assert cache.state("groq") == state_after
    assert cache.permits_out == 0


def test_a_broken_stream_strikes_after_its_success() -> None:
    cache = make(ManualClock())
    permit = acquire(cache)
    cache.release(permit, Outcome.SUCCESS)

    cache.strike(permit, "broke")

    assert cache.state("ollama") is BreakerState.SUSPECT


def test_case_33_failing_probes_never_lengthen_the_window_of_traffic() -> None:
    clock = ManualClock()
    cache = make(clock)
    for _ in range(2):
        cache.release(acquire(cache), Outcome.FAILURE, "500")
    for _ in range(2):
        clock.advance(30.0)
        cache.probe_failed("ollama", "no answer", interval_seconds=30.0)

    assert cache.state("ollama") is BreakerState.HALF_OPEN


def test_case_33_good_probes_between_two_live_failures_do_not_hide_them() -> None:
    clock = ManualClock()
    cache = make(clock)
    cache.release(acquire(cache), Outcome.FAILURE, "500")
    clock.advance(30.0)
    cache.probe_succeeded("ollama")
    cache.release(acquire(cache), Outcome.FAILURE, "500")

    assert cache.state("ollama") is BreakerState.OPEN


def test_reports_say_what_the_dashboard_shows() -> None:
    clock = ManualClock()
    cache = make(clock)
    cache.ensure("fresh")
    cache.probe_failed("suspect", "no answer", interval_seconds=30.0)
    cache.cool("cooling", seconds=15.0)
    for _ in range(2):
        cache.mark_unhealthy("open", "500")
    clock.advance(5.0)

    reports = {report.key: report for report in cache.reports()}

    assert (reports["fresh"].state, reports["fresh"].strikes) == ("closed", 0)
    assert (reports["suspect"].state, reports["suspect"].strikes) == ("suspect", 1)
    assert reports["cooling"].cooling_seconds == 10.0
    assert (reports["open"].seconds_remaining, reports["open"].last_error) == (55.0, "500")
    assert reports["open"].since == START
    assert (reports["open"].threshold, reports["open"].backoff_seconds) == (2, 60.0)


def test_an_operators_word_is_told_with_actor_and_reason() -> None:
    cache = make(ManualClock())
    events: list[TransitionEvent] = []
    cache.add_transition_listener(events.append)

    cache.force_open("ollama", actor="alice", reason="maintenance", seconds=600.0)
    refusal = cache.try_acquire("ollama")
    cache.force_closed("ollama", actor="alice", reason="go")
    cache.reset("ollama", actor="alice", reason="done")
    cache.reset("ollama", actor="alice", reason="done twice")

    assert refusal == Refusal(Reason.FORCED_OPEN, 600.0)
    assert [(event.to_state, event.actor, event.reason) for event in events] == [
        ("forced_open", "alice", "maintenance"),
        ("forced_closed", "alice", "go"),
        ("closed", "alice", "done"),
    ]


def test_forgetting_takes_a_provider_with_its_models() -> None:
    cache = make(ManualClock(), threshold=1)
    cache.mark_unhealthy("groq/a", "500")
    cache.mark_unhealthy("groq", "500")
    cache.mark_unhealthy("groq2", "500")

    cache.forget("groq")

    assert list(cache.snapshot()) == ["groq2"]


def test_nothing_is_due_when_all_is_well() -> None:
    cache = make(ManualClock())
    cache.mark_healthy("ollama")

    assert cache.next_deadline() is None
