"""When health is said, and how much of it."""

from datetime import timedelta

import msgspec
import pytest

from meshcore.breaker import BreakerState
from meshcore.drain import InFlight, NodeState, Readout
from meshcore.frames import BreakerReport, Health
from meshcore.pulse import PROGRESS_SECONDS, Pulse, is_news, newest
from meshcore.run_reports import RUNS_MAX, RunReport
from meshcore.testing import START, ManualClock

ALPHA = BreakerReport(key="alpha", state=BreakerState.CLOSED)
BETA = BreakerReport(key="beta", state=BreakerState.OPEN, strikes=2, seconds_remaining=60.0)


def health(*breakers: BreakerReport, no: int = 0, full: bool = False) -> Health:
    readout = Readout(state=NodeState.RUNNING, accepting=True)
    return Health(no=no, at=START, node=readout, full=full, breakers=breakers)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def pulse(clock: ManualClock, *, random: float = 0.5) -> Pulse:
    return Pulse(full_seconds=60, gap_seconds=0.25, jitter=0.1, clock=clock, random=lambda: random)


def started(clock: ManualClock, *breakers: BreakerReport) -> Pulse:
    beating = pulse(clock)
    beating.start(1.0)
    beating.number(health(*breakers))
    return beating


def test_it_is_silent_until_it_is_started_and_then_due_at_once(clock: ManualClock) -> None:
    beating = pulse(clock)

    beating.hurry()
    silent = beating.is_due(), beating.due_at()
    beating.start(1.0)

    assert silent == (False, None)
    assert beating.is_due()


@pytest.mark.parametrize(("random", "seconds"), [(0.0, 0.9), (0.5, 1.0), (1.0, 1.1)])
def test_it_beats_with_jitter(clock: ManualClock, random: float, seconds: float) -> None:
    beating = pulse(clock, random=random)
    beating.start(1.0)

    beating.number(health())

    assert beating.due_at() == pytest.approx(clock() + seconds)


def test_numbers_rise_and_the_first_one_is_full(clock: ManualClock) -> None:
    beating = pulse(clock)
    beating.start(1.0)

    first, second = beating.number(health(ALPHA)), beating.number(health(ALPHA))

    assert (first.no, first.full, first.breakers) == (1, True, (ALPHA,))
    assert (second.no, second.full, second.breakers) == (2, False, ())


def test_a_change_is_said_at_once_but_not_more_than_four_times_a_second(clock: ManualClock) -> None:
    beating = started(clock)

    beating.hurry()
    at_once = beating.is_due()
    beating.number(health())
    clock.advance(0.2)
    beating.hurry()
    too_early = beating.is_due()
    clock.advance(0.05)

    assert at_once
    assert not too_early
    assert beating.is_due()


def test_a_hurry_never_delays_what_is_due_anyway(clock: ManualClock) -> None:
    beating = started(clock)
    clock.advance(1.5)

    beating.hurry()

    assert beating.is_due()


def test_only_changed_breakers_are_said(clock: ManualClock) -> None:
    beating = started(clock, ALPHA, BETA)
    struck = msgspec.structs.replace(ALPHA, strikes=1, state=BreakerState.SUSPECT)

    news = beating.number(health(struck, BETA))

    assert news.breakers == (struck,)
    assert beating.number(health(struck, BETA)).breakers == ()


def test_a_countdown_that_goes_on_is_no_change(clock: ManualClock) -> None:
    beating = started(clock, BETA)

    clock.advance(10)
    going_on = beating.number(health(msgspec.structs.replace(BETA, seconds_remaining=50.2)))
    prolonged = beating.number(health(msgspec.structs.replace(BETA, seconds_remaining=80.0)))
    cooling = beating.number(
        health(msgspec.structs.replace(BETA, seconds_remaining=80.0, cooling_seconds=5.0))
    )

    assert going_on.breakers == ()
    assert len(prolonged.breakers) == 1
    assert len(cooling.breakers) == 1


def test_a_beginning_that_is_computed_anew_each_time_is_no_change(clock: ManualClock) -> None:
    beating = started(clock, msgspec.structs.replace(ALPHA, since=START))

    computed_anew = beating.number(
        health(msgspec.structs.replace(ALPHA, since=START + timedelta(milliseconds=3)))
    )
    begun_again = beating.number(health(msgspec.structs.replace(ALPHA, since=START + timedelta(seconds=5))))

    assert computed_anew.breakers == ()
    assert len(begun_again.breakers) == 1


