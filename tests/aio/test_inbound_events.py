"""Events are handled at most once and acknowledged once taken."""

import asyncio
from typing import Any

import pytest

from meshcore.aio import inbound_events
from meshcore.aio.inbound_events import InboundEvents
from meshcore.aio.relay_session import LinkLost
from meshcore.aio.testing import wait_until
from meshcore.frames import Inbound


class Acknowledgements:
    def __init__(self) -> None:
        self.ids: list[str] = []
        self.connected = True

    async def __call__(self, buffer_id: str) -> None:
        if not self.connected:
            raise LinkLost("gone")
        self.ids.append(buffer_id)


class Handler:
    """Takes events once it may."""

    def __init__(self) -> None:
        self.begun: list[dict[str, Any]] = []
        self.may_end = asyncio.Event()

    async def __call__(self, event: dict[str, Any]) -> None:
        self.begun.append(event)
        await self.may_end.wait()


def copy(buffer_id: str | None = "b1") -> Inbound:
    return Inbound(event={"kind": "cancel"}, bufferId=buffer_id)


@pytest.fixture
def acks() -> Acknowledgements:
    return Acknowledgements()


@pytest.fixture
def handler() -> Handler:
    return Handler()


@pytest.fixture
def events(acks: Acknowledgements, handler: Handler) -> InboundEvents:
    made = InboundEvents(acks)
    made.handler = handler
    return made


async def test_an_event_is_acknowledged_after_its_handler_finished(
    events: InboundEvents, handler: Handler, acks: Acknowledgements
) -> None:
    events.take(copy())
    await wait_until(lambda: bool(handler.begun))
    early = list(acks.ids)

    handler.may_end.set()
    await wait_until(lambda: acks.ids == ["b1"])

    assert early == []


async def test_two_copies_at_once_are_one_admission(
    events: InboundEvents, handler: Handler, acks: Acknowledgements
) -> None:
    events.take(copy())
    events.take(copy())
    handler.may_end.set()
    await wait_until(lambda: acks.ids == ["b1"])

    events.take(copy())
    await wait_until(lambda: acks.ids == ["b1", "b1"])

    assert len(handler.begun) == 1


async def test_cancelled_before_it_was_retained_it_may_come_again(
    events: InboundEvents, handler: Handler, acks: Acknowledgements
) -> None:
    events.take(copy())
    await wait_until(lambda: bool(handler.begun))

    await events.abandon()
    handler.may_end.set()
    events.take(copy())
    await wait_until(lambda: acks.ids == ["b1"])

    assert len(handler.begun) == 2


async def test_a_handler_that_fails_has_retained_nothing(
    events: InboundEvents, handler: Handler, acks: Acknowledgements
) -> None:
    def fail(event: dict[str, Any]) -> None:
        handler.begun.append(event)
        raise ValueError("disk full")

    events.handler = fail
    events.take(copy())
    await wait_until(lambda: len(handler.begun) == 1)
    await events.abandon()

    events.take(copy())
    await wait_until(lambda: len(handler.begun) == 2)
    await events.abandon()
    assert acks.ids == []


async def test_an_acknowledgement_that_was_lost_is_made_up_for_with_the_next_copy(
    events: InboundEvents, handler: Handler, acks: Acknowledgements
) -> None:
    acks.connected = False
    handler.may_end.set()
    events.take(copy())
    await wait_until(lambda: not events._in_hand)

    acks.connected = True
    events.take(copy())
    await wait_until(lambda: acks.ids == ["b1"])

    assert len(handler.begun) == 1


async def test_an_event_without_a_buffer_id_is_never_acknowledged(
    events: InboundEvents, handler: Handler, acks: Acknowledgements
) -> None:
    handler.may_end.set()

    events.take(copy(None))
    events.take(copy(None))
    await wait_until(lambda: len(handler.begun) == 2 and not events._in_hand)

    assert acks.ids == []


async def test_without_a_handler_or_with_too_many_in_hand_nothing_is_let_in(
    events: InboundEvents, handler: Handler, acks: Acknowledgements, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbound_events, "AT_ONCE", 1)
    events.take(copy("b1"))
    events.take(copy("b2"))
    handler.may_end.set()
    await wait_until(lambda: acks.ids == ["b1"])

    events.handler = None
    events.take(copy("b3"))
    events.handler = handler
    for buffer_id in ("b2", "b3"):
        await wait_until(lambda: not events._in_hand)
        events.take(copy(buffer_id))

    await wait_until(lambda: acks.ids == ["b1", "b2", "b3"])
