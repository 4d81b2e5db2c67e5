"""The Run page shows an answer as it grows, also while the node that gives it is killed."""

import json
import threading
import urllib.request
from collections.abc import Sequence

import pytest
from playwright.sync_api import Page, Route, expect

from tests.e2e.calls import chunks
from tests.e2e.conftest import OpenWindow
from tests.e2e.harness import Node, ask, until
from tests.e2e.room import Room
from tests.e2e.run_stage import LEASE_SECONDS, PROVIDER, make, show
from tests.e2e.run_viewers import frames_in
from tests.e2e.window import said, watch

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

CHUNKS = 60
LONG = f"slow:{CHUNKS}x150"  # 9 s: beyond a lease
PLACES = {"text": "#watch-text", "status": "#watch-status", "epochs": "#watch-epochs"}


@pytest.fixture(scope="module")
def nodes(room: Room) -> Sequence[Node]:
    """node-a and node-b of one log, which can go on where the other stopped."""
    mock = room.mesh.mock("alpha")
    runs = f'[runs]\nlog = "sqlite:///{room.mesh.folder}/runs.sqlite3"\nlease_seconds = {LEASE_SECONDS}\n'
    pair = [room.node("node-a"), room.node("node-b")]
    for node in pair:
        room.configure(
            node, providers={}, extra=runs + PROVIDER.format("alpha", mock.url) + 'continuation = "prefill"\n'
        )
    room.dashboard.start_and_wait()
    for node in pair:
        node.start_and_wait()
        until(node.ready, "it may own runs")
        room.wait_for(node.name, "running")
    return pair


def follow(room: Room, run_id: str, into: list[str]) -> None:
    """Read a run by the API, as a program does."""
    token = room.enrolment.program_tokens["reader"]
    request = urllib.request.Request(
        f"{room.dashboard.url}/api/v1/runs/{run_id}/stream", headers={"Authorization": f"Bearer {token}"}
    )
    with ask(request, seconds=60) as answer:
        into += [json.dumps(frame.data) for frame in frames_in(answer)]


def answers(page: Page, path: str) -> bool:
    """Open a page and return whether it is there."""
    response = page.goto(path)
    return response is not None and response.ok


def test_the_answer_grows_on_the_page_and_goes_on_when_its_owner_is_killed(
    room: Room, nodes: Sequence[Node], window: OpenWindow
) -> None:
    owner, other = nodes
    bob = window("bob")
    page = bob.open("/")
    run_id = make(owner, LONG)
    until(lambda: answers(page, f"/runs/{run_id}/"), "the dashboard knows the run")
    expect(page.locator(PLACES["text"])).to_contain_text("chunk-3 ")
    watch(page, PLACES)
    frames: list[str] = []
    program = threading.Thread(target=follow, args=(room, run_id, frames), daemon=True)
    program.start()

    owner.kill()

    expect(page.locator(PLACES["epochs"])).to_contain_text(f"{other.name} goes on")
    expect(page.locator(PLACES["status"])).to_have_text("completed (stop)")
    text = page.locator(PLACES["text"]).inner_text()
    assert text.replace(f" {other.name} goes on from here ", "") == chunks(CHUNKS)
    assert show(other, run_id)["text"] == chunks(CHUNKS)
    texts = said(page, "text")
    assert len(texts) > 5  # it grew
    program.join(60)
    deltas = [json.loads(frame)["delta"].get("content") or "" for frame in frames if "delta" in frame]
    assert "".join(deltas) == chunks(CHUNKS)


def sse(*events: tuple[int, str, dict[str, object]]) -> str:
    """Return events as they come over the wire, behind the first comment."""
    told = (f"id: {seq}\nevent: {name}\ndata: {json.dumps(data)}\n\n" for seq, name, data in events)
    return ": attached\n\n" + "".join(told)


def word(seq: int, text: str) -> tuple[int, str, dict[str, object]]:
    return seq, "chunk", {"index": seq, "delta": {"content": text}, "finish_reason": None}


def epoch(seq: int, number: int, reason: str) -> tuple[int, str, dict[str, object]]:
    return seq, "epoch", {"epoch": number, "reason": reason, "node": f"node-{number}"}


def test_an_owner_that_begins_anew_clears_the_text_and_a_broken_stream_is_taken_up_again(
    room: Room, nodes: Sequence[Node], window: OpenWindow
) -> None:
    run_id = make(nodes[1], "slow:1x1")
    page = window("bob").open("/")
    answers_in_order = [
        sse(epoch(2, 1, "started"), word(3, "one "), word(4, "two ")),
        sse(epoch(5, 2, "restarted"), word(6, "uno ")) + ": waiting for a node of this log\n\n",
        sse(epoch(7, 3, "continued"), word(8, "due"), (9, "end", {"status": "completed", "reason": "stop"})),
    ]
    asked: list[str] = []

    def answer(route: Route) -> None:
        asked.append(route.request.url.partition("?")[2])
        route.fulfill(content_type="text/event-stream", body=answers_in_order[len(asked) - 1])

    page.route("**/stream*", answer)
    until(lambda: answers(page, f"/runs/{run_id}/"), "the dashboard knows the run")

    expect(page.locator(PLACES["status"])).to_have_text("completed (stop)")
    text = page.locator(PLACES["text"]).inner_text()
    assert (
        text == "node-2 began anew: what was answered before doesn't count\nuno  node-3 goes on from here due"
    )
    assert asked == ["", "starting_after=4", "starting_after=6"]
    expect(page.locator(f"{PLACES['epochs']} li")).to_have_text(
        ["node-1 began", "node-2 began anew", "node-3 goes on"]
    )


@pytest.mark.parametrize(
    ("status", "words"), [(404, "Its log has this run no longer"), (401, "You are signed out")]
)
def test_a_stream_that_is_refused_says_why(
    room: Room, nodes: Sequence[Node], window: OpenWindow, status: int, words: str
) -> None:
    run_id = make(nodes[1], "slow:1x1")
    page = window("bob").open("/")
    page.route("**/stream*", lambda route: route.fulfill(status=status))

    until(lambda: answers(page, f"/runs/{run_id}/"), "the dashboard knows the run")

    expect(page.locator(PLACES["status"])).to_contain_text(words)
