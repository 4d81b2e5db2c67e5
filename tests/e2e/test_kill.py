"""Nodes and dashboard die without a word: orders are kept, clients notice nothing, nothing is lost."""

import time
from collections import Counter
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.e2e.calls import Traffic, call
from tests.e2e.conftest import Measured, OpenWindow
from tests.e2e.gate import watched_gate
from tests.e2e.harness import Node, until
from tests.e2e.room import Room
from tests.e2e.window import first_at, said, watch

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

CALLS_BEFORE, CALLS_WHILE_DEAD, CALLS_AFTER = 10, 20, 10
STATE = {"state": "#c-state-node-b"}


@pytest.fixture(scope="module")
def pair(room: Room) -> tuple[Node, Node]:
    """node-a and node-b, each with a provider of its own."""
    node_a, node_b, _, _ = room.pair()
    return node_a, node_b


@pytest.fixture
def drained_b(room: Room, pair: tuple[Node, Node]) -> Iterator[Node]:
    """node-b, drained by order of the dashboard; it serves again behind the test."""
    room.send("POST", "nodes/node-b/drain", b'{"reason": "new disk", "sticky": true}', program="deployer")
    room.wait_for("node-b", "drained")
    yield pair[1]
    room.undrain("node-b")


def test_a_killed_node_is_unreachable_then_back_and_its_gate_is_closed_from_the_first_moment(
    room: Room, drained_b: Node, window: OpenWindow, measured: Measured
) -> None:
    page = window("bob").open_live("/")
    watch(page, STATE)
    generation = room.drain_of("node-b")["generation"]

    killed_at = time.time()
    drained_b.kill()
    expect(page.locator(STATE["state"])).to_have_text("unreachable")
    while_away = room.drain_of("node-b")
    started_at = time.time()
    with watched_gate(drained_b) as words:
        drained_b.start_and_wait()
        expect(page.locator(STATE["state"])).to_have_text("drained")
        answer = call(drained_b)

    assert while_away["drain"]["reason"] == "new disk"
    assert set(words) == {"", "drained"}
    assert answer.routed_via == "node-a"
    order = room.drain_of("node-b")
    assert (order["generation"], order["observed_generation"]) == (generation, generation)
    assert order["drain"]["reason"] == "new disk"
    assert said(page, "state") == ["drained", "unreachable", "drained"]
    measured(
        "SIGKILL of a node to unreachable on the page", first_at(page, "state", "unreachable") - killed_at
    )
    back_at = first_at(page, "state", "drained", after=started_at)
    measured("start of the node to its state on the page", back_at - started_at)


def test_clients_notice_nothing_of_a_killed_dashboard_and_every_trace_is_there_once(
    room: Room, pair: tuple[Node, Node], window: OpenWindow, measured: Measured
) -> None:
    page = window("bob").open_live("/")
    watch(page, STATE)

    with Traffic([*pair, *pair]) as traffic:
        traffic.wait_for(CALLS_BEFORE)
        room.dashboard.kill()
        traffic.wait_for(CALLS_WHILE_DEAD)
        room.dashboard.start_and_wait()
        until(lambda: room.ask("traces", trace_id=traffic.ledger[0].trace_id)["results"], "a trace is there")
        room.dashboard.kill()
        restarted_at = time.time()
        room.dashboard.start_and_wait()
        traffic.wait_for(CALLS_AFTER)
    told = {call.trace_id for call in traffic.ledger}
    until(lambda: told <= {trace["trace_id"] for trace in room.traces()}, "every call's trace is there")
    measured("restart of the dashboard to all traces there", time.time() - restarted_at)

    counted = Counter(trace["trace_id"] for trace in room.traces())
    assert traffic.failures == []
    assert len(told) == len(traffic.ledger)
    assert {trace_id: counted[trace_id] for trace_id in told} == dict.fromkeys(told, 1)
    assert max(counted.values()) == 1
    expect(page.locator("#live-status")).to_contain_text("live")
    expect(page.locator("#live-banner")).to_be_hidden()
    said(page, "state")
    slowest = max(call.seconds for call in traffic.ledger)
    measured(f"slowest of {len(traffic.ledger)} calls", slowest)
