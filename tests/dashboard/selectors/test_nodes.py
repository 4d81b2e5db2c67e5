"""Nodes as the pages show them."""

from datetime import UTC, datetime

import pytest
from pytest_django import DjangoAssertNumQueries

from dashboard.models import Node
from dashboard.selectors import nodes, providers
from dashboard.selectors.presence import Composite
from dashboard.selectors.providers import Told
from meshcore.breaker import BreakerState
from meshcore.drain import NodeState
from tests.dashboard.web import example_mesh, factory

NOW = datetime(2026, 3, 5, 14, 21, 7, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def row(name: str) -> nodes.NodeNow:
    found = nodes.gather(now=NOW).named(name)
    assert found is not None
    return found


def test_whoever_needs_attention_comes_first_and_the_rest_by_name() -> None:
    example_mesh.make(now=NOW)
    factory.seen_node("node-0", now=NOW)

    order = [(each.name, each.state.value) for each in nodes.gather(now=NOW).nodes]

    assert order == [
        ("node-e", "unreachable"),
        ("node-b", "degraded"),
        ("node-a", "draining"),
        ("node-0", "running"),
        ("node-c", "running"),
        ("node-d", "running"),
        ("node-f", "never seen"),
    ]


@pytest.mark.parametrize("count", [1, 12])
def test_the_number_of_nodes_changes_no_number_of_queries(
    count: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for n in range(count):
        factory.minutes(factory.seen_node(f"node-{n}", now=NOW), [3], now=NOW)

    with django_assert_num_queries(6):
        gathered = nodes.gather(now=NOW)
        assert [each.in_flight for each in gathered.nodes] == [0] * count


def test_a_part_of_the_order_is_shown_with_its_traffic_and_all_are_judged() -> None:
    for n in range(3):
        factory.minutes(factory.seen_node(f"node-{n}", now=NOW), [3], now=NOW)

    gathered = nodes.gather(now=NOW, show=slice(1, 2))

    assert [each.name for each in gathered.nodes] == ["node-0", "node-1", "node-2"]
    assert [each.name for each in gathered.shown] == ["node-1"]
    assert [each.traffic.requests for each in gathered.nodes] == [0, 3, 0]
    assert gathered.whole.requests == 9


def test_a_node_that_is_shown_alone_has_its_breakers_and_all_that_is_stored() -> None:
    example_mesh.make(now=NOW)

    gathered = nodes.gather(now=NOW, show="node-b")

    [shown] = gathered.shown
    assert (shown.name, len(shown.breakers)) == ("node-b", shown.told.breakers)
    others = [each for each in gathered.nodes if each.name != "node-b"]
    assert not any(each.breakers or each.stored for each in others)
    assert shown.stored == Node.objects.get(name="node-b")


def test_the_past_of_a_node_takes_four_queries(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    node = example_mesh.make(now=NOW)["node-b"]
    node.drains.create(first_generation=1, generation=1, started_at=NOW, by_kind="user", by_name="alice")

    with django_assert_num_queries(4):
        past = nodes.past_of(node=node)

    assert [story.steps for story in past.drains] == [[]]
    assert len(past.traces) == nodes.RECENT_TRACES
    assert past.transitions[0].at > past.transitions[1].at


def test_what_a_silent_node_said_last_is_no_figure_of_now() -> None:
    node = factory.seen_node("node-a", now=NOW, in_flight=7)
    factory.silent_for(node, 60, now=NOW)

    assert (row("node-a").state, row("node-a").heard) == (Composite.UNREACHABLE, False)


def test_a_node_that_said_it_goes_idle_is_idle() -> None:
    factory.silent_for(factory.seen_node("node-a", now=NOW), 600, now=NOW, idle=True)

    assert row("node-a").state is Composite.IDLE


def test_an_open_breaker_makes_a_node_degraded() -> None:
    node = factory.seen_node("node-a", now=NOW)
    factory.breaker(node, "groq", now=NOW, state=BreakerState.OPEN)

    assert row("node-a").state is Composite.DEGRADED
    assert [each.key for each in row("node-a").troubled] == ["groq"]


@pytest.mark.parametrize(("gone", "state"), [(True, Composite.RUNNING), (False, Composite.DEGRADED)])
def test_the_breaker_of_a_peer_says_something_only_while_that_peer_is_there(
    gone: bool, state: Composite
) -> None:
    node = factory.seen_node("node-a", now=NOW)
    peer = factory.seen_node("node-b", now=NOW)
    factory.breaker(node, "node:node-b", now=NOW, state=BreakerState.OPEN)
    factory.silent_for(peer, 60.0 * gone, now=NOW)

    assert row("node-a").state is state
    assert row("node-a").told == Told(breakers=3, providers=2)


def test_what_an_operator_forced_open_is_a_wish_and_no_trouble() -> None:
    breaker = factory.breaker(
        factory.seen_node("node-a", now=NOW), "groq", now=NOW, state=BreakerState.FORCED_OPEN
    )

    assert not providers.is_troubled(breaker)
    assert row("node-a").state is Composite.RUNNING


def test_the_button_ends_what_is_asked_here_and_not_what_the_machine_asks() -> None:
    asked = factory.seen_node("node-a", now=NOW)
    factory.order(asked, generation=1, drains=True, seconds_ago=1, now=NOW)
    factory.seen_node("node-b", now=NOW, state=NodeState.DRAINING, drain=factory.local_drain(now=NOW))
    factory.seen_node("node-c", now=NOW)

    assert [row(name).drains for name in ("node-a", "node-b", "node-c")] == [True, False, False]


def test_nodes_are_found_by_name() -> None:
    factory.seen_node("node-b", now=NOW)
    Node.objects.create(name="node-a", created_at=NOW)

    assert nodes.names() == ["node-a", "node-b"]
    assert nodes.gather(now=NOW).named("node-x") is None
