"""A page that is left open never shows a green that it did not hear."""

import signal
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import WebSocketRoute, expect

from tests.e2e.calls import call
from tests.e2e.conftest import Measured, OpenWindow
from tests.e2e.harness import Mock, Node, until
from tests.e2e.room import Room
from tests.e2e.window import first_at, said, watch

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

PLACES = {"state": "#c-state-node-b", "stale": "#c-state-node-b[data-stale]"}


@pytest.fixture(scope="module")
def pair(room: Room) -> tuple[Node, Node, Mock]:
    """node-a and node-b; the mock is the provider of node-a."""
    node_a, node_b, alpha, _ = room.pair(
        extra="[probe]\ninterval_seconds = 0.5\n[breaker]\nbackoff_seconds = 1.0\n"
    )
    return node_a, node_b, alpha


@pytest.fixture
def node_b(room: Room, pair: tuple[Node, Node, Mock]) -> Iterator[Node]:
    """A node that may be stopped in its tracks; it goes on behind the test."""
    yield pair[1]
    pair[1].signal(signal.SIGCONT)
    room.wait_for("node-b", "running")


def test_an_open_page_goes_stale_by_itself_when_a_node_stands_still(
    node_b: Node, window: OpenWindow, measured: Measured
) -> None:
    fleet = window("bob").open_live("/")
    watch(fleet, PLACES)

    stopped_at = time.time()
    node_b.signal(signal.SIGSTOP)
    expect(fleet.locator(PLACES["stale"])).to_be_visible()
    expect(fleet.locator(PLACES["state"])).to_have_text("unreachable")
    expect(fleet.locator("#c-verdict")).to_contain_text("node-b is unreachable")
    node_b.signal(signal.SIGCONT)
    expect(fleet.locator(PLACES["state"])).to_have_text("running")

    expect(fleet.locator(PLACES["stale"])).to_have_count(0)
    assert said(fleet, "state") == ["running", "unreachable", "running"]
    measured("SIGSTOP of a node to stale on the page", first_at(fleet, "stale", "n") - stopped_at)
    measured(
        "SIGSTOP of a node to unreachable on the page", first_at(fleet, "state", "unreachable") - stopped_at
    )


def test_a_page_that_hears_nothing_says_so_and_is_live_again_by_itself(
    room: Room, node_b: Node, window: OpenWindow
) -> None:
    page = window("bob").open_live("/nodes/node-b/")
    watch(page, {"state": "#c-state-node-b"})

    room.dashboard.signal(signal.SIGSTOP)
    banner = page.locator("#live-banner")
    expect(banner).to_contain_text("No word from the dashboard")
    expect(page.locator("#c-heard-node-b [data-stale]")).to_be_visible()
    room.dashboard.signal(signal.SIGCONT)

    expect(banner).to_be_hidden()
    expect(page.locator("#live-status")).to_contain_text("live · heard")
    assert said(page, "state")[-1] in ("running", "unreachable")
    expect(page.locator("#c-state-node-b")).to_have_text("running")


def test_a_page_of_somebody_who_signed_out_elsewhere_says_so(
    pair: tuple[Node, Node, Mock], window: OpenWindow
) -> None:
    alice = window("alice")
    page = alice.open_live("/")

    alice.open("/").get_by_role("button", name="Sign out").click()

    banner = page.locator("#live-banner")
    expect(banner).to_contain_text("You are signed out")
    expect(banner.get_by_role("link", name="Sign in")).to_have_attribute("href", "/login/?next=%2F")
    expect(page.locator("#live-status")).to_have_text("not live")


def test_where_no_websocket_gets_through_the_page_asks_and_says_so(
    pair: tuple[Node, Node, Mock], window: OpenWindow
) -> None:
    node_a, _, alpha = pair
    bob = window("bob")
    bob.context.route_web_socket("**/live?*", refuse)
    page = bob.open("/nodes/node-a/")
    watch(page, {"state": "#c-state-node-a"})
    expect(page.locator("#live-banner")).to_contain_text("asks every 5 seconds instead")

    alpha.set_faults(http=503)
    expect(page.locator("#c-state-node-a")).to_have_text("degraded")
    alpha.set_faults()
    until(lambda: call(node_a).routed_via == "local", "its own provider is tried again")
    expect(page.locator("#c-state-node-a")).to_have_text("running")

    expect(page.locator("#live-status")).to_contain_text("every 5 s")
    assert said(page, "state") == ["running", "degraded", "running"]


def refuse(line: WebSocketRoute) -> None:
    """Cut a websocket as a proxy does that knows none."""
    line.close(code=1011)
