"""The change feed in order, and what of a node's looks time alone changes."""

from datetime import UTC, datetime, timedelta

import pytest
from pytest_django import DjangoAssertNumQueries

from dashboard.models import Change, DesiredState, Node, NodeLink, ProviderHealth
from dashboard.selectors import changes
from dashboard.selectors.changes import Look
from dashboard.selectors.presence import Composite

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def node(name: str, *, heard_seconds_ago: float | None = 0.0, **fields: object) -> Node:
    heard = None if heard_seconds_ago is None else NOW - timedelta(seconds=heard_seconds_ago)
    made = Node.objects.create(name=name, created_at=NOW, state="running", last_heard_at=heard, **fields)
    NodeLink.objects.create(node=made, connection_no=1, opened_at=NOW)
    return made


def test_the_feed_is_read_behind_the_cursor_oldest_first_and_in_portions() -> None:
    ids = [Change.objects.create(key=key, at=NOW).id for key in ("nodes", "node:a", "traces")]

    assert changes.after(ids[0], limit=1) == [(ids[1], "node:a")]
    assert changes.after(ids[1], limit=10) == [(ids[2], "traces")]
    assert changes.latest_id() == ids[2]


def test_what_was_missed_is_counted_by_key() -> None:
    ids = [Change.objects.create(key=key, at=NOW).id for key in ("nodes", "traces", "nodes", "nodes")]

    assert changes.missed(ids[0], {"nodes", "audit"}) == 2
    assert changes.missed(ids[3], {"nodes"}) == 0


def test_much_that_was_missed_is_counted_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "MISSED_MAX", 2)
    for _ in range(4):
        Change.objects.create(key="nodes", at=NOW)

    assert changes.missed(0, {"nodes"}) == 2


def test_behind_what_is_trimmed_something_may_have_been_missed() -> None:
    ids = [Change.objects.create(key=key, at=NOW).id for key in ("nodes", "traces", "traces")]
    Change.objects.filter(id__lte=ids[1]).delete()

    assert changes.missed(ids[0], {"nodes"}) == 1
    assert changes.missed(ids[1], {"nodes"}) == 0


def test_the_feed_says_whether_all_behind_an_id_is_still_there() -> None:
    ids = [Change.objects.create(key="nodes", at=NOW).id for _ in range(3)]
    Change.objects.filter(id=ids[0]).delete()

    assert [changes.is_kept(since) for since in (*ids, ids[-1] + 1)] == [True] * 3 + [False]
    assert not changes.is_kept(ids[0] - 1)


def test_an_empty_feed_ends_at_zero() -> None:
    assert changes.latest_id() == 0
    assert not changes.is_kept(0)


def test_a_node_is_stale_by_its_age_and_unreachable_later() -> None:
    node("node-a", heard_seconds_ago=1.0)
    node("node-b", heard_seconds_ago=5.5)
    node("node-c", heard_seconds_ago=6.5)
    node("node-d", heard_seconds_ago=None)

    looks = changes.looks(now=NOW)

    assert {name: (look.state, look.stale) for name, look in looks.items()} == {
        "node-a": (Composite.RUNNING, False),
        "node-b": (Composite.RUNNING, True),
        "node-c": (Composite.UNREACHABLE, True),
        "node-d": (Composite.NEVER_SEEN, False),
    }


def test_a_closed_socket_and_an_open_breaker_are_seen() -> None:
    gone, troubled = node("node-a"), node("node-b")
    NodeLink.objects.filter(node=gone).update(closed_at=NOW - timedelta(seconds=6))
    ProviderHealth.objects.create(node=troubled, key="ollama", state="open", observed_at=NOW)

    looks = changes.looks(now=NOW)

    assert looks["node-a"].state is Composite.UNREACHABLE
    assert looks["node-b"].state is Composite.DEGRADED


def test_an_order_is_unacknowledged_once_it_waited_long_enough() -> None:
    fresh, late, done = node("node-a"), node("node-b"), node("node-c", observed_generation=4)
    for each, seconds in ((fresh, 9), (late, 11), (done, 11)):
        DesiredState.objects.create(node=each, generation=4, changed_at=NOW - timedelta(seconds=seconds))

    looks = changes.looks(now=NOW)

    assert [name for name, look in looks.items() if look.unacknowledged] == ["node-b"]


def test_a_node_without_a_link_is_no_fault() -> None:
    Node.objects.create(name="node-a", created_at=NOW)

    assert changes.looks(now=NOW)["node-a"].state is Composite.NEVER_SEEN


def test_only_some_of_a_look_changes_by_time_alone() -> None:
    calm = Look(Composite.RUNNING, stale=False, unacknowledged=False)

    assert calm.by_time == Look(Composite.DEGRADED, stale=False, unacknowledged=False).by_time
    assert calm.by_time != Look(Composite.UNREACHABLE, stale=False, unacknowledged=False).by_time
    assert calm.by_time != Look(Composite.RUNNING, stale=True, unacknowledged=False).by_time
    assert calm.by_time != Look(Composite.RUNNING, stale=False, unacknowledged=True).by_time


def test_any_number_of_nodes_takes_three_queries(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    for number in range(5):
        ProviderHealth.objects.create(node=node(f"node-{number}"), key="a", state="open", observed_at=NOW)

    with django_assert_num_queries(3):
        changes.looks(now=NOW)


def test_a_node_is_not_degraded_by_a_peer_that_is_away_and_looks_different_when_it_goes() -> None:
    made = node("node-a")
    peer = node("node-b")
    ProviderHealth.objects.create(node=made, key="node:node-b", state="open", observed_at=NOW)

    before = changes.looks(now=NOW)["node-a"]
    NodeLink.objects.filter(node=peer).update(idle=True, closed_at=NOW)
    behind = changes.looks(now=NOW)["node-a"]

    assert (before.state, behind.state) == (Composite.DEGRADED, Composite.RUNNING)
    assert before.by_time != behind.by_time


def test_a_node_that_fell_silent_between_two_looks_is_known_by_its_words() -> None:
    node("node-a")
    before = changes.looks(now=NOW)["node-a"]
    Node.objects.update(last_heard_at=NOW + timedelta(seconds=5.2))

    behind = changes.looks(now=NOW + timedelta(seconds=5.9))["node-a"]

    assert before.by_time == behind.by_time
    assert behind.was_silent(before, seconds=5.0)
    assert not behind.was_silent(before, seconds=6.0)
    assert not behind.was_silent(Look(Composite.NEVER_SEEN, stale=False, unacknowledged=False), seconds=5.0)
