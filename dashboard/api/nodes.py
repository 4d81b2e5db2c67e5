"""`/api/v1/nodes`: who is in the mesh, how each is, and who comes in."""

from http import HTTPStatus
from typing import Any

from django.conf import settings
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from dashboard.api.base import View
from dashboard.api.body import LINE, Key, Shape, raw_json
from dashboard.api.operation import Link, operation, page_of
from dashboard.api.problems import Problem
from dashboard.api.serializers import NodeDetailSerializer, NodeSerializer
from dashboard.models import Action, Node
from dashboard.selectors import nodes as selector
from dashboard.selectors.observed import fresh
from dashboard.services import audit, nodes
from dashboard.services.nodes import InvalidNode
from dashboard.services.rights import Right
from meshcore.clock import utcnow

UNREAD = audit.node_target("?")  # the target of a refusal whose body named none
TARGET_MAX_CHARACTERS = 100
NAME = {"pattern": "^[a-z0-9][a-z0-9._-]{0,62}$"}
BODY = Shape(
    keys={
        "id": Key(LINE, "Its name in the mesh, for ever.", required=True, bounds=NAME),
        "community": Key(LINE, "Nodes call only nodes of their own; `default` if none.", bounds=NAME),
    },
    example={"id": "laptop"},
)
LISTEN = "127.0.0.1:8120"
UPSTREAM = "http://127.0.0.1:11434/v1"  # both for whoever starts the node to change, as with add_node


class NewNodeSerializer(serializers.Serializer[Any]):
    """A node just added; `token` is shown this once."""

    id = serializers.CharField(source="node.name")
    community = serializers.CharField(source="node.community")
    token = serializers.CharField(help_text="With it the node dials in; as NODE_TOKEN in its environment.")
    configuration = serializers.CharField(help_text="Its node.toml, to start with and to change.")


IT = {"name": "$response.body#/id"}


class Nodes(View):
    """All nodes, by name."""

    @operation("nodes_list", answers={200: page_of("NodePage", NodeSerializer)}, cursor=(str,))
    def get(self, request: Request) -> Response:
        """Return a page of nodes, in order of their names."""
        query = self.query(request)
        after = str(query.place[0]) if query.place else ""
        found = sorted(selector.gather(now=utcnow()).nodes, key=lambda node: node.name)
        behind = [node for node in found if node.name > after]
        return Response(query.sliced(behind, NodeSerializer, key=lambda node: (node.name,)))

    @operation(
        "node_add",
        answers={201: NewNodeSerializer},
        right=Right.ADMIN,
        bodies=(BODY,),
        refuses={HTTPStatus.CONFLICT: "There is a node of this name."},
        links={
            201: {
                "read": Link(to="node_read", parameters=IT),
                "drain": Link(to="drain_put", parameters=IT),
                "aliases": Link(to="node_aliases_put", parameters=IT),
            }
        },
    )
    def post(self, request: Request) -> Response:
        """Add a node, and return what it is started with."""
        with self.attempt(request, Action.NODE_ADD, UNREAD) as attempt:
            self.query(request)
            wanted = BODY.read(raw_json(request))
            attempt.target = audit.node_target(wanted["id"][:TARGET_MAX_CHARACTERS])
            node, secret = self._add(request, wanted["id"], wanted.get("community", "default"))
        configuration = nodes.configuration(
            node=node, dashboard_url=settings.MESH_URL.origin, listen=LISTEN, upstream=UPSTREAM
        )
        told = NewNodeSerializer({"node": node, "token": secret, "configuration": configuration}).data
        where = reverse("api:node", args=[node.name])
        return Response(told, status=HTTPStatus.CREATED, headers={"Location": where})

    def _add(self, request: Request, name: str, community: str) -> tuple[Node, str]:
        try:
            return nodes.add(name=name, community=community, actor=self.actor(request))
        except InvalidNode as exc:
            if fresh(name=name) is None:
                raise
            raise Problem(HTTPStatus.CONFLICT, str(exc), field="id") from exc


class OneNode(View):
    """One node."""

    @operation(
        "node_read",
        answers={200: NodeDetailSerializer},
        links={200: {"drain": Link(to="drain_read", parameters=IT)}},
    )
    def get(self, request: Request, name: str) -> Response:
        """Return a node with its breakers and readout."""
        self.query(request)
        node = selector.gather(now=utcnow()).named(name)
        if node is None:
            raise Problem(HTTPStatus.NOT_FOUND, f"There is no node {name[:80]!r}.")
        return Response(NodeDetailSerializer(node).data)
