"""`/api/v1/runs`: which runs live and have ended, who owned which part of one, and the cancelling of one."""

from http import HTTPStatus
from typing import Any

from drf_spectacular.utils import OpenApiResponse, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard.api.base import View
from dashboard.api.body import TEXT, Key, Shape, raw_json
from dashboard.api.operation import Filter, operation, page_of
from dashboard.api.problems import Problem
from dashboard.api.reading import older_of
from dashboard.models import Action
from dashboard.selectors import runs
from dashboard.selectors.run_ribbon import Ribbon, ribbon
from dashboard.selectors.runs import RunFilter, RunRow
from dashboard.services import outbox
from dashboard.services.outbox import CancelObserved
from dashboard.services.rights import Right
from meshcore.clock import utcnow
from meshcore.run_events import RunStatus

BODY = Shape(
    keys={"reason": Key(TEXT, "Why; kept in the audit.", bounds={"maxLength": 500})},
    example={"reason": "asked for the wrong thing"},
)
UNREAD = "run:?"  # the target of a refusal whose address names none
FILTERS = (
    Filter(name="node", says="Runs that this node owns, or owned last."),
    Filter(name="status", says="How they stand.", choices=tuple(status.value for status in RunStatus)),
    Filter(name="live", says="Whether only those that have not ended.", choices=("true",)),
)


class RunSerializer(serializers.Serializer[Any]):
    """A run, by the last word of the node that owns it; one is known once a node has claimed or ended it."""

    id = serializers.CharField(source="run.run_id")
    status = serializers.ChoiceField(source="run.status", choices=list(RunStatus))
    reason = serializers.CharField(source="run.reason", allow_blank=True, help_text="Why it ended.")
    owner = serializers.CharField(
        source="run.owner", allow_blank=True, help_text="Of one that has ended, or waits: the last one."
    )
    owner_heard = serializers.BooleanField(
        help_text="False: the owner of this live run is not heard now, and all this is its last word."
    )
    epoch = serializers.IntegerField(source="run.epoch", help_text="How often it was claimed.")
    takeovers = serializers.IntegerField(
        source="run.takeovers", help_text="Claims whose owner before had died."
    )
    last_seq = serializers.IntegerField(source="run.last_seq")
    chunks = serializers.IntegerField(source="run.chunks")
    capability = serializers.CharField(source="run.capability", allow_blank=True)
    model = serializers.CharField(source="run.model", allow_blank=True)
    provider = serializers.CharField(source="run.provider", allow_blank=True)
    caller = serializers.CharField(source="run.caller", allow_blank=True)
    cancelled_by = serializers.CharField(source="run.cancelled_by", allow_blank=True)
    usage = serializers.DictField(source="run.usage", allow_null=True)
    created_at = serializers.DateTimeField(source="run.created_at", allow_null=True)
    first_heard_at = serializers.DateTimeField(source="run.first_heard_at")
    heard_at = serializers.DateTimeField(source="run.heard_at")
    ended_at = serializers.DateTimeField(source="run.ended_at", allow_null=True)


class StretchSerializer(serializers.Serializer[Any]):
    """The events that one claim stands for; `superseded`: a later beginning replaced them."""

    epoch = serializers.IntegerField()
    node = serializers.CharField()
    reason = serializers.CharField(help_text="started, continued or restarted")
    first_seq = serializers.IntegerField(source="first")
    last_seq = serializers.IntegerField(source="last")
    superseded = serializers.BooleanField()
    at = serializers.DateTimeField(allow_null=True)


class FindingSerializer(serializers.Serializer[Any]):
    """One thing that was checked; `good` null: it could not be."""

    good = serializers.BooleanField(allow_null=True)
    sentence = serializers.CharField()


class RunStorySerializer(RunSerializer):
    """A run with who owned which part of it, and whether anything is missing."""

    epochs = serializers.SerializerMethodField()
    epochs_left_out = serializers.SerializerMethodField(help_text="Older ones that are not told of any more.")
    whole = serializers.SerializerMethodField(help_text="Nothing is missing; null: nobody can say.")
    findings = serializers.SerializerMethodField()

    @property
    def _ribbon(self) -> Ribbon:
        found: Ribbon = self.context["ribbon"]
        return found

    @extend_schema_field(StretchSerializer(many=True))
    def get_epochs(self, row: RunRow) -> Any:
        """Return the stretches, oldest first."""
        return StretchSerializer(self._ribbon.stretches, many=True).data

    def get_epochs_left_out(self, row: RunRow) -> int:
        """Return how many came before."""
        return self._ribbon.untold

    @extend_schema_field(serializers.BooleanField(allow_null=True))
    def get_whole(self, row: RunRow) -> bool | None:
        """Return the verdict."""
        return self._ribbon.whole

    @extend_schema_field(FindingSerializer(many=True))
    def get_findings(self, row: RunRow) -> Any:
        """Return what was checked."""
        return FindingSerializer(self._ribbon.findings, many=True).data


class Runs(View):
    """Runs, newest first."""

    @operation("runs_list", answers={200: page_of("RunPage", RunSerializer)}, filters=FILTERS, cursor=(int,))
    def get(self, request: Request) -> Response:
        """Return a page of runs. A page may be empty and not the last: filters look through 20 000 runs."""
        query = self.query(request)
        wanted = RunFilter(node=query["node"], status=query["status"], live=query["live"] == "true")
        found = runs.page(wanted=wanted, cursor=query.cursor, now=utcnow(), rows=query.limit)
        return Response(query.numbered(found.rows, RunSerializer, older=older_of(found.page)))


class OneRun(View):
    """One run."""

    @operation("run_read", answers={200: RunStorySerializer})
    def get(self, request: Request, run: str) -> Response:
        """Return a run with its epochs."""
        self.query(request)
        found = runs.named(run_id=run, now=utcnow()) if outbox.RUN_ID.fullmatch(run) else None
        if found is None:
            raise Problem(HTTPStatus.NOT_FOUND, f"There is no run {run[:80]!r}.")
        return Response(RunStorySerializer(found, context={"ribbon": ribbon(found.run)}).data)


class CancelOrderSerializer(serializers.Serializer[Any]):
    """The order to cancel a run; asking again is the same order."""

    run = serializers.CharField()
    order = serializers.CharField(source="cancel.buffer_id")
    observed = serializers.ChoiceField(
        source="cancel.observed",
        choices=list(CancelObserved),
        help_text="log_unreachable: no node of the run's log is there; the order waits up to 24 h.",
    )


class CancelRun(View):
    """The cancelling of one run."""

    @operation(
        "run_cancel",
        answers={
            200: OpenApiResponse(CancelOrderSerializer, "A node took the order."),
            202: OpenApiResponse(CancelOrderSerializer, "Ordered; no node has taken it yet."),
        },
        right=Right.CANCEL_RUN,
        bodies=(BODY,),
    )
    def post(self, request: Request, run: str) -> Response:
        """Cancel a run. Its owner is asked first, else any node of its log."""
        target = f"run:{run}" if outbox.RUN_ID.fullmatch(run) else UNREAD
        with self.attempt(request, Action.RUN_CANCEL, target):
            self.query(request)
            wanted = BODY.read(raw_json(request))
            order = outbox.cancel_run(run_id=run, reason=wanted.get("reason", ""), actor=self.actor(request))
        done = order.observed is CancelObserved.OBSERVED
        status = HTTPStatus.OK if done else HTTPStatus.ACCEPTED
        return Response(CancelOrderSerializer({"run": run, "cancel": order}).data, status=status.value)
