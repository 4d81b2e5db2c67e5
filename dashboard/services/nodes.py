"""Nodes come into the mesh and leave it here.

A new one gets a name, a token of its own, and the configuration to start it with. One that is forgotten loses
its tokens and all that is asked of it; its traces, its drains and the audit trail keep its name.
"""

import json
import shlex
from dataclasses import dataclass
from datetime import datetime

from django.core.exceptions import ValidationError
from django.db import transaction

from dashboard.models import (
    NODE_NAME,
    Action,
    ControlHead,
    DesiredState,
    DrainStatus,
    Node,
    NodeLink,
    ProviderHealth,
    SpoolMark,
)
from dashboard.services import audit, changes, desired, drain_record, link, tokens
from dashboard.services.actor import Actor
from meshcore.clock import utcnow
from meshcore.config import parse_config
from meshcore.errors import ConfigError

TOKEN_VARIABLE = "NODE_TOKEN"  # noqa: S105 - the name of a variable
LISTEN = "127.0.0.1:8120"  # where a node of its own answers, unless told otherwise
UPSTREAM = "http://127.0.0.1:11434/v1"
PROGRAM = "-m meshcore node --config"
EDITABLE = {"MESH_GATEWAY_ALLOW_PLAIN_HTTP": "true"}  # the file's owner decides that; the node insists on it
ALONE = (
    "To share calls with the others it needs their secret: name its file under [node] as mesh_secret_file,"
    " or its variable as mesh_secret_env."
)


class InvalidNode(ValueError):
    """A node can't be added like this; the message names the value and what is allowed."""


class NodeConnected(Exception):
    """The node is connected: to forget it ends its link, and has to be asked for by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a node will stand, and what it stands between."""

    dashboard_url: str
    listen: str = LISTEN
    upstream: str = UPSTREAM
    token_file: str = ""
    mesh_secret_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """A node that was just added, with what starts it; `secret` can't be had again."""

    node: Node
    secret: str
    configuration: str

    @property
    def file(self) -> str:
        """The name under which its configuration is to be saved."""
        return f"{self.node.name}.toml"

    def start(self, *, python: str = "python") -> str:
        """Return the command that starts it, with its token in the environment."""
        return f"{TOKEN_VARIABLE}={self.secret} {start(self.file, python=python)}"


def start(file: str, *, python: str = "python") -> str:
    """Return the command that starts a node by its configuration."""
    return f"{python} {PROGRAM} {shlex.quote(file)}"


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


def enrol(
    *, name: str, place: Place, actor: Actor, community: str = "default", now: datetime | None = None
) -> Enrolled:
    """Add a node and return all that starts it. Raises InvalidNode, also for what could not start."""
    with transaction.atomic():
        node, secret = add(name=name, community=community, actor=actor, now=now)
        text = configuration(
            node=node,
            dashboard_url=place.dashboard_url,
            listen=place.listen,
            upstream=place.upstream,
            token_file=place.token_file,
            mesh_secret_file=place.mesh_secret_file,
        )
        try:
            environ = {TOKEN_VARIABLE: secret, **EDITABLE}
            parse_config(text, path="its node.toml", environ=environ, read_file=lambda _: secret)
        except ConfigError as exc:
            raise InvalidNode(str(exc)) from exc
    return Enrolled(node=node, secret=secret, configuration=text)


def forget(
    *, node: Node, actor: Actor, reason: str, even_connected: bool = False, now: datetime | None = None
) -> bool:
    """Take a node out of the mesh; False: it was gone already. Raises NodeConnected unless `even_connected`.

    Its tokens end, and with them its link; what is asked of it and what it said last is deleted. Traces,
    drains and breakers' past stay under its name, which may be given to another node.
    """
    now = now or utcnow()
    with transaction.atomic():
        head = audit.locked_head()
        found = Node.objects.select_for_update(no_key=True).filter(pk=node.pk).first()  # as a handshake does
        if found is None:
            return False
        connected = _is_connected(found, now=now)
        if connected and not even_connected:
            raise NodeConnected(f"{node.name} is connected: stop it first, or forget it all the same")
        _end_drain(found, head=head, actor=actor, now=now)
        tokens.revoke_of_node(node=found, head=head, actor=actor, reason=f"{node.name} is forgotten", now=now)
        _clear(found, now=now)
        audit.record(
            head=head,
            actor=actor,
            action=Action.NODE_FORGET,
            target=audit.node_target(found.name),
            before={
                "community": found.community,
                "added_at": found.created_at.isoformat(),
                "connected": connected,
            },
            reason=reason,
            now=now,
        )
        about = (f"node:{found.name}", f"providers:{found.name}")
        changes.publish(*about, "nodes", "providers", "drains", "tokens", "audit", now=now)
    return True


def _is_connected(node: Node, *, now: datetime) -> bool:
    connection = NodeLink.objects.filter(node=node).first()
    return connection is not None and link.is_connected(node, connection, now=now)


def _end_drain(node: Node, *, head: ControlHead, actor: Actor, now: datetime) -> None:
    state = desired.locked(node=node, now=now)
    drain = drain_record.active(head, state, node, now=now)
    if drain is not None:
        reason = "the node is forgotten"
        drain_record.end(head, state, drain, DrainStatus.CANCELLED, actor=actor, reason=reason, now=now)


def _clear(node: Node, *, now: datetime) -> None:
    """Delete what a node is asked for and said last; whoever still writes for its connection is too late."""
    for model in (NodeLink, DesiredState, ProviderHealth, SpoolMark):  # in the order of ingest's locks
        model.objects.filter(node=node).delete()
    node.forgotten_at = now
    node.save(update_fields=["forgotten_at"])


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
