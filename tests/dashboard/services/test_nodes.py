"""Adding a node: its token once, its configuration ready."""

import tomllib
from datetime import datetime

import pytest

from dashboard.models import AuditEntry, Change, DesiredState, Node, Token
from dashboard.services import nodes, tokens
from dashboard.services.actor import SYSTEM

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
