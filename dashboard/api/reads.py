"""What the API lets tokens read: nodes, traces, the audit trail."""

from http import HTTPStatus
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard.api.base import View
from dashboard.api.problems import Problem
from dashboard.api.reading import LIMIT_MAX, Query, is_key
from dashboard.api.serializers import (
    AuditSerializer,
    NodeDetailSerializer,
    NodeSerializer,
    TraceSerializer,
    TraceStorySerializer,
)
from dashboard.models import AuditEntry
from dashboard.selectors import keyset, nodes, traces
from dashboard.services.rights import Right
from meshcore.clock import utcnow

TRACE_FILTERS = ("trace_id", "node", "provider", "outcome", "code")
AUDIT_FILTERS = {"actor": "actor_name", "action": "action", "target": "target"}


def asked_for(*filters: str) -> list[OpenApiParameter]:
    """Return the parameters of a list, for the schema."""
    limit = OpenApiParameter("limit", int, description=f"1 to {LIMIT_MAX} rows")
    return [*(OpenApiParameter(name, str) for name in filters), OpenApiParameter("cursor", int), limit]


def page_of(name: str, serializer: type[serializers.BaseSerializer[Any]]) -> Any:
    """Return the shape of a page of what `serializer` writes, for the schema."""
    return inline_serializer(
        name, {"results": serializer(many=True), "next": serializers.CharField(allow_null=True)}
    )


class Nodes(View):
    """All nodes, by name."""

    @extend_schema(operation_id="nodes_list", responses=page_of("NodePage", NodeSerializer))
    def get(self, request: Request) -> Response:
        """Return all nodes; their number is bounded by the mesh."""
        found = sorted(nodes.gather(now=utcnow()).nodes, key=lambda node: node.name)
        return Response({"results": NodeSerializer(found, many=True).data, "next": None})


class OneNode(View):
    """One node."""

    @extend_schema(responses=NodeDetailSerializer)
    def get(self, request: Request, name: str) -> Response:
        """Return a node with its breakers and readout."""
        node = nodes.gather(now=utcnow()).named(name)
        if node is None:
            raise Problem(HTTPStatus.NOT_FOUND, f"There is no node {name[:80]!r}.")
        return Response(NodeDetailSerializer(node).data)


class Traces(View):
    """Calls, newest first."""

    @extend_schema(
        operation_id="traces_list",
        parameters=asked_for(*TRACE_FILTERS),
        responses=page_of("TracePage", TraceSerializer),
    )
    def get(self, request: Request) -> Response:
        """Return a page of calls."""
        query = Query(request, filters=TRACE_FILTERS)
        wanted = traces.TraceFilter(
            trace_id=query.filter("trace_id"),
            node=query.filter("node"),
            provider=query.filter("provider"),
            outcome=query.filter("outcome"),
            code=query.filter("code"),
        )
        page = traces.page(wanted=wanted, cursor=query.cursor, rows=query.limit)
        older = page.older if page.older is not None else page.searched_to
        return Response(query.page(TraceSerializer(page.rows, many=True).data, older=older))


class OneTrace(View):
    """One call, by the dashboard's id of it."""

    @extend_schema(responses=TraceStorySerializer)
    def get(self, request: Request, trace: str) -> Response:
        """Return a call with its candidates and attempts."""
        story = traces.story(trace_pk=int(trace)) if is_key(trace) else None
        if story is None:
            raise Problem(
                HTTPStatus.NOT_FOUND, f"There is no trace {trace[:80]!r}; the ids of nodes go to ?trace_id=."
            )
        return Response(TraceStorySerializer(story.trace, context={"story": story}).data)


class Audit(View):
    """The audit trail, newest first."""

    right = Right.AUDIT_READ

    @extend_schema(
        operation_id="audit_list",
        parameters=asked_for(*AUDIT_FILTERS),
        responses=page_of("AuditPage", AuditSerializer),
    )
    def get(self, request: Request) -> Response:
        """Return a page of entries."""
        query = Query(request, filters=AUDIT_FILTERS)
        wanted = {column: query.filter(name) for name, column in AUDIT_FILTERS.items() if query.filter(name)}
        page = keyset.page(AuditEntry.objects.filter(**wanted), cursor=query.cursor, rows=query.limit)
        return Response(query.page(AuditSerializer(page.rows, many=True).data, older=page.older))
