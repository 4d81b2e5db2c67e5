"""The one sentence."""

from datetime import UTC, datetime, timedelta

import pytest

from dashboard.models import Node
from dashboard.selectors import matrix, nodes, verdict
from dashboard.selectors.verdict import Tone
from meshcore.breaker import BreakerState
from meshcore.drain import NodeState
from tests.dashboard.web import example_mesh, factory

NOW = datetime(2026, 3, 5, 14, 21, 7, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def said() -> verdict.Verdict:
    return verdict.of(nodes.gather(now=NOW))


def opened(node: Node, key: str, *, since_seconds: float = 60.0) -> None:
    error, state = "connect timeout", BreakerState.OPEN
    factory.breaker(node, key, now=NOW, state=state, error=error, since_seconds=since_seconds)


def said_of_providers() -> tuple[Tone, str, int]:
    found = verdict.of_providers(matrix.read(now=NOW))
    return found.tone, found.sentence, found.others


def test_of_providers_the_one_that_one_node_alone_sees_down_is_told_first() -> None:
    mesh = [factory.seen_node(name, now=NOW) for name in ("node-a", "node-b", "node-c")]
    opened(mesh[1], "ollama")
    opened(mesh[0], "groq")
    opened(mesh[1], "groq")
    opened(mesh[2], "groq")

    assert said_of_providers() == (Tone.BAD, "Only node-b sees ollama down: path, not provider", 1)


@pytest.mark.parametrize(("nodes", "words"), [(1, "on 1 node"), (2, "on 2 nodes")])
def test_of_providers_a_strike_is_doubt(nodes: int, words: str) -> None:
    for n in range(nodes):
        node = factory.seen_node(f"node-{n}", now=NOW)
        factory.breaker(node, "groq", now=NOW, state=BreakerState.SUSPECT, strikes=1)

    assert said_of_providers() == (Tone.WARN, f"groq is in doubt {words}", 0)


def test_of_providers_nothing_open_is_well_only_while_somebody_is_heard() -> None:
    assert said_of_providers() == (Tone.NONE, "No provider yet", 0)

    node = factory.seen_node("node-a", now=NOW)
    assert said_of_providers() == (Tone.OK, "No breaker is open", 0)

    factory.silent_for(node, 60, now=NOW)
    assert said_of_providers() == (Tone.NONE, "No node is heard that told of its providers", 0)


def test_without_nodes_there_is_nothing_to_judge() -> None:
    assert (said().tone, said().sentence) == (Tone.NONE, "No node yet")


def test_when_all_is_well_it_says_so() -> None:
    for name in ("node-a", "node-b", "node-c"):
        factory.seen_node(name, now=NOW)

    assert (said().tone, said().sentence) == (Tone.OK, "All 3 nodes are well")


def test_one_node_alone_is_called_by_its_name_and_idle_ones_are_mentioned() -> None:
    factory.silent_for(factory.seen_node("node-a", now=NOW), 60, now=NOW, idle=True)

    assert (said().sentence, said().detail) == ("node-a is well", "1 idle")


def test_a_provider_that_only_one_of_many_sees_down_is_said_to_be_so() -> None:
    found = [factory.seen_node(name, now=NOW) for name in ("node-a", "node-b", "node-c")]
    opened(found[1], "ollama", since_seconds=94)

    assert said() == verdict.Verdict(
        tone=Tone.BAD,
        sentence="ollama is down as seen from node-b only",
        since=NOW - timedelta(seconds=94),
        detail="connect timeout",
    )


def test_a_provider_that_all_see_down_is_down_everywhere() -> None:
    for name in ("node-a", "node-b"):
        opened(factory.seen_node(name, now=NOW), "groq")

    assert said().sentence == "groq is down on all 2 nodes that have it"


def test_a_provider_that_only_one_node_has_is_down_there() -> None:
    factory.seen_node("node-a", now=NOW, providers=("ollama",))
    opened(factory.seen_node("node-b", now=NOW, providers=("vllm",)), "vllm")

    assert said().sentence == "vllm is down on node-b"


def test_a_half_open_provider_is_being_tried() -> None:
    node = factory.seen_node("node-a", now=NOW)
    factory.breaker(node, "ollama", now=NOW, state=BreakerState.HALF_OPEN)

    assert said().sentence == "ollama is being tried again on node-a"


def test_a_broken_way_between_two_nodes_is_named_as_that() -> None:
    factory.seen_node("node-b", now=NOW)
    opened(factory.seen_node("node-a", now=NOW), "node:node-b")

    assert said().sentence == "The way to node-b is down on node-a"


def test_unreachable_is_worse_than_a_provider_and_what_else_is_wrong_is_counted() -> None:
    example_mesh.make(now=NOW)

    assert said().sentence == "node-e is unreachable"
    assert said().since == NOW - timedelta(seconds=130)
    assert said().others == 3  # a provider, a drain, and one that never came


def test_many_names_become_a_number() -> None:
    for n in range(6):
        factory.silent_for(factory.seen_node(f"node-{n}", now=NOW), 60, now=NOW)

    assert said().sentence == "node-0, node-1, node-2 and 3 more are unreachable"


def test_the_breakers_of_a_silent_node_are_old_news() -> None:
    node = factory.seen_node("node-a", now=NOW)
    opened(node, "ollama")
    factory.silent_for(node, 60, now=NOW)

    assert (said().sentence, said().others) == ("node-a is unreachable", 0)


def test_an_order_that_nobody_acknowledges_is_a_warning() -> None:
    factory.order(factory.seen_node("node-a", now=NOW), generation=7, drains=True, seconds_ago=12, now=NOW)

    assert (said().tone, said().sentence) == (Tone.WARN, "node-a has not acknowledged its order")
    assert said().detail == "generation 7 asked, 0 acted on"


def test_a_drain_is_calm_and_says_who_and_why() -> None:
    factory.seen_node(
        "node-a", now=NOW, state=NodeState.DRAINING, drain=factory.desired_drain(now=NOW), in_flight=2
    )

    assert (said().tone, said().sentence) == (Tone.CALM, "node-a is draining, by operator")
    assert (said().detail, said().since) == ("kernel update", NOW - timedelta(seconds=40))


@pytest.mark.parametrize(
    ("safe", "sentence"), [(True, "node-a is drained and safe to stop"), (False, "node-a is drained")]
)
def test_drained_and_safe_to_stop_are_two_things(safe: bool, sentence: str) -> None:
    drain = factory.local_drain(by="", now=NOW)
    factory.seen_node("node-a", now=NOW, state=NodeState.DRAINED, drain=drain, safe_to_stop=safe)

    assert said().sentence == sentence


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (NodeState.STOPPING, "node-a is stopping"),
        (NodeState.STOPPED, "node-a is stopped"),
        (NodeState.JOINING, "node-a is joining"),
    ],
)
def test_nodes_that_come_and_go_are_told(state: NodeState, sentence: str) -> None:
    factory.seen_node("node-a", now=NOW, state=state)

    assert said().sentence == sentence


