"""Hour rows are the sums of their minutes, whatever comes late, and outlive them."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from pytest_django import DjangoAssertNumQueries

from dashboard.models import HourMark, HourRollup, MinuteRollup, Node
from dashboard.selectors import spans, traffic
from dashboard.services import hours, nodes, rollups
from dashboard.services.actor import SYSTEM
from meshcore import histogram
from meshcore.frames import HistogramItem

pytestmark = pytest.mark.django_db

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
BUCKET_ERROR = 0.0251  # of a bucket's middle (link-and-telemetry, "Histograms")
Call = tuple[datetime, float, str]
"""When it was, its duration in milliseconds, its outcome."""


def tell(node: Node, calls: Sequence[Call], *, provider: str = "alpha") -> None:
    """Tell of calls as nodes do: a histogram of each outcome every ten seconds."""
    windows: dict[tuple[datetime, str], histogram.Counts] = {}
    for at, milliseconds, outcome in calls:
        window = at.replace(second=at.second // 10 * 10, microsecond=0)
        histogram.add(windows.setdefault((window, outcome), {}), milliseconds)
    items = [
        HistogramItem(
            seq=n,
            at=at,
            provider=provider,
            capability="llm.chat",
            outcome=outcome,
            counts={str(bucket): count for bucket, count in counts.items()},
        )
        for n, ((at, outcome), counts) in enumerate(windows.items(), 1)
    ]
    rollups.add([rollups.parse(item, node_id=node.pk) for item in items])


def calls_between(since: datetime, until: datetime, many: int, *, seed: int) -> list[Call]:
    """Make calls at random times, most of them fast and some very slow."""
    chance = random.Random(seed)
    span = (until - since).total_seconds()
    return [
        (
            since + timedelta(seconds=chance.uniform(0, span - 0.001)),
            chance.lognormvariate(5, 1.5),
            "error" if chance.random() < 0.07 else "ok",
        )
        for _ in range(many)
    ]


def summed(rows: Sequence[HourRollup | MinuteRollup]) -> tuple[int, dict[str, int]]:
    counts: dict[str, int] = {}
    for row in rows:
        for bucket, count in row.counts.items():
            counts[bucket] = counts.get(bucket, 0) + count
    return sum(row.count for row in rows), counts


def keep_making(now: datetime) -> None:
    while hours.make(now=now) or hours.seal(now=now):
        pass


def is_right(found: spans.Span, calls: Sequence[Call]) -> None:
    """Compare figures with those of the raw durations, by nearest rank."""
    durations = sorted(max(milliseconds, 1.0) for _, milliseconds, _ in calls)
    assert found.requests == len(durations)
    assert found.errors == sum(outcome == "error" for *_, outcome in calls)
    for share, shown in ((0.5, found.p50_ms), (0.95, found.p95_ms), (0.99, found.p99_ms)):
        exact = durations[-(-len(durations) * int(share * 100) // 100) - 1]
        assert shown == pytest.approx(exact, rel=BUCKET_ERROR)


def test_an_hour_is_made_once_it_is_over_and_settled(node: Node, now: datetime) -> None:
    tell(node, calls_between(now, now + HOUR, 200, seed=1))

    assert hours.make(now=now + HOUR + MINUTE) == 0
    assert hours.make(now=now + HOUR + hours.SETTLE) == 1
    assert hours.make(now=now + 2 * HOUR) == 0

    assert summed(list(HourRollup.objects.all())) == summed(list(MinuteRollup.objects.all()))
    assert {row.outcome for row in HourRollup.objects.all()} == {"ok", "error"}


def test_what_comes_late_makes_the_hour_dirty_and_its_row_is_replaced(node: Node, now: datetime) -> None:
    tell(node, calls_between(now, now + HOUR, 50, seed=1))
    keep_making(now + 2 * HOUR)

    tell(node, calls_between(now, now + HOUR, 30, seed=2), provider="beta")
    tell(node, calls_between(now, now + HOUR, 20, seed=3))
    assert HourMark.objects.get().dirty
    keep_making(now + 2 * HOUR)

    assert summed(list(HourRollup.objects.all())) == summed(list(MinuteRollup.objects.all()))
    assert summed(list(HourRollup.objects.all()))[0] == 100
    assert not HourMark.objects.get().dirty


def test_minutes_are_kept_48_hours_and_never_deleted_before_their_hour_is_made(
    node: Node, now: datetime
) -> None:
    tell(node, calls_between(now, now + HOUR, 50, seed=1))
    old = now + HOUR + hours.MINUTES_KEPT

    assert hours.seal(now=old) == 0
    assert hours.make(now=old) == 1
    assert hours.seal(now=old - MINUTE) == 0
    assert hours.seal(now=old) == 1

    assert MinuteRollup.objects.count() == 0
    assert summed(list(HourRollup.objects.all()))[0] == 50


def test_what_comes_later_than_that_is_added_to_the_row_once(node: Node, now: datetime) -> None:
    first, late = (calls_between(now, now + HOUR, 50, seed=n) for n in (1, 2))
    tell(node, first)
    keep_making(now + 4 * 24 * HOUR)

    tell(node, late)
    before = spans.sum_of(spans.read(since=now, until=now + HOUR, node_id=node.pk))
    keep_making(now + 4 * 24 * HOUR)
    after = spans.sum_of(spans.read(since=now, until=now + HOUR, node_id=node.pk))

    assert MinuteRollup.objects.count() == 0
    assert before == after
    is_right(after, first + late)


def test_any_range_shows_what_the_raw_durations_say_within_a_bucket(node: Node, now: datetime) -> None:
    other = nodes.add(name="node-b", actor=SYSTEM, now=now)[0]
    told = {each: calls_between(now - 48 * HOUR, now, 700, seed=each.pk) for each in (node, other)}
    for each, calls in told.items():
        tell(each, calls)
    keep_making(now)
    late = calls_between(now - 30 * HOUR, now - 2 * HOUR, 60, seed=9)
    tell(other, late)
    told[other] += late

    for dirty in (True, False):
        assert HourMark.objects.filter(dirty=True, hour__lt=now - HOUR).exists() is dirty
        for back in (17 * MINUTE, 3 * HOUR + 17 * MINUTE, 26 * HOUR, 47 * HOUR):
            for whose in ((node,), (other,), (node, other)):
                only = whose[0].pk if len(whose) == 1 else None
                found = spans.sum_of(spans.read(since=now - back, until=now, node_id=only))
                is_right(found, [call for each in whose for call in told[each] if call[0] >= now - back])
        keep_making(now)


def test_the_pages_show_the_percentiles_of_the_raw_durations(node: Node, now: datetime) -> None:
    minute = now.replace(second=0)
    recent = calls_between(minute - 5 * MINUTE, minute, 400, seed=4)
    tell(node, recent)
    tell(node, calls_between(minute - 30 * HOUR, minute - 10 * MINUTE, 400, seed=5))

    whole = traffic.read(now=minute).whole()

    durations = sorted(max(milliseconds, 1.0) for _, milliseconds, _ in recent)
    for share, shown in ((0.5, whole.p50_ms), (0.95, whole.p95_ms), (0.99, whole.p99_ms)):
        assert shown == pytest.approx(durations[int(len(durations) * share + 0.999999) - 1], rel=BUCKET_ERROR)
    assert spans.of_node(node_id=node.pk, now=minute)["7 days"].requests == 800


def test_a_range_takes_three_queries_and_a_node_four(
    node: Node, now: datetime, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    tell(node, calls_between(now - 40 * HOUR, now, 50, seed=1))
    keep_making(now)

    with django_assert_num_queries(3):
        spans.read(since=now - 30 * HOUR, until=now)
    with django_assert_num_queries(4):
        found = spans.of_node(node_id=node.pk, now=now)

    assert list(found) == ["1 h", "24 h", "7 days"]
