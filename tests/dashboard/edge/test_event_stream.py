"""An answer of server-sent events: bounded, and over when its client leaves or takes nothing."""

from typing import Any

import pytest

from dashboard.edge import event_stream, streams, viewing
from tests.dashboard.edge.watched import (
    API,
    NewNode,
    Viewer,
    Watch,
    chunks,
    end,
)

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_client_that_takes_nothing_for_long_is_left(
    new_node: NewNode, watch: Watch, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "STUCK_SECONDS", 0.05)
    node = await new_node("node-a")
    await node.add(*chunks(3, 60))
    stuck = Viewer(API, reader)
    stuck.reads.clear()

    await stuck.start().finish()
    await stuck.leave()

    assert not node.open


async def test_an_answer_ends_at_its_bound_and_the_client_goes_on_from_there(
    new_node: NewNode, watch: Watch, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "RESPONSE_MAX_BYTES", 1_000)
    node = await new_node("node-a")
    await node.add(*chunks(3, 60), end(61))
    found: list[tuple[int, str, Any]] = []

    while not found or found[-1][1] != "end":
        last = (b"last-event-id", str(found[-1][0] if found else 0).encode())
        viewer = await watch(API, reader, last).finish()
        assert len(viewer.body) <= 1_000
        found += viewer.events

    assert [seq for seq, _, _ in found] == list(range(3, 62))


async def test_silence_is_a_comment_and_never_an_end(
    new_node: NewNode, watch: Watch, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewing, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(streams, "COMMENT_SECONDS", 0.02)
    await new_node("node-a")

    viewer = await watch(API, reader).until(lambda v: v.body.count(b": \n\n") >= 3)

    assert not viewer.over
