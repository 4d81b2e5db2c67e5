"""A node is drained by a button and given back by a program; the page says what is, and the audit who."""

import json
import re
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.calls import Reader, call, chunks
from tests.e2e.conftest import Measured, OpenWindow
from tests.e2e.harness import Node, until
from tests.e2e.room import Room
from tests.e2e.window import first_at, said, seen, watch

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

CANCEL = json.dumps({"action": "cancel", "reason": "deployed"}).encode()
LONGER_SECONDS = 80 * 0.1  # the longer of two streams can't end sooner
PLACES = {
    "state": "#c-state-node-a",
    "left": "#c-drain-node-a .progress > .figure",
    "drain": "#c-drain-node-a .progress",
}


@pytest.fixture(scope="module")
def pair(room: Room) -> tuple[Node, Node]:
    """node-a and node-b, each with a provider of its own."""
    node_a, node_b, _, _ = room.pair()
    return node_a, node_b


@pytest.fixture
def node_a(room: Room, pair: tuple[Node, Node]) -> Iterator[Node]:
    """A node that serves, and serves again behind the test."""
    yield pair[0]
    room.undrain("node-a")


def drain_by_button(page: Page, reason: str) -> None:
    """Drain the node of the page: open the second step, say why, confirm."""
    page.get_by_role("link", name="Drain node-a").click()
    page.get_by_label("Reason").fill(reason)
    page.get_by_role("button", name="Drain node-a").click()
    expect(page.get_by_text("Asked node-a to drain")).to_be_visible()


def begin(node: Node, content: str) -> Reader:
    """Begin to read a stream that the node serves itself."""
    reader = Reader(node, content)
    reader.start()
    until(lambda: "chunk-2 " in reader.text, "the stream runs")
    assert reader.routed_via == "local"
    return reader


def test_a_drain_by_the_button_takes_two_steps_and_asks_for_a_reason(
    room: Room, node_a: Node, window: OpenWindow
) -> None:
    page = window("alice").open_live("/nodes/node-a/")

    page.get_by_role("link", name="Drain node-a").click()
    reason, confirm = page.get_by_label("Reason"), page.get_by_role("button", name="Drain node-a")
    expect(reason).to_be_focused()
    confirm.click()
    unsaid = reason.evaluate("(input) => input.validity.valueMissing")
    page.locator("[data-confirm]").evaluate("(form) => { form.noValidate = true; }")
    reason.fill("no")
    confirm.click()
    expect(page.get_by_role("alert").filter(has_text="Say why, in 3 characters or more")).to_be_visible()

    assert unsaid
    assert reason.input_value() == "no"
    assert room.drain_of("node-a")["drain"] is None
    assert node_a.ready()


def test_a_drained_node_finishes_its_streams_untouched_and_the_page_says_drained_only_then(
    room: Room, node_a: Node, window: OpenWindow, measured: Measured
) -> None:
    page = window("alice").open_live("/nodes/node-a/")
    watch(page, PLACES)
    began_at = time.time()
    shorter, longer = begin(node_a, "slow:50x100"), begin(node_a, "slow:80x100")
    expect(page.locator("#c-figures-node-a .figure").first).to_have_text("2")

    asked_at = time.time()
    drain_by_button(page, "kernel update")
    until(lambda: not node_a.ready(), "the gate is closed")
    measured("confirmed to the gate closed, at most", time.time() - asked_at)
    whole, streamed = call(node_a), call(node_a, stream=True)
    expect(page.locator("#c-drain-node-a table.small tbody tr")).to_have_count(2)
    working_on = page.locator("#c-drain-node-a table.small").inner_text()
    running_still = shorter.is_alive() and longer.is_alive()
    expect(page.locator(PLACES["state"])).to_have_text("drained")
    expect(page.locator(PLACES["drain"])).to_contain_text("safe to stop")
    for each in (shorter, longer):
        each.join()

    assert running_still
    assert working_on.count("alpha") == 2
    assert (shorter.text, longer.text) == (chunks(50), chunks(80))
    assert [(each.routed_via, each.text) for each in (whole, streamed)] == [("node-b", chunks(2))] * 2
    assert room.trace(whole.trace_id)["why"] == "drain"
    assert said(page, "state") == ["running", "draining", "drained"]
    notes = seen(page)
    lefts = [int(note["left"]) for note in notes if note["state"] != "running" and note["left"]]
    assert lefts == sorted(lefts, reverse=True)
    assert set(lefts) == {2, 1, 0}
    assert all(note["left"] == "0" for note in notes if re.search("drained|safe to stop", note["drain"]))
    drained_at = first_at(page, "state", "drained")
    assert drained_at >= began_at + LONGER_SECONDS
    measured("the last word of the last stream to drained on the page", drained_at - longer.heard_at)


