"""Adding a node: its token once, its configuration ready. Forgetting one: gone, but not its history."""

import tomllib
from datetime import datetime

import pytest
from django.db import IntegrityError

from dashboard.models import (
    AuditEntry,
    Change,
    DesiredState,
    Drain,
    Node,
    NodeLink,
    ProviderHealth,
    SpoolMark,
    Token,
    Trace,
    Transition,
)
from dashboard.services import drain, health, ingest, link, nodes, tokens
from dashboard.services.actor import SYSTEM
from dashboard.services.health import Said
from dashboard.services.ingest import ConnectionLost
from dashboard.services.nodes import Place
from dashboard.services.tokens import TokenRejected
from meshcore.capability import Manifest
from meshcore.drain import InFlight, NodeState, Readout
from meshcore.frames import Health, Hello, SpoolReport, Telemetry

pytestmark = pytest.mark.django_db


def test_a_new_node_has_a_token_that_pushes_for_it(now: datetime) -> None:
    node, secret = nodes.add(name="node-a", actor=SYSTEM, now=now)

    token = tokens.authenticate(secret, address="192.0.2.1", now=now)
    assert (token.node, token.scopes, token.name) == (node, ["nodes:push"], "node-a")
    assert DesiredState.objects.get(node=node).generation == 0
    assert node.link.connection_no == 0
    assert list(AuditEntry.objects.order_by("n").values_list("action", flat=True)) == [
        "node.add",
        "token.issue",
    ]
    assert "nodes" in Change.objects.values_list("key", flat=True)


@pytest.mark.parametrize("name", ["", "Node", "-a", "a b", "a/b", "a\n", "x" * 64])
def test_a_name_that_is_none_is_refused(name: str, now: datetime) -> None:
    with pytest.raises(nodes.InvalidNode, match="name="):
        nodes.add(name=name, actor=SYSTEM, now=now)

    assert not Node.objects.exists()


def test_a_name_that_is_taken_is_refused_and_gives_no_token(node: Node, now: datetime) -> None:
    with pytest.raises(nodes.InvalidNode, match="there is a node of this name"):
        nodes.add(name=node.name, actor=SYSTEM, now=now)

    assert Token.objects.count() == 1


def test_a_community_is_a_name_too(now: datetime) -> None:
    with pytest.raises(nodes.InvalidNode, match="community="):
        nodes.add(name="node-a", community="Ours!", actor=SYSTEM, now=now)


@pytest.mark.parametrize(
    ("token_file", "token"),
    [('odd "place"/t', {"token_file": 'odd "place"/t'}), ("", {"token_env": "NODE_TOKEN"})],
)
def test_the_configuration_is_toml_that_a_node_reads(
    token_file: str, token: dict[str, str], node: Node
) -> None:
    text = nodes.configuration(
        node=node,
        dashboard_url="http://127.0.0.1:8000",
        listen="127.0.0.1:8101",
        upstream="http://u/v1",
        token_file=token_file,
    )

    settings = tomllib.loads(text)
    assert settings["node"] == {
        "id": "node-a",
        "community": "default",
        "listen": "127.0.0.1:8101",
        "home": "node-a-home",
    }
    assert settings["dashboard"] == {"url": "http://127.0.0.1:8000", **token}
    assert (settings["providers"][0]["kind"], settings["providers"][0]["base_url"]) == (
        "openai",
        "http://u/v1",
    )


def test_what_is_enrolled_can_start(now: datetime) -> None:
    place = Place(dashboard_url="http://127.0.0.1:8000")

    enrolled = nodes.enrol(name="node-a", place=place, actor=SYSTEM, now=now)

    assert tomllib.loads(enrolled.configuration)["node"]["id"] == "node-a"
    assert enrolled.start() == (f"NODE_TOKEN={enrolled.secret} python -m meshcore node --config node-a.toml")


def test_what_could_not_start_is_not_enrolled(now: datetime) -> None:
    place = Place(dashboard_url="http://127.0.0.1:8000", upstream="ollama")

    with pytest.raises(nodes.InvalidNode, match="base_url = 'ollama'"):
        nodes.enrol(name="node-a", place=place, actor=SYSTEM, now=now)

    assert not Node.objects.exists()
    assert not AuditEntry.objects.exists()


