"""What all views of the API have in common."""

import re
import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from dashboard.api.authentication import BearerAuthentication
from dashboard.api.permissions import Needs
from dashboard.api.problems import Problem, answer
from dashboard.models import Node, Token
from dashboard.selectors.observed import fresh
from dashboard.services import actor
from dashboard.services.actor import Actor
from dashboard.services.rights import Right

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class View(APIView):
    """JSON in and out, for tokens that have `right`."""

    authentication_classes = [BearerAuthentication]
    permission_classes = [Needs]
    renderer_classes = [JSONRenderer]
    right = Right.READ

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

    def get_exception_handler(self) -> Callable[[Exception, dict[str, Any]], Response]:
        """Answer every error as problem+json."""
        return answer

    def actor(self, request: Request) -> Actor:
        """Return who asks, for the audit trail."""
        token = cast(Token, request.auth)  # the permissions let nobody else come so far
        return actor.of_token(token, address=request.META.get("REMOTE_ADDR", ""), request_id=self.request_id)


class NoSuchRoute(View):
    """Answers every address below the API that isn't one, to whoever asks."""

    authentication_classes = []
    permission_classes = []

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse."""
        super().initial(request, *args, **kwargs)
        raise Problem(HTTPStatus.NOT_FOUND, "There is no such route; /api/v1/schema lists them.")


def node_named(name: str) -> Node:
    """Return a node with its link and desired state, or answer 404."""
    node = fresh(name=name)
    if node is None:
        raise Problem(HTTPStatus.NOT_FOUND, f"There is no node {name[:80]!r}.")
    return node
