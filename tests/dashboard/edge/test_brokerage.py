"""The broker of a process."""

import pytest
from channels.layers import InMemoryChannelLayer

from dashboard import runtime
from dashboard.edge import brokerage
from dashboard.edge.layer import Layer

pytestmark = pytest.mark.django_db(transaction=True)


class SharedLayer:
    """A layer that other processes are on, too, as far as its type says; nobody speaks on it."""

    def __init__(self) -> None:
        self._layer = InMemoryChannelLayer()
        self.new_channel, self.receive = self._layer.new_channel, self._layer.receive
        self.group_add, self.group_discard = self._layer.group_add, self._layer.group_discard


async def test_a_process_alone_has_no_way_to_others() -> None:
    async with runtime.running(jobs=()) as running:
        assert brokerage.of(running) is brokerage.of(running)
        assert brokerage.of(running).relay is None


async def test_each_runtime_has_its_own_and_one_with_company_a_way_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with runtime.running(jobs=()) as running:
        before = brokerage.of(running)
    monkeypatch.setattr(brokerage, "get_channel_layer", SharedLayer)

    async with runtime.running(jobs=()) as running:
        assert brokerage.of(running) is not before
        assert isinstance(brokerage.of(running).relay, Layer)
