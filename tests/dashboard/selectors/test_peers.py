"""Who may know whom, and what reading that costs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from dashboard.models import Node, NodeLink
from dashboard.selectors import peers
from dashboard.selectors.peers import Directory
from meshcore.capability import Manifest, Offer
from meshcore.peers import MANIFEST_MAX_BYTES, PEERS_MAX

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CHAT = (Offer(name="llm.chat"),)

pytestmark = pytest.mark.django_db


def manifest(name: str, *offers: str, url: str | None = None, **fields: Any) -> dict[str, Any]:
    capabilities = [{"name": offer, "version": "1.0"} for offer in offers or ("llm.chat",)]
    return {
        "node_id": name,
        "url": f"https://{name}" if url is None else url,
        "capabilities": capabilities,
        **fields,
    }


def node(name: str, *, link: dict[str, Any] | None = None, **fields: Any) -> Node:
    defaults = {
        "created_at": NOW,
        "state": "running",
        "accepting": True,
        "last_heard_at": NOW,
        "manifest": manifest(name),
    }
    made = Node.objects.create(name=name, **{**defaults, **fields})
    NodeLink.objects.create(node=made, **{"connection_no": 1, "opened_at": NOW, **(link or {})})
    return made


def known_to(name: str) -> list[str] | None:
    known = peers.read(Directory(), now=NOW).known_to(name)
    return None if known is None else list(known)


def test_nodes_of_a_community_that_share_a_capability_know_each_other() -> None:
    node("a")
    node("b", manifest=manifest("b", "llm.chat", "llm.embedding"))
    node("c", manifest=manifest("c", "llm.embedding"))
    node("d", community="other")

    assert [known_to(name) for name in "abcd"] == [["b"], ["c", "a"], ["b"], []]


@pytest.mark.parametrize(
    ("fields", "link"),
    [
        ({"last_heard_at": None}, {}),
        ({"last_heard_at": NOW - timedelta(seconds=7)}, {}),
        ({}, {"closed_at": NOW - timedelta(seconds=5)}),
        ({}, {"closed_at": NOW, "idle": True}),
        ({"state": "stopped", "accepting": False}, {}),
    ],
    ids=["never seen", "silent", "closed", "idle", "stopped"],
)
def test_who_is_not_there_is_known_to_nobody_and_told_of_nobody(
    fields: dict[str, Any], link: dict[str, Any]
) -> None:
    node("a")
    node("b", link=link, **fields)

    assert (known_to("a"), known_to("b")) == ([], None)


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:0", "nowhere"])
def test_who_has_no_address_is_known_to_nobody_and_told_of_the_others(url: str) -> None:
    node("a")
    node("b", manifest=manifest("b", url=url))

    assert (known_to("a"), known_to("b")) == ([], ["a"])


@pytest.mark.parametrize(
    "said", [{}, {"node_id": "b", "url": "https://b"}, {"capabilities": 3}, {"url": None}]
)
def test_a_manifest_that_nobody_can_read_or_that_offers_nothing_keeps_a_node_apart(
    said: dict[str, Any],
) -> None:
    node("a")
    node("b", manifest=said)

    assert (known_to("a"), known_to("b")) == ([], [])


@pytest.mark.parametrize("state", ["joining", "draining", "drained", "stopping"])
def test_who_takes_no_calls_is_known_as_draining(state: str) -> None:
    node("a")
    node("b", state=state, accepting=False)

    known = peers.read(Directory(), now=NOW).known_to("a")

    assert known is not None
    assert known["b"].draining


def test_who_a_node_is_is_not_its_own_to_say() -> None:
    node("a")
    node("b", manifest=manifest("someone", community="elsewhere", draining=True))

    known = peers.read(Directory(), now=NOW).known_to("a")

    assert known is not None
    assert [(each.node_id, each.community, each.draining) for each in known.values()] == [
        ("b", "default", False)
    ]


def test_a_long_manifest_counts_whole_and_is_told_without_its_capabilities() -> None:
    node("a")
    node("b", manifest=manifest("b", "llm.chat", *(f"c{n}" for n in range(MANIFEST_MAX_BYTES // 10))))

    known = peers.read(Directory(), now=NOW).known_to("a")

    assert known == {"b": Manifest(node_id="b", url="https://b")}


def test_in_a_large_mesh_each_node_knows_128_and_is_known_by_as_many() -> None:
    names = [f"n{number:03}" for number in range(PEERS_MAX + 3)]
    for name in names:
        node(name)

    directory = peers.read(Directory(), now=NOW)
    known = {name: directory.known_to(name) or {} for name in names}

    assert {len(each) for each in known.values()} == {PEERS_MAX}
    assert {sum(name in each for each in known.values()) for name in names} == {PEERS_MAX}
    assert not any(name in each for name, each in known.items())


def test_reading_takes_two_queries_whatever_the_number_of_nodes(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(20):
        node(f"n{number}")

    with django_assert_num_queries(2):
        before = peers.read(Directory(), now=NOW)
    with django_assert_num_queries(1):
        again = peers.read(before, now=NOW)

    assert again == before


def test_what_changed_since_is_seen() -> None:
    first, second = node("a"), node("b")
    before = peers.read(Directory(), now=NOW)

    Node.objects.filter(pk=first.pk).update(accepting=False, state="draining")
    Node.objects.filter(pk=second.pk).update(manifest=manifest("b", url="https://moved"))
    unmoved = peers.read(before, now=NOW)
    NodeLink.objects.filter(node=second).update(connection_no=2)
    moved = peers.read(unmoved, now=NOW)

    assert (unmoved.known_to("a"), unmoved.known_to("b")) == (
        before.known_to("a"),
        {"a": Manifest(node_id="a", url="https://a", draining=True, capabilities=CHAT)},
    )
    assert moved.known_to("a") == {"b": Manifest(node_id="b", url="https://moved", capabilities=CHAT)}


def test_a_node_of_another_community_now_is_seen() -> None:
    node("a")
    moved = node("b")
    before = peers.read(Directory(), now=NOW)

    Node.objects.filter(pk=moved.pk).update(community="other")

    assert peers.read(before, now=NOW).known_to("a") == {}
