"""Breakers of a node, now."""

from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dashboard.models import Node, ProviderHealth
from dashboard.services import breakers
from dashboard.services.breakers import Moved
from dashboard.services.columns import Unfit
from meshcore.breaker import BreakerState
from meshcore.frames import BreakerReport

pytestmark = pytest.mark.django_db


def closed(key: str = "alpha") -> BreakerReport:
    return BreakerReport(key=key, state=BreakerState.CLOSED)


def opened(now: datetime, seconds: float = 60.0, *, cooling: float = 5.0) -> BreakerReport:
    return BreakerReport(
        key="alpha",
        state=BreakerState.OPEN,
        strikes=2,
        seconds_remaining=seconds,
        cooling_seconds=cooling,
        last_error="connection refused",
        since=now,
    )


def update(node: Node, now: datetime, *reports: BreakerReport, full: bool = False) -> Moved:
    (moved,) = breakers.update([breakers.read(node=node, reports=reports, full=full, now=now)])
    return moved


def test_a_report_is_a_row_with_ends_instead_of_countdowns(node: Node, now: datetime) -> None:
    moved = update(node, now, opened(now))

    row = ProviderHealth.objects.get()
    assert (row.key, row.state, row.strikes, row.last_error, row.since) == (
        "alpha",
        "open",
        2,
        "connection refused",
        now,
    )
    assert (row.open_until, row.cooling_until) == (now + timedelta(seconds=60), now + timedelta(seconds=5))
    assert moved == Moved(any=True, listed=True, troubled_before=0, troubled_after=1)


def test_a_frame_that_says_nothing_of_breakers_costs_nothing(node: Node, now: datetime) -> None:
    with CaptureQueriesContext(connection) as queries:
        moved = update(node, now)

    assert moved == Moved()
    assert len(queries) == 0


def test_rows_are_written_only_when_they_changed(node: Node, now: datetime) -> None:
    update(node, now, opened(now), closed("beta"))

    with CaptureQueriesContext(connection) as queries:
        later = now + timedelta(seconds=4)
        said = opened(now + timedelta(milliseconds=3), 56.5, cooling=1.2)
        moved = update(node, later, said, closed("beta"), full=True)

    assert not moved.any
    assert (moved.troubled_before, moved.troubled_after) == (1, 1)
    assert len(queries) == 1
    assert {row.observed_at for row in ProviderHealth.objects.all()} == {now}


def test_an_end_that_moved_is_news(node: Node, now: datetime) -> None:
    update(node, now, opened(now))

    moved = update(node, now, opened(now, 90.0))

    assert (moved.any, moved.listed) == (True, False)
    assert ProviderHealth.objects.get().open_until == now + timedelta(seconds=90)


def test_recovery_is_news_and_takes_the_trouble_away(node: Node, now: datetime) -> None:
    update(node, now, opened(now), closed("beta"))

    moved = update(node, now, closed())

    assert moved == Moved(any=True, listed=True, troubled_before=1, troubled_after=0)
    assert ProviderHealth.objects.get(key="alpha").open_until is None
    assert ProviderHealth.objects.count() == 2


def test_a_strike_is_news_and_no_other_list(node: Node, now: datetime) -> None:
    update(node, now, closed())
    suspect = BreakerReport(key="alpha", state=BreakerState.CLOSED, last_error="one of two")

    assert update(node, now, suspect) == Moved(any=True)


def test_what_a_full_report_does_not_name_is_gone(node: Node, now: datetime) -> None:
    update(node, now, opened(now), closed("beta"))

    moved = update(node, now, closed("beta"), full=True)

    assert moved == Moved(any=True, listed=True, troubled_before=1, troubled_after=0)
    assert [row.key for row in ProviderHealth.objects.all()] == ["beta"]


def test_of_two_reports_with_one_key_the_last_counts(node: Node, now: datetime) -> None:
    update(node, now, opened(now), closed())

    assert ProviderHealth.objects.get().state == "closed"


@pytest.mark.parametrize("key", ["", "x" * 201])
def test_a_key_that_does_not_fit_is_refused(node: Node, now: datetime, key: str) -> None:
    with pytest.raises(Unfit, match="key of"):
        update(node, now, closed(key))


def test_a_long_error_is_cut(node: Node, now: datetime) -> None:
    update(node, now, BreakerReport(key="alpha", state=BreakerState.SUSPECT, last_error="x" * 5000))

    assert len(ProviderHealth.objects.get().last_error) == breakers.ERROR_MAX
