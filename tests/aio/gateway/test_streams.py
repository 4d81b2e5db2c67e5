"""Event streams to clients who don't listen."""

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from meshcore.aio.gateway import streams
from meshcore.aio.testing import STREAM_HEAD, ByteServer, wait_until
from meshcore.sse import encode


async def test_a_client_that_takes_nothing_is_hung_up_on_and_its_upstream_with_it(
    start_node: Any,
    start_provider: Any,
    stack: AsyncExitStack,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(streams, "CLIENT_SECONDS", 0.2)
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
