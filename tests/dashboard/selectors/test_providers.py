"""Breakers and their history."""

from datetime import UTC, datetime, timedelta

import pytest

from dashboard.selectors import providers
from meshcore.breaker import BreakerState
from tests.dashboard.web import factory

NOW = datetime(2026, 3, 5, 14, 21, 7, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def test_breakers_are_listed_by_node_and_key() -> None:
    a = factory.seen_node("node-a", now=NOW, providers=("vllm", "groq"))
    b = factory.seen_node("node-b", now=NOW, providers=("ollama",))

    found = providers.by_node()

    assert {pk: [each.key for each in breakers] for pk, breakers in found.items()} == {
        a.pk: ["groq", "vllm"],
        b.pk: ["ollama"],
    }


def test_a_peer_is_known_by_its_key() -> None:
    away = frozenset({"node-b", "ollama/llama3"})

    assert providers.is_explained("node:node-b", absent=away)
    assert not providers.is_explained("node:node-c", absent=away)
    assert not providers.is_explained("ollama/llama3", absent=away)


def test_trouble_with_a_peer_that_is_away_says_nothing_new() -> None:
    node = factory.seen_node("node-a", now=NOW)
    breakers = [
        factory.breaker(node, key, now=NOW, state=state)
        for key, state in (
            ("groq", BreakerState.CLOSED),
            ("node:node-b", BreakerState.OPEN),
            ("node:node-c", BreakerState.HALF_OPEN),
            ("ollama", BreakerState.OPEN),
        )
    ]

    found = providers.unexplained(breakers, absent=frozenset({"node-b"}))

    assert [each.key for each in found] == ["node:node-c", "ollama"]


def test_only_the_newest_changes_are_told() -> None:
    node = factory.seen_node("node-a", now=NOW)
    for n in range(providers.HISTORY_ROWS + 3):
        factory.transition(node, "ollama", at=NOW - timedelta(seconds=n), to=BreakerState.OPEN)

    found = providers.history(node=node)

    assert [change.at for change in found] == [
        NOW - timedelta(seconds=n) for n in range(providers.HISTORY_ROWS)
    ]
