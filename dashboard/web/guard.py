"""Who may see a page, and in which size it is asked for."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from django.contrib.auth.models import User
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.views.decorators.cache import cache_control
from django_htmx.http import HttpResponseClientRedirect

from dashboard.services import actor, rights
from dashboard.services.accounts import PASSWORD_DUE
from dashboard.services.actor import Actor
from dashboard.services.rights import Right

P = ParamSpec("P")

REFUSALS = {
    Right.READ: "Your account belongs to no group that may look. An admin can add you to one.",
    Right.AUDIT_READ: "The audit is for operators, auditors and admins.",
    Right.DRAIN: "Draining is for operators and admins.",
    Right.CANCEL_RUN: "Cancelling runs is for operators and admins.",
    Right.BREAKERS: "Overriding breakers is for operators and admins.",
    Right.ADMIN: "Tokens, nodes, people and aliases are for admins.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """A signed-in person and what they may do."""

    user: User
    rights: frozenset[Right]

    def needs(self, right: Right) -> None:
        """Raise PermissionDenied, with the reason that the page shows, unless the right is there."""
        if right not in self.rights:
            raise PermissionDenied(REFUSALS[right])

    @property
    def may(self) -> dict[str, bool]:
        """What templates ask before they offer something."""
        return {
            "audit": Right.AUDIT_READ in self.rights,
            "drain": Right.DRAIN in self.rights,
            "cancel_run": Right.CANCEL_RUN in self.rights,
            "breakers": Right.BREAKERS in self.rights,
            "admin": Right.ADMIN in self.rights,
        }


View = Callable[Concatenate[HttpRequest, Visitor, P], HttpResponseBase]


def page(right: Right) -> Callable[[View[P]], Callable[Concatenate[HttpRequest, P], HttpResponseBase]]:
    """Let a view in only with `right`: others are asked to sign in, or get 403. Nothing is kept by caches."""

    def guarded(view: View[P]) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
        @wraps(view)
        @cache_control(private=True, no_store=True)
        def inner(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            if not isinstance(request.user, User):
                return sign_in(request)
            if PASSWORD_DUE in request.session:
                return go_to(request, "password")
            visitor = Visitor(user=request.user, rights=rights.user_rights(request.user))
            visitor.needs(right)
            return view(request, visitor, *args, **kwargs)

        return inner

    return guarded


def sign_in(request: HttpRequest) -> HttpResponse:
    """Send somebody to the login page; htmx takes the whole page there instead of swapping the form in."""
    if is_fragment(request):
        return go_to(request, "login")
    return redirect_to_login(request.get_full_path() if request.method == "GET" else "/")


def go_to(request: HttpRequest, name: str) -> HttpResponse:
    """Send a browser to another page, and not just the part of a page that htmx asked for."""
    url = resolve_url(name)
    return HttpResponseClientRedirect(url) if is_fragment(request) else HttpResponseRedirect(url)


def is_fragment(request: HttpRequest) -> bool:
    """Return whether htmx asks for a part of the page to swap in."""
    htmx: Any = request.htmx  # type: ignore[attr-defined]  # django_htmx's middleware sets it
    return bool(htmx) and not htmx.boosted and not htmx.history_restore_request


def template_for(request: HttpRequest, name: str) -> str:
    """Return the template in the size that is asked for: the page, or the rows it swaps in."""
    return f"{name}#rows" if is_fragment(request) else name


def actor_of(request: HttpRequest, visitor: Visitor) -> Actor:
    """Return the visitor as the actor of what this request changes."""
    return actor.of_user(
        visitor.user, address=str(request.META.get("REMOTE_ADDR", "")), request_id=uuid.uuid4().hex
    )
