"""People at their browsers, at a moment that stands still."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import time_machine
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

NOW = datetime(2026, 3, 5, 14, 21, 7, tzinfo=UTC)
HTMX = {"HX-Request": "true", "HX-Target": "rows"}


@pytest.fixture(autouse=True)
def now() -> Iterator[datetime]:
    """Stop the clock."""
    with time_machine.travel(NOW, tick=False):
        yield NOW


@pytest.fixture(autouse=True)
def _passwords_cost_nothing(settings: Settings) -> None:
    """Hash quickly: every person of every test is made anew."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def signed_in(user: User) -> Client:
    """Return a browser in which `user` is signed in."""
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def operator(alice: User) -> Client:
    """Alice's browser."""
    return signed_in(alice)


@pytest.fixture
def viewer(bob: User) -> Client:
    """Bob's browser."""
    return signed_in(bob)


@pytest.fixture
def stranger(charlie: User) -> Client:
    """Charlie's browser."""
    return signed_in(charlie)
