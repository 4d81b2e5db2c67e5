"""Traffic of whole nodes by the minute, beside the roll-ups."""

import math
from datetime import datetime, timedelta
from typing import Literal

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboard.models import MeshMinute, Node, NodeMinute
from dashboard.selectors import fleet_traffic, traffic
from dashboard.services import node_minutes, rollups, trace_ids
from meshcore import histogram
from meshcore.frames import HistogramItem

pytestmark = pytest.mark.django_db


def sums(
    node: Node,
    at: datetime,
    counts: dict[str, int],
    *,
    provider: str = "alpha",
    outcome: Literal["ok", "error"] = "ok",
    failovers: int = 0,
) -> rollups.Sums:
    item = HistogramItem(
        seq=1,
        at=at,
        provider=provider,
        capability="llm.chat",
        outcome=outcome,
        counts=counts,
        failovers=failovers,
    )
    return rollups.parse(item, node_id=node.pk)


def test_all_providers_and_outcomes_of_a_minute_are_one_row(node: Node, now: datetime) -> None:
    told = [
        sums(node, now, {"5": 1, "7": 2}, failovers=1),
        sums(node, now + timedelta(seconds=50), {"7": 3}, provider="beta"),
        sums(node, now, {"9": 4}, outcome="error"),
    ]
    node_minutes.add(told, now=now)
    node_minutes.add([sums(node, now, {"5": 1})], now=now)

    row = NodeMinute.objects.get()
    assert row.minute == now
    assert (row.calls, row.errors, row.failovers) == (11, 4, 1)
    assert row.counts == {"5": 2, "7": 5, "9": 4}


def test_all_nodes_of_a_minute_are_one_row_of_the_mesh(node: Node, now: datetime) -> None:
    other = Node.objects.create(name="node-b", created_at=now)
    node_minutes.add([sums(node, now, {"5": 1}), sums(other, now, {"5": 2}, failovers=1)], now=now)
    node_minutes.add([sums(other, now, {"9": 4}, outcome="error")], now=now)

    rows = list(MeshMinute.objects.all())
    assert {row.minute for row in rows} == {now}
    figures = [(row.calls, row.errors, row.failovers) for row in rows]
    assert tuple(map(sum, zip(*figures, strict=True))) == (7, 4, 1)
    counts: histogram.Counts = {}
    for row in rows:
        histogram.merge(counts, {int(bucket): n for bucket, n in row.counts.items()})
    assert counts == {5: 3, 9: 4}


def test_transactions_with_other_slots_have_other_rows(
    node: Node, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    for slot in (1, 2, 1):
        monkeypatch.setattr(trace_ids, "claim_slot", lambda slot=slot: slot)
        node_minutes.add([sums(node, now, {"5": 1})], now=now)

    assert set(MeshMinute.objects.values_list("slot", "calls")) == {(1, 2), (2, 1)}


def test_what_is_told_of_late_is_left_to_the_roll_ups(node: Node, now: datetime) -> None:
    node_minutes.add([sums(node, now - node_minutes.KEPT, {"5": 1})], now=now)

    assert not NodeMinute.objects.exists()
    assert not MeshMinute.objects.exists()


@pytest.mark.parametrize("many", [1, 40])
def test_any_number_of_histograms_takes_four_queries(node: Node, now: datetime, many: int) -> None:
    told = [sums(node, now - timedelta(minutes=n), {"5": 1}) for n in range(many)]

    with CaptureQueriesContext(
        connection,
    ) as queries:
        node_minutes.add(told, now=now)

    assert len(queries) == 4 + (connection.vendor == "postgresql")
    assert NodeMinute.objects.count() == MeshMinute.objects.count() == many


def test_rows_are_deleted_after_an_hour_and_not_all_at_once(
    node: Node, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_minutes, "TRIM_ROWS", 2)
    for hours in (0, 2, 3, 4):
        NodeMinute.objects.create(node=node, minute=now - timedelta(hours=hours))
        MeshMinute.objects.create(slot=0, minute=now - timedelta(hours=hours))

    assert [node_minutes.trim(now=now) for _ in range(3)] == [2, 1, 0]
    assert NodeMinute.objects.get().minute == MeshMinute.objects.get().minute == now


Call = tuple[int, int, str, Literal["ok", "error"], float]
"""(node, minutes ago, provider, outcome, milliseconds)"""

CALLS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.integers(0, traffic.RECENT_MINUTES - 1),
        st.sampled_from(["alpha", "beta"]),
        st.sampled_from(["ok", "error"]),
        st.floats(1.0, 500_000.0),
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(groups=st.lists(CALLS, min_size=1, max_size=4))
def test_percentiles_of_nodes_and_of_the_mesh_are_those_of_all_durations(
    now: datetime, groups: list[list[Call]]
) -> None:
    """Across nodes, minutes and groups, in any order: what comes late counts as what came in time."""
    now = now.replace(second=30)
    with transaction.atomic():
        nodes = [Node.objects.create(name=f"node-{n}", created_at=now) for n in range(3)]
        for calls in groups:
            node_minutes.add([_told(nodes[call[0]], call, now) for call in calls], now=now)
        found = fleet_traffic.read(now=now, nodes=[node.pk for node in nodes])
        transaction.set_rollback(True)

    every = [call for calls in groups for call in calls]
    _is_of(found.whole, every)
    for n, node in enumerate(nodes):
        if of_node := [call for call in every if call[0] == n]:
            _is_of(found.of(node.pk), of_node)


def _told(node: Node, call: Call, now: datetime) -> rollups.Sums:
    _, minutes_ago, provider, outcome, milliseconds = call
    counts: histogram.Counts = {}
    histogram.add(counts, milliseconds)
    at = now - timedelta(minutes=minutes_ago)
    texts = {str(bucket): n for bucket, n in counts.items()}
    return sums(node, at, texts, provider=provider, outcome=outcome)


def _is_of(found: traffic.Traffic, calls: list[Call]) -> None:
    durations = sorted(call[-1] for call in calls)
    assert (found.requests, found.errors) == (len(calls), sum(call[3] == "error" for call in calls))
    for share, milliseconds in ((0.5, found.p50_ms), (0.95, found.p95_ms), (0.99, found.p99_ms)):
        exact = durations[math.ceil(share * len(durations)) - 1]
        assert milliseconds == pytest.approx(exact, rel=0.0251)  # half a bucket
