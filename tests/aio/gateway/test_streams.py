"""Event streams to clients who don't listen."""

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from meshcore.aio.gateway import outlet
from meshcore.aio.providers import EchoProvider
from meshcore.aio.testing import STREAM_HEAD, ByteServer, wait_until
from meshcore.openai_wire import DONE_EVENT
from meshcore.sse import encode
from tests.aio.far_server import Far
from tests.aio.gateway.wire import raw


async def test_a_client_that_takes_nothing_is_hung_up_on_and_its_upstream_with_it(
    start_node: Any,
    start_provider: Any,
    stack: AsyncExitStack,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(outlet, "CLIENT_SECONDS", 0.2)
    chunk = encode(msgspec.json.encode({"choices": [{"delta": {"content": "x" * 100_000}}]}))
    server = ByteServer(STREAM_HEAD, *[chunk] * 1000)
    node = await start_node("node-a", await start_provider(await stack.enter_async_context(server.serve())))
    body = msgspec.json.encode({"model": "mock-model", "messages": [{"role": "user"}], "stream": True})
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"

    _, writer = await asyncio.open_connection("127.0.0.1", int(node.url.rpartition(":")[2]), limit=1)
    writer.write(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)

    await wait_until(lambda: "hung up on a client" in caplog.text)
    await wait_until(lambda: node.controller.readout().in_flight.total == 0)
    assert [trace.code for trace in node.traces] == ["cancelled"]
    assert node.bus.health.permits_out == 0
    writer.transport.abort()


async def test_an_upstream_waits_for_a_client_who_doesnt_read(
    start_node: Any, start_provider: Any, stack: AsyncExitStack
) -> None:
    chunk = encode(msgspec.json.encode({"choices": [{"delta": {"content": "x" * 100_000}}]}))
    sent = 0

    async def play(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(STREAM_HEAD)
        for _ in range(500):
            writer.write(chunk)
            await writer.drain()
            sent += len(chunk)
        writer.write(DONE_EVENT)
        raise ConnectionError

    upstream = await stack.enter_async_context(Far(play).serve())
    node = await start_node("node-a", await start_provider(upstream))
    body = msgspec.json.encode({"model": "mock-model", "messages": [{"role": "user"}], "stream": True})
    head = b"POST /v1/chat/completions HTTP/1.0\r\nContent-Type: application/json\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", int(node.url.rpartition(":")[2]), limit=1)
    writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    await wait_until(lambda: sent > 0)
    before = -1
    while before != sent:  # until it can send no more
        before = sent
        await asyncio.sleep(0.1)

    assert sent < 25_000_000
    taken = 0
    async with asyncio.timeout(20):
        while piece := await reader.read(1 << 20):
            taken += len(piece)
    writer.close()
    assert taken > 500 * len(chunk)


async def test_an_old_client_gets_its_stream_without_chunks_and_to_the_end_of_the_connection(
    start_node: Any,
) -> None:
    node = await start_node("node-a", EchoProvider("echo"))
    body = b'{"model":"echo-1","messages":[{"role":"user","content":"hi"}],"stream":true}'
    head = b"POST /v1/chat/completions HTTP/1.0\r\nContent-Type: application/json\r\n"

    answer = await raw(node.url, head + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    head, _, events = answer.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    assert events.startswith(b"data: {")
    assert events.endswith(b"\n\ndata: [DONE]\n\n")
