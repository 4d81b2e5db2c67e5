"""`/api/v1/runs/{id}/cancel`: have a run cancelled by a node of its log."""

from http import HTTPStatus
from typing import Any

from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard.api.base import View
from dashboard.api.body import TEXT, Key, Shape, raw_json
from dashboard.api.operation import operation
from dashboard.models import Action
from dashboard.services import outbox
from dashboard.services.outbox import CancelObserved
from dashboard.services.rights import Right

BODY = Shape(
    keys={"reason": Key(TEXT, "Why; kept in the audit.", bounds={"maxLength": 500})},
    example={"reason": "asked for the wrong thing"},
)
UNREAD = "run:?"  # the target of a refusal whose address names none


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
        """Cancel a run."""
        target = f"run:{run}" if outbox.RUN_ID.fullmatch(run) else UNREAD
        with self.attempt(request, Action.RUN_CANCEL, target):
            self.query(request)
            wanted = BODY.read(raw_json(request))
            order = outbox.cancel_run(run_id=run, reason=wanted.get("reason", ""), actor=self.actor(request))
        done = order.observed is CancelObserved.OBSERVED
        status = HTTPStatus.OK if done else HTTPStatus.ACCEPTED
        return Response(CancelOrderSerializer({"run": run, "cancel": order}).data, status=status.value)
