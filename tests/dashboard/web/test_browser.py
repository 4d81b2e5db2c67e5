"""The pages in a real browser: contrast and names (axe), the strict policy, the two steps, the keys."""

import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.test import Client
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from dashboard.models import AuditEntry, DesiredState, Drain, Trace
from dashboard.services import overrides
from dashboard.services.actor import SYSTEM
from meshcore.override import Action
from tests.dashboard.web import example_mesh
from tests.dashboard.web.conftest import NOW

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
WIDTHS = (1440, 390)
BRIEFLY = {"resultTypes": ["violations"]}  # what is well needn't be told, node by node
RULES = {**BRIEFLY, "runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]}
OF_COLOUR = {**BRIEFLY, "runOnly": {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}}
PAGES = (
    *("fleet", "node", "confirm", "change", "providers", "override", "traces", "trace", "splice"),
    *("drains", "drain", "runs", "run", "restarted", "cancel", "audit", "access", "step", "password"),
)
NO_EDGE = (
    "WebSocket connection to",
    "404 (Not Found)",
)  # this server has neither sockets nor streams of runs


@pytest.fixture(scope="module")  # its loop must be gone before the next module runs one
def chromium() -> Iterator[Browser]:
    """One browser for all."""
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv(
            "DJANGO_ALLOW_ASYNC_UNSAFE", "1"
        )  # Playwright's loop runs in the thread that uses the database
        path = os.environ.get("MESH_CHROMIUM", "/usr/bin/chromium")
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the console said."""
    return []


@pytest.fixture
def mesh(live_server: LiveServer, alice: User) -> dict[str, str]:
    """The address of each page, and alice's session."""
    nodes = example_mesh.make(now=NOW)
    spliced = example_mesh.spliced(nodes, now=NOW).pk
    drains = example_mesh.drains(now=NOW)
    runs = example_mesh.runs(now=NOW)
    overrides.put(
        node=nodes["node-d"],
        key="vllm",
        action=Action.FORCE_OPEN,
        reason="bills twice",
        expires_seconds=3600,
        actor=SYSTEM,
        now=NOW,
    )
    alice.groups.add(Group.objects.get_or_create(name="admin")[0])
    client = Client()
    client.force_login(alice)
    story = Trace.objects.filter(hops=2).exclude(pk=spliced)[0].pk
    return {
        "session": client.cookies[settings.SESSION_COOKIE_NAME].value,
        "fleet": "/",
        "node": "/nodes/node-a/",
        "confirm": "/nodes/node-b/?confirm=drain",
        "change": "/nodes/node-a/?confirm=change",
        "providers": "/providers/",
        "override": "/providers/?override=groq&node=node-c",
        "drains": "/drains/",
        "drain": f"/drains/{drains['going'].pk}/",
        "runs": "/runs/",
        "run": f"/runs/{runs['moved'].run_id}/",
        "restarted": f"/runs/{runs['again'].run_id}/",
        "cancel": f"/runs/{runs['running'].run_id}/?confirm=cancel",
        "traces": "/traces/",
        "splice": f"/traces/{spliced}/",
        "trace": f"/traces/{story}/",
        "audit": "/audit/",
        "access": "/access/",
        "step": "/access/?confirm=forget&of=node-a",
        "password": "/password/",
        "missing": "/nodes/nowhere/",
    }


def open_context(
    browser: Browser,
    live_server: LiveServer,
    mesh: dict[str, str],
    *,
    scripts: bool = True,
    width: int = 1440,
) -> BrowserContext:
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        java_script_enabled=scripts,
        base_url=live_server.url,
    )
    context.add_cookies(
        [{"name": settings.SESSION_COOKIE_NAME, "value": mesh["session"], "url": live_server.url}]
    )
    return context


