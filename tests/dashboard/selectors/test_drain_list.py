"""How drains stand, by their nodes' own words, and what came of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from dashboard.models import Drain, DrainStatus
from dashboard.selectors import drain_list
from dashboard.selectors.drain_list import DrainFilter, DrainRow, Standing
from dashboard.selectors.keyset import PAGE_ROWS, Cursor
from meshcore.drain import NodeState
from tests.dashboard.web import factory

NOW = datetime(2026, 3, 5, 14, 21, 7, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def drain_of(name: str, *, seconds_ago: float = 60, generation: int = 1, **fields: Any) -> Drain:
    node = factory.Node.objects.get(name=name)
    return Drain.objects.create(
        node=node,
        first_generation=generation,
        started_at=NOW - timedelta(seconds=seconds_ago),
        **{"generation": generation, "by_kind": "user", "by_name": "alice", **fields},
    )


def only() -> DrainRow:
    (row,) = drain_list.page(wanted=DrainFilter(), cursor=Cursor(), now=NOW).rows
    return row


@pytest.mark.parametrize(
    ("state", "left", "edge", "standing"),
    [
        (NodeState.DRAINING, 5, 0, Standing.DRAINING),
        (NodeState.DRAINED, 0, 2, Standing.DRAINED),
        (NodeState.DRAINED, 0, 0, Standing.SAFE_TO_STOP),
    ],
)
def test_a_running_drain_stands_as_its_node_says(
    state: NodeState, left: int, edge: int, standing: Standing
) -> None:
    factory.seen_node(
        "node-a",
        now=NOW,
        state=state,
        in_flight=left,
        at_start=14,
        edge=edge,
        generation=1,
        drain=factory.desired_drain(now=NOW),
        safe_to_stop=state is NodeState.DRAINED and not edge,
    )
    drain_of("node-a")

    row = only()

    assert (row.standing, row.at_start, row.left, row.done) == (standing, 14, left, 14 - left)


@pytest.mark.parametrize(("seconds", "standing"), [(3, Standing.PENDING), (12, Standing.NOT_ACKNOWLEDGED)])
def test_what_the_node_does_not_act_on_yet_is_no_drain_of_it(seconds: float, standing: Standing) -> None:
    node = factory.seen_node("node-a", now=NOW, state=NodeState.DRAINED, drain=factory.local_drain(now=NOW))
    factory.order(node, generation=1, drains=True, seconds_ago=seconds, now=NOW)
    drain_of("node-a", seconds_ago=seconds)

    row = only()

    assert (row.standing, row.said, row.known) == (standing, None, False)


def test_silence_is_unreachable_and_never_drained() -> None:
    node = factory.seen_node(
        "node-a",
        now=NOW,
        state=NodeState.DRAINED,
        at_start=3,
        generation=1,
        drain=factory.desired_drain(now=NOW),
        safe_to_stop=True,
    )
    factory.silent_for(node, 60, now=NOW)
    drain_of("node-a")

    assert only().standing is Standing.UNREACHABLE


def test_a_node_that_acts_on_it_without_naming_a_drain_has_acknowledged() -> None:
    factory.seen_node("node-a", now=NOW, state=NodeState.STOPPING, generation=1)
    drain_of("node-a")

    assert only().standing is Standing.ACKNOWLEDGED


def test_the_numbers_of_a_past_drain_come_from_its_steps() -> None:
    factory.seen_node("node-a", now=NOW)
    drain = drain_of("node-a", status=DrainStatus.CANCELLED.value, ended_at=NOW)
    for seconds, (step, left) in enumerate(
        [("gate_closed", 6), ("in_flight", 4), ("deadline_exceeded", 4), ("forced", 4), ("drained", 0)], 1
    ):
        factory.step(drain, step, at=drain.started_at + timedelta(seconds=seconds), in_flight=left)

    row = only()

    assert (row.standing, row.at_start, row.left) == (Standing.CANCELLED, 6, 0)
    assert (row.drained_seconds, row.safe_seconds, row.lasted_seconds) == (5.0, None, 60.0)
    assert row.exceeded and row.forced and not row.active
    assert (row.killed, row.moved) == (1, 0)


def test_calls_ended_by_force_and_runs_moved_are_counted_apart() -> None:
    factory.seen_node("node-a", now=NOW)
    drain = drain_of("node-a")
    for seconds, name in enumerate(["gate_closed", "moved", "moved", "forced"], 1):
        factory.step(drain, name, at=drain.started_at + timedelta(seconds=seconds), in_flight=4 - seconds)

    row = only()

    assert (row.forced, row.killed, row.moved) == (True, 1, 2)


def test_a_drain_that_its_node_never_told_of_has_no_numbers() -> None:
    factory.seen_node("node-a", now=NOW)
    drain_of("node-a", status=DrainStatus.EXPIRED.value, ended_at=NOW)

    row = only()

    assert (row.known, row.at_start, row.left, row.done, row.exceeded) == (False, None, None, 0, False)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (DrainFilter(), ["node-b", "node-a", "node-a"]),
        (DrainFilter(node="node-a"), ["node-a", "node-a"]),
        (DrainFilter(status="active"), ["node-b", "node-a"]),
        (DrainFilter(node="node-a", by="deploy"), ["node-a"]),
        (DrainFilter(by="nobody"), []),
    ],
)
def test_the_list_is_narrowed_by_node_status_and_person(wanted: DrainFilter, found: list[str]) -> None:
    for name in ("node-a", "node-b"):
        factory.seen_node(name, now=NOW)
    drain_of("node-a", status=DrainStatus.CANCELLED.value, ended_at=NOW, by_name="deploy")
    drain_of("node-a", generation=2)
    drain_of("node-b")

    rows = drain_list.page(wanted=wanted, cursor=Cursor(), now=NOW).rows

    assert [row.drain.node.name for row in rows] == found


@pytest.mark.parametrize("many", [1, 20])
def test_a_page_takes_the_same_queries_however_many_drains(
    many: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for n in range(many):
        factory.seen_node(f"node-{n}", now=NOW)
        factory.step(drain_of(f"node-{n}"), "gate_closed", at=NOW, in_flight=3)

    with django_assert_num_queries(3):
        drain_list.page(wanted=DrainFilter(), cursor=Cursor(), now=NOW)
    with django_assert_num_queries(4):
        drain_list.live(now=NOW)


def test_what_is_pushed_is_the_newest_page_and_all_that_goes_on() -> None:
    for name in ("node-a", "node-b"):
        factory.seen_node(name, now=NOW)
    going = drain_of("node-b")
    for n in range(PAGE_ROWS + 1):
        drain_of("node-a", generation=n, status=DrainStatus.CANCELLED.value, ended_at=NOW)

    rows = drain_list.live(now=NOW)

    assert len(rows) == PAGE_ROWS + 1
    assert rows[-1].drain == going
    assert [row.drain for row in drain_list.live(now=NOW, node="node-b")] == [going]


def test_one_drain_is_found_by_its_number() -> None:
    factory.seen_node("node-a", now=NOW)
    drain = drain_of("node-a")

    found = drain_list.named(pk=drain.pk, now=NOW)

    assert found is not None and found.drain == drain
    assert drain_list.named(pk=drain.pk + 1, now=NOW) is None
