"""Traffic of whole nodes by the minute, beside the roll-ups."""

from datetime import datetime, timedelta
from typing import Literal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dashboard.models import MeshMinute, Node, NodeMinute
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
