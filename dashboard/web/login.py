"""Signing in and out."""

import math
from http import HTTPStatus
from typing import Any, cast

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import user_login_failed
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in
from django.contrib.auth.views import LoginView, LogoutView, PasswordChangeView
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.decorators import method_decorator
from django.views.decorators.cache import cache_control

from dashboard.selectors import lockouts
from dashboard.services import accounts, people
from dashboard.services.accounts import PASSWORD_DUE
from dashboard.services.rights import user_rights
from dashboard.web import refused
from dashboard.web.frame import frame
from dashboard.web.guard import Visitor, actor_of
from meshcore.clock import utcnow

FORM_METHODS = ["get", "head", "post"]  # a form view of Django's also takes PUT


class Login(LoginView):
    """Django's login, written into the audit."""

    http_method_names = FORM_METHODS
    template_name = "login.html"
    redirect_authenticated_user = True

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """Sign in, and say so in the audit."""
        response = super().form_valid(form)
        user = form.get_user()
        visitor = Visitor(user=user, rights=user_rights(user))
        people.record_login(user=user, actor=actor_of(self.request, visitor))
        return response


@receiver(user_logged_in)
def _ask_for_an_own_password(request: HttpRequest, user: User, **_: Any) -> None:
    """Note in the session of whoever signs in, here or in the admin, that others know the password."""
    if accounts.has_one_time_password(user):
        request.session[PASSWORD_DUE] = True


class OwnPassword(PasswordChangeView):
    """The page on which people choose their own password, whatever else they may."""

    http_method_names = FORM_METHODS
    template_name = "password.html"
    success_url = "/"

    @method_decorator(cache_control(private=True, no_store=True))
    def dispatch(self, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Let anybody in who is signed in."""
        return super().dispatch(*args, **kwargs)

    def form_valid(self, form: Any) -> HttpResponse:
        """Save the password, and say so in the audit; sessions elsewhere end."""
        user = cast(User, self.request.user)
        visitor = Visitor(user=user, rights=user_rights(user))
        with accounts.choosing_password(user=user, actor=actor_of(self.request, visitor)):
            response = super().form_valid(form)
        self.request.session.pop(PASSWORD_DUE, None)
        messages.success(self.request, "Your password is changed; other sessions of yours have ended.")
        return response

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Add what stands around every page."""
        user = cast(User, self.request.user)
        visitor = Visitor(user=user, rights=user_rights(user))
        context = frame(visitor, section="password", now=utcnow())
        return {**super().get_context_data(**kwargs), **context, "due": PASSWORD_DUE in self.request.session}


@receiver(user_login_failed)
def note_failed(sender: object, request: HttpRequest, **_: object) -> None:
    """Count a sign-in that failed, here or at the admin; what was typed is not looked at."""
    refused.note_sign_in(request)


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
