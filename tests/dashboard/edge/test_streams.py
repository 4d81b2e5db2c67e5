"""A run as its viewers get it from the dashboard, wherever its log is."""

from http import HTTPStatus
from typing import Any

import pytest
from django.db import OperationalError

from dashboard.edge import streams
from dashboard.edge.event_stream import Places
from dashboard.runtime import Runtime
from meshcore.stream_frames import STREAM_CREDIT, StreamEnd, StreamEndReason
from tests.dashboard.edge.watched import (
    API,
    NewNode,
    Viewer,
    Watch,
    chunks,
    end,
    event,
)

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_viewer_gets_what_is_there_then_what_comes_then_the_end(
    new_node: NewNode, watch: Watch, reader: Any
) -> None:
    node = await new_node("node-a")
    await node.add(event(2, "epoch", epoch=1, reason="started", node="node-a"), *chunks(3, 5))

    viewer = await watch(API, reader).until(lambda v: v.text == "w3 w4 w5 ")
    await node.add(*chunks(6, 9), end(10))
    await viewer.finish()

    assert viewer.status == 200
    assert viewer.headers[b"content-type"] == b"text/event-stream"
    assert viewer.headers[b"cache-control"] == b"no-store"
    assert viewer.body.startswith(b": attached\n\nid: 2\nevent: epoch\ndata: {")
    assert [seq for seq, _, _ in viewer.events] == list(range(2, 11))
    assert viewer.events[-1][1:] == (
        "end",
        {"status": "completed", "reason": "stop", "final_seq": 10, "usage": None},
    )


@pytest.mark.parametrize(
    ("path", "header"),
    [(f"{API}?starting_after=4", ()), (API, (b"last-event-id", b"4"))],
)
async def test_a_viewer_that_comes_back_gets_what_it_lacks(
    new_node: NewNode, watch: Watch, reader: Any, path: str, header: Any
) -> None:
    node = await new_node("node-a")
    await node.add(*chunks(3, 6), end(7))

    viewer = await watch(path, reader, *([header] if header else [])).finish()

    assert [seq for seq, _, _ in viewer.events] == [5, 6, 7]
    assert node.asked[0].after == 4


async def test_the_whole_history_is_asked_for_as_such(new_node: NewNode, watch: Watch, reader: Any) -> None:
    node = await new_node("node-a")
    await node.add(end(2))

    await watch(f"{API}?history=all", reader).finish()

    assert (node.asked[0].history, node.asked[0].after) == (True, None)


async def test_a_run_that_its_log_does_not_have_is_not_found(
    new_node: NewNode, watch: Watch, reader: Any
) -> None:
    node = await new_node("node-a")
    node.events.clear()

    viewer = await watch(API, reader).finish()

    assert viewer.status == HTTPStatus.NOT_FOUND
    assert viewer.headers[b"content-type"] == b"application/problem+json"
    assert f'"instance": "{API}"'.encode() in viewer.body


async def test_a_run_of_a_log_that_nobody_knows_is_not_found(
    new_node: NewNode, watch: Watch, reader: Any
) -> None:
    await new_node("node-a")

    for run in (f"run_zzzzzz_{'0' * 32}", "run_", "x", "%2e%2e"):
        assert (await watch(f"/api/v1/runs/{run}/stream", reader).finish()).status == HTTPStatus.NOT_FOUND


async def test_a_run_that_may_be_in_a_log_which_is_away_is_unavailable(
    new_node: NewNode, watch: Watch, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "OPEN_SECONDS", 0.1)
    await (await new_node("node-a")).die()

    viewer = await watch(API, reader).finish()

    assert viewer.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert viewer.headers[b"retry-after"] == b"5"


async def test_a_viewer_that_reads_nothing_holds_up_its_stream_and_no_other(
    rt: Runtime, new_node: NewNode, watch: Watch, reader: Any
) -> None:
    node = await new_node("node-a")
    await node.add(*chunks(3, 60), end(61))
    slow = Viewer(API, reader)
    slow.reads.clear()
    slow.start()
    await slow.until(lambda v: v.status == 200)

    fast = await watch(API, reader).finish()

    assert [seq for seq, _, _ in fast.events] == list(range(3, 62))
    sent = next(sent for _, sent in node.open.values())
    assert sent <= 2 + 2 * STREAM_CREDIT  # what it may have in hand, and as much on the way
    slow.reads.set()
    assert (await slow.finish()).events == fast.events
    await slow.leave()


async def test_one_viewer_too_many_is_told_so(
    new_node: NewNode, watch: Watch, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_places", Places(2))
    node = await new_node("node-a")
    await node.add(*chunks(3, 3))
    for _ in range(2):
        await watch(API, reader).until(lambda v: v.text == "w3 ")

    third = await watch(API, reader).finish()

    assert third.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert b"2 watch here already" in third.body
    assert streams.VIEWERS_MAX == 256


async def test_only_get(rt: Runtime, watch: Watch, reader: Any) -> None:
    viewer = await watch(API, reader, method="POST").finish()

    assert (viewer.status, viewer.headers[b"allow"]) == (HTTPStatus.METHOD_NOT_ALLOWED, b"GET")


async def test_a_run_whose_nodes_send_as_many_as_they_may_is_refused_for_now(
    new_node: NewNode, watch: Watch, reader: Any
) -> None:
    node = await new_node("node-a")
    node.refuses = StreamEndReason.TOO_MANY

    viewer = await watch(API, reader).finish()

    assert (viewer.status, viewer.headers[b"retry-after"]) == (HTTPStatus.SERVICE_UNAVAILABLE, b"5")
    assert b"as many runs as they may" in viewer.body


async def test_a_viewer_that_has_begun_is_told_when_nodes_send_as_many_as_they_may(
    new_node: NewNode, watch: Watch, reader: Any
) -> None:
    node = await new_node("node-a")
    await node.add(*chunks(3, 3))
    viewer = await watch(API, reader).until(lambda v: v.text == "w3 ")

    node.refuses = StreamEndReason.TOO_MANY
    await node.flood(StreamEnd(id=node.asked[0].stream, reason="engine_gone"))
    await viewer.until(lambda v: b": waiting: its nodes send as many runs as they may\n\n" in v.body)
    node.refuses = None
    await node.add(end(4))

    assert (await viewer.finish()).events[-1][0] == 4


async def test_without_the_database_a_run_that_nobody_gives_is_unavailable(
    rt: Runtime, watch: Watch, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(run_id: str) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(streams, "_known", away)

    viewer = await watch(API, reader).finish()

    assert (viewer.status, viewer.headers[b"retry-after"]) == (HTTPStatus.SERVICE_UNAVAILABLE, b"5")
