"""Who is dead, and who must think of itself that it may be taken for dead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.liveness import GONE_MAX, Beat, Observer, SelfFence
from meshcore.run_orphans import Life
from meshcore.testing import ManualClock

LEASE_SECONDS = 4.0


def beat(counter: int, instance: str = "one") -> Beat:
    return Beat("node-a", instance, counter)


@pytest.fixture
def clock() -> ManualClock:
    """Time under control."""
    return ManualClock()


@pytest.fixture
def observer(clock: ManualClock) -> Observer:
    """Somebody who watches."""
    return Observer(lease_seconds=LEASE_SECONDS, clock=clock)


def test_whose_counter_stands_still_for_a_lease_is_dead(observer: Observer, clock: ManualClock) -> None:
    observer.read([beat(1)])
    lives = [observer.life("one")]
    for seconds in (2.0, 1.9, 0.1):
        clock.advance(seconds)
        observer.read([beat(1)])
        lives.append(observer.life("one"))

    assert lives == [Life.ALIVE, Life.ALIVE, Life.ALIVE, Life.DEAD]


def test_whose_counter_rises_lives(observer: Observer, clock: ManualClock) -> None:
    for counter in range(1, 20):
        observer.read([beat(counter)])
        clock.advance(3.9)

        assert observer.life("one") is Life.ALIVE


def test_one_good_read_is_not_enough_to_call_somebody_dead(observer: Observer, clock: ManualClock) -> None:
    observer.read([beat(1)])
    clock.advance(60.0)
    observer.read([beat(1)])
    once = observer.life("one")
    observer.read([beat(1)])

    assert (once, observer.life("one")) == (Life.ALIVE, Life.DEAD)


def test_whose_beat_was_there_and_is_gone_is_dead_at_once(observer: Observer) -> None:
    observer.read([beat(1)])
    observer.read([])

    assert observer.life("one") is Life.DEAD


def test_who_beats_again_lives_again(observer: Observer) -> None:
    for beats in ([beat(1)], [], [beat(2)]):
        observer.read(beats)

    assert observer.life("one") is Life.ALIVE


def test_an_owner_that_never_beat_is_dead_behind_a_lease(observer: Observer, clock: ManualClock) -> None:
    observer.expect("one")
    observer.read([])
    early = observer.life("one")
    clock.advance(LEASE_SECONDS)
    observer.expect("one")
    observer.read([])

    assert (early, observer.life("one")) == (Life.UNKNOWN, Life.DEAD)


def test_of_a_stranger_nothing_is_known(observer: Observer) -> None:
    assert observer.life("nobody") is Life.UNKNOWN


def test_only_so_many_of_the_gone_are_remembered(observer: Observer) -> None:
    for number in range(GONE_MAX + 1):
        observer.read([beat(1, f"n{number}")])
    observer.read([])
    observer.expect("n1")

    assert observer.life("n0") is Life.UNKNOWN
    assert observer.life("n1") is Life.DEAD


@pytest.mark.parametrize("seconds", [0.0, -4.0, float("nan")])
def test_a_lease_has_seconds(seconds: float, clock: ManualClock) -> None:
    with pytest.raises(ValueError, match="lease_seconds"):
        Observer(lease_seconds=seconds, clock=clock)


def test_the_fence_closes_before_the_lease_is_over_and_a_late_beat_moves_nothing(clock: ManualClock) -> None:
    fence = SelfFence(lease_seconds=LEASE_SECONDS, clock=clock)
    sent_at = clock()
    clock.advance(2.0)
    fence.beat(sent_at)
    clock.advance(1.1)
    open_still = not fence.is_closed()
    clock.advance(0.2)

    assert open_still
    assert fence.is_closed()
    assert fence.next_deadline() == pytest.approx(sent_at + 3.2)


@given(st.lists(st.tuples(st.floats(0.0, 3.0), st.booleans(), st.floats(0.0, 1.0)), max_size=30))
def test_nobody_is_called_dead_who_may_still_generate(
    steps: list[tuple[float, bool, float]],
) -> None:
    clock, counter = ManualClock(), 1
    observer = Observer(lease_seconds=LEASE_SECONDS, clock=clock)
    fence = SelfFence(lease_seconds=LEASE_SECONDS, clock=clock)
    stored = beat(counter)
    observer.read([stored])
    for pause, arrives, way in steps:
        clock.advance(pause)
        sent_at = clock()
        if arrives and not fence.is_closed():
            clock.advance(min(way, 0.5))
            counter += 1
            stored = beat(counter)
            fence.beat(sent_at)
        observer.read([stored])

        assert not (observer.life("one") is Life.DEAD and not fence.is_closed())


def test_an_observer_that_was_cut_off_watches_for_another_lease(
    observer: Observer, clock: ManualClock
) -> None:
    observer.read([beat(1)])
    clock.advance(60.0)
    observer.begin_anew()
    lives = []
    for seconds in (0.0, 3.9, 0.1):
        clock.advance(seconds)
        observer.read([beat(1)])
        lives.append(observer.life("one"))

    assert lives == [Life.ALIVE, Life.ALIVE, Life.DEAD]


def test_a_beat_that_was_long_on_its_way_is_no_sign_of_life(observer: Observer, clock: ManualClock) -> None:
    observer.read([beat(7)])
    for _ in range(2):
        clock.advance(2.0)
        observer.read([beat(5)])

    assert observer.life("one") is Life.DEAD
