"""What a token's scopes open."""

from typing import Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from dashboard.models import Scope, Token
from dashboard.services.rights import OF_SCOPE, Right, may_drain, token_rights


class Needs(BasePermission):
    """Opens to tokens that have a right; which one, the view says as `right`."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Return whether the request's token has the right; without a token it never is."""
        token, right = request.auth, view.right
        self.message = f"This needs a token of scope {scope_of(right)}."
        return isinstance(token, Token) and right in token_rights(token)


class NeedsDrain(BasePermission):
    """Opens to tokens that may drain the node in the address."""

    message = f"This needs a token of scope {Scope.NODES_DRAIN.value}, or the node's own."

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Return whether the request's token may drain that node."""
        return isinstance(request.auth, Token) and may_drain(request.auth, view.kwargs["name"])


def scope_of(right: Right) -> str:
    """Return the scope that gives a right."""
    return next(scope.value for scope, given in OF_SCOPE.items() if given is right)
