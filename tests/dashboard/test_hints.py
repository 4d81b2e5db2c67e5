"""Hints cross threads and processes, and never carry more than the news that there is news."""

import asyncio
import logging
import threading
from typing import Any

import pytest
from channels.layers import InMemoryChannelLayer

from dashboard import hints


async def members(layer: InMemoryChannelLayer, count: int) -> None:
    """Wait until the group has `count` members; the layer has no event to wait for."""
    async with asyncio.timeout(10):
        while len(layer.groups.get(hints.GROUP, {})) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_a_hint_from_another_thread_reaches_the_loop() -> None:
    heard = asyncio.Event()
    stop = hints.listen(heard.set)

    thread = threading.Thread(target=hints.wake, args=("node:node-a",))
    thread.start()

    await asyncio.wait_for(heard.wait(), 10)
    thread.join()
    stop()


async def test_nobody_hears_after_the_end() -> None:
    heard = asyncio.Event()
    stop = hints.listen(heard.set)

    stop()
    hints.wake()
    await asyncio.sleep(0)

    assert not heard.is_set()


async def test_who_stops_late_does_not_deafen_the_next() -> None:
    heard = asyncio.Event()
    stop_first = hints.listen(lambda: None)
    stop_second = hints.listen(heard.set)

    stop_first()
    hints.wake()

    await asyncio.wait_for(heard.wait(), 10)
    stop_second()


def test_a_hint_without_a_runtime_does_nothing() -> None:
    hints.wake("nodes")


def test_a_hint_to_a_loop_that_is_closed_does_nothing() -> None:
    async def listen() -> None:
        hints.listen(lambda: None)

    asyncio.run(listen())

    hints.wake("nodes")


async def test_other_processes_hear_of_a_commit_and_the_sender_does_not() -> None:
    layer = InMemoryChannelLayer()
    here, there = asyncio.Event(), asyncio.Event()
    sender, other = hints.Relay(layer, here.set), hints.Relay(layer, there.set)
    tasks = [asyncio.create_task(relay.run()) for relay in (sender, other)]
    await members(layer, 2)

    await sender.announce()
    await asyncio.wait_for(there.wait(), 10)
    await other.announce()
    await asyncio.wait_for(here.wait(), 10)  # the layer keeps order: its own hint came before, unheard

    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert layer.groups == {}


class AwayLayer(InMemoryChannelLayer):
    """A layer that answers only while it is `there`."""

    there = False
    refused = 0

    async def new_channel(self, prefix: str = "specific.") -> str:
        self._answer()
        return str(await super().new_channel(prefix))

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        self._answer()
        await super().group_send(group, message)

    def _answer(self) -> None:
        if not self.there:
            self.refused += 1
            raise ConnectionError("nobody is there")


async def test_a_layer_that_is_away_is_named_once_and_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    layer, heard = AwayLayer(), asyncio.Event()
    task = asyncio.create_task(hints.Relay(layer, heard.set, retry_seconds=0.001).run())
    async with asyncio.timeout(10):
        while layer.refused < 3:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.001)

    layer.there = True
    await members(layer, 1)
    await hints.Relay(layer, heard.set).announce()

    await asyncio.wait_for(heard.wait(), 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [record.getMessage() for record in caplog.records] == [
        "no hints from and to other processes: ConnectionError: nobody is there"
    ]


async def test_a_hint_that_can_not_leave_is_dropped_and_the_next_one_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    layer = AwayLayer()
    relay = hints.Relay(layer, lambda: None)

    await relay.announce()
    await relay.announce()
    layer.there = True
    await relay.announce()

    assert [record.getMessage() for record in caplog.records] == [
        "no hints from and to other processes: ConnectionError: nobody is there",
        "hints from and to other processes again",
    ]


async def test_a_membership_is_renewed_before_the_layer_forgets_it() -> None:
    layer = InMemoryChannelLayer()
    heard = asyncio.Event()
    relay = hints.Relay(layer, heard.set, renew_seconds=0.01)
    task = asyncio.create_task(relay.run())
    await members(layer, 1)

    layer.groups.clear()  # as after a day
    await members(layer, 1)
    await hints.Relay(layer, heard.set).announce()

    await asyncio.wait_for(heard.wait(), 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
