"""`/api/v1/traces`: calls, and why each went where it went."""

from http import HTTPStatus
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard.api.base import View
from dashboard.api.operation import Filter, operation, page_of
from dashboard.api.problems import Problem
from dashboard.api.reading import is_key, older_of
from dashboard.models import Trace
from dashboard.selectors import traces
from dashboard.selectors.traces import Story

DOCUMENTS = serializers.ListField(child=serializers.DictField())
OUTCOMES = ("ok", "error")
FILTERS = (
    Filter(name="trace_id", says="The id that its node gave it, as in X-Mesh-Trace-Id."),
    Filter(name="node", says="The node that took the call."),
    Filter(name="provider", says="The provider that served it."),
    Filter(name="outcome", says="How it ended.", choices=OUTCOMES),
    Filter(name="code", says="The error's code."),
    Filter(name="failed_over", says="Whether more than one was tried.", choices=("true",)),
)


class TraceSerializer(serializers.ModelSerializer[Trace]):
    """A call; `id` is the dashboard's number of it as text, `trace_id` the node's."""

    id = serializers.CharField()
    node = serializers.CharField(source="node.name")
    outcome = serializers.ChoiceField(choices=OUTCOMES)

    class Meta:
        model = Trace
        exclude: list[str] = []


class TraceStorySerializer(TraceSerializer):
    """A call with every candidate and attempt, as its node wrote them."""

    candidates = serializers.SerializerMethodField()
    attempts = serializers.SerializerMethodField()
    splices = serializers.SerializerMethodField()
    alias_skips = serializers.SerializerMethodField()
    message = serializers.SerializerMethodField()

    @property
    def _story(self) -> Story:
        story: Story = self.context["story"]
        return story

    @extend_schema_field(DOCUMENTS)
    def get_candidates(self, trace: Trace) -> Any:
        """Return who was looked at."""
        return self._story.candidates

    @extend_schema_field(DOCUMENTS)
    def get_attempts(self, trace: Trace) -> Any:
        """Return what was tried."""
        return self._story.attempts

    @extend_schema_field(DOCUMENTS)
    def get_splices(self, trace: Trace) -> Any:
        """Return where another provider went on with a broken answer."""
        return self._story.splices

    @extend_schema_field(DOCUMENTS)
    def get_alias_skips(self, trace: Trace) -> Any:
        """Return which entries of the alias were passed over."""
        return self._story.alias_skips

    def get_message(self, trace: Trace) -> str:
        """Return the error's text."""
        return self._story.message


class Traces(View):
    """Calls, newest first."""

    @operation(
        "traces_list", answers={200: page_of("TracePage", TraceSerializer)}, filters=FILTERS, cursor=(int,)
    )
    def get(self, request: Request) -> Response:
        """Return a page of calls. A page may be empty and not the last: filters look through 20 000 calls."""
        query = self.query(request)
        wanted = traces.TraceFilter(
            trace_id=query["trace_id"],
            node=query["node"],
            provider=query["provider"],
            outcome=query["outcome"],
            code=query["code"],
            failed_over=query["failed_over"] == "true",
        )
        page = traces.page(wanted=wanted, cursor=query.cursor, rows=query.limit)
        return Response(query.numbered(page.rows, TraceSerializer, older=older_of(page)))


class OneTrace(View):
    """One call, by the dashboard's id of it."""

    @operation("trace_read", answers={200: TraceStorySerializer})
    def get(self, request: Request, trace: str) -> Response:
        """Return a call with its candidates and attempts."""
        self.query(request)
        story = traces.story(trace_pk=int(trace)) if is_key(trace) else None
        if story is None:
            said = f"There is no trace {trace[:80]!r}; the ids of nodes go to ?trace_id=."
            raise Problem(HTTPStatus.NOT_FOUND, said)
        return Response(TraceStorySerializer(story.trace, context={"story": story}).data)
