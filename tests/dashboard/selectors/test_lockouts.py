"""A lock ends when so many wrong passwords are old that fewer than the limit are left."""

from datetime import datetime, timedelta

import pytest
from axes.models import AccessAttempt

from dashboard.selectors import lockouts

pytestmark = pytest.mark.django_db


def tried(minutes_ago: int, failures: int, now: datetime, *, username: str = "alice") -> None:
    """Note wrong passwords of one browser, the last of them so long ago."""
    made = AccessAttempt.objects.create(
        username=username,
        ip_address="192.0.2.7",
        user_agent=f"browser {minutes_ago}",
        failures_since_start=failures,
    )
    AccessAttempt.objects.filter(pk=made.pk).update(attempt_time=now - timedelta(minutes=minutes_ago))


@pytest.mark.parametrize(
    ("tries", "minutes"),
    [
        pytest.param([], None, id="no wrong password"),
        pytest.param([(1, 4)], None, id="too few"),
        pytest.param([(1, 5)], 14, id="just enough"),
        pytest.param([(10, 1), (1, 4)], 5, id="the oldest of two browsers makes way"),
        pytest.param([(10, 4), (5, 3), (1, 9)], 14, id="the newest alone are enough"),
        pytest.param([(15, 5)], 0, id="this very moment"),
        pytest.param([(16, 5)], None, id="too old"),
    ],
)
def test_the_end_is_when_few_enough_are_left(
    tries: list[tuple[int, int]], minutes: int | None, now: datetime
) -> None:
    for minutes_ago, failures in tries:
        tried(minutes_ago, failures, now)
    tried(1, 99, now, username="bob")

    found = lockouts.ends_at(username="alice", address="192.0.2.7", now=now)

    assert found == (None if minutes is None else now + timedelta(minutes=minutes))
