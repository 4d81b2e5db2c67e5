"""The audit in a real browser: read by everybody, opened, verified and taken out, also without scripts."""

import re

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser, expect
from pytest_django.live_server_helper import LiveServer

from dashboard.models import Node
from dashboard.services import audit_refusals, drain
from dashboard.services.actor import of_user
from tests.dashboard.web.conftest import NOW
from tests.dashboard.web.test_browser import RULES, WIDTHS, chromium, complaints_of_axe, mesh, open_context

__all__ = ["chromium", "mesh"]  # fixtures

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume"),  # the test server is no ASGI
]


@pytest.fixture
def trail(mesh: dict[str, str], alice: User) -> dict[str, str]:
    """A drain that was changed, and a stranger who was counted."""
    node, actor = Node.objects.get(name="node-d"), of_user(alice, address="192.0.2.7", request_id="r-1")
    drain.request(node=node, actor=actor, reason="kernel update", override_guards=True, now=NOW)
    drain.request(
        node=node, actor=actor, reason="kernel", deadline_seconds=900, override_guards=True, now=NOW
    )
    for _ in range(12):
        audit_refusals.note_link(address="198.51.100.7", token=None, reason="token unknown")
    audit_refusals.flush_all(now=NOW)
    return mesh


@pytest.mark.parametrize("width", WIDTHS)
def test_open_entries_and_a_verdict_can_be_read_by_everybody(
    chromium: Browser, live_server: LiveServer, trail: dict[str, str], width: int
) -> None:
    context = open_context(chromium, live_server, trail, width=width)
    page = context.new_page()
    page.goto("/audit/")
    page.get_by_role("button", name="Verify all").click()
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")

    found = complaints_of_axe(page, RULES)
    wide = page.evaluate("document.documentElement.scrollWidth")
    context.close()

    assert found == []
    assert wide <= width


def test_it_is_used_without_scripts(
    chromium: Browser, live_server: LiveServer, trail: dict[str, str]
) -> None:
    context = open_context(chromium, live_server, trail, scripts=False)
    page = context.new_page()
    page.goto("/audit/")

    page.get_by_label("Who").fill("alice")
    page.get_by_role("button", name="Filter").click()
    expect(page).to_have_url(re.compile("actor=alice"))
    changed = page.locator("#rows summary").first
    changed.click()
    expect(page.locator("#rows details[open] dd.changed")).to_contain_text(["none → 2026-03-05T14:36:07"])

    page.get_by_role("button", name="Verify all").click()
    expect(page.get_by_role("status")).to_contain_text("none was changed, removed, inserted or moved")
    expect(page.get_by_label("Who")).to_have_value("alice")

    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    lines = download.value.path().read_text().splitlines()
    context.close()
    assert {line.split(",")[3] for line in lines[1:]} == {"alice"}
