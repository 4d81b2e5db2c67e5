"""Listening, and the bounds of connections."""

import asyncio
from typing import Any

import aiohttp
import pytest

from meshcore.aio.gateway import server
from meshcore.aio.mock_ai import MockAi
from meshcore.aio.testing import wait_until
from meshcore.mock_script import Faults


async def raw(url: str, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(request)
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


async def test_stopping_cuts_off_what_is_still_answered_and_may_be_repeated(
    node: Any, mock: MockAi, http: aiohttp.ClientSession
) -> None:
    mock.faults = Faults(hang=True)
    body = {"model": "mock-model", "messages": [{"role": "user", "content": "hi"}]}
    call = asyncio.ensure_future(http.post(f"{node.url}/v1/chat/completions", json=body))
    await wait_until(lambda: mock.calls.open == 1)

    await node.gateway.stop()
    await node.gateway.stop()

    with pytest.raises(aiohttp.ClientError):
        await call
    assert node.controller.readout().in_flight.total == 0
    await wait_until(lambda: mock.calls.aborts == 1)


async def test_a_port_that_is_taken_is_an_error(node: Any, start_node: Any) -> None:
    other = await start_node("node-b")
    await other.gateway.stop()

    with pytest.raises(OSError, match="address already in use"):
        await other.gateway.start("127.0.0.1", int(node.url.rpartition(":")[2]))


async def test_a_header_beyond_the_bound_is_refused(node: Any) -> None:
    line = b"X-Long: " + b"x" * (server.HEADER_MAX_BYTES + 1)

    answer = await raw(node.url, b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + line + b"\r\n\r\n")

    assert answer.startswith(b"HTTP/1.0 400 ") or answer.startswith(b"HTTP/1.1 400 ")


async def test_too_many_headers_are_refused(node: Any) -> None:
    lines = b"".join(b"X-%d: 1\r\n" % number for number in range(server.HEADERS_MAX + 10))

    answer = await raw(node.url, b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + lines + b"\r\n")

    assert b" 400 " in answer.partition(b"\r\n")[0]


@pytest.mark.parametrize("request_", [b"", b"GET /healthz HTTP/1.1\r\nHost:", b"\x16\x03\x01\x02\x00"])
async def test_a_connection_that_says_nothing_whole_is_closed(
    start_node: Any, monkeypatch: pytest.MonkeyPatch, request_: bytes
) -> None:
    monkeypatch.setattr(server, "KEEPALIVE_SECONDS", 0.1)
    node = await start_node("node-a")

    answer = await raw(node.url, request_)

    assert b" 200 " not in answer
