"""At once after a while of quiet, and never more than four in a second."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.pace import FOUR_A_SECOND, Pace


def test_two_may_follow_each_other_at_once_and_the_third_waits_for_a_gap() -> None:
    pace = Pace(0.5)

    pace.said(10.0)
    second = pace.next_at()
    pace.said(10.0)

    assert second <= 10.0
    assert pace.next_at() == 10.5


def test_after_a_while_of_quiet_one_may_come_early_again() -> None:
    pace = Pace(0.5)
    for at in (10.0, 10.0, 11.0):
        pace.said(at)

    assert pace.next_at() <= 11.0


def test_quiet_is_not_saved_up() -> None:
    pace = Pace(0.5)
    pace.said(10.0)
    for _ in range(2):
        pace.said(1000.0)

    assert pace.next_at() == 1000.5


@given(st.lists(st.floats(min_value=0.0, max_value=2.0), min_size=5, max_size=40))
def test_no_second_has_more_than_four(waits: list[float]) -> None:
    pace, now, said = Pace(FOUR_A_SECOND), 0.0, []
    for wait in waits:
        now = max(now + wait, pace.next_at())
        pace.said(now)
        said.append(now)

    assert all(fifth - first >= 1.0 - 1e-9 for first, fifth in zip(said, said[4:], strict=False))


@pytest.mark.parametrize("wait", [0.0, 0.1, 1.0])
def test_nothing_waits_for_longer_than_a_gap(wait: float) -> None:
    pace, now = Pace(FOUR_A_SECOND), 0.0
    for _ in range(10):
        pace.said(now)
        assert pace.next_at() <= now + FOUR_A_SECOND + 1e-9
        now = max(now + wait, pace.next_at())
