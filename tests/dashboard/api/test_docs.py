"""`/api/docs/`: the API to read and to try, from files of our own."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect
from pytest_django.live_server_helper import LiveServer

from dashboard.api.openapi import document
from dashboard.models import Scope
from dashboard.services import tokens
from dashboard.services.actor import SYSTEM
from tests.e2e.window import running_chromium


@pytest.fixture(scope="module")  # its loop must be gone before the next module runs one
def chromium() -> Iterator[Browser]:
    """One browser for all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # Playwright's loop runs in the thread of the database
        with running_chromium() as browser:
            yield browser


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/api/docs/", "/api/docs/openapi.json"])
def test_it_opens_to_who_is_signed_in_and_may_read(path: str, bob: User, charlie: User) -> None:
    stranger = Client().get(path)

    assert (stranger.status_code, stranger["Location"]) == (302, f"/login/?next={path}")
    assert signed_in(charlie).get(path).status_code == 403
    assert signed_in(bob).get(path).status_code == 200
    assert signed_in(bob).post(path).status_code == 405


@pytest.mark.django_db
def test_a_token_opens_no_page_and_a_cookie_no_route(bob: User) -> None:
    secret = tokens.issue(name="ci", scopes=[Scope.READ], actor=SYSTEM)[1]

    by_token = Client().get("/api/docs/openapi.json", headers={"Authorization": f"Bearer {secret}"})

    assert by_token.status_code == 302
    assert signed_in(bob).get("/api/v1/schema").status_code == 401


@pytest.mark.django_db
def test_both_addresses_tell_the_same_document(bob: User) -> None:
    secret = tokens.issue(name="ci", scopes=[Scope.READ], actor=SYSTEM)[1]

    told = Client().get("/api/v1/schema", headers={"Authorization": f"Bearer {secret}"}).json()

    assert told == signed_in(bob).get("/api/docs/openapi.json").json() == document()


@pytest.mark.django_db
def test_the_page_alone_may_show_images_in_data_and_nothing_inline(bob: User) -> None:
    policy = signed_in(bob).get("/api/docs/")["Content-Security-Policy"]

    assert "img-src 'self' data:" in policy
    assert "unsafe" not in policy
    assert "data:" not in signed_in(bob).get("/")["Content-Security-Policy"]


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_route_is_tried_with_a_token_and_nobody_else_is_asked(
    scheme: Any, chromium: Browser, live_server: LiveServer, bob: User
) -> None:
    secret = tokens.issue(name="ci", scopes=[Scope.READ], actor=SYSTEM)[1]
    page = open_docs(chromium, live_server.url, signed_in(bob), scheme)
    complaints: list[str] = []
    hosts: set[str] = set()
    page.on("console", lambda message: complain(complaints, message))
    page.on("request", lambda request: hosts.add(host_of(request)))
    page.goto(f"{live_server.url}/api/docs/")

    page.get_by_role("button", name="Authorize").click()
    page.get_by_role("textbox").fill(secret)
    page.get_by_role("button", name="Apply credentials").click()
    page.get_by_role("button", name="Close").click()
    operation = page.locator("#operations-nodes-nodes_list")
    operation.click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()

    expect(operation.locator(".live-responses-table")).to_contain_text('"next": null')
    assert page.locator("html.dark-mode").count() == (scheme == "dark")
    assert complaints == []
    assert hosts == {live_server.url}
    page.context.close()


def open_docs(chromium: Browser, url: str, client: Client, scheme: Any) -> Page:
    """Return a page in a browser in which somebody is signed in."""
    context = chromium.new_context(color_scheme=scheme)
    name = settings.SESSION_COOKIE_NAME
    context.add_cookies([{"name": name, "value": client.cookies[name].value, "url": url}])
    return context.new_page()


def complain(complaints: list[str], message: ConsoleMessage) -> None:
    if message.type in ("error", "warning"):
        complaints.append(message.text)


def host_of(request: Request) -> str:
    return "/".join(request.url.split("/")[:3])