@pytest.fixture
def known(node: Node, now: datetime) -> Node:
    """node-a, which was seen, drained and called, and is away."""
    drain.request(node=node, actor=SYSTEM, reason="update", now=now)
    ProviderHealth.objects.create(node=node, key="ollama", state="closed", observed_at=now)
    SpoolMark.objects.create(node=node, spool_id="s1", updated_at=now)
    Transition.objects.create(
        node=node, key="ollama", at=now, received_at=now, from_state="closed", to_state="open"
    )
    Trace.objects.create(
        id=1, trace_id="t1", node=node, started_at=now, received_at=now, outcome="ok", duration_ms=1
    )
    return node


def test_a_forgotten_node_is_gone_and_its_history_stays(known: Node, now: datetime) -> None:
    assert nodes.forget(node=known, actor=SYSTEM, reason="sold", now=now) is True

    assert not Node.objects.exists()
    for model in (DesiredState, NodeLink, ProviderHealth, SpoolMark):
        assert not model.objects.exists()
    trace = Trace.objects.select_related("node").get(node__name="node-a")
    assert trace.node.name == "node-a"
    ended = Drain.objects.get()
    assert (ended.node.name, ended.status, ended.ended_at) == ("node-a", "cancelled", now)
    assert Transition.objects.count() == 1
    assert Token.objects.get().revoked_at == now


def test_forgetting_is_audited_whole(known: Node, now: datetime) -> None:
    nodes.forget(node=known, actor=SYSTEM, reason="sold", now=now)

    entries = AuditEntry.objects.order_by("-n")[:3]
    assert [entry.action for entry in entries] == ["node.forget", "token.revoke", "undrain"]
    assert (entries[0].target, entries[0].reason) == ("node:node-a", "sold")
    assert (entries[0].before or {})["connected"] is False
    assert {"nodes", "providers", "tokens"} <= set(Change.objects.values_list("key", flat=True))


def test_a_forgotten_node_s_token_opens_nothing(now: datetime) -> None:
    node, secret = nodes.add(name="node-a", actor=SYSTEM, now=now)

    nodes.forget(node=node, actor=SYSTEM, reason="sold", now=now)

    with pytest.raises(TokenRejected, match="revoked"):
        tokens.authenticate(secret, address="192.0.2.1", now=now)


def test_a_name_may_be_given_again_and_the_new_node_has_no_past(known: Node, now: datetime) -> None:
    nodes.forget(node=known, actor=SYSTEM, reason="sold", now=now)

    again, _ = nodes.add(name="node-a", actor=SYSTEM, now=now)

    assert Node.objects.get() == again
    assert again != known
    assert again.desired.drain is None
    assert not again.traces.exists()


def test_two_nodes_of_one_name_can_not_be(node: Node, now: datetime) -> None:
    with pytest.raises(IntegrityError):
        Node.objects.create(name=node.name, created_at=now)


def test_a_connected_node_is_forgotten_only_when_that_is_meant(online: Node) -> None:
    with pytest.raises(nodes.NodeConnected, match="node-a is connected"):
        nodes.forget(node=online, actor=SYSTEM, reason="sold")
    assert Node.objects.get() == online

    assert nodes.forget(node=online, actor=SYSTEM, reason="sold", even_connected=True) is True

    assert (AuditEntry.objects.latest("n").before or {})["connected"] is True


def test_who_is_gone_is_not_forgotten_twice(node: Node, now: datetime) -> None:
    nodes.forget(node=node, actor=SYSTEM, reason="sold", now=now)

    assert nodes.forget(node=node, actor=SYSTEM, reason="sold", now=now) is False

    assert AuditEntry.objects.filter(action="node.forget").count() == 1


def test_whoever_still_speaks_for_it_is_too_late(online: Node, now: datetime) -> None:
    hello = Hello(
        node_id="node-a", instance_id="i2", spool_id="s2", clock=now, manifest=Manifest(node_id="node-a")
    )
    nodes.forget(node=online, actor=SYSTEM, reason="sold", even_connected=True)

    readout = Readout(state=NodeState.RUNNING, accepting=True, in_flight=InFlight())
    said = Health(no=1, at=now, node=readout, spool=SpoolReport(size=0, last_seq=0))
    assert health.apply(said=[Said(node=online, connection_no=1, health=said, now=now)]) == [False]
    assert link.close_connection(node=online, connection_no=1, now=now) is False
    with pytest.raises(link.HandshakeRefused, match="forgotten"):
        link.open_connection(node=online, hello=hello, now=now)
    batch = ingest.read(node=online, connection_no=1, telemetry=Telemetry(after=0, to=0), now=now)
    assert ingest.store([batch], now=now) == [ConnectionLost()]
