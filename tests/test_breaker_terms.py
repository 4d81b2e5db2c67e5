"""What a breaker's policy accepts."""

from typing import Any

import pytest

from meshcore.breaker import BreakerPolicy


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ({"failure_threshold": 0}, "failure_threshold=0"),
        ({"backoff_seconds": -1.0}, "backoff_seconds=-1.0"),
        ({"backoff_seconds": float("nan")}, "backoff_seconds=nan"),
        ({"permit_seconds": 0.0}, "permit_seconds=0.0"),
        ({"cooling_seconds": 601.0}, "cooling_seconds=601.0"),
        ({"cooling_seconds": -1.0}, "cooling_seconds=-1.0"),
    ],
)
def test_a_policy_out_of_bounds_is_refused_by_name_and_value(setting: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        BreakerPolicy(**setting)


def test_a_policy_at_its_bounds_is_accepted() -> None:
    policy = BreakerPolicy(failure_threshold=1, backoff_seconds=0.0, cooling_seconds=0.0)

    assert (policy.failure_threshold, policy.backoff_seconds, policy.cooling_seconds) == (1, 0.0, 0.0)