@pytest.fixture
def page(
    chromium: Browser, live_server: LiveServer, mesh: dict[str, str], complaints: list[str]
) -> Iterator[Page]:
    """A page of alice's."""
    context = open_context(chromium, live_server, mesh)
    page = context.new_page()
    page.on("console", lambda said: complaints.append(said.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()


def complaints_of_axe(page: Page, rules: dict[str, Any] = BRIEFLY) -> list[str]:
    """Return what cannot be read by everybody, light or dark: the colours alone are others in the dark."""
    found = {}
    for scheme, judged in (("light", rules), ("dark", OF_COLOUR)):
        page.emulate_media(color_scheme=scheme)
        found[scheme] = Axe().run(page, options=judged)
    return [f"{scheme}: {each.generate_report()}" for scheme, each in found.items() if each.violations_count]


@pytest.mark.timeout(400)  # a judgement takes seconds, and there are many pages
@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_can_be_read_by_everybody(
    chromium: Browser, live_server: LiveServer, mesh: dict[str, str], width: int
) -> None:
    context = open_context(chromium, live_server, mesh, width=width)
    page = context.new_page()
    found = {}
    for name in (*PAGES, "missing"):
        page.goto(mesh[name])
        found[name] = complaints_of_axe(page, RULES)
    page.goto("/access/")
    page.get_by_text("Add a node", exact=True).click()
    found["forms"] = complaints_of_axe(page)
    page.get_by_label("Name").nth(1).fill("laptop")
    page.get_by_role("button", name="Add it").click()
    found["made"] = complaints_of_axe(page)
    context.clear_cookies()
    page.goto("/login/")
    found["login"] = complaints_of_axe(page)
    context.close()

    assert {name: each for name, each in found.items() if each} == {}


def test_no_page_is_wider_than_the_screen(page: Page, mesh: dict[str, str]) -> None:
    wide = {}
    for name in PAGES:
        page.goto(mesh[name])
        for width in (1440, 390, 320):
            page.set_viewport_size({"width": width, "height": 900})
            wide[name, width] = page.evaluate("document.documentElement.scrollWidth")

    assert {where: pixels for where, pixels in wide.items() if pixels > where[1]} == {}


def test_the_policy_has_nothing_to_complain_of(
    page: Page, mesh: dict[str, str], complaints: list[str]
) -> None:
    for name in PAGES:
        page.goto(mesh[name])
        page.wait_for_load_state("load")

    assert [said for said in complaints if not any(words in said for words in NO_EDGE)] == []


def test_draining_in_place_takes_two_steps_and_a_reason(page: Page) -> None:
    page.goto("/")
    page.get_by_role("link", name="Drain node-c").click()
    reason = page.get_by_label("Reason")
    expect(reason).to_be_focused()
    reason.fill("kernel update")
    page.get_by_role("button", name="Drain node-c").click()

    expect(page.get_by_role("status")).to_contain_text("Asked node-c to drain")
    expect(page.get_by_role("link", name="Undrain node-c")).to_be_visible()
    assert page.url.endswith("/")
    assert AuditEntry.objects.get(action="drain").reason == "kernel update"


def test_a_refusal_comes_in_place_and_keeps_what_was_typed(page: Page) -> None:
    page.goto("/nodes/node-c/")
    page.get_by_role("link", name="Drain node-c").click()
    page.get_by_label("Reason").fill("      x      ")
    page.get_by_role("button", name="Drain node-c").click()

    expect(page.get_by_role("alert").filter(has_text="3 characters or more")).to_be_visible()
    expect(page.get_by_label("Reason")).to_have_value("      x      ")
    assert not DesiredState.objects.filter(node__name="node-c").exists()


def test_minutes_of_ones_own_are_asked_for_when_they_are_wanted(page: Page) -> None:
    page.goto("/nodes/node-c/")
    page.get_by_role("link", name="Drain node-c").click()
    minutes = page.get_by_label("in minutes")
    expect(minutes).to_be_hidden()
    page.get_by_role("combobox", name="Deadline").select_option("own")
    minutes.fill("soon")
    page.get_by_label("Reason").fill("kernel update")
    page.get_by_role("button", name="Drain node-c").click()

    expect(page.get_by_role("alert").filter(has_text="type one above 0")).to_be_visible()
    expect(page.get_by_label("in minutes")).to_have_value("soon")
    page.get_by_label("in minutes").fill("7,5")
    page.get_by_role("checkbox", name="By force").check()
    page.get_by_role("button", name="Drain node-c").click()

    expect(page.get_by_role("status")).to_contain_text("Asked node-c to drain")
    drain = Drain.objects.get(node__name="node-c", status="active")
    assert drain.deadline_at is not None and drain.force
    assert (drain.deadline_at - drain.started_at).total_seconds() == 450


def test_what_stands_against_a_drain_is_read_and_overridden(page: Page) -> None:
    page.goto("/nodes/node-b/")
    page.get_by_role("link", name="Drain node-b").click()
    against = page.get_by_role("list", name="What stands against it")
    expect(against).to_contain_text("node-b has the last healthy provider of llm.chat for mixtral")
    page.get_by_label("Reason").fill("it burns")
    page.get_by_role("checkbox", name="Override").check()
    page.get_by_role("button", name="Drain node-b").click()

    expect(page.get_by_role("status")).to_contain_text("Asked node-b to drain")
    assert Drain.objects.get(node__name="node-b", status="active").override_guards


def test_a_breaker_is_overridden_in_place_from_its_cell_and_lifted_from_its_line(page: Page) -> None:
    page.goto("/providers/?state=suspect")
    page.get_by_role("link", name="Override groq on node-c").click()
    reason = page.get_by_label("Reason")
    expect(reason).to_be_focused()
    expect(page.get_by_role("combobox", name="Where")).to_have_value("node-c")
    page.get_by_role("combobox", name="What").select_option("reset")
    expect(page.get_by_role("combobox", name="For", exact=True)).to_be_hidden()
    page.get_by_role("combobox", name="What").select_option("force_open")
    reason.fill("bills twice")
    page.get_by_role("button", name="Override groq").click()

    expect(page.get_by_role("status")).to_contain_text("Asked node-c to take groq out of service.")
    page.get_by_role("link", name="Lift the override of groq on node-c").click()
    page.get_by_label("Reason").fill("paid")
    page.get_by_role("button", name="Override groq").click()
    expect(page.get_by_role("status")).to_contain_text("Asked node-c to let groq go by its own evidence")
    assert page.url.endswith("/providers/?state=suspect")


def test_keeping_it_closes_the_second_step(page: Page) -> None:
    page.goto("/nodes/node-c/")
    page.get_by_role("link", name="Drain node-c").click()
    page.get_by_role("link", name="Keep it").click()

    expect(page.locator("[data-confirm]")).to_have_count(0)


def test_all_of_it_works_without_scripts(
    chromium: Browser, live_server: LiveServer, mesh: dict[str, str]
) -> None:
    context = open_context(chromium, live_server, mesh, scripts=False)
    page = context.new_page()
    page.goto("/")
    page.get_by_role("link", name="Drain node-c").click()
    page.get_by_label("Reason").fill("kernel update")
    page.get_by_role("button", name="Drain node-c").click()
    expect(page.get_by_role("status")).to_contain_text("Asked node-c to drain")
    page.get_by_role("link", name="Undrain node-c").click()
    page.get_by_role("button", name="Undrain node-c").click()
    expect(page.get_by_role("status")).to_contain_text("Asked node-c to serve again")
    page.get_by_role("link", name="Providers", exact=True).click()
    page.get_by_role("link", name="Override groq on all nodes").click()
    page.get_by_label("Reason").fill("bills twice")
    page.get_by_role("button", name="Override groq").click()
    expect(page.get_by_role("status")).to_contain_text("to take groq out of service")
    page.get_by_role("link", name="Drains", exact=True).click()
    page.get_by_role("link", name=re.compile("^node-c ?, drain")).first.click()
    expect(page.get_by_role("heading", name="Drain of node-c")).to_be_visible()
    context.close()


def test_the_keys_move_filter_go_and_help(page: Page) -> None:
    page.goto("/")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    expect(page.get_by_role("link", name="node-e", exact=True)).to_be_focused()

    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("p")
    page.wait_for_url("**/providers/")
    page.keyboard.press("j")
    expect(page.get_by_role("link", name="ollama", exact=True)).to_be_focused()
    page.keyboard.press("g")
    page.keyboard.press("t")
    page.wait_for_url("**/traces/")
    page.keyboard.press("/")
    expect(page.get_by_role("combobox", name="Node")).to_be_focused()
    page.keyboard.press("Escape")
    page.get_by_role("heading", name="Traces").click()
    page.keyboard.press("g")
    page.keyboard.press("d")
    page.wait_for_url("**/drains/")
    page.keyboard.press("g")
    page.keyboard.press("x")
    page.wait_for_url("**/access/")


def test_a_token_is_made_shown_once_and_revoked_without_scripts(
    chromium: Browser, live_server: LiveServer, mesh: dict[str, str]
) -> None:
    context = open_context(chromium, live_server, mesh, scripts=False)
    page = context.new_page()
    page.goto("/access/")
    page.get_by_text("Make a token", exact=True).click()
    page.get_by_label("Name").first.fill("night watch")
    page.get_by_role("checkbox", name="read all but").check()
    page.get_by_role("button", name="Make it").click()
    expect(page.locator(".secret")).to_contain_text("msh_")
    page.get_by_role("link", name="back to Access").click()
    page.get_by_role("link", name="Revoke night watch").click()
    page.get_by_label("Reason").fill("the night is over")
    page.get_by_role("button", name="Revoke").click()

    expect(page.get_by_role("status")).to_contain_text("Token night watch")
    expect(page.get_by_text("revoked", exact=True)).to_be_visible()
    context.close()
    assert AuditEntry.objects.latest("n").reason == "the night is over"


def test_keys_typed_into_a_field_stay_there(page: Page) -> None:
    page.goto("/audit/")
    page.get_by_label("Who").fill("")
    page.get_by_label("Who").press_sequentially("gt?/jk")

    expect(page.get_by_label("Who")).to_have_value("gt?/jk")
    expect(page.get_by_role("dialog")).to_have_count(0)
