"""`/api/v1/drains`: every drain there was, and the steps of one."""

from http import HTTPStatus
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard.api.base import View
from dashboard.api.operation import Filter, operation, page_of
from dashboard.api.problems import Problem
from dashboard.api.reading import is_key
from dashboard.api.serializers import DrainSerializer, StepSerializer
from dashboard.models import DrainStatus
from dashboard.selectors import drain_pages
from dashboard.selectors.drain_pages import DrainFilter

FILTERS = (
    Filter(name="node", says="Drains of this node."),
    Filter(name="status", says="How they stand.", choices=tuple(status.value for status in DrainStatus)),
)


class DrainRecordSerializer(serializers.Serializer[Any]):
    """A drain with its steps from both sides, the first 1000 of them; `left_out` counts the others."""

    drain = DrainSerializer()
    steps = StepSerializer(many=True)
    left_out = serializers.IntegerField()


class Drains(View):
    """Drains, newest first."""

    @operation(
        "drains_list", answers={200: page_of("DrainPage", DrainSerializer)}, filters=FILTERS, cursor=(int,)
    )
    def get(self, request: Request) -> Response:
        """Return a page of drains."""
        query = self.query(request)
        wanted = DrainFilter(node=query["node"], status=query["status"])
        page = drain_pages.page(wanted=wanted, cursor=query.cursor, rows=query.limit)
        return Response(query.keyset_page(page, DrainSerializer))


class OneDrain(View):
    """One drain."""

    @operation("drain_record", answers={200: DrainRecordSerializer})
    def get(self, request: Request, drain: str) -> Response:
        """Return a drain with its steps."""
        self.query(request)
        found = drain_pages.record(drain_pk=int(drain)) if is_key(drain) else None
        if found is None:
            raise Problem(HTTPStatus.NOT_FOUND, f"There is no drain {drain[:80]!r}.")
        return Response(DrainRecordSerializer(found).data)
