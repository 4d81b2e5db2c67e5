"""`/api/v1/nodes`: who is in the mesh, how each is, and who comes in."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from django.conf import settings
from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from dashboard.api.base import View, is_node_name, node_named
from dashboard.api.body import LINE, Key, Shape, no_body, raw_json
from dashboard.api.operation import REASON, Filter, Link, operation, page_of
from dashboard.api.problems import Problem
from dashboard.api.serializers import NodeDetailSerializer, NodeSerializer
from dashboard.models import Action
from dashboard.selectors import nodes as selector
from dashboard.selectors.observed import fresh
from dashboard.services import audit, nodes
from dashboard.services.nodes import Enrolled, InvalidNode, Place
from dashboard.services.rights import Right
from meshcore.clock import utcnow

UNREAD = audit.node_target("?")  # the target of a refusal whose body named none
NAME = {"pattern": "^[a-z0-9][a-z0-9._-]{0,62}$"}
BODY = Shape(
    keys={
        "id": Key(LINE, "Its name in the mesh, for ever.", required=True, bounds=NAME),
        "community": Key(LINE, "Nodes call only nodes of their own; `default` if none.", bounds=NAME),
        "listen": Key(LINE, f"HOST:PORT where it will answer; {nodes.LISTEN} if none."),
        "upstream": Key(LINE, f"The OpenAI-compatible URL behind it; {nodes.UPSTREAM} if none."),
    },
    example={"id": "laptop", "upstream": "http://127.0.0.1:11434/v1"},
)
NOBODY = slice(0)  # the list has neither traffic nor breakers
EVEN_CONNECTED = Filter(
    name="even_connected", says="Also when it is connected, which ends its link.", choices=("true", "false")
)


class NewNodeSerializer(serializers.Serializer[Any]):
    """A node just added; `token` is shown this once."""

    id = serializers.CharField(source="node.name")
    community = serializers.CharField(source="node.community")
    token = serializers.CharField(
        source="secret", help_text="With it the node dials in; as NODE_TOKEN in its environment."
    )
    configuration = serializers.CharField(help_text="Its node.toml, to start with and to change.")


IT = {"name": "$response.body#/id"}


class Nodes(View):
    """All nodes, by name."""

    @operation("nodes_list", answers={200: page_of("NodePage", NodeSerializer)}, cursor=(str,))
    def get(self, request: Request) -> Response:
        """Return a page of nodes, in order of their names."""
        query = self.query(request)
        after = str(query.place[0]) if query.place else ""
        found = sorted(selector.gather(now=utcnow(), show=NOBODY).nodes, key=lambda node: node.name)
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
                "forget": Link(to="node_forget", parameters=IT),
            }
        },
    )
    def post(self, request: Request) -> Response:
        """Add a node, and return what it is started with."""
        with self.attempt(request, Action.NODE_ADD, UNREAD) as attempt:
            self.query(request)
            wanted = BODY.read(raw_json(request))
            attempt.target = audit.node_target(wanted["id"]) if is_node_name(wanted["id"]) else UNREAD
            enrolled = self._enrol(request, wanted)
        where = reverse("api:node", args=[enrolled.node.name])
        told = NewNodeSerializer(enrolled).data
        return Response(told, status=HTTPStatus.CREATED, headers={"Location": where})

    def _enrol(self, request: Request, wanted: Mapping[str, str]) -> Enrolled:
        place = Place(
            dashboard_url=settings.MESH_URL.origin,
            listen=wanted.get("listen", nodes.LISTEN),
            upstream=wanted.get("upstream", nodes.UPSTREAM),
        )
        community = wanted.get("community", "default")
        try:
            return nodes.enrol(name=wanted["id"], community=community, place=place, actor=self.actor(request))
        except InvalidNode as exc:
            if not is_node_name(wanted["id"]) or fresh(name=wanted["id"]) is None:
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
        node = selector.gather(now=utcnow(), show=name).named(name)
        if node is None or node.stored is None:
            raise Problem(HTTPStatus.NOT_FOUND, f"There is no node {name[:80]!r}.")
        return Response(NodeDetailSerializer(node).data)

    @operation(
        "node_forget",
        answers={204: OpenApiResponse(None, "It is forgotten.")},
        right=Right.ADMIN,
        filters=(REASON, EVEN_CONNECTED),
        refuses={HTTPStatus.CONFLICT: "It is connected; stop it first, or say `even_connected`."},
    )
    def delete(self, request: Request, name: str) -> Response:
        """Take the node out of the mesh: its tokens end, its traces, drains and audit stay."""
        node = node_named(name)
        with self.attempt(request, Action.NODE_FORGET, audit.node_target(name)):
            query = self.query(request)
            no_body(request)
            nodes.forget(
                node=node,
                actor=self.actor(request),
                reason=query["reason"],
                even_connected=query["even_connected"] == "true",
            )
        return Response(status=HTTPStatus.NO_CONTENT)
