"""The mesh as guards see it: manifests, breakers, presence, and what is wanted of each node."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from dashboard.models import DesiredState, Node, NodeLink, ProviderHealth
from dashboard.selectors.guards import MANIFESTS_AT_ONCE, judge
from dashboard.services import overrides
from dashboard.services.actor import SYSTEM
from meshcore.drain import DrainInfo, DrainSource, NodeState
from meshcore.override import Action
from tests.dashboard.web.factory import seen_node

pytestmark = pytest.mark.django_db


def breaker(node: Node, key: str, state: str, now: datetime) -> None:
    ProviderHealth.objects.update_or_create(node=node, key=key, defaults={"state": state, "observed_at": now})


def of(name: str, now: datetime, providers: tuple[str, ...] = ("ollama",), **more: Any) -> Node:
    return seen_node(name, now=now, providers=providers, **more)


def details(node: Node, now: datetime) -> list[str]:
    return [blocker.detail for blocker in judge(name=node.name, community=node.community, now=now)]


LAST = "node-a has the last healthy provider of llm.chat"


@pytest.fixture
def pair(db: None, now: datetime) -> tuple[Node, Node]:
    """Two nodes that serve the same."""
    return of("node-a", now), of("node-b", now)


def test_a_node_beside_one_that_serves_the_same_may_drain(pair: tuple[Node, Node], now: datetime) -> None:
    assert details(pair[0], now) == []


def test_a_model_that_only_this_node_serves_is_missed(db: None, now: datetime) -> None:
    node, _ = of("node-a", now, ("groq",)), of("node-b", now, ("ollama",))

    assert details(node, now) == [f"{LAST} for llama-3.1-70b"]


@pytest.mark.parametrize("state", ["open", "half_open", "forced_open"])
def test_a_provider_that_its_breaker_keeps_calls_from_stands_in_for_nobody(
    pair: tuple[Node, Node], now: datetime, state: str
) -> None:
    breaker(pair[1], "ollama", state, now)

    assert details(pair[0], now) == [LAST]


@pytest.mark.parametrize("state", ["closed", "suspect", "forced_closed"])
def test_a_provider_that_calls_reach_stands_in(pair: tuple[Node, Node], now: datetime, state: str) -> None:
    breaker(pair[1], "ollama", state, now)
    breaker(pair[1], "node:node-a", "open", now)

    assert details(pair[0], now) == []


def test_what_operators_want_of_a_breaker_counts_before_the_node_knows(
    pair: tuple[Node, Node], now: datetime
) -> None:
    def want(action: Action, expires_seconds: float | None = None) -> None:
        overrides.put(
            node=pair[1],
            key="ollama",
            action=action,
            reason="",
            expires_seconds=expires_seconds,
            actor=SYSTEM,
            now=now,
        )

    want(Action.FORCE_OPEN, 60.0)
    assert details(pair[0], now) == [LAST]
    later = now + timedelta(seconds=60)
    of("node-a", later)
    of("node-b", later)
    assert details(pair[0], later) == []

    breaker(pair[1], "ollama", "open", now)
    want(Action.FORCE_CLOSED)
    assert details(pair[0], now) == []


def test_a_silent_node_stands_in_for_nobody(db: None, now: datetime) -> None:
    node, _ = of("node-a", now), of("node-b", now, heard_seconds=5.0)

    assert details(node, now) == [LAST]


def test_a_node_whose_connection_is_closed_stands_in_for_nobody(
    pair: tuple[Node, Node], now: datetime
) -> None:
    NodeLink.objects.filter(node=pair[1]).update(closed_at=now - timedelta(seconds=5))

    assert details(pair[0], now) == [LAST]


@pytest.mark.parametrize("state", [NodeState.JOINING, NodeState.STOPPING, NodeState.STOPPED])
def test_a_node_that_comes_or_goes_stands_in_for_nobody(db: None, now: datetime, state: NodeState) -> None:
    node, _ = of("node-a", now), of("node-b", now, state=state)

    assert details(node, now) == [LAST]


def test_a_node_that_shall_drain_stands_in_for_nobody_even_while_it_is_off(
    pair: tuple[Node, Node], now: datetime
) -> None:
    wanted = {"since": now.isoformat()}
    DesiredState.objects.create(node=pair[1], generation=1, drain=wanted, changed_at=now)
    Node.objects.filter(pk=pair[1].pk).update(last_heard_at=now - timedelta(days=1))

    assert details(pair[0], now) == ["2 of 2 nodes would drain; at most 1 may at once", LAST]


def test_a_node_that_drains_by_its_own_marker_counts_as_draining(db: None, now: datetime) -> None:
    local = DrainInfo(source=DrainSource.LOCAL, by="nas", since=now)
    node, _ = of("node-a", now), of("node-b", now, state=NodeState.DRAINED, drain=local)

    assert details(node, now) == ["2 of 2 nodes would drain; at most 1 may at once", LAST]


def test_a_node_that_was_given_back_counts_again_before_it_says_so(db: None, now: datetime) -> None:
    ended = DrainInfo(source=DrainSource.DESIRED, by="alice", since=now, generation=1)
    node, _ = of("node-a", now), of("node-b", now, state=NodeState.DRAINED, drain=ended)

    assert details(node, now) == []


def test_another_community_is_another_mesh(db: None, now: datetime) -> None:
    node, _ = of("node-a", now), of("node-b", now, community="lab")

    assert details(node, now) == [LAST]


def test_a_node_that_never_spoke_may_drain(node: Node, now: datetime) -> None:
    assert details(node, now) == []


def test_what_most_drains_need_is_read_with_four_queries(
    db: None, now: datetime, django_assert_num_queries: Any
) -> None:
    nodes = [of(f"node-{n}", now) for n in range(5)]

    with django_assert_num_queries(4):
        assert judge(name=nodes[3].name, community="default", now=now) == []


def test_what_only_the_last_of_many_serves_is_found(
    db: None, now: datetime, django_assert_num_queries: Any
) -> None:
    nodes = [of(f"node-{n:03}", now, ()) for n in range(MANIFESTS_AT_ONCE + 1)]
    for node in (nodes[0], nodes[-1]):
        of(node.name, now)

    with django_assert_num_queries(6):
        assert judge(name=nodes[0].name, community="default", now=now) == []
