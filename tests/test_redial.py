"""When a node dials again."""

import pytest

from meshcore.link import CloseCode
from meshcore.redial import MAX_SECONDS, STABLE_SECONDS, Redial


def redial(*, random: float = 1.0, base_seconds: float = 1.0) -> Redial:
    return Redial(base_seconds=base_seconds, random=lambda: random)


def test_short_lived_connections_climb_and_a_stable_one_begins_again() -> None:
    dialler = redial()

    climbing = [dialler.delay_after(None, up_seconds=0.1) for _ in range(7)]
    after_stable = dialler.delay_after(None, up_seconds=STABLE_SECONDS)

    assert climbing == [1, 2, 4, 8, 16, MAX_SECONDS, MAX_SECONDS]
    assert after_stable == 1


def test_the_delay_is_drawn_from_the_whole_interval() -> None:
    assert redial(random=0.0).delay_after(None, up_seconds=0) == 0
    assert redial(random=0.5).delay_after(CloseCode.TRY_AGAIN_LATER, up_seconds=0) == 0.5


def test_an_unknown_token_is_never_tried_again() -> None:
    assert redial().delay_after(CloseCode.UNAUTHORIZED, up_seconds=100) is None


@pytest.mark.parametrize(("random", "share"), [(0.0, 0.8), (0.5, 1.0), (1.0, 1.2)])
def test_the_loser_waits_its_own_fixed_time(random: float, share: float) -> None:
    dialler = redial(random=random)

    assert dialler.delay_after(CloseCode.SUPERSEDED, up_seconds=0) == pytest.approx(60 * share)
    assert dialler.delay_after(CloseCode.DUPLICATE_NODE, up_seconds=0) == pytest.approx(12 * share)


def test_many_failures_do_not_overflow() -> None:
    dialler = redial()

    assert [dialler.delay_after(None, up_seconds=0) for _ in range(3000)][-1] == MAX_SECONDS


def test_a_base_beyond_the_usual_ceiling_is_its_own_ceiling() -> None:
    dialler = redial(base_seconds=40)

    assert [dialler.delay_after(None, up_seconds=0) for _ in range(2)] == [40, 40]
