"""Signing in and out."""

from typing import Any

from django.contrib.auth import user_login_failed
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView, LogoutView
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse

from dashboard.services import people
from dashboard.services.rights import user_rights
from dashboard.web import refused
from dashboard.web.guard import Visitor, actor_of


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
