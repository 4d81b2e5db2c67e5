"""Nodes as plain rows: the same as their models, on every engine."""

from datetime import UTC, datetime, timedelta

import pytest
from pytest_django import DjangoAssertNumQueries

from dashboard.models import DesiredState, Node, NodeLink
from dashboard.selectors import drains, node_rows
from dashboard.selectors.drains import Order
from dashboard.selectors.node_rows import NodeRow
from dashboard.selectors.nodes import presence_of
from dashboard.selectors.presence import Composite, of_row
from meshcore.drain import DrainInfo, DrainSource, InFlight, NodeState, Readout
from tests.dashboard.web import example_mesh

NOW = datetime(2026, 3, 5, 14, 21, 7, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def only() -> NodeRow:
    [row] = node_rows.read()
    return row


def test_a_row_says_what_the_model_says(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    example_mesh.make(now=NOW)
    stored = {node.pk: node for node in Node.objects.select_related("link", "desired")}

    with django_assert_num_queries(1):
        rows = node_rows.read()

    assert {row.pk for row in rows} == set(stored)
    for row in rows:
        node = stored[row.pk]
        same = NodeRow._fields[: NodeRow._fields.index("readout_text")]
        assert [getattr(row, name) for name in same] == [getattr(node, name) for name in same]
        assert row.readout == drains.readout_of(node)
        assert row.spool == node.spool
        assert row.order(now=NOW) == drains.order_of(node, now=NOW)
        assert of_row(row, 1, now=NOW, every_seconds=1.0) == presence_of(node, 1, now=NOW, every_seconds=1.0)


def test_one_that_never_spoke_has_neither_readout_nor_order() -> None:
    Node.objects.create(name="node-a", created_at=NOW)

    row = only()

    assert (row.readout, row.spool, row.order(now=NOW)) == (None, {}, Order())
    assert of_row(row, 0, now=NOW, every_seconds=1.0).state is Composite.NEVER_SEEN


@pytest.mark.parametrize(("drain", "drains_now"), [(None, False), ({"generation": 3}, True)])
def test_an_order_drains_when_it_has_a_drain(drain: dict[str, int] | None, drains_now: bool) -> None:
    node = Node.objects.create(name="node-a", created_at=NOW, observed_generation=2)
    DesiredState.objects.create(node=node, generation=3, drain=drain, changed_at=NOW - timedelta(seconds=11))

    order = only().order(now=NOW)

    assert (order.drains, order.overdue, order.age_seconds) == (drains_now, True, 11.0)


def test_a_link_that_closed_is_known() -> None:
    readout = Readout(
        state=NodeState.DRAINED,
        accepting=False,
        drain=DrainInfo(source=DrainSource.DESIRED, by="ana"),
        in_flight=InFlight(),
    )
    node = Node.objects.create(
        name="node-a",
        created_at=NOW,
        state="drained",
        last_heard_at=NOW,
        readout={"state": "drained", "accepting": False, "drain": {"source": "desired", "by": "ana"}},
    )
    NodeLink.objects.create(node=node, connection_no=1, closed_at=NOW - timedelta(seconds=9), idle=True)

    row = only()

    assert row.readout == readout
    assert of_row(row, 0, now=NOW, every_seconds=1.0).state is Composite.IDLE
