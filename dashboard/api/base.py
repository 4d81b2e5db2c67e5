"""What all views of the API have in common."""

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

from django.core.exceptions import ValidationError
from django.db import DatabaseError
from rest_framework.permissions import BasePermission
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from dashboard.api import operation, refusals
from dashboard.api.authentication import BearerAuthentication
from dashboard.api.operation import Operation
from dashboard.api.permissions import Needs, NeedsDrain
from dashboard.api.problems import Problem, answer
from dashboard.api.reading import Query
from dashboard.models import NODE_NAME, Action, Node, Token
from dashboard.selectors.observed import fresh
from dashboard.services import actor, audit, ballast
from dashboard.services.actor import Actor
from dashboard.services.drain import ON_RECORD
from dashboard.services.rights import Right
from meshcore.clock import utcnow

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
AUDITED = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT, HTTPStatus.PRECONDITION_FAILED})


@dataclass(slots=True)
class Attempt:
    """A write that somebody entitled tries: as what it is audited when it is refused."""

    action: Action
    target: str


class Known(BasePermission):
    """Opens to every token that counts."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Return whether there is one."""
        return isinstance(request.auth, Token)


class View(APIView):
    """JSON in and out, for tokens; what each method is, its `@operation` says."""

    http_method_names = ["get", "head", "post", "put", "delete"]
    authentication_classes = [BearerAuthentication]
    renderer_classes = [JSONRenderer]
    parser_classes = []  # `body` reads bodies

    def initialize_request(self, request: Any, *args: Any, **kwargs: Any) -> Request:
        """Give the request its id: the client's own when it is harmless, else a new one."""
        wrapped = super().initialize_request(request, *args, **kwargs)
        asked = request.headers.get("X-Request-Id", "")
        self.request_id = asked if REQUEST_ID.fullmatch(asked) else uuid.uuid4().hex
        return wrapped

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Response:
        """Send the request's id back: the audit trail names it, too."""
        final = super().finalize_response(request, response, *args, **kwargs)
        final["X-Request-Id"] = self.request_id
        final["Cache-Control"] = "no-store"
        return final

    def handle_exception(self, exc: Exception) -> Response:
        """Try once more where the disk was full and the ballast has given room; nothing was changed."""
        if isinstance(exc, DatabaseError) and ballast.make_room(exc):
            try:
                again: Response = self._handler()(self.request, *self.args, **self.kwargs)
            except Exception as second:  # as DRF does for the first
                exc = second
            else:
                return again
        return super().handle_exception(exc)

    def _handler(self) -> Callable[..., Response]:
        method = (self.request.method or "").lower()
        return getattr(self, method, self.http_method_not_allowed)

    def get_exception_handler(self) -> Callable[[Exception, dict[str, Any]], Response]:
        """Answer every error as problem+json."""
        return answer

    def get_permissions(self) -> list[BasePermission]:
        """Return who may; that a method isn't there is told to every token."""
        if self.operation is None:
            return [Known()]
        return [NeedsDrain() if self.operation.right is Right.DRAIN else Needs()]

    @property
    def operation(self) -> Operation | None:
        """What is asked for, None for a method that isn't there."""
        method = (self.request.method or "").lower()
        return operation.of(getattr(self, method, None)) if method in self.http_method_names else None

    @property
    def right(self) -> Right:
        """What it takes."""
        return self.operation.right if self.operation else Right.READ

    def query(self, request: Request) -> Query:
        """Return what the address asks for; call it in every method. Raises Problem 400."""
        assert self.operation is not None  # noqa: S101 - a method runs, so it is there
        return Query(request, self.operation)

    def actor(self, request: Request) -> Actor:
        """Return who asks, for the audit trail."""
        token = cast(Token, request.auth)  # the permissions let nobody else come so far
        return actor.of_token(token, address=request.META.get("REMOTE_ADDR", ""), request_id=self.request_id)

    @contextmanager
    def attempt(self, request: Request, action: Action, target: str) -> Iterator[Attempt]:
        """Audit at once when somebody entitled is refused in here with 400, 409 or 412."""
        attempt = Attempt(action, target)
        try:
            yield attempt
        except (Problem, *refusals.KINDS) as exc:
            problem = exc if isinstance(exc, Problem) else refusals.as_problem(exc)
            if problem.status_code in AUDITED and not isinstance(exc, ON_RECORD):
                self._audit_refusal(request, attempt, str(problem.detail))
            raise problem from exc

    def _audit_refusal(self, request: Request, attempt: Attempt, reason: str) -> None:
        audit.refuse(
            actor=self.actor(request),
            action=attempt.action,
            target=attempt.target,
            reason=reason,
            now=utcnow(),
        )


class NoSuchRoute(View):
    """Answers every address below the API that isn't one, to whoever asks."""

    authentication_classes = []
    schema = None

    def get_permissions(self) -> list[BasePermission]:
        """Return nobody who stands at the door."""
        return []

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse."""
        super().initial(request, *args, **kwargs)
        raise Problem(HTTPStatus.NOT_FOUND, "There is no such route; /api/v1/schema lists them.")


def node_named(name: str) -> Node:
    """Return a node with its link and desired state, or answer 404."""
    node = fresh(name=name) if is_node_name(name) else None
    if node is None:
        raise Problem(HTTPStatus.NOT_FOUND, f"There is no node {name[:80]!r}.")
    return node


def is_node_name(name: str) -> bool:
    """Return whether a node may be called so; what may not be is not looked for."""
    try:
        NODE_NAME(name)
    except ValidationError:
        return False
    return True
