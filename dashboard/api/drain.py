"""`/api/v1/nodes/{id}/drain`: drain a node, give it back, see how far it is."""

from datetime import datetime
from http import HTTPStatus
from typing import Any

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard.api import drain_body
from dashboard.api.base import View, node_named
from dashboard.api.drain_body import Ask, BodyError, DrainAction
from dashboard.api.permissions import Needs, NeedsDrain
from dashboard.api.problems import Problem
from dashboard.api.serializers import DrainAskSerializer, DrainOrderSerializer, DrainStateSerializer
from dashboard.models import Action, Node
from dashboard.selectors import drains
from dashboard.selectors.observed import Observed, desired_of, observed
from dashboard.services import audit, drain
from dashboard.services.drain import InvalidWish
from meshcore.clock import utcnow

JSON = "application/json"
AUDITED_AS = {DrainAction.DRAIN: Action.DRAIN, DrainAction.CANCEL: Action.UNDRAIN}


class DrainView(View):
    """The drain of one node."""

    def get_permissions(self) -> list[BasePermission]:
        """Let readers read; acting needs more."""
        return [NeedsDrain()] if self.request.method == "POST" else [Needs()]

    @extend_schema(responses=DrainStateSerializer)
    def get(self, request: Request, name: str) -> Response:
        """Return what is asked of the node, how far it is, and the steps of its last drain."""
        node = node_named(name)
        state = {"node": node, "desired": desired_of(node), "observed": observed(node=node, now=utcnow())}
        last = next(iter(drains.last_of(node=node)), None)
        return self._answer(node, DrainStateSerializer({**state, "last": last}).data, HTTPStatus.OK)

    @extend_schema(
        request=DrainAskSerializer,
        responses={
            200: OpenApiResponse(DrainOrderSerializer, "It is so already."),
            202: OpenApiResponse(DrainOrderSerializer, "Ordered; the node has not confirmed it yet."),
        },
    )
    def post(self, request: Request, name: str) -> Response:
        """Drain the node, or with `{"action": "cancel"}` give it back. No body and `{}` mean drain."""
        now = utcnow()
        node = node_named(name)
        raw = _raw_json(request)
        try:
            ask = drain_body.parse(raw)
        except BodyError as exc:
            raise self._refused(request, node, Action.DRAIN, exc.message, exc.field, now=now) from exc
        try:
            order = self._carry_out(request, node, ask, now=now)
        except InvalidWish as exc:
            raise self._refused(request, node, AUDITED_AS[ask.action], str(exc), exc.field, now=now) from exc
        return self._ordered(name, order, now=now)

    def _carry_out(self, request: Request, node: Node, ask: Ask, *, now: datetime) -> dict[str, Any]:
        actor = self.actor(request)
        if ask.action is DrainAction.CANCEL:
            ended = drain.cancel(node=node, actor=actor, now=now, **ask.wishes)
            return {"action": ask.action, "changed": ended.was_draining, "was_draining": ended.was_draining}
        began = drain.request(node=node, actor=actor, now=now, **ask.wishes)
        return {"action": ask.action, "changed": began.changed}

    def _ordered(self, name: str, order: dict[str, Any], *, now: datetime) -> Response:
        node = node_named(name)
        how_far = observed(node=node, now=now)
        nothing_to_do = order.get("was_draining") is False
        status = HTTPStatus.OK if how_far is Observed.OBSERVED or nothing_to_do else HTTPStatus.ACCEPTED
        body = {"node": node, "desired": desired_of(node), "observed": how_far, **order}
        return self._answer(node, DrainOrderSerializer(body).data, status)

    def _answer(self, node: Node, body: Any, status: HTTPStatus) -> Response:
        return Response(body, status=status.value, headers={"ETag": f'"{desired_of(node).generation}"'})

    def _refused(
        self, request: Request, node: Node, action: Action, reason: str, field: str, *, now: datetime
    ) -> Problem:
        """Audit a refusal of somebody who may drain, and return it as an answer."""
        target = audit.node_target(node.name)
        audit.refuse(actor=self.actor(request), action=action, target=target, reason=reason, now=now)
        return Problem(HTTPStatus.BAD_REQUEST, reason, field=field)


def _raw_json(request: Request) -> bytes:
    """Return the body as it came.

    Read from the stream: without Content-Length the framework's parsers take a body for none, and a chunked
    "cancel" would drain. Zero bytes are no body whatever media type they claim.
    """
    raw: bytes = request.read(drain_body.BODY_MAX_BYTES + 1)
    if len(raw) > drain_body.BODY_MAX_BYTES:
        said = f"The body is larger than {drain_body.BODY_MAX_BYTES} bytes."
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, said)
    if raw and _media_type(request) not in {"", JSON}:
        said = f"The body is {_media_type(request)[:80]!r}; expected {JSON} in UTF-8."
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, said, headers={"Accept-Post": JSON})
    return raw


def _media_type(request: Request) -> str:
    """Return the media type in lower case, with its charset when that isn't UTF-8."""
    media_type, _, parameters = request.headers.get("Content-Type", "").lower().partition(";")
    charset = parameters.strip().removeprefix("charset=").strip('"')
    return (
        media_type.strip()
        if charset in {"", "utf-8", "utf8"}
        else f"{media_type.strip()}; {parameters.strip()}"
    )
