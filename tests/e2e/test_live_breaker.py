"""A breaker that trips is on open pages at once, without reload, and takes nothing out of anybody's hands."""

import re
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.calls import call
from tests.e2e.conftest import Measured, OpenWindow
from tests.e2e.harness import Mock, Node, until
from tests.e2e.room import Room
from tests.e2e.window import first_at, said, watch

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

BACKOFF_SECONDS = 4.0
# Only calls judge the provider: probes come once, at the start.
BY_TRAFFIC = f"[breaker]\nbackoff_seconds = {BACKOFF_SECONDS}\n[probe]\ninterval_seconds = 3600.0\n"
FLEET_PLACES = {"state": "#c-state-node-a", "breaker": "#c-going-node-a"}
NODE_PLACES = {"state": "#c-state-node-a", "breaker": "#c-breaker-node-a-alpha"}


class Parts(NamedTuple):
    """What a test touches."""

    node: Node
    alpha: Mock


@pytest.fixture(scope="module")
def parts(room: Room) -> Parts:
    """node-a with the provider alpha; node-b serves its clients when that fails."""
    node_a, _, alpha, _ = room.pair(extra=BY_TRAFFIC)
    return Parts(node_a, alpha)


@pytest.fixture
def works_again(room: Room, parts: Parts) -> Iterator[None]:
    """Behind the test the provider works, and its breaker is closed."""
    yield
    parts.alpha.set_faults()
    until(lambda: recovered(room, parts.node), "the breaker is closed")


def recovered(room: Room, node: Node) -> bool:
    call(node)
    return breaker_state(room) == "closed"


def breaker_state(room: Room) -> str:
    breakers = {breaker["key"]: breaker["state"] for breaker in room.now("node-a")["breakers"]}
    return str(breakers["alpha"])


@pytest.mark.usefixtures("works_again")
def test_two_failures_are_on_open_pages_with_a_countdown_and_go_when_it_recovers(
    room: Room, parts: Parts, window: OpenWindow, measured: Measured
) -> None:
    alice = window("alice")
    fleet, node = alice.open_live("/"), alice.open_live("/nodes/node-a/")
    watch(fleet, FLEET_PLACES)
    watch(node, NODE_PLACES)
    expect(node.locator(NODE_PLACES["breaker"])).to_have_text("closed")

    parts.alpha.set_faults(http=503)
    first = call(parts.node)
    expect(node.locator(NODE_PLACES["breaker"])).to_have_text("1 of 2 strikes")
    failed_at = time.time()
    second = call(parts.node)
    for page, places in ((fleet, FLEET_PLACES), (node, NODE_PLACES)):
        expect(page.locator(places["state"])).to_have_text("degraded")
        expect(page.locator(places["breaker"])).to_contain_text(re.compile(r"open \d s"))
    counts = [
        counting(fleet.locator(FLEET_PLACES["breaker"])),
        counting(node.locator(NODE_PLACES["breaker"])),
    ]
    expect(node.locator(NODE_PLACES["breaker"])).to_have_text("half open")
    parts.alpha.set_faults()
    worked_at = time.time()
    third = call(parts.node)
    for page, places in ((fleet, FLEET_PLACES), (node, NODE_PLACES)):
        expect(page.locator(places["state"])).to_have_text("running")
    expect(node.locator(NODE_PLACES["breaker"])).to_have_text("closed")
    expect(fleet.locator(FLEET_PLACES["breaker"])).to_have_text("1 provider")

    assert [each.routed_via for each in (first, second, third)] == ["node-b", "node-b", "local"]
    assert all(later < earlier for earlier, later in counts)
    for name, page in (("Fleet", fleet), ("Node", node)):
        assert said(page, "state") == ["running", "degraded", "running"]
        open_at = first_at(page, "breaker", "open", after=failed_at)
        measured(f"{name}: second failure to the open breaker on the page", open_at - failed_at)
        well_at = first_at(page, "state", "running", after=worked_at)
        measured(f"{name}: first success to the closed breaker on the page", well_at - worked_at)


def counting(pill: Locator) -> tuple[int, int]:
    """Return the countdown, and what it is after it went on without a message."""
    countdown = pill.locator("[data-until]")
    earlier = countdown.inner_text()
    expect(countdown).not_to_have_text(earlier)
    return seconds_of(earlier), seconds_of(countdown.inner_text())


def seconds_of(words: str) -> int:
    return int(words.removesuffix(" s"))


@pytest.mark.usefixtures("works_again")
def test_a_half_typed_reason_survives_a_breaker_that_trips_and_recovers(
    room: Room, parts: Parts, window: OpenWindow
) -> None:
    alice = window("alice")
    pages = [alice.open_live("/"), alice.open_live("/nodes/node-a/")]
    for page in pages:
        watch(page, {"state": "#c-state-node-a"})
        half_type_a_reason(page)

    parts.alpha.set_faults(http=503)
    until(lambda: call(parts.node) and breaker_state(room) == "open", "the breaker is open")
    for page in pages:
        expect(page.locator("#c-state-node-a")).to_have_text("degraded")
    parts.alpha.set_faults()
    until(lambda: recovered(room, parts.node), "the breaker is closed")
    for page in pages:
        expect(page.locator("#c-state-node-a")).to_have_text("running")
        page.keyboard.type("-")

    for page in pages:
        expect(page.get_by_label("Reason")).to_be_focused()
        assert page.get_by_label("Reason").input_value() == "kernel -upd"
        assert said(page, "state") == ["running", "degraded", "running"]


def half_type_a_reason(page: Page) -> None:
    """Open the second step and type a part of a reason, with the caret before its last three letters."""
    page.get_by_role("link", name="Drain node-a").click()
    expect(page.get_by_label("Reason")).to_be_focused()
    page.keyboard.type("kernel upd")
    for _ in "upd":
        page.keyboard.press("ArrowLeft")
