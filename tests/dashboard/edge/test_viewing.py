"""Which node gives a viewer its run: whatever happens to it, nothing is missing and nothing comes twice."""

from typing import Any

import pytest

from dashboard.edge import viewing
from dashboard.edge.broker import Broker
from dashboard.edge.viewing import Viewing
from dashboard.runtime import Runtime
from dashboard.selectors import outbox
from dashboard.selectors.changes import Look
from dashboard.selectors.presence import Composite
from meshcore.stream_frames import Stream, StreamEndReason
from meshcore.testing import ManualClock
from tests.dashboard.edge.watched import (
    API,
    RUN,
    NewNode,
    Watch,
    chunks,
    end,
    known,
)

pytestmark = pytest.mark.django_db(transaction=True)


async def test_when_a_node_dies_the_next_goes_on_without_a_gap_on_the_open_connection(
    new_node: NewNode, watch: Watch, reader: Any
) -> None:
    first, second = await new_node("node-a"), await new_node("node-b")
    for node in (first, second):
        await node.add(*chunks(3, 6))
    viewer = await watch(API, reader).until(lambda v: v.text == "w3 w4 w5 w6 ")

    await first.die()
    await second.add(*chunks(7, 8), end(9))
    await viewer.finish()

    assert [seq for seq, _, _ in viewer.events] == list(range(3, 10))
    assert [each.after for each in second.asked] == [6]


async def test_while_there_is_nobody_to_ask_a_viewer_of_a_known_run_waits_and_is_told(
    rt: Runtime, new_node: NewNode, watch: Watch, reader: Any
) -> None:
    await rt.in_control(known)
    viewer = await watch(API, reader).until(lambda v: b": waiting for a node of this log\n\n" in v.body)
    assert viewer.status == 200

    node = await new_node("node-a")
    await node.add(*chunks(3, 3), end(4))

    assert (await viewer.finish()).text == "w3 "


async def test_a_node_that_says_nothing_is_passed_over(
    new_node: NewNode, watch: Watch, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewing, "ANSWER_SECONDS", 0.3)
    deaf, good = await new_node("node-a"), await new_node("node-b")
    deaf.mute = True
    await good.add(*chunks(3, 3), end(4))

    viewer = await watch(API, reader).finish()

    assert viewer.text == "w3 "
    assert deaf.asked


@pytest.mark.parametrize(
    "reason", [StreamEndReason.ENGINE_GONE, StreamEndReason.TOO_MANY, StreamEndReason.LOG_UNREACHABLE]
)
async def test_a_node_that_cannot_is_passed_over(
    new_node: NewNode, watch: Watch, reader: Any, reason: StreamEndReason
) -> None:
    broken, good = await new_node("node-a"), await new_node("node-b")
    broken.refuses = reason
    await good.add(end(2))

    assert (await watch(API, reader).finish()).events[-1][1] == "end"
    assert broken.asked


async def test_what_got_lost_on_the_way_is_asked_for_again(
    new_node: NewNode, watch: Watch, reader: Any
) -> None:
    node = await new_node("node-a")
    await node.add(*chunks(3, 4))
    viewer = await watch(API, reader).until(lambda v: v.text == "w3 w4 ")
    stream = node.asked[0].stream
    await node.all_taken()  # so that it says nothing of its own beside what follows

    gap = Stream(id=stream, after=6, to=7, events=tuple(chunks(7, 7)))
    node.events[RUN] += chunks(5, 8)
    await node.flood(gap)
    await viewer.until(lambda v: v.text.endswith("w8 "))
    await node.add(end(9))
    await viewer.finish()

    assert [seq for seq, _, _ in viewer.events] == list(range(3, 10))
    assert [each.after for each in node.asked] == [None, 4]


async def test_what_comes_a_second_time_is_left_out(new_node: NewNode, watch: Watch, reader: Any) -> None:
    node = await new_node("node-a")
    await node.add(*chunks(3, 4))
    viewer = await watch(API, reader).until(lambda v: v.text == "w3 w4 ")
    await node.all_taken()

    again = Stream(id=node.asked[0].stream, after=2, to=5, events=tuple(chunks(3, 5)))
    await node.flood(again)
    await viewer.until(lambda v: "w5" in v.text)

    assert viewer.text == "w3 w4 w5 "


async def test_a_node_that_is_away_though_its_link_is_open_is_left(
    rt: Runtime, new_node: NewNode, watch: Watch, reader: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(viewing, "TICK_SECONDS", 0.01)
    stopped, good = await new_node("node-a"), await new_node("node-b")
    for node in (stopped, good):
        await node.add(*chunks(3, 3))
    viewer = await watch(API, reader).until(lambda v: v.text == "w3 ")
    assert not good.asked

    away = dict.fromkeys(["node-a"], Look(Composite.UNREACHABLE, True, False))
    monkeypatch.setattr(Runtime, "looks", property(lambda _: away))
    await good.add(end(4))

    assert (await viewer.finish()).text == "w3 "
    assert stopped.ended == [stopped.asked[0].stream]


async def test_an_id_beyond_the_end_of_a_run_that_is_over_still_gives_its_end(
    new_node: NewNode, watch: Watch, reader: Any
) -> None:
    node = await new_node("node-a")
    await node.add(*chunks(3, 3), end(4))
    node.begins_at = 3  # as a node does: everybody gets at least the end

    viewer = await watch(f"{API}?starting_after=1000", reader).finish()

    assert [name for _, name, _ in viewer.events] == ["end"]


async def test_who_has_the_log_is_looked_up_no_more_often_than_needed(
    rt: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []

    def carriers(log: str, **_: Any) -> list[Any]:
        looked.append(log)
        return []

    monkeypatch.setattr(outbox, "carriers", carriers)
    broker, clock = Broker(rt), ManualClock()
    broker.relay = broker  # another process, with as few links
    one = Viewing(broker, RUN, clock=clock)

    assert [await one._next() for _ in range(3)] == [None] * 3
    clock.advance(viewing.ELSEWHERE_SECONDS)
    await one._next()

    assert looked == ["abcdef"] * 2
