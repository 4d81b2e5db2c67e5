"""A drain past its deadline ends what is left: clients learn why, peers' callers go on elsewhere."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import aiohttp
import msgspec
import openai
import pytest

from meshcore.aio.http_transport import HttpTransport
from meshcore.aio.mock_ai import MockAi
from meshcore.aio.testing import wait_until
from meshcore.breaker import BreakerState
from meshcore.bus_wire import error_of
from meshcore.clock import utcnow
from meshcore.errors import CallError
from meshcore.frames import Desired, DesiredDrain
from tests.aio.gateway.test_client_routes import chat, user
from tests.aio.gateway.test_peer_routes import ask, peer_of

ClientOf = Callable[..., openai.AsyncOpenAI]
HANGS = "slow:2x0 hang:after=1"  # one chunk, and then nothing


async def force(node: Any, seconds: float = 0.0) -> None:
    """Order a drain that ends after so many seconds what is left."""
    now = utcnow()
    drain = DesiredDrain(since=now, deadline_at=now + timedelta(seconds=seconds), force=True)
    await node.controller.apply_desired(Desired(generation=1, drain=drain))


def struck(node: Any) -> list[str]:
    """Return the breakers that hold something against somebody."""
    return [
        report.key
        for report in node.bus.health.reports()
        if report.strikes or report.state is not BreakerState.CLOSED
    ]


async def safe(node: Any) -> None:
    await wait_until(lambda: node.controller.readout().safe_to_stop)
    assert node.bus.health.permits_out == 0
    assert struck(node) == []


async def test_a_whole_answer_that_was_not_ready_is_a_503_that_says_why(
    node: Any, mock: MockAi, http: aiohttp.ClientSession
) -> None:
    call = asyncio.ensure_future(http.post(f"{node.url}/v1/chat/completions", json=chat(HANGS)))
    await wait_until(lambda: mock.calls.open == 1)

    await force(node)

    answer = await call
    error = (await answer.json())["error"]
    assert (answer.status, error["code"], error["reason"]) == (503, "node_draining", "drain_forced")
    assert answer.headers["Retry-After"] == "5"
    await wait_until(lambda: mock.calls.aborts == 1)
    await safe(node)


async def test_a_stream_ends_with_one_error_event_and_is_not_done(
    node: Any, mock: MockAi, http: aiohttp.ClientSession
) -> None:
    async with http.post(f"{node.url}/v1/chat/completions", json=chat(HANGS, stream=True)) as answer:
        await wait_until(lambda: node.controller.readout().in_flight.streams == 1)

        await force(node)
        events = [line for line in (await answer.read()).split(b"\n\n") if line]

    errors = [event for event in events if b'"error"' in event]
    assert errors == events[-1:]
    error = msgspec.json.decode(errors[0].removeprefix(b"data: "))["error"]
    assert (error["code"], error["reason"]) == ("node_draining", "drain_forced")
    assert b"[DONE]" not in b"".join(events)
    assert b"".join(events).count(b"chunk-1 ") == 1
    await wait_until(lambda: mock.calls.aborts == 1)
    await safe(node)


async def test_the_connection_of_a_call_that_was_ended_serves_the_next_one(
    node: Any, mock: MockAi, client_of: ClientOf
) -> None:
    client = client_of(node)
    call = asyncio.ensure_future(
        client.chat.completions.create(model="mock-model", messages=user(HANGS), timeout=10)
    )
    await wait_until(lambda: mock.calls.open == 1)
    await force(node)
    with pytest.raises(openai.InternalServerError, match="drain_forced"):
        await call

    await node.controller.apply_desired(Desired(generation=2))

    answer = await client.chat.completions.create(model="mock-model", messages=user("slow:2x0"))
    assert answer.choices[0].message.content == "chunk-1 chunk-2 "


async def test_a_client_that_reads_nothing_holds_nobody_up(node: Any, http: aiohttp.ClientSession) -> None:
    words = chat("slow:100000x0", stream=True)
    async with http.post(f"{node.url}/v1/chat/completions", json=words) as answer:
        assert answer.status == 200  # and not a byte of its body is taken
        await wait_until(lambda: node.controller.readout().in_flight.streams == 1)

        await force(node)

        await wait_until(lambda: node.controller.readout().safe_to_stop)


async def test_a_call_that_is_passed_on_is_ended_too(node: Any, start_node: Any, client_of: ClientOf) -> None:
    peer, node = node, await start_node("node-b")
    node.knows(peer)
    node.controller.enter()
    stream = await client_of(node).chat.completions.create(
        model="mock-model", messages=user(HANGS), stream=True
    )
    await anext(stream)

    await force(node)

    with pytest.raises(openai.APIError, match="drain_forced"):
        await anext(stream)
        await anext(stream)
    await safe(node)
    await wait_until(lambda: peer.controller.readout().in_flight.total == 0)
    assert struck(peer) == []


async def test_a_peers_call_is_told_that_this_node_drains(
    node: Any, mesh: HttpTransport, mock: MockAi
) -> None:
    call = asyncio.ensure_future(mesh.call(peer_of(node), ask(HANGS)))
    await wait_until(lambda: mock.calls.open == 1)

    await force(node)

    error = error_of(await call)
    assert error is not None
    assert (error.code, "drain_forced" in error.message) == ("draining", True)
    await safe(node)


async def test_a_peers_stream_is_told_that_this_node_drains(
    node: Any, mesh: HttpTransport, mock: MockAi
) -> None:
    stream = mesh.stream(peer_of(node), ask(HANGS, stream=True))
    while "chunk-1" not in (await anext(stream)).text:
        pass

    await force(node)

    with pytest.raises(CallError, match="drain_forced") as caught:
        await anext(stream)
    assert caught.value.code == "draining"
    await safe(node)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_of_another_node_never_notices(
    mock: MockAi,
    stack: AsyncExitStack,
    start_node: Any,
    start_provider: Any,
    client_of: ClientOf,
    stream: bool,
) -> None:
    url = await stack.enter_async_context(mock.serve())
    node, standby = [await start_node(name, await start_provider(url)) for name in ("node-a", "node-c")]
    outer = await start_node("node-b")
    outer.knows(node)
    answering = asyncio.ensure_future(whole(client_of(outer), "slow:6x50", stream))
    await wait_until(lambda: node.controller.readout().in_flight.total == 1 and mock.calls.open == 1)
    outer.knows(standby)

    await force(node)

    assert await answering == "".join(f"chunk-{n} " for n in range(1, 7))
    assert struck(outer) == []
    await safe(node)


async def whole(client: openai.AsyncOpenAI, words: str, stream: bool) -> str:
    """Return the text of an answer."""
    if not stream:
        answer = await client.chat.completions.create(model="mock-model", messages=user(words))
        return answer.choices[0].message.content or ""
    chunks = await client.chat.completions.create(model="mock-model", messages=user(words), stream=True)
    return "".join([choice.delta.content or "" async for chunk in chunks for choice in chunk.choices])
