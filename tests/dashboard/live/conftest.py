"""A runtime without a clockwork of its own: what is announced is what a test announces."""

from collections.abc import AsyncIterator, Callable

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from dashboard import runtime
from dashboard.live.delivery import Delivery
from dashboard.live.fanout import Fanout
from dashboard.live.viewer import ViewerPolicy
from dashboard.runtime import Runtime
from tests.dashboard.live.open_pages import OpenPage, Page
from tests.dashboard.live.printer import Printer

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


@pytest.fixture
def printer() -> Printer:
    """What renders names instead of cells."""
    return Printer()


@pytest.fixture
async def delivery(rt: Runtime, printer: Printer) -> Delivery:
    """A delivery of its own."""
    return Delivery(Fanout(rt, cells=printer, keys=printer, rest=0.0))


@pytest.fixture
async def open_page(delivery: Delivery) -> AsyncIterator[OpenPage]:
    """Opens pages, and closes them behind the test."""
    pages: list[Page] = []

    def open_(page: str = "fleet", *, session: str = "s", policy: ViewerPolicy | None = None) -> Page:
        pages.append(Page(delivery, page, session, policy))
        return pages[-1]

    yield open_
    for page in pages:
        delivery.leave(page.visitor)
