"""Errors as problem+json (RFC 9457), all of them: a client reads one shape whatever went wrong."""

import logging
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, OperationalError
from django.http import Http404
from django.utils.encoding import escape_uri_path
from rest_framework import exceptions, serializers
from rest_framework.response import Response

from dashboard.api import refused
from dashboard.services import ballast
from meshcore.guards import BlockerKind

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
FULL = (
    "The dashboard's disk is full; nothing was changed. A node drains by itself when on its machine the file "
    ".drain_request.json is in the home of its configuration, and serves again without it."
)
RETRY = {"Retry-After": "5"}  # seconds; beside every 503


class Problem(exceptions.APIException):
    """An answer that says no.

    `field` names what in the request it is about, `headers` and the members `more` go with the answer.
    """

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        field: str = "",
        headers: dict[str, str] | None = None,
        more: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status_code = status.value
        self.field = field
        self.headers = headers or {}
        self.more = more or {}


class FieldErrorSerializer(serializers.Serializer[Any]):
    """What is wrong, and where: a key of the body, a parameter, or a header."""

    field = serializers.CharField()
    detail = serializers.CharField()


class BlockerSerializer(serializers.Serializer[Any]):
    """Why guards stand against a drain; `subject` is the capability or the nodes that it is about."""

    kind = serializers.ChoiceField(choices=list(BlockerKind))
    subject = serializers.CharField(allow_blank=True)
    detail = serializers.CharField()


class ProblemSerializer(serializers.Serializer[Any]):
    """An error (RFC 9457); `detail` is for people, `errors` for programs."""

    type = serializers.CharField(help_text="about:blank: the status says what kind it is.")
    title = serializers.CharField(help_text="The status in words.")
    status = serializers.IntegerField()
    detail = serializers.CharField()
    instance = serializers.CharField(help_text="The path that was asked.")
    # A serializer's own `errors` stays as it is: declared fields are kept elsewhere.
    errors = FieldErrorSerializer(many=True, required=False)  # type: ignore[assignment]
    blockers = BlockerSerializer(many=True, required=False, help_text="With 409 of a drain.")
    current_generation = serializers.IntegerField(required=False, help_text="With 412.")


def answer(exc: Exception, context: dict[str, Any]) -> Response:
    """Return the answer for an exception of a view; of what nobody expected it tells no details."""
    problem = _known(exc)
    if problem is None:
        logger.error("unexpected error in %s", type(context.get("view")).__name__, exc_info=exc)
        problem = Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "The server failed; its log says why.")
    status = HTTPStatus(problem.status_code)
    refused.note(problem, context)
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": _sentence(problem.detail),
        "instance": escape_uri_path(context["request"].path),
    }
    if isinstance(problem, Problem):
        body |= problem.more
        if problem.field:
            body["errors"] = [{"field": problem.field, "detail": body["detail"]}]
    return Response(body, status=status.value, headers=_headers(problem), content_type=MEDIA_TYPE)


def _known(exc: Exception) -> exceptions.APIException | None:
    if isinstance(exc, exceptions.APIException):
        return exc
    if isinstance(exc, Http404):
        return exceptions.NotFound()
    if isinstance(exc, DatabaseError) and ballast.is_full(exc):
        logger.error("an order found no room on the disk", exc_info=exc)
        return Problem(HTTPStatus.INSUFFICIENT_STORAGE, FULL)
    if isinstance(exc, OperationalError):  # locked for too long, full, gone: nothing was changed
        logger.warning("the database didn't do it", exc_info=exc)
        return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "The database is busy; try again.", headers=RETRY)
    return exceptions.PermissionDenied() if isinstance(exc, PermissionDenied) else None


def _sentence(detail: Any) -> str:
    return detail if isinstance(detail, str) else str(detail)


def _headers(problem: exceptions.APIException) -> dict[str, str]:
    headers = dict(problem.headers) if isinstance(problem, Problem) else {}
    challenge = getattr(problem, "auth_header", "")  # set by the view for 401
    if challenge:
        headers["WWW-Authenticate"] = challenge
    return headers
