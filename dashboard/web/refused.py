"""What becomes of a person's request that may not be: said on a page, and written for the audit trail."""

from typing import Any

from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.views import csrf, defaults

from dashboard.models import Action
from dashboard.services import actor, audit, audit_refusals
from dashboard.web.guard import Visitor, actor_of
from meshcore.clock import utcnow

FORBIDDEN = 403
UNAUTHORIZED = 401


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 403, of pages and of the admin."""
    _note(request, reason=str(exception))
    return defaults.permission_denied(request, exception)


def foreign_form(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer 403 to a form that no page of ours gave out."""
    _note(request, reason="the form came from no page of ours")
    return csrf.csrf_failure(request, reason)


def note_sign_in(request: HttpRequest) -> None:
    """Count a sign-in that failed."""
    audit_refusals.note(
        actor=audit_refusals.stranger(_address(request)),
        action=Action.LOGIN,
        target=_what(request),
        status=UNAUTHORIZED,
        reason="name and password don't fit, or too many tries",
    )


def at_once(request: HttpRequest, visitor: Visitor, action: Action, target: str, reason: str) -> None:
    """Audit that somebody who may do a thing asked for it in a way that can't be."""
    audit.refuse(actor=actor_of(request, visitor), action=action, target=target, reason=reason, now=utcnow())


def _note(request: HttpRequest, *, reason: str) -> None:
    user: Any = getattr(request, "user", None)
    address = _address(request)
    who = actor.of_user(user, address=address) if isinstance(user, User) else audit_refusals.stranger(address)
    audit_refusals.note(
        actor=who, action=Action.ACCESS, target=_what(request), status=FORBIDDEN, reason=reason
    )


def _address(request: HttpRequest) -> str:
    return str(request.META.get("REMOTE_ADDR", ""))


def _what(request: HttpRequest) -> str:
    """Return method and pattern of the route: what was put into it may be anything."""
    method = "GET" if request.method in ("GET", "HEAD") else "POST"
    match = request.resolver_match
    return f"{method} {match.route if match else ''}"
