"""Traffic of all nodes: what their providers' roll-ups amount to, read more cheaply."""

from datetime import UTC, datetime

import pytest
from pytest_django import DjangoAssertNumQueries

from dashboard.models import Node
from dashboard.selectors import fleet_traffic, traffic
from tests.dashboard.web import factory

NOW = datetime(2026, 3, 5, 14, 21, 37, tzinfo=UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture
def mesh() -> list[Node]:
    """Two nodes with several providers, errors and failovers."""
    nodes = [factory.seen_node(name, now=NOW) for name in ("node-a", "node-b")]
    factory.minutes(nodes[0], [30] * 15, now=NOW, failovers=2)
    factory.minutes(nodes[0], [5] * 3, now=NOW, provider="groq", outcome="error", milliseconds=900.0)
    factory.minutes(nodes[1], [7] * 9, now=NOW, milliseconds=40.0)
    return nodes


def test_figures_are_those_of_the_roll_ups(mesh: list[Node]) -> None:
    found = fleet_traffic.read(now=NOW, nodes=[node.pk for node in mesh])

    exact = traffic.read(now=NOW)
    assert found.whole == exact.whole()
    assert found.by_node == exact.by_node()


def test_nodes_that_are_not_asked_for_count_in_the_whole_alone(mesh: list[Node]) -> None:
    found = fleet_traffic.read(now=NOW, nodes=[mesh[0].pk])

    assert found.of(mesh[1].pk) == traffic.NOTHING
    assert found.whole.requests > found.of(mesh[0].pk).requests


def test_without_calls_nothing_is_known() -> None:
    assert fleet_traffic.read(now=NOW, nodes=[1]).whole == traffic.NOTHING


def test_two_queries_do_for_any_number(
    mesh: list[Node], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(2):
        fleet_traffic.read(now=NOW, nodes=[node.pk for node in mesh])
