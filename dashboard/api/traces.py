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
from dashboard.api.reading import Query, is_key, older_of
from dashboard.models import Trace
from dashboard.selectors import traces
from dashboard.selectors.traces import Story, TraceFilter
from meshcore.trace import Reason

DOCUMENTS = serializers.ListField(child=serializers.DictField())
OUTCOMES = ("ok", "error")
REASONS = tuple(reason.value for reason in Reason)
FILTERS = (
    Filter(name="trace_id", says="The id that its node gave it, as in X-Mesh-Trace-Id."),
    Filter(name="node", says="The node that took the call."),
    Filter(name="provider", says="The provider that served it."),
    Filter(name="outcome", says="How it ended.", choices=OUTCOMES),
    Filter(name="code", says="The error's code."),
    Filter(name="failed_over", says="Whether more than one was tried.", choices=("true",)),
    Filter(name="alias", says="The alias that led there."),
    Filter(name="capability", says="The capability that was called."),
    Filter(name="model", says="The model that was asked for, or that answered."),
    Filter(name="caller", says="Who called."),
    Filter(name="served_by", says="The node that answered."),
    Filter(name="skipped", says="Why somebody was passed over.", choices=REASONS),
    Filter(name="error_signature", says="What errors of one kind have in common, as a call's own tells."),
    Filter(name="duration_ms_min", says="The least that it took.", number=True),
    Filter(name="duration_ms_max", says="The most that it took.", number=True),
    Filter(name="ttft_ms_min", says="The least until its first token.", number=True),
    Filter(name="tokens_min", says="The least tokens, in and out.", number=True),
    Filter(name="since", says="Stored here from this moment on; calls told late are later.", moment=True),
    Filter(name="until", says="Stored here before this moment.", moment=True),
)


TEXTS = (
    *("trace_id", "node", "provider", "outcome", "code", "alias", "capability", "model", "caller"),
    *("served_by", "skipped"),
)
NUMBERS = tuple(each.name for each in FILTERS if each.number)


class TraceSerializer(serializers.ModelSerializer[Trace]):
    """A call; `id` is the dashboard's number of it as text, `trace_id` the node's."""

    id = serializers.CharField()
    node = serializers.CharField(source="node.name")
    outcome = serializers.ChoiceField(choices=OUTCOMES)
    error_signature = serializers.CharField(source="error_signature.text", default=None, allow_null=True)

    class Meta:
        model = Trace
        exclude = ["skipped"]


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


SEARCHED_TO = serializers.DateTimeField(
    allow_null=True, help_text="How far back a filter without an index has looked; `next` goes on."
)


class Traces(View):
    """Calls, newest first."""

    @operation(
        "traces_list",
        answers={200: page_of("TracePage", TraceSerializer, searched_to=SEARCHED_TO)},
        filters=FILTERS,
        cursor=(int,),
    )
    def get(self, request: Request) -> Response:
        """Return a page of calls.

        A page may be empty and not the last: filters without an index look through 20 000 calls, or for 80
        ms, and `searched_to` tells how far back that was.
        """
        query = self.query(request)
        page = traces.page(wanted=_wanted(query), cursor=query.cursor, rows=query.limit)
        told = query.numbered(page.rows, TraceSerializer, older=older_of(page))
        reached = None if page.searched_to is None else traces.moment_of(page.searched_to)
        return Response(told | {"searched_to": reached})


def _wanted(query: Query) -> TraceFilter:
    said = query["error_signature"]
    named: dict[str, Any] = {name: query[name] for name in TEXTS}
    return TraceFilter(
        failed_over=query["failed_over"] == "true",
        signature=traces.signature_of(text=said) if said else None,
        since=query.moment("since"),
        until=query.moment("until"),
        **named | {name: query.number(name) for name in NUMBERS},
    )


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
