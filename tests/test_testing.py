"""The manual clock is a clock."""

import pytest

from meshcore.testing import START, ManualClock


def test_wall_time_follows_monotonic_time() -> None:
    clock = ManualClock(50.0)

    clock.advance(1.5)

    assert clock() == 51.5
    assert (clock.utcnow() - START).total_seconds() == 1.5


def test_a_monotonic_clock_never_goes_back() -> None:
    with pytest.raises(ValueError, match="seconds=-1"):
        ManualClock().advance(-1)
