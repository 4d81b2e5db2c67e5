"""Django's admin site, with what it does to sessions and passwords by itself written into the audit.

Signing in at `/admin/login/` opens every other page too, so the audit must know of it as of `/login/`.
"""

from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache

from dashboard.models import Action
from dashboard.services import accounts, actor, audit, people
from meshcore.clock import utcnow


class AuditedAdmin(AdminSite):
    """The site on which `dashboard.admin` registers."""

    def has_permission(self, request: HttpRequest) -> bool:
        """Return whether the person may come in; a password that others know has to be changed first."""
        return super().has_permission(request) and accounts.PASSWORD_DUE not in request.session

    @method_decorator(never_cache)
    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Sign in, and say so in the audit."""
        answer = super().login(request, extra_context)
        if _done(request, answer) and isinstance(request.user, User):
            people.record_login(user=request.user, actor=_actor(request))
        return answer

    def password_change(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> TemplateResponse:
        """Let people change their own password, and audit that it is new."""
        with transaction.atomic():
            head = audit.locked_head() if request.method == "POST" else None
            answer = super().password_change(request, extra_context)
            if head is not None and _done(request, answer) and isinstance(request.user, User):
                people.record_user(
                    head=head,
                    actor=_actor(request),
                    action=Action.PASSWORD_NEW,
                    user=request.user,
                    now=utcnow(),
                )
        return answer


def _done(request: HttpRequest, answer: HttpResponse) -> bool:
    """Return whether a form was taken; one with errors is shown again."""
    return request.method == "POST" and answer.status_code == 302


def _actor(request: HttpRequest) -> actor.Actor:
    assert isinstance(request.user, User)  # noqa: S101 - its callers have looked
    return actor.of_user(request.user, address=request.META.get("REMOTE_ADDR", ""))
