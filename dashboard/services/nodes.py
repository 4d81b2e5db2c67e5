"""Nodes come into the mesh here: a name, a token of their own, and the configuration to start them with."""

import json
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import transaction

from dashboard.models import NODE_NAME, Action, DesiredState, Node, NodeLink
from dashboard.services import audit, changes, tokens
from dashboard.services.actor import Actor
from meshcore.clock import utcnow

TOKEN_VARIABLE = "NODE_TOKEN"  # noqa: S105 - the name of a variable


class InvalidNode(ValueError):
    """A node can't be added like this; the message names the value and what is allowed."""


def add(
    *, name: str, actor: Actor, community: str = "default", now: datetime | None = None
) -> tuple[Node, str]:
    """Add a node and return it with its token's secret, which can't be had again. Raises InvalidNode."""
    now = now or utcnow()
    _check_name("name", name)
    _check_name("community", community)
    with transaction.atomic():
        head = audit.locked_head()
        if Node.objects.filter(name=name).exists():
            raise InvalidNode(f"name={name!r}: there is a node of this name; names are unique in the mesh")
        node = Node.objects.create(name=name, community=community, created_at=now)
        DesiredState.objects.create(node=node, changed_at=now)
        NodeLink.objects.create(node=node)
        audit.record(
            head=head,
            actor=actor,
            action=Action.NODE_ADD,
            target=audit.node_target(name),
            after={"community": community},
            now=now,
        )
        token, secret = tokens.node_token(node=node, actor=actor, now=now)
        tokens.store(token, head=head, actor=actor, now=now)
        changes.publish("nodes", f"node:{name}", "tokens", "audit", now=now)
    return node, secret


def configuration(
    *,
    node: Node,
    dashboard_url: str,
    listen: str,
    upstream: str,
    token_file: str = "",
    mesh_secret_file: str = "",
) -> str:
    """Return the configuration, as TOML, of a node with one provider: any OpenAI-compatible URL, `upstream`.

    Without `token_file` the token comes from the environment, as NODE_TOKEN; without `mesh_secret_file` the
    node serves its own clients only.
    """
    token = f"token_file = {json.dumps(token_file)}" if token_file else f'token_env = "{TOKEN_VARIABLE}"'
    return CONFIGURATION.format(
        name=json.dumps(node.name),
        community=json.dumps(node.community),
        listen=json.dumps(listen),
        home=json.dumps(f"{node.name}-home"),
        url=json.dumps(dashboard_url),
        upstream=json.dumps(upstream),
        token=token,
        mesh_secret=f"mesh_secret_file = {json.dumps(mesh_secret_file)}\n" if mesh_secret_file else "",
    )


def _check_name(field: str, name: str) -> None:
    try:
        NODE_NAME(name)
    except ValidationError as exc:
        raise InvalidNode(f"{field}={name[:80]!r}: expected {exc.message}") from exc


# The strings are written as JSON, which TOML's basic strings read alike.
CONFIGURATION = """\
[node]
id = {name}
community = {community}
listen = {listen}
home = {home}
{mesh_secret}
[dashboard]
url = {url}
{token}

[[providers]]
name = "local"
kind = "openai"
base_url = {upstream}
models = []  # those that the provider names itself
"""
