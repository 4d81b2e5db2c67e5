"""Who a cookie belongs to, by Django's own rules."""

from datetime import UTC, datetime

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client

from dashboard.selectors import sessions
from dashboard.selectors.sessions import key_of, user_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def key(bob: User, client: Client) -> str:
    """Bob's session."""
    client.force_login(bob, backend="django.contrib.auth.backends.ModelBackend")
    return str(client.cookies[settings.SESSION_COOKIE_NAME].value)


def test_the_key_is_found_among_the_cookies() -> None:
    name = settings.SESSION_COOKIE_NAME.encode()

    assert key_of({"headers": [(b"cookie", b"a=b; " + name + b"=k3y; c=d")]}) == "k3y"
    assert key_of({"headers": [(b"cookie", b"a=b"), (b"cookie", name + b"=k3y")]}) == "k3y"
    assert key_of({"headers": [(b"host", b"a")]}) == ""


def test_a_session_belongs_to_who_signed_in(key: str, bob: User) -> None:
    assert user_of(key) == bob


@pytest.mark.parametrize("forged", ["", "unknown", "a" * 200, "../etc", "\x00"])
def test_an_unknown_key_belongs_to_nobody(db: None, forged: str) -> None:
    assert user_of(forged) is None


def test_a_session_that_is_over_belongs_to_nobody(key: str) -> None:
    Session.objects.update(expire_date=datetime(2020, 1, 1, tzinfo=UTC))

    assert user_of(key) is None


def test_a_session_of_somebody_inactive_belongs_to_nobody(key: str, bob: User) -> None:
    User.objects.filter(pk=bob.pk).update(is_active=False)

    assert user_of(key) is None


def test_what_a_session_holds_is_seen(key: str) -> None:
    assert sessions.has(key, "_auth_user_id")
    assert not sessions.has(key, "password_due")
    assert not sessions.has("", "_auth_user_id")
