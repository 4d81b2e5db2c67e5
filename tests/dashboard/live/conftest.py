"""A runtime without a clockwork of its own: what is announced is what a test announces."""

from collections.abc import AsyncIterator, Callable

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from dashboard import runtime
from dashboard.runtime import Runtime

NEVER_SECONDS = 1000.0


@pytest.fixture
async def rt() -> AsyncIterator[Runtime]:
    """The current runtime; silent but for hints."""
    async with runtime.running(poll_seconds=NEVER_SECONDS, heard_seconds=NEVER_SECONDS, jobs=()) as running:
        yield running


@pytest.fixture
def cookie_of() -> Callable[[User], bytes]:
    """Sign somebody in; returns the Cookie header of their browser."""

    def sign_in(user: User) -> bytes:
        client = Client()
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        name = settings.SESSION_COOKIE_NAME
        return f"{name}={client.cookies[name].value}".encode()

    return sign_in