def test_a_node_that_never_came_is_told_with_what_to_do() -> None:
    Node.objects.create(name="node-a", created_at=NOW)

    assert said().sentence == "node-a has never connected"
    assert "add_node" in said().detail


def test_a_node_that_falls_silent_is_told_before_it_is_unreachable() -> None:
    factory.seen_node("node-a", now=NOW, heard_seconds=5.5)
    for n in range(400):  # so many nodes speak every 2 s: stale after 6, unreachable after 12
        Node.objects.create(name=f"n{n}", created_at=NOW)
    Node.objects.filter(name="node-a").update(last_heard_at=NOW - timedelta(seconds=7))

    assert said().sentence == "node-a has gone quiet"


def test_a_disk_that_was_set_back_is_said_for_a_day() -> None:
    for name, hours in (("node-a", 23), ("node-b", 25)):
        reset_at = (NOW - timedelta(hours=hours)).isoformat().replace("+00:00", "Z")
        factory.seen_node(name, now=NOW, spool={"reset_at": reset_at})
    factory.seen_node("node-c", now=NOW, spool={"reset_at": None})

    assert verdict.notices(nodes.gather(now=NOW)) == [
        "Numbers are incomplete: the disk of node-a was set back to an older copy."
    ]


def test_lost_telemetry_and_a_wrong_clock_are_noticed() -> None:
    factory.seen_node("node-a", now=NOW, spool={"dropped": {"trace": 1204, "transition": 2, "histogram": 0}})
    factory.seen_node("node-b", now=NOW, clock_skew_seconds=-62.4)
    factory.seen_node("node-c", now=NOW, clock_skew_seconds=3.0)
    factory.seen_node("node-d", now=NOW, clock_skew_seconds=2.0)
    factory.seen_node("node-e", now=NOW, lost_items=1204, lost_at=NOW - timedelta(days=6))
    factory.seen_node("node-f", now=NOW, lost_items=1204, lost_at=NOW - timedelta(days=8))

    assert verdict.notices(nodes.gather(now=NOW)) == [
        "Numbers are incomplete: node-a had to drop 1 204 traces, 2 transitions while it could not report.",
        "The clock of node-b is 62 s behind; its times are shown as it says them.",
        "The clock of node-c is 3 s ahead; its times are shown as it says them.",
        "Numbers are incomplete: up to 1 204 reports of node-e from before 27 Feb 14:21 are missing, "
        "as the database came back as an older copy.",
    ]
