"""`/api/v1/nodes/{id}/drain`: drain a node, give it back, see how far it is."""

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any

from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard.api import drain_body
from dashboard.api.base import View, node_named
from dashboard.api.body import no_body, raw_json
from dashboard.api.drain_body import Ask, DrainAction
from dashboard.api.operation import REASON, Link, operation
from dashboard.api.preconditions import condition, etag
from dashboard.api.reading import Query
from dashboard.api.serializers import DrainStateSerializer, DrainWishSerializer, OrderSerializer
from dashboard.models import Action, Node
from dashboard.selectors import drain_record
from dashboard.selectors.observed import Observed, desired_of, observed
from dashboard.services import audit, drain
from dashboard.services.actor import Actor
from dashboard.services.rights import Right
from meshcore.clock import utcnow

AUDITED_AS = {DrainAction.DRAIN: Action.DRAIN, DrainAction.CANCEL: Action.UNDRAIN}


class DrainOrderSerializer(OrderSerializer):
    """The answer to an order; `was_draining` only with cancel."""

    drain = DrainWishSerializer(source="desired.drain", allow_null=True)
    action = serializers.ChoiceField(choices=list(DrainAction))
    changed = serializers.BooleanField(help_text="False: it was asked for already, just so.")
    was_draining = serializers.BooleanField(required=False)


ORDERED = {
    200: OpenApiResponse(DrainOrderSerializer, "It is so already."),
    202: OpenApiResponse(DrainOrderSerializer, "Ordered; the node has not confirmed it yet."),
}
GUARDED = {HTTPStatus.CONFLICT: "Guards refuse it; `blockers` says why. `override_guards` does it anyway."}
HERE = {"name": "$request.path.name"}
LINKS = {
    status: {
        "watch": Link(to="drain_read", parameters=HERE),
        "undrain": Link(to="drain_end", parameters={**HERE, "If-Match": "$response.header.ETag"}),
    }
    for status in ORDERED
}


class DrainView(View):
    """The drain of one node."""

    @operation("drain_read", answers={200: DrainStateSerializer}, tagged=True)
    def get(self, request: Request, name: str) -> Response:
        """Return what is asked of the node, how far it is, and the steps of its last drain."""
        self.query(request)
        node, now = node_named(name), utcnow()
        state = {"node": node, "desired": desired_of(node), "observed": observed(node=node, now=now)}
        newest = node.drains.order_by("-id").values_list("pk", flat=True).first()
        last = None if newest is None else drain_record.read(pk=newest, now=now)
        return _answer(node, DrainStateSerializer({**state, "last": last}).data, HTTPStatus.OK)

    @operation(
        "drain_put",
        answers=ORDERED,
        right=Right.DRAIN,
        bodies=(drain_body.PUT,),
        conditional=True,
        refuses=GUARDED,
        tagged=True,
        links=LINKS,
    )
    def put(self, request: Request, name: str) -> Response:
        """Drain the node, or change its drain: what isn't given stays as it is."""
        return self._order(
            request, name, DrainAction.DRAIN, lambda _: Ask(wishes=drain_body.PUT.read(raw_json(request)))
        )

    @operation(
        "drain_act",
        answers=ORDERED,
        right=Right.DRAIN,
        bodies=(drain_body.POST_DRAIN, drain_body.POST_CANCEL),
        conditional=True,
        refuses=GUARDED,
        tagged=True,
        links=LINKS,
    )
    def post(self, request: Request, name: str) -> Response:
        """Drain the node, or with `{"action": "cancel"}` give it back. No body and `{}` mean drain."""
        return self._order(request, name, DrainAction.DRAIN, lambda _: drain_body.parse(raw_json(request)))

    @operation(
        "drain_end",
        answers=ORDERED,
        right=Right.DRAIN,
        filters=(REASON,),
        conditional=True,
        tagged=True,
    )
    def delete(self, request: Request, name: str) -> Response:
        """Give the node back; when it doesn't drain, nothing changes."""
        return self._order(request, name, DrainAction.CANCEL, lambda query: _undrain(request, query))

    def _order(
        self, request: Request, name: str, action: DrainAction, read: Callable[[Query], Ask]
    ) -> Response:
        node, now = node_named(name), utcnow()
        with self.attempt(request, AUDITED_AS[action], audit.node_target(name)) as attempt:
            ask = read(self.query(request))
            attempt.action = AUDITED_AS[ask.action]
            only_at = condition(request, current=desired_of(node).generation)
            order = _carry_out(node, ask, actor=self.actor(request), only_at=only_at, now=now)
        return _ordered(name, order, now=now)


def _undrain(request: Request, query: Query) -> Ask:
    no_body(request)
    return Ask(action=DrainAction.CANCEL, wishes={"reason": query["reason"]})


def _carry_out(node: Node, ask: Ask, *, actor: Actor, only_at: int | None, now: datetime) -> dict[str, Any]:
    if ask.action is DrainAction.CANCEL:
        ended = drain.cancel(node=node, actor=actor, if_generation=only_at, now=now, **ask.wishes)
        return {"action": ask.action, "changed": ended.was_draining, "was_draining": ended.was_draining}
    began = drain.request(node=node, actor=actor, if_generation=only_at, now=now, **ask.wishes)
    return {"action": ask.action, "changed": began.changed}


def _ordered(name: str, order: dict[str, Any], *, now: datetime) -> Response:
    node = node_named(name)
    how_far = observed(node=node, now=now)
    nothing_to_do = order.get("was_draining") is False
    status = HTTPStatus.OK if how_far is Observed.OBSERVED or nothing_to_do else HTTPStatus.ACCEPTED
    body = {"node": node, "desired": desired_of(node), "observed": how_far, **order}
    return _answer(node, DrainOrderSerializer(body).data, status)


def _answer(node: Node, body: Any, status: HTTPStatus) -> Response:
    return Response(body, status=status.value, headers={"ETag": etag(desired_of(node).generation)})
