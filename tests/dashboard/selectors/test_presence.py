"""Stale, unreachable, idle: what silence means."""

from datetime import UTC, datetime, timedelta

import pytest

from dashboard.selectors.presence import Composite, Presence, health_seconds, presence, telemetry_seconds

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def seen(seconds_ago: float, *, closed_ago: float | None = None, **more: object) -> Presence:
    facts: dict[str, object] = {
        "reported": "running",
        "breakers_open": 0,
        "idle": False,
        "every_seconds": 1.0,
    }
    facts.update(more)
    return presence(
        last_heard_at=NOW - timedelta(seconds=seconds_ago),
        closed_at=None if closed_ago is None else NOW - timedelta(seconds=closed_ago),
        now=NOW,
        **facts,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(("nodes", "seconds"), [(1, 1.0), (200, 1.0), (600, 3.0), (5000, 5.0)])
def test_many_nodes_speak_less_often(nodes: int, seconds: float) -> None:
    assert health_seconds(nodes) == seconds


@pytest.mark.parametrize(
    ("ago", "state", "stale"),
    [
        (0.5, Composite.RUNNING, False),
        (4.9, Composite.RUNNING, False),
        (5.0, Composite.RUNNING, True),
        (5.9, Composite.RUNNING, True),
        (6.0, Composite.UNREACHABLE, True),
    ],
)
def test_silence_is_stale_after_five_seconds_and_unreachable_after_six(
    ago: float, state: Composite, stale: bool
) -> None:
    said = seen(ago)

    assert (said.state, said.stale, said.age_seconds) == (state, stale, ago)


def test_a_closed_socket_is_unreachable_after_its_grace_and_idle_when_it_said_so() -> None:
    assert seen(4.5, closed_ago=4.5).state is Composite.RUNNING
    assert seen(5.0, closed_ago=5.0).state is Composite.UNREACHABLE
    assert seen(900, closed_ago=899, idle=True).state is Composite.IDLE


def test_an_open_breaker_degrades_only_a_running_node() -> None:
    assert seen(1, breakers_open=1).state is Composite.DEGRADED
    assert seen(1, breakers_open=1, reported="draining").state is Composite.DRAINING


def test_a_node_that_never_spoke_says_so() -> None:
    never = presence(
        reported="",
        breakers_open=0,
        last_heard_at=None,
        closed_at=None,
        idle=False,
        now=NOW,
        every_seconds=1.0,
    )

    assert never == Presence(state=Composite.NEVER_SEEN, stale=False, age_seconds=None)


def test_a_node_before_its_first_health_is_joining_and_a_clock_ahead_is_no_negative_age() -> None:
    assert seen(1, reported="").state is Composite.JOINING
    assert seen(-3).age_seconds == 0.0


@pytest.mark.parametrize(("nodes", "seconds"), [(0, 0.0), (100, 0.0), (101, 0.202), (500, 1.0), (5000, 2.0)])
def test_many_nodes_gather_telemetry_and_few_send_it_at_once(nodes: int, seconds: float) -> None:
    assert telemetry_seconds(nodes) == pytest.approx(seconds)
