"""`/api/v1/nodes`: who is in the mesh, and how each is."""

from http import HTTPStatus

from rest_framework.request import Request
from rest_framework.response import Response

from dashboard.api.base import View
from dashboard.api.operation import Link, operation, page_of
from dashboard.api.problems import Problem
from dashboard.api.serializers import NodeDetailSerializer, NodeSerializer
from dashboard.selectors import nodes
from meshcore.clock import utcnow


class Nodes(View):
    """All nodes, by name."""

    @operation("nodes_list", answers={200: page_of("NodePage", NodeSerializer)}, cursor=(str,))
    def get(self, request: Request) -> Response:
        """Return a page of nodes, in order of their names."""
        query = self.query(request)
        after = query.place[0] if query.place else ""
        found = sorted(nodes.gather(now=utcnow()).nodes, key=lambda node: node.name)
        behind = [node for node in found if node.name > str(after)]
        return Response(query.sliced(behind, NodeSerializer, key=lambda node: (node.name,)))


class OneNode(View):
    """One node."""

    @operation(
        "node_read",
        answers={200: NodeDetailSerializer},
        links={200: {"drain": Link(to="drain_read", parameters={"name": "$response.body#/id"})}},
    )
    def get(self, request: Request, name: str) -> Response:
        """Return a node with its breakers and readout."""
        self.query(request)
        node = nodes.gather(now=utcnow()).named(name)
        if node is None:
            raise Problem(HTTPStatus.NOT_FOUND, f"There is no node {name[:80]!r}.")
        return Response(NodeDetailSerializer(node).data)
