"""Histograms of ten seconds, added into minutes."""

from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dashboard.models import MinuteRollup, Node
from dashboard.services import rollups
from dashboard.services.columns import Unfit
from meshcore.frames import HistogramItem


def item(
    at: datetime, counts: dict[str, int], *, provider: str = "alpha", failovers: int = 0, version: int = 1
) -> HistogramItem:
    return HistogramItem(
        seq=1,
        at=at,
        provider=provider,
        capability="llm.chat",
        outcome="ok",
        counts=counts,
        failovers=failovers,
        histogram_version=version,
    )


def add(node: Node, *items: HistogramItem) -> None:
    rollups.add([rollups.parse(each, node_id=node.pk) for each in items])


@pytest.mark.django_db
def test_six_histograms_make_a_minute_and_late_ones_are_added_to_it(node: Node, now: datetime) -> None:
    add(node, *(item(now + timedelta(seconds=10 * n), {"5": 1, "7": n + 1}, failovers=1) for n in range(6)))
    add(node, item(now + timedelta(seconds=59), {"7": 4, "9": 1}))

    row = MinuteRollup.objects.get()
    assert row.minute == now
    assert row.counts == {"5": 6, "7": 25, "9": 1}
    assert (row.count, row.failovers) == (32, 6)


@pytest.mark.django_db
def test_minutes_providers_and_nodes_stay_apart(node: Node, now: datetime) -> None:
    add(
        node,
        item(now, {"5": 1}),
        item(now + timedelta(minutes=1), {"5": 2}),
        item(now, {"5": 3}, provider="beta"),
    )
    add(node, item(now, {"5": 1}, provider="gamma"))

    assert {(row.minute, row.provider): row.count for row in MinuteRollup.objects.all()} == {
        (now, "alpha"): 1,
        (now + timedelta(minutes=1), "alpha"): 2,
        (now, "beta"): 3,
        (now, "gamma"): 1,
    }


@pytest.mark.django_db
@pytest.mark.parametrize("many", [1, 300])
def test_any_number_of_minutes_costs_three_queries(node: Node, now: datetime, many: int) -> None:
    with CaptureQueriesContext(connection) as queries:
        add(node, *(item(now + timedelta(minutes=n), {"5": 1}) for n in range(many)))

    assert len(queries) == 3
    assert MinuteRollup.objects.count() == many


@pytest.mark.django_db
def test_nothing_to_add_costs_nothing(node: Node) -> None:
    with CaptureQueriesContext(connection) as queries:
        add(node)

    assert len(queries) == 0


@pytest.mark.parametrize(
    ("counts", "version", "named"),
    [
        ({"274": 1}, 1, "bucket '274'"),
        ({"-1": 1}, 1, "bucket '-1'"),
        ({"x": 1}, 1, "bucket 'x'"),
        ({"²": 1}, 1, "bucket"),
        ({"1" * 5000: 1}, 1, "bucket '11111111'"),
        ({"1": 1}, 2, "histogram_version=2"),
    ],
)
def test_a_histogram_that_does_not_add_up_is_refused(
    now: datetime, counts: dict[str, int], version: int, named: str
) -> None:
    with pytest.raises(Unfit, match=named):
        rollups.parse(item(now, counts, version=version), node_id=1)
