"""What operators want of breakers now."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from dashboard.models import Node
from dashboard.selectors import override_list
from dashboard.services import overrides
from meshcore.override import Action
from tests.dashboard.services.trail import ALICE
from tests.dashboard.web import factory

NOW = datetime(2026, 3, 5, 14, 21, 7, tzinfo=UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nodes() -> None:
    """Three nodes that have groq."""
    for name in ("node-a", "node-b", "node-c"):
        factory.seen_node(name, now=NOW)


def put(name: str = "", action: Action = Action.FORCE_OPEN, **more: Any) -> None:
    facts = {"key": "groq", "reason": "bills twice", "expires_seconds": 60.0, "now": NOW, **more}
    node = Node.objects.get(name=name) if name else None
    overrides.put(node=node, action=action, actor=ALICE, **facts)


def test_one_wish_for_many_nodes_is_one_line() -> None:
    put()
    Node.objects.filter(name="node-b").update(observed_generation=1)

    (line,) = override_list.read(now=NOW).lines

    assert (line.nodes, line.pending) == (("node-a", "node-b", "node-c"), ("node-a", "node-c"))
    assert (line.where, line.node) == ("node-a, node-b and node-c", "")
    assert line.waits == "waits for node-a and node-c"
    assert (line.override.actor, line.override.action) == ("alice", Action.FORCE_OPEN)


def test_the_newest_stands_first_and_a_line_of_one_node_names_it() -> None:
    put("node-a", key="ollama")
    put("node-b", now=NOW + timedelta(seconds=1))
    Node.objects.update(observed_generation=1)

    lines = override_list.read(now=NOW).lines

    assert [(line.override.key, line.node, line.waits) for line in lines] == [
        ("groq", "node-b", ""),
        ("ollama", "node-a", ""),
    ]


def test_what_is_over_is_wanted_no_more() -> None:
    put(expires_seconds=60.0)

    assert override_list.read(now=NOW + timedelta(seconds=60)).lines == ()


def test_a_reset_is_told_until_the_node_has_done_it() -> None:
    put("node-a", Action.RESET, expires_seconds=None)
    before = override_list.read(now=NOW).lines

    Node.objects.update(observed_generation=1)

    assert [line.override.action for line in before] == [Action.RESET]
    assert override_list.read(now=NOW).lines == ()


def test_more_lines_than_anybody_reads_are_counted(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    monkeypatch.setattr(override_list, "LINES_MAX", 2)
    for n in range(5):
        put("node-a", key=f"p{n}")

    with django_assert_num_queries(1):
        found = override_list.read(now=NOW)

    assert (len(found.lines), found.more, found.cut) == (2, 3, False)


def test_more_nodes_than_are_looked_at_is_no_silent_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(override_list, "NODES_MAX", 2)
    put()

    assert override_list.read(now=NOW).cut
