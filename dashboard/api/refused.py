"""Answers 401 and 403 are counted for the audit trail, by who asked and which route."""

from http import HTTPStatus
from typing import Any

from rest_framework.exceptions import APIException
from rest_framework.request import Request

from dashboard.models import Action, Token
from dashboard.services import actor, audit_refusals
from dashboard.services.actor import Actor
from dashboard.services.tokens import TokenRejected

COUNTED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def note(problem: APIException, context: dict[str, Any]) -> None:
    """Count the answer that `problem` becomes, when it is one of those."""
    if problem.status_code not in COUNTED:
        return
    request: Request = context["request"]
    audit_refusals.note(
        actor=_who(problem, request, request_id=context["view"].request_id),
        action=Action.ACCESS,
        target=_what(request),
        status=problem.status_code,
        reason=str(problem.detail),
    )


def _who(problem: APIException, request: Request, *, request_id: str) -> Actor:
    address = str(request.META.get("REMOTE_ADDR", ""))
    rejected = problem.__cause__
    token = rejected.token if isinstance(rejected, TokenRejected) else request.auth
    if isinstance(token, Token):
        return actor.of_token(token, address=address, request_id=request_id)
    return audit_refusals.stranger(address)


def _what(request: Request) -> str:
    """Return method and pattern of the route: what was put into it may be anything."""
    method = request.method if request.method in METHODS else "another method"
    match = request.resolver_match
    return f"{method} {match.route if match else ''}"