def test_everything_is_said_again_after_a_minute(clock: ManualClock) -> None:
    beating = started(clock, ALPHA)

    clock.advance(59.9)
    before = beating.number(health(ALPHA))
    clock.advance(0.1)
    after = beating.number(health(ALPHA))

    assert not before.full
    assert (after.full, after.breakers) == (True, (ALPHA,))


def test_a_breaker_that_vanished_makes_the_next_one_full(clock: ManualClock) -> None:
    beating = started(clock, ALPHA, BETA)

    news = beating.number(health(ALPHA))

    assert (news.full, news.breakers) == (True, (ALPHA,))
    assert not beating.number(health(ALPHA)).full


def test_two_frames_in_one_say_what_both_said() -> None:
    older = health(ALPHA, BETA, no=1, full=True)
    struck = msgspec.structs.replace(ALPHA, strikes=1)

    both = newest(older, health(struck, no=2))

    assert (both.no, both.full, both.breakers) == (2, True, (struck, BETA))
    assert newest(None, older) is older
    assert newest(health(BETA, no=1), older) is older


@pytest.mark.parametrize(
    ("changes", "news"),
    [
        ({}, False),
        ({"in_flight": InFlight(total=7), "edge": 3}, False),
        ({"state": NodeState.DRAINING}, True),
        ({"accepting": False}, True),
        ({"observed_generation": 1}, True),
        ({"problems": ("aliases: expected PROVIDER/MODEL",)}, True),
        ({"safe_to_stop": True}, True),
    ],
)
def test_what_a_node_is_about_is_news_and_how_much_it_has_to_do_is_not(
    changes: dict[str, object], news: bool
) -> None:
    before = health(no=1)
    said = msgspec.structs.replace(
        before, no=2, node=msgspec.structs.replace(before.node, **changes), at=START + timedelta(seconds=1)
    )

    assert is_news(before, said) is news


def test_the_first_word_breakers_and_all_that_is_full_are_news() -> None:
    before = health()

    assert is_news(None, before)
    assert is_news(before, health(ALPHA))
    assert is_news(before, health(full=True))
    assert is_news(before, with_runs(run()))


def run(run_id: str = "run_1", **fields: object) -> RunReport:
    return msgspec.structs.replace(RunReport(run_id=run_id, status="running", epoch=1), **fields)


def with_runs(*runs: RunReport, **fields: object) -> Health:
    return msgspec.structs.replace(health(), runs=runs, **fields)


def test_a_run_is_said_again_when_something_turned_and_its_progress_every_few_seconds(
    clock: ManualClock,
) -> None:
    beating = started(clock)

    said = []
    for each in (run(), run(), run(last_seq=5, chunks=3), run(last_seq=5, chunks=3, takeovers=1)):
        said.append(beating.number(with_runs(each)).runs)
        clock.advance(1)
    clock.advance(PROGRESS_SECONDS)
    idle = beating.number(with_runs(run(last_seq=5, chunks=3, takeovers=1))).runs
    grown = beating.number(with_runs(run(last_seq=9, chunks=7, takeovers=1))).runs

    assert said == [(run(),), (), (), (run(last_seq=5, chunks=3, takeovers=1),)]
    assert (idle, grown) == ((), (run(last_seq=9, chunks=7, takeovers=1),))


def test_a_run_that_ended_is_said_once_unless_it_was_never_said(clock: ManualClock) -> None:
    beating = started(clock)
    beating.number(with_runs(run("run_1")))
    ended = [run("run_1", status="completed"), run("run_2", status="failed")]

    frames = [beating.number(with_runs(*ended)), beating.number(with_runs(*ended))]
    clock.advance(60)
    full = beating.number(with_runs(*ended))

    assert [frame.runs for frame in frames] == [(ended[0],), ()]
    assert [frame.full for frame in frames] == [False, False]
    assert (full.full, full.runs) == (True, tuple(ended))


def test_a_run_that_is_not_there_any_more_makes_the_frame_full(clock: ManualClock) -> None:
    beating = started(clock)
    beating.number(with_runs(run("run_1"), run("run_2")))

    gone = beating.number(with_runs(run("run_2")))

    assert (gone.full, gone.runs) == (True, (run("run_2"),))


def test_a_slow_reader_gets_the_last_word_on_each_run_within_the_bound() -> None:
    many = [run(f"run_{n}") for n in range(RUNS_MAX)]

    few = newest(with_runs(run("run_1"), run("run_2")), with_runs(run("run_2", status="completed")))
    cut = newest(with_runs(run("older")), with_runs(*many, runs_more=2))

    assert few.runs == (run("run_1"), run("run_2", status="completed"))
    assert (cut.runs, cut.runs_more) == (tuple(many), 3)
