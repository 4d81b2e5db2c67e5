"""Who a session belongs to, for what stands in front of Django's middleware."""

from importlib import import_module
from types import SimpleNamespace
from typing import Any, cast

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, parse_cookie


def key_of(scope: dict[str, Any]) -> str:
    """Return the session key in the cookies of an ASGI connection, "" when there is none."""
    cookies = b"; ".join(value for name, value in scope["headers"] if name == b"cookie")
    return parse_cookie(cookies.decode("latin-1")).get(settings.SESSION_COOKIE_NAME, "")


def user_of(session_key: str) -> User | None:
    """Return who is signed in with a session, by Django's own rules; None: nobody, or not active any more."""
    if not session_key:
        return None
    request = cast(HttpRequest, SimpleNamespace(session=_session(session_key)))
    user = get_user(request)
    return user if isinstance(user, User) else None


def has(session_key: str, name: str) -> bool:
    """Return whether a session has something under `name`."""
    return bool(session_key) and name in _session(session_key)


def _session(session_key: str) -> SessionBase:
    store: SessionBase = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    return store
