"""What is asked of a node beside what it says of it."""

from datetime import UTC, datetime, timedelta

import pytest

from dashboard.models import Drain, Node
from dashboard.selectors import drains
from meshcore.drain import NodeState
from tests.dashboard.web import factory

NOW = datetime(2026, 3, 5, 14, 21, 7, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def stored(name: str) -> Node:
    return Node.objects.select_related("desired").get(name=name)


@pytest.mark.parametrize(
    ("observed", "seconds", "pending", "overdue"),
    [(1, 60, False, False), (0, 0, True, False), (0, 9.9, True, False), (0, 10, True, True)],
)
def test_an_order_is_pending_until_observed_and_overdue_after_ten_seconds(
    observed: int, seconds: float, pending: bool, overdue: bool
) -> None:
    node = factory.seen_node("node-a", now=NOW, generation=observed)
    factory.order(node, generation=1, drains=True, seconds_ago=seconds, now=NOW)

    order = drains.order_of(stored("node-a"), now=NOW)

    assert (order.pending, order.overdue, order.drains) == (pending, overdue, True)


def test_a_node_that_was_never_asked_anything_owes_nothing() -> None:
    factory.seen_node("node-a", now=NOW)

    order = drains.order_of(stored("node-a"), now=NOW)

    assert (order.generation, order.pending, order.drains) == (0, False, False)


def test_a_drain_is_told_with_what_is_done_and_left() -> None:
    node = factory.seen_node(
        "node-a",
        now=NOW,
        state=NodeState.DRAINING,
        in_flight=5,
        at_start=14,
        edge=2,
        drain=factory.desired_drain(now=NOW, generation=3),
    )

    drain = drains.drain_now(drains.readout_of(node))

    assert drain is not None
    assert (drain.at_start, drain.done, drain.left, drain.edge) == (14, 9, 5, 2)
    assert (drain.local, drain.drained, drain.by, drain.generation) == (False, False, "operator", 3)


def test_only_the_node_itself_makes_a_drain_drained() -> None:
    drain = factory.local_drain(now=NOW)
    empty = factory.seen_node("node-a", now=NOW, state=NodeState.DRAINING, drain=drain)
    drained = factory.seen_node("node-b", now=NOW, state=NodeState.DRAINED, drain=drain, safe_to_stop=True)

    said = [drains.drain_now(drains.readout_of(node)) for node in (empty, drained)]

    assert [(each.drained, each.safe_to_stop, each.local) for each in said if each] == [
        (False, False, True),
        (True, True, True),
    ]


def test_more_work_than_at_the_start_never_makes_a_negative_number() -> None:
    node = factory.seen_node(
        "node-a",
        now=NOW,
        state=NodeState.DRAINING,
        in_flight=3,
        at_start=0,
        drain=factory.local_drain(now=NOW),
    )

    drain = drains.drain_now(drains.readout_of(node))

    assert drain is not None
    assert (drain.at_start, drain.done, drain.left) == (3, 0, 3)


def test_a_node_that_never_spoke_has_no_readout_and_no_drain() -> None:
    node = Node.objects.create(name="node-a", created_at=NOW)

    assert drains.drain_now(drains.readout_of(node)) is None


def test_the_last_drains_come_newest_first_and_only_so_many() -> None:
    node = factory.seen_node("node-a", now=NOW)
    for n in range(drains.LAST_DRAINS + 2):
        node.drains.create(
            first_generation=n,
            generation=n,
            started_at=NOW,
            by_kind="user",
            by_name="alice",
            status="cancelled",
        )

    assert [drain.generation for drain in drains.last_of(node=node)] == [6, 5, 4, 3, 2]


def test_a_step_that_comes_again_and_again_is_one_line(node: Node, now: datetime) -> None:
    """Calls at the edge come and go for a while, and after each the node is safe to stop."""
    drain = Drain.objects.create(
        node=node, first_generation=1, generation=1, started_at=now, by_kind="user", by_name="alice"
    )
    told = [("in_flight", 1), ("in_flight", 0), ("safe_to_stop", 0), ("safe_to_stop", 0), ("gate_opened", 0)]
    for seconds, (step, in_flight) in enumerate(told):
        at = now + timedelta(seconds=seconds)
        drain.steps.create(step=step, source="node", at=at, received_at=at, in_flight=in_flight)

    (story,) = drains.stories_of(node=node)

    assert [(line.step, line.in_flight, line.times) for line in story.steps] == [
        ("in_flight", 1, 1),
        ("in_flight", 0, 1),
        ("safe_to_stop", 0, 2),
        ("gate_opened", 0, 1),
    ]
    assert (story.steps[2].last_at - story.steps[2].at).total_seconds() == 1
