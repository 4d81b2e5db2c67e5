"""What somebody may ends while they are connected: their link, their page, their buttons say so at once."""

import json
import re
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import OpenWindow
from tests.e2e.harness import Node, until
from tests.e2e.room import Room
from tests.e2e.visitor import Visitor

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

REASON = "Draining is for operators and admins."


@pytest.fixture(scope="module")
def pair(room: Room) -> tuple[Node, Node]:
    """node-a and node-b, each with a provider of its own."""
    node_a, node_b, _, _ = room.pair()
    return node_a, node_b


@pytest.fixture(scope="module")
def erin(room: Room, pair: tuple[Node, Node]) -> Visitor:
    """An admin."""
    return Visitor(room.dashboard.url).sign_in("erin")


def test_whoever_leaves_the_operators_is_refused_by_a_page_that_was_open(
    room: Room, pair: tuple[Node, Node], erin: Visitor, window: OpenWindow
) -> None:
    page = window("alice").open_live("/nodes/node-a/")
    page.get_by_role("link", name="Drain node-a").click()
    page.get_by_label("Reason").fill("while I still could")

    shown = erin.post(
        f"/access/people/{number_of(erin, 'alice')}/groups/", {"group": "viewer", "reason": "moved on"}
    )
    page.get_by_role("button", name="Drain node-a").click()

    assert shown.status == 200
    expect(page.get_by_role("alert").filter(has_text="Refused: your account may not do that")).to_be_visible()
    assert room.drain_of("node-a")["drain"] is None
    again = window("alice").open("/nodes/node-a/")
    expect(again.get_by_role("button", name=f"Drain node-a: {REASON}")).to_be_disabled()


def test_the_open_page_of_whoever_is_deactivated_ends_and_says_so(
    pair: tuple[Node, Node], erin: Visitor, window: OpenWindow
) -> None:
    page = window("dora").open_live("/")

    shown = erin.post(f"/access/people/{number_of(erin, 'dora')}/deactivate/", {"reason": "left the company"})

    assert shown.status == 200
    expect(page.locator("#live-banner")).to_contain_text("You are signed out")
    expect(page.locator("#live-status")).to_have_text("not live")
    page.reload()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def test_nobody_loses_the_last_right_to_administer_by_their_own_hand(erin: Visitor, room: Room) -> None:
    own = number_of(erin, "erin")

    for path, form in (
        (f"/access/people/{own}/deactivate/", {}),
        (f"/access/people/{own}/groups/", {"group": "viewer"}),
        (f"/access/people/{own}/groups/", {}),
    ):
        assert erin.post(path, {"reason": "by mistake", **form}).status == 422
    assert erin.get("/access/").status == 200


def test_a_node_whose_token_is_revoked_says_so_and_dials_no_more(
    room: Room, pair: tuple[Node, Node], erin: Visitor
) -> None:
    node_b = pair[1]
    prefix = room.enrolment.node_tokens["node-b"].split("_")[1]

    shown = erin.post(f"/access/tokens/{prefix}/revoke/", {"reason": "it leaked"})
    until(lambda: said(node_b, "link.refused"), "the node says that its token isn't taken")
    room.wait_for("node-b", "unreachable")

    assert shown.status == 200
    assert [(each["code"], each["reason"]) for each in said(node_b, "link.refused")] == [
        (4401, "unknown or revoked token")
    ]
    assert said(node_b, "link.lost") == []
    assert node_b.ready()
    assert room.audit(action="token.revoke")[0]["reason"] == "it leaked"


def said(node: Node, event: str) -> list[dict[str, Any]]:
    """Return what a node has logged of one kind."""
    lines = node.log_file.read_text().splitlines()
    return [entry for entry in map(json.loads, lines) if entry["event"] == event]


def number_of(admin: Visitor, person: str) -> int:
    """Return the number of a person, as the Access page has it in its addresses."""
    shown = admin.get("/access/").text
    found = re.search(rf'of=([0-9]+)#step">(?:(?!#step).)*> of {person}<', shown, re.DOTALL)
    assert found, person
    return int(found[1])
