"""Listening, and stopping to."""

import asyncio
from typing import Any

import aiohttp
import pytest

from meshcore.aio.mock_ai import MockAi
from meshcore.aio.testing import wait_until
from meshcore.mock_script import Faults


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


async def test_an_address_of_ipv6_is_reached_by_the_url_that_is_told(
    node: Any, http: aiohttp.ClientSession
) -> None:
    await node.gateway.stop()

    url = await node.gateway.start("::1", 0)

    async with http.get(f"{url}/healthz") as answer:
        assert answer.status == 200


async def test_too_many_connections_cost_those_that_were_idle_for_longest(
    start_node: Any, mock: MockAi, node: Any, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node.gateway, "_connections_max", 20)
    mock.faults = Faults(hang=True)
    body = {"model": "mock-model", "messages": [{"role": "user", "content": "hi"}]}
    busy = asyncio.ensure_future(http.post(f"{node.url}/v1/chat/completions", json=body))
    await wait_until(lambda: mock.calls.open == 1)

    port = int(node.url.rpartition(":")[2])
    dialled = [await asyncio.open_connection("127.0.0.1", port) for _ in range(50)]
    await wait_until(lambda: sum(reader.at_eof() or bool(reader.exception()) for reader, _ in dialled) == 31)

    assert len(node.gateway._connections) == 20
    assert not busy.done()
    assert dialled[0][0].exception() or dialled[0][0].at_eof()
    reader, writer = dialled[-1]
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
    busy.cancel()
    for _, writer in dialled:
        writer.transport.abort()


async def test_a_port_that_is_taken_is_an_error(node: Any, start_node: Any) -> None:
    other = await start_node("node-b")
    await other.gateway.stop()

    with pytest.raises(OSError, match="address already in use"):
        await other.gateway.start("127.0.0.1", int(node.url.rpartition(":")[2]))
