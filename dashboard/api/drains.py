"""`/api/v1/drains`: every drain there was, and the steps of one."""

from http import HTTPStatus

from rest_framework.request import Request
from rest_framework.response import Response

from dashboard.api.base import View
from dashboard.api.operation import Filter, operation, page_of
from dashboard.api.problems import Problem
from dashboard.api.reading import is_key, older_of
from dashboard.api.serializers import DrainRecordSerializer, DrainSerializer
from dashboard.models import DrainStatus
from dashboard.selectors import drain_list, drain_record
from dashboard.selectors.drain_list import DrainFilter
from meshcore.clock import utcnow

FILTERS = (
    Filter(name="node", says="Drains of this node."),
    Filter(name="by", says="Drains that this user or token asked for."),
    Filter(name="status", says="How they stand.", choices=tuple(status.value for status in DrainStatus)),
)


class Drains(View):
    """Drains, newest first."""

    @operation(
        "drains_list", answers={200: page_of("DrainPage", DrainSerializer)}, filters=FILTERS, cursor=(int,)
    )
    def get(self, request: Request) -> Response:
        """Return a page of drains."""
        query = self.query(request)
        wanted = DrainFilter(node=query["node"], status=query["status"], by=query["by"])
        found = drain_list.page(wanted=wanted, cursor=query.cursor, now=utcnow(), rows=query.limit)
        return Response(query.numbered(found.rows, DrainSerializer, older=older_of(found.page)))


class OneDrain(View):
    """One drain."""

    @operation("drain_record", answers={200: DrainRecordSerializer})
    def get(self, request: Request, drain: str) -> Response:
        """Return a drain with its steps."""
        self.query(request)
        found = drain_record.read(pk=int(drain), now=utcnow()) if is_key(drain) else None
        if found is None:
            raise Problem(HTTPStatus.NOT_FOUND, f"There is no drain {drain[:80]!r}.")
        return Response(DrainRecordSerializer(found).data)
