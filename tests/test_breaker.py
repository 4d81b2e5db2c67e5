"""The breaker: stories of admission, cooling and overrides, then a machine that tries everything."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from meshcore.breaker import (
    Breaker,
    BreakerPolicy,
    BreakerState,
    Evidence,
    Outcome,
    Permit,
    Refusal,
)
from meshcore.errors import IllegalMove
from meshcore.testing import ManualClock
from meshcore.trace import Reason

BOUNDS = BreakerPolicy(failure_threshold=2, backoff_seconds=60.0)


def make(clock: ManualClock) -> Breaker:
    return Breaker("ollama", BOUNDS, clock=clock)


def opened(clock: ManualClock) -> Breaker:
    breaker = make(clock)
    breaker.mark_unhealthy("one")
    breaker.mark_unhealthy("two")
    return breaker


def half_open(clock: ManualClock) -> Breaker:
    breaker = opened(clock)
    clock.advance(60.0)
    return breaker


def acquire(breaker: Breaker, expires_at: float | None = None) -> Permit:
    permit = breaker.try_acquire(expires_at)
    assert isinstance(permit, Permit)
    return permit


def moves(breaker: Breaker) -> list[tuple[str, str, str]]:
    return [(t.from_state, t.to_state, t.evidence) for t in breaker.take_transitions()]


def test_an_untouched_breaker_is_closed_healthy_and_knows_nothing() -> None:
    breaker = make(ManualClock())

    assert breaker.state() is BreakerState.CLOSED
    assert breaker.is_healthy()
    assert breaker.reading().last_check is None
    assert breaker.next_deadline() is None
    assert breaker.seconds_remaining() is None
    assert breaker.cooling_seconds() is None


def test_an_open_breaker_refuses_with_the_seconds_left() -> None:
    clock = ManualClock()
    breaker = opened(clock)
    clock.advance(20.0)

    refusal = breaker.try_acquire()

    assert refusal == Refusal(Reason.BREAKER_OPEN, 40.0)
    assert breaker.refusal() == refusal
    assert breaker.seconds_remaining() == 40.0
    assert not breaker.is_healthy()


def test_half_open_lets_exactly_one_trial_through() -> None:
    breaker = half_open(ManualClock())

    answers = [breaker.try_acquire() for _ in range(50)]

    assert sum(isinstance(answer, Permit) for answer in answers) == 1
    assert answers.count(Refusal(Reason.HALF_OPEN_BUSY)) == 49
    assert breaker.is_healthy()


def test_reading_health_in_half_open_takes_no_trial() -> None:
    breaker = half_open(ManualClock())

    readings = [breaker.is_healthy() for _ in range(3)]

    assert readings == [True, True, True]
    assert isinstance(breaker.try_acquire(), Permit)


def test_a_successful_trial_closes_and_forgets() -> None:
    breaker = half_open(ManualClock())

    breaker.release(acquire(breaker), Outcome.SUCCESS)

    assert breaker.state() is BreakerState.CLOSED
    assert breaker.reading().failures == 0
    assert moves(breaker) == [
        ("closed", "suspect", "traffic"),
        ("suspect", "open", "traffic"),
        ("open", "half_open", "time"),
        ("half_open", "closed", "traffic"),
    ]


def test_a_failed_trial_opens_for_the_whole_backoff() -> None:
    clock = ManualClock()
    breaker = half_open(clock)
    clock.advance(1.0)

    breaker.release(acquire(breaker), Outcome.FAILURE, "still dead")

    assert breaker.seconds_remaining() == 60.0
    assert breaker.reading().last_error == "still dead"


def test_an_abandoned_trial_gives_its_permit_back() -> None:
    breaker = half_open(ManualClock())

    breaker.release(acquire(breaker), Outcome.ABANDONED)

    assert breaker.state() is BreakerState.HALF_OPEN
    assert isinstance(breaker.try_acquire(), Permit)


def test_an_overdue_trial_failed_at_its_deadline() -> None:
    clock = ManualClock()
    breaker = half_open(clock)
    permit = acquire(breaker, clock() + 5.0)

    clock.advance(15.0)

    assert breaker.state() is BreakerState.OPEN
    assert breaker.seconds_remaining() == 50.0
    breaker.release(permit, Outcome.SUCCESS)
    assert breaker.state() is BreakerState.OPEN
    assert (breaker.reading().failures, breaker.reading().last_error) == (3, "trial expired")
    assert breaker.permits_out == 0


def test_a_trial_is_overdue_at_its_deadline_and_not_before() -> None:
    clock = ManualClock()
    breaker = half_open(clock)
    acquire(breaker, clock() + 5.0)

    clock.advance(4.999)
    before = (breaker.state(), breaker.refusal())
    clock.advance(0.001)

    assert before == (BreakerState.HALF_OPEN, Refusal(Reason.HALF_OPEN_BUSY))
    assert breaker.state() is BreakerState.OPEN


def test_a_trial_that_nobody_looked_at_for_long_leaves_the_breaker_half_open_again() -> None:
    clock = ManualClock()
    breaker = half_open(clock)
    acquire(breaker, clock() + 5.0)
    breaker.take_transitions()

    clock.advance(65.0)
    breaker.advance()

    assert moves(breaker) == [("half_open", "open", "traffic"), ("open", "half_open", "time")]


def test_late_results_of_permits_from_before_the_trip_do_not_count() -> None:
    clock = ManualClock()
    breaker = make(clock)
    late_success, late_failure, late_break = (acquire(breaker) for _ in range(3))
    breaker.release(late_break, Outcome.SUCCESS)
    breaker.mark_unhealthy("one")
    breaker.mark_unhealthy("two")

    clock.advance(10.0)
    breaker.release(late_success, Outcome.SUCCESS)
    breaker.release(late_failure, Outcome.FAILURE, "late")
    breaker.strike(late_break, "late break")

    assert breaker.state() is BreakerState.OPEN
    assert breaker.seconds_remaining() == 50.0
    assert breaker.permits_out == 0


def test_a_stream_that_breaks_after_its_success_is_a_new_strike() -> None:
    breaker = half_open(ManualClock())
    permit = acquire(breaker)
    breaker.release(permit, Outcome.SUCCESS)

    breaker.strike(permit, "broke")

    assert breaker.state() is BreakerState.SUSPECT
    assert breaker.reading().failures == 1


def test_a_permit_is_released_once() -> None:
    breaker = make(ManualClock())
    permit = acquire(breaker)
    breaker.release(permit, Outcome.SUCCESS)

    with pytest.raises(IllegalMove):
        breaker.release(permit, Outcome.SUCCESS)


def test_a_probe_success_moves_open_to_half_open_early() -> None:
    breaker = opened(ManualClock())
    breaker.take_transitions()

    breaker.probe_succeeded()

    assert breaker.state() is BreakerState.HALF_OPEN
    assert moves(breaker) == [("open", "half_open", "probe")]


def test_probe_failures_open_and_say_so() -> None:
    breaker = make(ManualClock())

    breaker.probe_failed("no answer", 30.0)
    breaker.probe_failed("no answer", 30.0)

    assert moves(breaker) == [("closed", "suspect", "probe"), ("suspect", "open", "probe")]


def test_marking_healthy_closes_from_any_state() -> None:
    breaker = opened(ManualClock())

    breaker.mark_healthy()

    assert breaker.state() is BreakerState.CLOSED
    assert breaker.reading().open_until == 0.0
    assert breaker.reading().last_error is None


def test_a_closed_breaker_that_succeeds_says_nothing() -> None:
    breaker = make(ManualClock())

    breaker.release(acquire(breaker), Outcome.SUCCESS)

    assert breaker.take_transitions() == []
    assert breaker.reading().last_check is not None


def test_cooling_refuses_without_a_strike_until_it_is_over() -> None:
    clock = ManualClock()
    breaker = make(clock)

    breaker.cool()
    refusal = breaker.try_acquire()
    clock.advance(15.0)

    assert refusal == Refusal(Reason.COOLING, 15.0)
    assert breaker.reading().failures == 0
    assert breaker.cooling_seconds() is None
    assert isinstance(breaker.try_acquire(), Permit)


def test_cooling_is_cut_to_its_maximum_and_never_shortened() -> None:
    breaker = make(ManualClock())

    breaker.cool(3600.0)
    breaker.cool(1.0)
    breaker.cool(-1.0)

    assert breaker.cooling_seconds() == 600.0
    assert breaker.next_deadline() is not None


def test_a_trial_answered_with_429_stays_half_open_and_cools() -> None:
    clock = ManualClock()
    breaker = half_open(clock)
    permit = acquire(breaker)

    breaker.cool(15.0)
    breaker.release(permit, Outcome.ABANDONED)

    assert breaker.state() is BreakerState.HALF_OPEN
    assert breaker.try_acquire() == Refusal(Reason.COOLING, 15.0)


def test_forced_open_refuses_until_it_expires() -> None:
    clock = ManualClock()
    breaker = make(clock)

    breaker.force_open(actor="alice", reason="maintenance", seconds=600.0)
    refusal = breaker.try_acquire()
    healthy = breaker.is_healthy()
    remaining = breaker.seconds_remaining()
    clock.advance(600.0)
    breaker.advance()

    assert refusal == Refusal(Reason.FORCED_OPEN, 600.0)
    assert not healthy
    assert remaining == 600.0
    assert moves(breaker) == [("closed", "forced_open", "operator"), ("forced_open", "closed", "time")]


def test_forced_open_without_end_holds_until_reset() -> None:
    clock = ManualClock()
    breaker = make(clock)
    breaker.force_open(actor="alice", reason="maintenance")
    clock.advance(1e6)
    refusal = breaker.try_acquire()

    breaker.reset(actor="alice", reason="done")

    assert refusal == Refusal(Reason.FORCED_OPEN, None)
    assert breaker.next_deadline() is None
    first, second = breaker.take_transitions()
    assert (first.actor, first.reason) == ("alice", "maintenance")
    assert (second.actor, second.reason, second.evidence) == ("alice", "done", Evidence.OPERATOR)


def test_forced_closed_admits_in_spite_of_an_open_circuit_and_success_heals_it() -> None:
    clock = ManualClock()
    breaker = opened(clock)
    breaker.force_closed(actor="alice", reason="I know better", seconds=10.0)

    permits = [acquire(breaker) for _ in range(3)]
    for permit in permits:
        breaker.release(permit, Outcome.SUCCESS)
    clock.advance(10.0)

    assert not any(permit.trial for permit in permits)
    assert breaker.state() is BreakerState.CLOSED


def test_the_window_goes_on_below_an_override() -> None:
    clock = ManualClock()
    breaker = opened(clock)
    breaker.force_open(actor="alice", reason="wait", seconds=100.0)

    deadlines = [breaker.next_deadline()]
    clock.advance(100.0)
    breaker.advance()

    assert deadlines == [clock() - 40.0]
    assert breaker.state() is BreakerState.HALF_OPEN


def test_force_while_cooling_still_cools() -> None:
    breaker = make(ManualClock())

    breaker.force_closed(actor="alice", reason="go")
    breaker.cool(15.0)

    assert breaker.try_acquire() == Refusal(Reason.COOLING, 15.0)


def test_the_same_override_twice_is_one_transition() -> None:
    breaker = make(ManualClock())

    breaker.force_open(actor="alice", reason="first")
    breaker.force_open(actor="alice", reason="second")

    assert len(breaker.take_transitions()) == 1


def test_lifting_an_override_shows_what_is_below_and_lifting_nothing_is_nothing() -> None:
    clock = ManualClock()
    breaker = opened(clock)
    breaker.force_closed(actor="alice", reason="go")
    breaker.take_transitions()

    breaker.lift(actor="bob", reason="no longer wanted")
    breaker.lift(actor="bob", reason="twice")

    (transition,) = breaker.take_transitions()
    assert (transition.from_state, transition.to_state) == (BreakerState.FORCED_CLOSED, BreakerState.OPEN)
    assert (transition.actor, transition.evidence) == ("bob", Evidence.OPERATOR)


def test_reset_of_a_healthy_breaker_changes_nothing() -> None:
    breaker = make(ManualClock())
    permit = acquire(breaker)

    breaker.reset(actor="alice", reason="just in case")
    breaker.release(permit, Outcome.FAILURE, "one")

    assert breaker.state() is BreakerState.SUSPECT


def test_a_reset_after_cooling_is_over_changes_nothing() -> None:
    clock = ManualClock()
    breaker = make(clock)
    breaker.cool(5.0)
    clock.advance(5.0)
    permit = acquire(breaker)

    breaker.reset(actor="alice", reason="to be sure")
    breaker.release(permit, Outcome.FAILURE, "503")

    assert breaker.state() is BreakerState.SUSPECT


def test_results_from_before_a_reset_do_not_count() -> None:
    breaker = make(ManualClock())
    permit = acquire(breaker)
    breaker.mark_unhealthy("one")

    breaker.reset(actor="alice", reason="fixed")
    breaker.release(permit, Outcome.FAILURE, "from before")

    assert breaker.state() is BreakerState.CLOSED


def test_deadlines_name_the_next_change() -> None:
    clock = ManualClock()
    breaker = opened(clock)
    window_end = breaker.next_deadline()
    clock.advance(60.0)
    acquire(breaker, clock() + 5.0)

    assert window_end == clock()
    assert breaker.next_deadline() == clock() + 5.0


class AnyBreaker(RuleBasedStateMachine):
    """Whatever happens in whatever order, these hold."""

    @initialize(threshold=st.integers(1, 3), backoff=st.sampled_from([0.0, 10.0, 60.0]))
    def begin(self, threshold: int, backoff: float) -> None:
        self.clock = ManualClock()
        policy = BreakerPolicy(failure_threshold=threshold, backoff_seconds=backoff)
        self.breaker = Breaker("any", policy, clock=self.clock)
        self.out: list[Permit] = []
        self.released = 0
        self.visible = BreakerState.CLOSED

    @rule(lifetime=st.sampled_from([1.0, 20.0, 100.0]))
    def acquire(self, lifetime: float) -> None:
        expected = self.breaker.refusal()
        answer = self.breaker.try_acquire(self.clock() + lifetime)
        if isinstance(answer, Permit):
            assert expected is None
            self.out.append(answer)
        else:
            assert answer == expected

    @rule(seconds=st.sampled_from([0.0, 10.0, 60.0, 200.0]))
    def acquire_after_a_while_that_nobody_looked(self, seconds: float) -> None:
        self.clock.advance(seconds)
        seen = self.breaker.state()
        answer = self.breaker.try_acquire()
        if isinstance(answer, Permit):
            assert answer.before is seen
            self.out.append(answer)

    @precondition(lambda self: self.out)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome))
    def release(self, data: st.DataObject, outcome: Outcome) -> None:
        permit = self.out.pop(data.draw(st.integers(0, len(self.out) - 1)))
        before, tripped = self.breaker.reading(), self.breaker.state() is BreakerState.OPEN
        self.released += 1
        said = f"released {self.released}"  # each says something else: another may have said its own before
        self.breaker.release(permit, outcome, said)
        if tripped and permit.trial:
            assert self.breaker.reading().last_error != said
        if outcome is Outcome.ABANDONED:
            assert self.breaker.reading().last_check == before.last_check

    @rule(seconds=st.sampled_from([0.0, 1.0, 10.0, 60.0, 200.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def mark_healthy(self) -> None:
        self.breaker.mark_healthy()
        assert self.breaker.reading().failures == 0

    @rule()
    def mark_unhealthy(self) -> None:
        self.breaker.mark_unhealthy("marked")
        assert self.breaker.reading().failures >= 1

    @rule()
    def probe_succeeded(self) -> None:
        failures = self.breaker.reading().failures
        self.breaker.probe_succeeded()
        assert self.breaker.reading().failures >= failures

    @rule()
    def probe_failed(self) -> None:
        self.breaker.advance()
        before = self.breaker.reading()
        self.breaker.probe_failed("probe", 30.0)
        if before.tripped:
            assert self.breaker.reading().open_until == before.open_until

    @rule(seconds=st.sampled_from([None, 5.0, 50.0]))
    def cool(self, seconds: float | None) -> None:
        failures = self.breaker.reading().failures
        self.breaker.cool(seconds)
        assert self.breaker.reading().failures == failures

    @rule(closed=st.booleans(), seconds=st.sampled_from([None, 30.0]))
    def force(self, closed: bool, seconds: float | None) -> None:
        verb = self.breaker.force_closed if closed else self.breaker.force_open
        verb(actor="alice", reason="because", seconds=seconds)

    @rule()
    def lift(self) -> None:
        self.breaker.lift(actor="alice", reason="because")
        assert self.breaker.state() not in (BreakerState.FORCED_OPEN, BreakerState.FORCED_CLOSED)

    @rule()
    def reset(self) -> None:
        self.breaker.reset(actor="alice", reason="because")
        assert self.breaker.state() is BreakerState.CLOSED

    @invariant()
    def one_trial_at_a_time(self) -> None:
        now = self.clock()
        generation = max((permit.generation for permit in self.out), default=0)
        live = [p for p in self.out if p.trial and p.expires_at > now and p.generation == generation]
        if self.breaker.state() is BreakerState.HALF_OPEN:
            assert len(live) <= 1

    @invariant()
    def permits_are_counted(self) -> None:
        assert self.breaker.permits_out == len(self.out)

    @invariant()
    def reading_is_pure(self) -> None:
        first = (
            self.breaker.is_healthy(),
            self.breaker.state(),
            self.breaker.refusal(),
            self.breaker.reading(),
        )
        again = (
            self.breaker.is_healthy(),
            self.breaker.state(),
            self.breaker.refusal(),
            self.breaker.reading(),
        )
        assert first == again

    @invariant()
    def transitions_tell_the_whole_story(self) -> None:
        state = self.breaker.state()
        self.breaker.advance()
        for transition in self.breaker.take_transitions():
            assert transition.from_state is self.visible
            assert transition.to_state is not self.visible
            self.visible = transition.to_state
        assert self.visible is state

    @invariant()
    def an_open_breaker_refuses_and_ends(self) -> None:
        if self.breaker.state() is BreakerState.OPEN:
            remaining = self.breaker.seconds_remaining()
            assert remaining is not None
            assert 0 < remaining <= self.breaker.policy.backoff_seconds
            assert isinstance(self.breaker.try_acquire(), Refusal)


AnyBreaker.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAnyBreaker = AnyBreaker.TestCase
