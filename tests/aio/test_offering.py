"""What may be registered, and how it serves."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from meshcore.aio.offering import adapt, adapt_stream, offer, takes_call_info
from meshcore.aio.providers import EchoProvider
from meshcore.capability import CallInfo, RouteRequest
from meshcore.clock import monotonic
from meshcore.openai_wire import Chunk, parse_chunk
from meshcore.registry import Registry
from tests.aio.bus_mesh import BODY, CHAT, says

REQUEST = RouteRequest(*CHAT, BODY)
INFO = CallInfo(trace_id="t", capability="llm.chat", caller="", deadline=1.0, timeout_seconds=1.0)


async def alone(request: RouteRequest) -> dict[str, Any]:
    return {"info": None}


async def both(request: RouteRequest, call: CallInfo) -> dict[str, Any]:
    return {"info": call}


async def with_option(request: RouteRequest, *, verbose: bool = False) -> dict[str, Any]:
    return {}


async def anything(*args: Any) -> dict[str, Any]:
    return {}


async def stream_alone(request: RouteRequest) -> AsyncIterator[Chunk]:
    yield parse_chunk(says("alone"))


async def stream_both(request: RouteRequest, call: CallInfo) -> AsyncIterator[Chunk]:
    yield parse_chunk(says(call.trace_id))


@pytest.mark.parametrize(
    ("handler", "takes"),
    [(alone, False), (both, True), (with_option, False), (anything, True), (partial(both, REQUEST), False)],
)
def test_a_handler_is_asked_how_much_it_wants_to_know(handler: Any, takes: bool) -> None:
    assert takes_call_info(handler) is takes


async def test_handlers_of_one_and_two_arguments_serve_alike() -> None:
    assert await adapt(alone)(REQUEST, INFO) == {"info": None}
    assert await adapt(both)(REQUEST, INFO) == {"info": INFO}


async def test_streams_of_one_and_two_arguments_serve_alike() -> None:
    one, two = adapt_stream(stream_alone), adapt_stream(stream_both)
    assert one is not None
    assert two is not None

    assert [chunk.text async for chunk in one(REQUEST, INFO)] == ["alone"]
    assert [chunk.text async for chunk in two(REQUEST, INFO)] == ["t"]


def test_no_stream_stays_none() -> None:
    assert adapt_stream(None) is None


def test_what_a_provider_offers_no_longer_is_taken_back_and_others_stay() -> None:
    registry = Registry("node-a", clock=monotonic)
    echo, other = EchoProvider("echo"), EchoProvider("other")
    for provider in (echo, other):
        offer(provider, registry)
    echo.descriptors = lambda: EchoProvider("echo").descriptors()[:1]  # type: ignore[method-assign]

    offer(echo, registry)

    assert sorted((entry.descriptor.provider, entry.descriptor.name) for entry in registry.all_local()) == [
        ("echo", "llm.chat"),
        ("other", "llm.chat"),
        ("other", "llm.completion"),
    ]
