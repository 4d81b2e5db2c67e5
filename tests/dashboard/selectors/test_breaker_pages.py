"""Breakers as lists: how many queries, whatever their number."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from dashboard.models import DesiredState, Node, ProviderHealth
from dashboard.selectors import breaker_pages
from dashboard.selectors.breaker_pages import BreakerFilter
from dashboard.selectors.keyset import Cursor
from dashboard.services import nodes
from dashboard.services.actor import SYSTEM

pytestmark = pytest.mark.django_db
Budget = Callable[..., Any]


@pytest.fixture
def mesh(now: datetime) -> list[Node]:
    """Five nodes with three providers each, and overrides on some."""
    made = [nodes.add(name=f"node-{letter}", actor=SYSTEM, now=now)[0] for letter in "abcde"]
    for node in made:
        for key in ("groq", "ollama", "node:other"):
            ProviderHealth.objects.create(node=node, key=key, state="closed", observed_at=now)
    return made


def override(node: Node, *keys: str) -> None:
    wanted = [{"key": key, "action": "force_open"} for key in keys]
    DesiredState.objects.filter(node=node).update(overrides=wanted, generation=1)


def places(**asked: Any) -> list[tuple[str, str]]:
    asked = {"node": "", "after": ("", ""), "rows": 50, **asked}
    return [each.place for each in breaker_pages.overrides(**asked)]


def test_breakers_need_two_queries(mesh: list[Node], django_assert_max_num_queries: Budget) -> None:
    wanted = BreakerFilter(node="node-a", provider="groq", state="closed")

    with django_assert_max_num_queries(2):
        page = breaker_pages.breakers(wanted=wanted, cursor=Cursor())
        assert [(each.node.name, each.key) for each in page.rows] == [("node-a", "groq")]


def test_providers_need_three_queries_and_leave_peers_out(
    mesh: list[Node], now: datetime, django_assert_max_num_queries: Budget
) -> None:
    with django_assert_max_num_queries(3):
        found = breaker_pages.providers(after="", rows=50, now=now)

    assert [(each.key, each.nodes) for each in found] == [("groq", 5), ("ollama", 5)]
    assert [each.key for each in breaker_pages.providers(after="groq", rows=50, now=now)] == ["ollama"]


def test_a_node_that_is_not_heard_is_no_witness(mesh: list[Node], now: datetime) -> None:
    [groq, _] = breaker_pages.providers(after="", rows=50, now=now)

    assert (groq.states, groq.nodes, groq.finding.sentence) == ({}, 5, "")


def test_overrides_are_in_order_of_node_and_key_by_one_query(
    mesh: list[Node], django_assert_max_num_queries: Budget
) -> None:
    override(mesh[3], "b", "a")
    override(mesh[1], "z")

    with django_assert_max_num_queries(1):
        assert places() == [("node-b", "z"), ("node-d", "a"), ("node-d", "b")]
    assert places(rows=2) == [("node-b", "z"), ("node-d", "a")]
    assert places(after=("node-d", "a")) == [("node-d", "b")]
    assert places(node="node-b") == [("node-b", "z")]
    assert places(node="node-b", after=("node-b", "z")) == []


def test_a_page_of_overrides_is_full_though_its_first_node_has_none_left(mesh: list[Node]) -> None:
    for node in mesh:
        override(node, "a", "b")

    assert places(after=("node-a", "b"), rows=3) == [("node-b", "a"), ("node-b", "b"), ("node-c", "a")]


def test_a_page_is_full_when_every_node_has_one_override(mesh: list[Node]) -> None:
    for node in mesh:
        override(node, "a")

    assert places(after=("node-a", "a"), rows=2) == [("node-b", "a"), ("node-c", "a")]
