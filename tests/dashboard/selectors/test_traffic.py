"""Figures from minute roll-ups."""

from datetime import UTC, datetime, timedelta

import pytest
from pytest_django import DjangoAssertNumQueries

from dashboard.models import MinuteRollup
from dashboard.selectors import traffic
from meshcore import histogram
from tests.dashboard.web import factory

NOW = datetime(2026, 3, 5, 14, 21, 7, tzinfo=UTC)  # of the running minute nothing can have been told

pytestmark = pytest.mark.django_db


def rollup(node_name: str, minutes_ago: int, durations: list[float], **fields: object) -> None:
    """Write one minute of a node with these durations in milliseconds."""
    counts: histogram.Counts = {}
    for milliseconds in durations:
        histogram.add(counts, milliseconds)
    MinuteRollup.objects.create(
        node=factory.seen_node(node_name, now=NOW),
        minute=NOW.replace(second=0) - timedelta(minutes=minutes_ago),
        **{
            "provider": "ollama",
            "capability": "llm.chat",
            "outcome": "ok",
            "count": len(durations),
            "counts": {str(bucket): n for bucket, n in counts.items()},
            **fields,
        },
    )


def test_percentiles_come_from_merged_buckets_and_not_from_averages() -> None:
    slow, fast = [1000.0] * 5, [10.0] * 95
    rollup("node-a", 1, fast)
    rollup("node-b", 1, slow)

    whole = traffic.read(now=NOW).whole()

    assert whole.p50_ms == pytest.approx(10, rel=0.025)
    assert whole.p95_ms == pytest.approx(10, rel=0.025)
    assert whole.p99_ms == pytest.approx(1000, rel=0.025)


def test_errors_and_failovers_are_shares_of_all_calls_of_the_last_five_minutes() -> None:
    rollup("node-a", 2, [50.0] * 30, failovers=6)
    rollup("node-a", 3, [900.0] * 10, outcome="error")
    rollup("node-a", 9, [900.0] * 70, outcome="error", failovers=4)

    whole = traffic.read(now=NOW).whole()

    assert (whole.requests, whole.errors) == (40, 10)
    assert (whole.error_percent, whole.failover_percent) == (25.0, 15.0)
    assert whole.failovers_spark == 10


def test_the_rate_is_that_of_the_last_two_minutes() -> None:
    rollup("node-a", 1, [10.0] * 90)
    rollup("node-a", 2, [10.0] * 30)
    rollup("node-a", 3, [10.0] * 600)

    assert traffic.read(now=NOW).whole().per_second == 1.0


def test_the_running_minute_counts_for_the_part_that_was_told() -> None:
    now = NOW.replace(second=35)
    rollup("node-a", 0, [10.0] * 60)
    rollup("node-a", 1, [10.0] * 120)

    whole = traffic.read(now=now).whole()

    assert whole.per_second == 2.0  # 180 calls in 60 s and 30 s
    assert whole.rates[-2:] == (2.0, 2.0)


def test_at_the_begin_of_a_minute_nothing_of_it_can_have_been_told() -> None:
    rollup("node-a", 0, [10.0])

    assert traffic.read(now=NOW).whole() == traffic.NOTHING


def test_the_line_has_fifteen_minutes_with_the_oldest_first() -> None:
    rollup("node-a", 1, [10.0] * 60)
    rollup("node-a", 15, [10.0] * 120, outcome="error")
    rollup("node-a", 16, [10.0] * 120)

    whole = traffic.read(now=NOW).whole()

    assert len(whole.rates) == traffic.SPARK_MINUTES
    assert (whole.rates[0], whole.rates[-1]) == (2.0, 1.0)
    assert whole.bad == (120, *[0] * 14)


def test_minutes_without_calls_leave_figures_unknown_and_not_zero() -> None:
    rollup("node-a", 12, [10.0])

    whole = traffic.read(now=NOW).whole()

    assert (whole.error_percent, whole.p95_ms) == (None, None)
    assert whole.per_second == 0.0


def test_buckets_of_another_version_are_not_added_to_ours() -> None:
    rollup("node-a", 1, [10.0] * 9)
    rollup("node-a", 1, [9000.0] * 9, provider="groq", histogram_version=histogram.VERSION + 1)

    whole = traffic.read(now=NOW).whole()

    assert whole.requests == 18
    assert whole.p99_ms == pytest.approx(10, rel=0.025)


def test_providers_are_listed_the_busiest_first() -> None:
    rollup("node-a", 1, [10.0])
    rollup("node-a", 1, [10.0] * 3, provider="vllm")
    rollup("node-a", 1, [10.0], provider="groq")

    assert list(traffic.read(now=NOW).by_provider()) == ["vllm", "groq", "ollama"]


def test_one_query_serves_every_way_of_adding_up(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    rollup("node-a", 1, [10.0])
    rollup("node-b", 1, [10.0] * 2)

    with django_assert_num_queries(1):
        readings = traffic.read(now=NOW)
        found = (readings.whole().requests, [each.requests for each in readings.by_node().values()])

    assert found == (3, [1, 2])


def test_one_node_is_read_alone() -> None:
    rollup("node-a", 1, [10.0])
    rollup("node-b", 1, [10.0] * 2)
    node = factory.seen_node("node-b", now=NOW)

    assert traffic.read(now=NOW, node_id=node.pk).whole().requests == 2