@pytest.mark.parametrize("body", [CANCEL, (CANCEL[:10], CANCEL[10:])], ids=["with-a-length", "chunked"])
def test_a_token_cancels_a_drain_and_the_node_runs_again(
    room: Room, node_a: Node, window: OpenWindow, body: bytes | tuple[bytes, ...], measured: Measured
) -> None:
    page = window("alice").open_live("/nodes/node-a/")
    watch(page, PLACES)
    drain_by_button(page, "kernel update")
    expect(page.locator(PLACES["state"])).to_have_text("drained")

    cancelled_at = time.time()
    answer = room.send("POST", "nodes/node-a/drain", body, program="deployer")
    expect(page.locator(PLACES["state"])).to_have_text("running")

    assert answer.status in (200, 202)
    assert answer.body["action"] == "cancel"
    assert answer.body["was_draining"] is True
    assert node_a.ready()
    assert call(node_a).routed_via == "local"
    assert said(page, "state")[-1] == "running"
    measured(
        "cancelled to running on the page",
        first_at(page, "state", "running", after=cancelled_at) - cancelled_at,
    )


def test_the_audit_page_and_the_admin_show_who_drained_and_who_gave_back(
    room: Room, node_a: Node, window: OpenWindow
) -> None:
    alice = window("alice")
    drain_by_button(alice.open_live("/nodes/node-a/"), "to be audited")
    room.wait_for("node-a", "drained")
    room.send("POST", "nodes/node-a/drain", CANCEL, program="deployer")
    room.wait_for("node-a", "running")
    until(lambda: steps_of(room) >= {"drained", "gate_opened"}, "the effects are audited")

    undrained, drained = (room.audit(action=action)[0] for action in ("undrain", "drain"))
    audit, admin = alice.open("/audit/"), alice.open("/admin/dashboard/auditentry/")

    prefix = room.enrolment.program_tokens["deployer"].split("_")[1]
    assert (drained["actor_kind"], drained["actor_name"], drained["reason"]) == (
        "user",
        "alice",
        "to be audited",
    )
    assert (undrained["actor_kind"], undrained["actor_name"], undrained["token_prefix"]) == (
        "token",
        "deployer",
        prefix,
    )
    for entry, words in (
        (drained, ["alice", "user", "drain", "to be audited"]),
        (undrained, ["deployer", f"token {prefix}", "undrain", "deployed"]),
    ):
        row = audit.locator(f"#n{entry['n']}")
        for each in [*words, "node:node-a", "127.0.0.1", entry["at"][11:19], "done"]:
            expect(row).to_contain_text(each)
        row = admin.locator("#result_list tbody tr").filter(
            has=admin.get_by_role("link", name=str(entry["n"]), exact=True)
        )
        for each in [entry["actor_name"], entry["action"], "node:node-a", entry["reason"], "127.0.0.1"]:
            expect(row).to_contain_text(each)
        expect(row.locator(".field-at")).to_contain_text(entry["at"][:4])
    expect(audit.locator(f"#n{drained['n']}")).to_contain_text("gate closed")
    expect(audit.get_by_text("chain ends as its head says")).to_be_visible()
    expect(admin.get_by_role("button", name="Delete")).to_have_count(0)


def steps_of(room: Room) -> set[str]:
    """Return the effects that the newest drain and its end had."""
    newest = room.audit(action="drain")[0]["n"]
    return {entry["after"]["step"] for entry in room.audit(action="drain.effect") if entry["n"] > newest}
