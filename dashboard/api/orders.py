"""Orders to several nodes at once: what became of each."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard.api.base import node_named
from dashboard.api.body import BodyError
from dashboard.api.preconditions import condition, is_conditional
from dashboard.api.problems import Problem
from dashboard.api.serializers import OrderSerializer
from dashboard.models import Node
from dashboard.selectors.observed import Observed, desired_of, fresh, observed
from dashboard.services.desired import Ordered
from meshcore.clock import utcnow


class OneOrderedSerializer(OrderSerializer):
    """What became of an order to one node."""

    changed = serializers.BooleanField(help_text="False: it was asked for already, just so.")


class OrderedSerializer(serializers.Serializer[Any]):
    """What became of an order to each node."""

    results = OneOrderedSerializer(many=True)


ORDERED = {
    200: OpenApiResponse(OrderedSerializer, "It is so already, on each of these nodes; there may be none."),
    202: OpenApiResponse(OrderedSerializer, "Ordered; some node has not confirmed it yet."),
}


def answer(ordered: Sequence[Ordered]) -> Response:
    """Return what became of orders: 200 when all nodes act on them already, else 202."""
    now = utcnow()
    results = []
    for each in ordered:
        node = node_named(each.node.name)
        how_far = observed(node=node, now=now)
        order = {"node": node, "desired": desired_of(node), "observed": how_far, "changed": each.changed}
        results.append(order)
    done = all(order["observed"] is Observed.OBSERVED for order in results)
    status = HTTPStatus.OK if done else HTTPStatus.ACCEPTED
    return Response(OrderedSerializer({"results": results}).data, status=status.value)


def node_in(name: str | None) -> Node | None:
    """Return the node that a body or query names as `node`, None when it names none. Raises BodyError."""
    if name is None:
        return None
    node = fresh(name=name)
    if node is None:
        raise BodyError(f"node is {name[:80]!r}; expected the name of a node.", field="node")
    return node


def only_at(request: Request, node: Node | None) -> int | None:
    """Return the generation that a request insists on; without a node there is none to insist on."""
    if node is not None:
        return condition(request, current=desired_of(node).generation)
    if is_conditional(request):
        said = "Every node has a generation of its own: If-Match needs an order to one node."
        raise Problem(HTTPStatus.BAD_REQUEST, said, field="If-Match")
    return None
