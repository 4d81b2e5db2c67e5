"""Ranges of hours and days; that they are what the raw durations say, services/test_hours.py shows."""

from datetime import UTC, datetime, timedelta

import pytest

from dashboard.models import HourMark, HourRollup, MinuteRollup, Node
from dashboard.selectors import spans
from meshcore import histogram

NOW = datetime(2026, 3, 5, 14, 21, 7, tzinfo=UTC)
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.django_db


def hour(node: Node, at: datetime, calls: int, *, dirty: bool | None = None, sealed: bool = False) -> None:
    HourRollup.objects.create(
        node=node, hour=at, provider="a", capability="b", outcome="ok", count=calls, counts={"3": calls}
    )
    if dirty is not None:
        HourMark.objects.create(node=node, hour=at, dirty=dirty, sealed=sealed)


def minute(node: Node, at: datetime, calls: int, *, version: int = histogram.VERSION) -> None:
    MinuteRollup.objects.create(
        node=node,
        minute=at,
        provider="a",
        capability="b",
        outcome="error",
        count=calls,
        counts={"4": calls},
        histogram_version=version,
    )


def total(since: datetime, until: datetime) -> int:
    return spans.sum_of(spans.read(since=since, until=until)).requests


def test_a_clean_hour_is_its_row_a_dirty_one_its_minutes_a_sealed_one_both(node: Node) -> None:
    at = datetime(2026, 3, 5, 10, tzinfo=UTC)
    for n, (dirty, sealed, expected) in enumerate([(False, False, 10), (True, False, 3), (True, True, 13)]):
        begin = at + n * HOUR
        hour(node, begin, 10, dirty=dirty, sealed=sealed)
        minute(node, begin + timedelta(minutes=7), 3)

        assert total(begin, begin + HOUR) == expected


def test_ends_within_an_hour_are_read_from_minutes(node: Node) -> None:
    at = datetime(2026, 3, 5, 10, tzinfo=UTC)
    for n in range(3):
        hour(node, at + n * HOUR, 2, dirty=False)
        for quarter in (0, 30):
            minute(node, at + n * HOUR + timedelta(minutes=quarter), 1)

    assert total(at + timedelta(minutes=20), at + 2 * HOUR + timedelta(minutes=10)) == 1 + 2 + 1
    assert total(at + timedelta(minutes=20), at + timedelta(minutes=40)) == 1
    assert total(at + timedelta(minutes=40), at + timedelta(minutes=50)) == 0


def test_shares_and_percentiles_are_unknown_where_nothing_was_counted(node: Node) -> None:
    nothing = spans.of_node(node_id=node.pk, now=NOW)["24 h"]

    assert (nothing.requests, nothing.error_percent, nothing.failover_percent) == (0, None, None)
    assert (nothing.p50_ms, nothing.p95_ms, nothing.p99_ms) == (None, None, None)


def test_buckets_of_another_version_are_not_added_to_ours(node: Node) -> None:
    minute(node, NOW.replace(second=0), 5, version=histogram.VERSION + 1)

    found = spans.of_node(node_id=node.pk, now=NOW)["1 h"]

    assert (found.requests, found.error_percent, found.p95_ms) == (5, 100.0, None)
