"""Delays before another try."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.backoff import Backoff

ALMOST_ONE = 1 - 1e-9


def test_the_bound_doubles_from_the_base_to_the_cap() -> None:
    backoff = Backoff(base_seconds=1.0, cap_seconds=30.0)

    assert [backoff.bound_seconds(attempt) for attempt in range(7)] == [1, 2, 4, 8, 16, 30, 30]


def test_full_jitter_draws_from_nothing_to_the_bound() -> None:
    backoff = Backoff(base_seconds=1.0, cap_seconds=30.0)

    assert backoff.delay_seconds(3, random=lambda: 0.0) == 0.0
    assert backoff.delay_seconds(3, random=lambda: 0.5) == 4.0


@given(attempt=st.integers(0, 10**9))
def test_no_attempt_waits_longer_than_the_cap(attempt: int) -> None:
    assert 0 < Backoff().delay_seconds(attempt, random=lambda: ALMOST_ONE) < 30.0


@pytest.mark.parametrize("base_seconds", [0.0, -1.0, float("nan")])
def test_a_base_that_is_not_above_zero_is_refused(base_seconds: float) -> None:
    with pytest.raises(ValueError, match="base_seconds"):
        Backoff(base_seconds=base_seconds)


def test_a_cap_below_the_base_is_refused() -> None:
    with pytest.raises(ValueError, match="cap_seconds"):
        Backoff(base_seconds=2.0, cap_seconds=1.0)


def test_a_negative_attempt_is_refused() -> None:
    with pytest.raises(ValueError, match="attempt=-1"):
        Backoff().bound_seconds(-1)
