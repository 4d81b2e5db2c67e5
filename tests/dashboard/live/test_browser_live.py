"""An open page in a real browser: live, and honest about how live it is."""

import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Route,
    WebSocketRoute,
    expect,
    sync_playwright,
)

from tests.dashboard.hands import Hands, hands_on
from tests.dashboard.served import serving

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

CHROMIUM = os.environ.get("MESH_CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
EXPECTED_ERRORS = (  # of the network, which tests cut
    "Failed to load resource",
    "WebSocket connection to",
    "htmx:sendError",
    "htmx:afterRequest",
)
WITHIN_MS = 30_000  # however busy the machine

SIGN_IN = """
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.test import Client
user, _ = User.objects.get_or_create(username="alice")
user.groups.add(Group.objects.get(name="operator"))
client = Client()
client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
said = client.cookies[settings.SESSION_COOKIE_NAME].value
"""
ADD_NODE = """
from dashboard.models import Node, NodeLink
from dashboard.services import changes, nodes
from dashboard.services.actor import SYSTEM
from django.db import transaction
from meshcore.clock import utcnow
node, _ = nodes.add(name="{name}", actor=SYSTEM)
Node.objects.filter(pk=node.pk).update(state="running", accepting=True, last_heard_at=utcnow())
NodeLink.objects.update_or_create(node=node, defaults=dict(connection_no=1, opened_at=utcnow()))
with transaction.atomic():
    changes.publish("node:{name}", "nodes", now=utcnow())
"""
HEARD = """
from dashboard.models import Node
from dashboard.services import changes
from django.db import transaction
from meshcore.clock import utcnow
Node.objects.filter(name="{name}").update(in_flight={in_flight}, state="{state}", last_heard_at=utcnow())
with transaction.atomic():
    changes.publish("node:{name}", now=utcnow())
"""
ONE_MORE_ENTRY = """
from django.contrib.auth.models import User
from dashboard.services import people
from dashboard.services.actor import SYSTEM
people.record_login(user=User.objects.get(username="alice"), actor=SYSTEM)
"""
BREAKER = """
from dashboard.models import Node, ProviderHealth
from dashboard.services import changes
from django.db import transaction
from meshcore.clock import utcnow
now = utcnow()
node = Node.objects.get(name="node-a")
Node.objects.filter(pk=node.pk).update(last_heard_at=now)
ProviderHealth.objects.update_or_create(
    node=node, key="groq", defaults=dict(state="{state}", observed_at=now, since=now)
)
with transaction.atomic():
    changes.publish("node:node-a", "providers:node-a", "overrides", now=now)
"""
DRAIN = """
from dashboard.models import Node
from dashboard.services import drain
from dashboard.services.actor import SYSTEM
drain.request(
    node=Node.objects.get(name="node-a"), actor=SYSTEM, reason="rack 7", override_guards=True
)
"""
READOUT = """
from dashboard.models import DesiredState, Node
from dashboard.services import changes
from django.db import transaction
from meshcore.clock import utcnow
Node.objects.filter(name="node-a").update(
    readout={readout},
    state="{state}",
    last_heard_at=utcnow(),
    observed_generation=DesiredState.objects.get(node__name="node-a").generation,
)
with transaction.atomic():
    changes.publish("node:node-a", now=utcnow())
"""
DRAINED = {
    "state": "drained",
    "accepting": False,
    "drain": {"source": "desired", "by": "system", "reason": "rack 7"},
    "in_flight": {"total": 0, "at_start": 3},
    "safe_to_stop": True,
}
SIGN_OUT = """
from django.contrib.sessions.models import Session
Session.objects.all().delete()
"""


@pytest.fixture(scope="module")
def var(migrated_state: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a migrated database."""
    return shutil.copytree(migrated_state, tmp_path_factory.mktemp("live") / "var")


@pytest.fixture(scope="module")
def hands(var: Path) -> Iterator[Hands]:
    """What changes the database behind the server's back."""
    with hands_on(var) as made:
        made.do(ADD_NODE.format(name="node-a"))
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()


class Dashboard:
    """A server that comes back at the same address."""

    def __init__(self, var: Path, stack: ExitStack) -> None:
        self._var = var
        self._stack = stack
        self.served = stack.enter_context(serving(var))
        self.url = self.served.url

    def restart(self) -> None:
        self.served.stop()
        self.served = self._stack.enter_context(serving(self._var, "--port", str(self.served.port)))


@pytest.fixture
def dashboard(var: Path) -> Iterator[Dashboard]:
    """A server of this test alone."""
    with ExitStack() as stack:
        yield Dashboard(var, stack)


@pytest.fixture
def expected_errors() -> list[str]:
    """What the console may report; a test that provokes more adds it."""
    return list(EXPECTED_ERRORS)


@pytest.fixture
def context(
    browser: Browser, hands: Hands, dashboard: Dashboard, expected_errors: list[str]
) -> Iterator[BrowserContext]:
    """A browser in which alice is signed in; fails the test on any fault that the page reports."""
    faults: list[str] = []

    def note(message: ConsoleMessage) -> None:
        expected = any(words in message.text for words in expected_errors)
        if message.type == "error" and not expected:
            faults.append(message.text)

    made = browser.new_context()
    made.add_cookies([{"name": "meshboard_session", "value": hands.do(SIGN_IN), "url": dashboard.url}])
    made.on("console", note)
    made.on("weberror", lambda error: faults.append(str(error.error)))
    yield made
    made.close()
    assert faults == []


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """A tab."""
    tab = context.new_page()
    tab.set_default_timeout(WITHIN_MS)
    expect.set_options(timeout=WITHIN_MS)
    return tab


def open_live(page: Page, dashboard: Dashboard, path: str = "/") -> None:
    page.goto(dashboard.url + path)
    expect(page.locator("#live-status")).to_contain_text("live · heard")
    page.evaluate("window.sameDocument = true")


def assert_not_reloaded(page: Page) -> None:
    assert page.evaluate("window.sameDocument") is True


def test_a_change_shows_without_reload_and_a_half_typed_reason_survives(
    page: Page, dashboard: Dashboard, hands: Hands
) -> None:
    open_live(page, dashboard)
    page.get_by_role("link", name="Drain node-a").click()
    reason = page.get_by_label("Reason")
    reason.type("deploy of")

    hands.do(HEARD.format(name="node-a", in_flight=7, state="draining"))

    expect(page.locator("#c-flight-node-a")).to_have_text("7")
    expect(page.locator("#c-state-node-a")).to_contain_text("draining")
    expect(reason).to_have_value("deploy of")
    expect(reason).to_be_focused()
    hands.do(HEARD.format(name="node-a", in_flight=0, state="running"))
    expect(page.locator("#c-state-node-a")).to_contain_text("running")
    expect(reason).to_have_value("deploy of")
    assert_not_reloaded(page)


def test_a_breaker_shows_live_around_a_half_typed_override(
    page: Page, dashboard: Dashboard, hands: Hands
) -> None:
    hands.do(BREAKER.format(state="closed"))
    open_live(page, dashboard, "/providers/")
    page.get_by_role("link", name="Override groq on node-a").click()
    reason = page.get_by_label("Reason")
    reason.type("bills")

    hands.do(BREAKER.format(state="forced_open"))

    expect(page.locator("#c-breaker-node-a-groq")).to_contain_text("forced open")
    expect(page.locator("#list-changed")).to_have_text(re.compile(r"^\d+ changes?$"))
    expect(reason).to_have_value("bills")
    expect(reason).to_be_focused()
    assert_not_reloaded(page)


def test_a_drain_appears_in_the_list_and_is_followed_there(
    page: Page, dashboard: Dashboard, hands: Hands
) -> None:
    hands.do(HEARD.format(name="node-a", in_flight=3, state="running"))
    open_live(page, dashboard, "/drains/")

    hands.do(DRAIN)
    row = page.locator("tr[data-row]").first
    expect(row).to_contain_text("rack 7")
    expect(row).to_contain_text("pending")

    hands.do(READOUT.format(readout=DRAINED, state="drained"))
    expect(row.locator(".pill")).to_have_text("safe to stop")
    expect(row).to_contain_text("0 of 3")
    assert_not_reloaded(page)


def test_what_cannot_be_read_is_said_to_be_old_until_it_can(
    page: Page, dashboard: Dashboard, hands: Hands, expected_errors: list[str]
) -> None:
    expected_errors.append("Response Status Error Code 500")  # when the rows are asked for in that moment
    hands.do(DRAIN)
    open_live(page, dashboard)
    banner = page.locator("#live-banner")

    hands.do(READOUT.format(readout={"state": "nonsense"}, state="running"))
    expect(banner).to_contain_text("can't show some of this page now")
    expect(page.locator("body")).to_have_attribute("data-failed", "")

    hands.do(READOUT.format(readout=DRAINED, state="drained"))
    expect(banner).to_be_hidden()
    expect(page.locator("#c-state-node-a")).to_contain_text("drained")
    assert_not_reloaded(page)


def test_the_page_of_a_node_is_live_too(page: Page, dashboard: Dashboard, hands: Hands) -> None:
    open_live(page, dashboard, "/nodes/node-a/")

    hands.do(HEARD.format(name="node-a", in_flight=3, state="running"))

    expect(page.locator("#c-figures-node-a")).to_contain_text("3")
    assert_not_reloaded(page)


def test_a_new_node_joins_the_rows_but_not_under_somebodys_hands(
    page: Page, dashboard: Dashboard, hands: Hands
) -> None:
    open_live(page, dashboard)

    hands.do(ADD_NODE.format(name="node-b"))
    expect(page.locator("#rows")).to_contain_text("node-b")

    page.evaluate(
        "document.querySelector('main').insertAdjacentHTML('beforeend', '<input id=typing value=half>')"
    )
    page.locator("#typing").focus()
    hands.do(ADD_NODE.format(name="node-c"))
    expect(page.locator("#list-changed")).to_have_text(re.compile(r"^\d+ changes?$"))
    expect(page.locator("#rows")).not_to_contain_text("node-c")

    page.locator("#typing").blur()
    expect(page.locator("#rows")).to_contain_text("node-c")
    expect(page.locator("#list-changed")).to_have_text("")
    expect(page.locator("#typing")).to_have_value("half")
    assert_not_reloaded(page)


def test_a_list_that_could_not_be_fetched_is_fetched_again(
    page: Page, dashboard: Dashboard, hands: Hands
) -> None:
    refused: list[str] = []

    def refuse_the_first(route: Route) -> None:
        if refused:
            route.continue_()
        else:
            refused.append(route.request.url)
            route.abort()

    open_live(page, dashboard, "/audit/")
    page.route(f"{dashboard.url}/audit/", refuse_the_first)

    hands.do(ONE_MORE_ENTRY)

    expect(page.locator("#rows")).to_contain_text("user:alice")
    assert refused
    assert_not_reloaded(page)


def test_a_restart_of_the_server_is_survived(page: Page, dashboard: Dashboard, hands: Hands) -> None:
    open_live(page, dashboard)

    dashboard.restart()
    hands.do(HEARD.format(name="node-a", in_flight=9, state="running"))

    expect(page.locator("#c-flight-node-a")).to_have_text("9")
    expect(page.locator("#live-status")).to_contain_text("live · heard")
    assert_not_reloaded(page)


def test_a_server_that_falls_silent_is_said_to_be_and_values_fade(
    page: Page, dashboard: Dashboard, hands: Hands
) -> None:
    hands.do(HEARD.format(name="node-a", in_flight=0, state="running"))
    open_live(page, dashboard)
    banner = page.locator("#live-banner")
    expect(banner).to_be_hidden()

    dashboard.served.process.send_signal(signal.SIGSTOP)
    expect(banner).to_contain_text(re.compile(r"No word from the dashboard since \d\d:\d\d:\d\d UTC"))
    expect(page.locator("#c-heard-node-a [data-heard]")).to_have_attribute("data-stale", "")

    dashboard.served.process.send_signal(signal.SIGCONT)
    expect(banner).to_be_hidden()
    expect(page.locator("#live-status")).to_contain_text("live · heard")
    assert_not_reloaded(page)


def test_who_is_signed_out_is_told_so_with_a_way_back(page: Page, dashboard: Dashboard, hands: Hands) -> None:
    open_live(page, dashboard)

    hands.do(SIGN_OUT)
    dashboard.restart()

    banner = page.locator("#live-banner")
    expect(banner).to_contain_text("You are signed out")
    expect(banner.get_by_role("link", name="Sign in")).to_have_attribute("href", "/login/?next=%2F")
    expect(page.locator("#live-status")).to_have_text("not live")
    assert_not_reloaded(page)


def test_who_signs_in_again_in_another_tab_finds_this_one_live_again(
    page: Page, context: BrowserContext, dashboard: Dashboard, hands: Hands
) -> None:
    open_live(page, dashboard)
    hands.do(SIGN_OUT)
    dashboard.restart()
    expect(page.locator("#live-banner")).to_contain_text("You are signed out")

    context.add_cookies([{"name": "meshboard_session", "value": hands.do(SIGN_IN), "url": dashboard.url}])
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")

    expect(page.locator("#live-status")).to_contain_text("live · heard")
    expect(page.locator("#live-banner")).to_be_hidden()


def test_without_websockets_the_page_asks_every_five_seconds_and_says_so(
    page: Page, dashboard: Dashboard, hands: Hands
) -> None:
    def refuse(socket: WebSocketRoute) -> None:
        socket.close(code=4999)

    page.route_web_socket("**/live?*", refuse)
    page.goto(dashboard.url)
    expect(page.locator("#live-banner")).to_contain_text("asks every 5 seconds")
    page.evaluate("window.sameDocument = true")

    hands.do(HEARD.format(name="node-a", in_flight=5, state="running"))

    expect(page.locator("#c-flight-node-a")).to_have_text("5")
    expect(page.locator("#live-status")).to_contain_text("every 5 s · heard")
    assert_not_reloaded(page)


def test_ages_go_on_growing_on_the_servers_time(page: Page, dashboard: Dashboard, hands: Hands) -> None:
    page.clock.install()
    hands.do(HEARD.format(name="node-a", in_flight=0, state="running"))
    open_live(page, dashboard)
    age = page.locator("#c-heard-node-a [data-heard]")

    page.clock.run_for(4_000)

    expect(age).to_have_text("4 s")


def test_a_page_that_is_not_live_is_left_alone(page: Page, dashboard: Dashboard) -> None:
    sockets: list[str] = []
    page.on("websocket", lambda socket: sockets.append(socket.url))

    page.goto(dashboard.url + "/nowhere/")

    assert page.evaluate("document.readyState") == "complete"
    assert sockets == []
