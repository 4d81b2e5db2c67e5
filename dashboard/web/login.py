"""Signing in and out."""

import math
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from dashboard.selectors import lockouts
from dashboard.services import people
from dashboard.services.rights import user_rights
from dashboard.web.guard import Visitor, actor_of
from meshcore.clock import utcnow


class Login(LoginView):
    """Django's login, written into the audit."""

    template_name = "login.html"
    redirect_authenticated_user = True

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """Sign in, and say so in the audit."""
        response = super().form_valid(form)
        user = form.get_user()
        visitor = Visitor(user=user, rights=user_rights(user))
        people.record_login(user=user, actor=actor_of(self.request, visitor))
        return response


class Logout(LogoutView):
    """Django's logout; pages that the person left open are told."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Sign out."""
        was_signed_in = request.user.is_authenticated
        response = super().post(request, *args, **kwargs)
        if was_signed_in:
            people.signed_out()
        return response


def locked(
    request: HttpRequest, response: HttpResponse | None = None, credentials: dict[str, Any] | None = None
) -> HttpResponse:
    """Say that too many wrong passwords came, and when to try again; the throttle (django-axes) asks here."""
    now = utcnow()
    username = (credentials or {}).get("username")
    address: Any = getattr(request, "axes_ip_address", None)
    ends_at = lockouts.ends_at(username=username, address=address, now=now)
    context = {"failure_limit": settings.AXES_FAILURE_LIMIT, "ends_at": ends_at, "now": now}
    answer = render(request, "locked.html", context, status=HTTPStatus.TOO_MANY_REQUESTS)
    if ends_at is not None:
        answer["Retry-After"] = str(math.ceil((ends_at - now).total_seconds()))
    return answer
