"""Waiting for a state, and the server that plays bytes."""

import aiohttp
import pytest

from meshcore.aio.testing import ByteServer, http_answer, wait_until


async def test_waiting_ends_with_the_state() -> None:
    answers = iter([False, False, True])

    await wait_until(lambda: next(answers))

    assert list(answers) == []


async def test_waiting_has_a_bound() -> None:
    with pytest.raises(TimeoutError):
        await wait_until(lambda: False, seconds=0.01)


async def test_a_byte_server_plays_its_steps_and_keeps_what_it_was_sent() -> None:
    server = ByteServer(http_answer(b"hello")[:-2], 0.01, b"lo")

    async with server.serve() as url, aiohttp.ClientSession() as http:
        answer = await http.post(url, data=b"body", headers={"X-Name": "value"})
        assert await answer.read() == b"hello"

    assert server.requests[0].body == b"body"
    assert server.requests[0].header("x-name") == "value"
    assert server.requests[0].header("x-other") == ""


async def test_a_byte_server_notices_who_leaves_its_silence() -> None:
    server = ByteServer(...)

    async with server.serve() as url, aiohttp.ClientSession() as http:
        with pytest.raises(TimeoutError):
            await http.get(url, timeout=aiohttp.ClientTimeout(total=0.05))

        await wait_until(lambda: server.left == 1)
