"""Connections as clients may use and misuse them, over real sockets."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest

from meshcore.aio.gateway import connection, outlet
from meshcore.aio.gateway.head import HEADER_MAX_BYTES, HEADERS_MAX
from meshcore.aio.mock_ai import MockAi
from meshcore.aio.providers import EchoProvider
from meshcore.aio.testing import ByteServer, http_answer, wait_until
from meshcore.mock_script import Faults
from tests.aio.gateway.wire import error_in, raw

CHAT = b'{"model":"echo-1","messages":[{"role":"user","content":"hi"}]}'
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
ALIVE = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
LAST = b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n"


def post(body: bytes, *lines: bytes) -> bytes:
    fields = b"".join(line + b"\r\n" for line in (b"Content-Length: %d" % len(body), *lines))
    return HEAD + fields + b"\r\n" + body


@asynccontextmanager
async def dial(node: Any) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", int(node.url.rpartition(":")[2]), limit=1 << 16
    )
    try:
        async with asyncio.timeout(10):
            yield reader, writer
    finally:
        writer.transport.abort()


async def read_answer(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return head and body of one answer that says its length."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head, await reader.readexactly(length)


@pytest.fixture
async def echo(start_node: Any) -> Any:
    return await start_node("node-a", EchoProvider("echo"))


# What is allowed


async def test_one_connection_serves_many_requests_until_one_says_that_it_is_the_last(echo: Any) -> None:
    async with dial(echo) as (reader, writer):
        for _ in range(3):
            writer.write(post(CHAT))
            head, body = await read_answer(reader)
            assert head.startswith(b"HTTP/1.1 200 OK\r\nDate: ")
            assert b"Connection:" not in head
            assert msgspec.json.decode(body)["choices"]
        writer.write(LAST)
        head, body = await read_answer(reader)

        assert b"\r\nConnection: close\r\n" in head
        assert body == b'{"status":"ok"}'
        assert await reader.read() == b""


async def test_requests_that_come_at_once_are_answered_in_order(echo: Any) -> None:
    answer = await raw(echo.url, post(CHAT) + ALIVE + post(b"{") + LAST + b"what follows is not looked at")

    assert [answer.count(b"HTTP/1.1 " + status) for status in (b"200", b"400")] == [3, 1]
    assert answer.index(b"[echo-1] hi") < answer.index(b"expected JSON") < answer.rindex(b'{"status":"ok"}')


async def test_requests_that_come_while_one_is_answered_wait_for_their_turn(node: Any, mock: MockAi) -> None:
    async with dial(node) as (reader, writer):
        writer.write(post(CHAT.replace(b"echo-1", b"mock-model").replace(b"hi", b"slow:2x50")))
        await wait_until(lambda: mock.calls.open == 1)
        writer.write(ALIVE)
        writer.write(LAST)
        answers = await reader.read()

    assert answers.count(b"HTTP/1.1 200") == 3
    assert answers.index(b"chunk-2") < answers.index(b'"ok"')


async def test_a_client_that_leaves_while_a_request_waits_ends_the_one_in_front(
    node: Any, mock: MockAi
) -> None:
    mock.faults = Faults(hang=True)

    async with dial(node) as (_, writer):
        writer.write(post(CHAT.replace(b"echo-1", b"mock-model")) + ALIVE)
        await wait_until(lambda: mock.calls.open == 1)

    await wait_until(lambda: mock.calls.aborts == 1)


async def test_too_many_waiting_requests_end_the_connection_behind_those(echo: Any) -> None:
    answer = await raw(echo.url, ALIVE * (connection.WAITING_MAX + 5))

    assert answer.count(b"HTTP/1.1 200") == connection.WAITING_MAX


async def test_a_client_that_asks_first_is_told_to_go_on_when_its_body_is_wanted(echo: Any) -> None:
    async with dial(echo) as (reader, writer):
        writer.write(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(CHAT))
        assert await reader.readuntil(b"\r\n\r\n") == connection.CONTINUE
        writer.write(CHAT)
        head, _ = await read_answer(reader)

    assert head.startswith(b"HTTP/1.1 200 ")


async def test_an_old_client_that_asks_first_is_told_nothing_that_it_doesnt_know(echo: Any) -> None:
    head = HEAD.replace(b"1.1", b"1.0") + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(CHAT)
    async with dial(echo) as (reader, writer):
        writer.write(head)
        await wait_until(lambda: any(each.task is not None for each in echo.gateway._connections))
        writer.write(CHAT)
        answer = await reader.read()

    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_client_that_asks_first_with_too_much_is_not_told_to_go_on(echo: Any) -> None:
    answer = await raw(echo.url, HEAD + b"Expect: 100-continue\r\nContent-Length: 999999999\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_head_is_the_answer_without_its_body(echo: Any) -> None:
    answer = await raw(echo.url, b"HEAD /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nContent-Length: 15\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


async def test_fields_behind_a_body_are_passed_over(echo: Any) -> None:
    body = b"%x\r\n%b\r\n0\r\nContent-Type: text/plain\r\n\r\n" % (len(CHAT), CHAT)

    answer = await raw(echo.url, HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + body)

    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_a_client_that_wants_another_protocol_is_answered_and_left(echo: Any) -> None:
    upgrade = b"GET /healthz HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00"

    answer = await raw(echo.url, upgrade)

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nConnection: close\r\n" in answer


OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"
IN_CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n5\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (
    CHAT[:5],
    len(CHAT) - 5,
    CHAT[5:],
)


@pytest.mark.parametrize("rest", [b"Content-Length: %d\r\n\r\n" % len(CHAT) + CHAT, IN_CHUNKS])
@pytest.mark.parametrize("by_bytes", [False, True])
async def test_the_body_of_a_client_that_offers_another_protocol_is_read(
    echo: Any, rest: bytes, by_bytes: bool
) -> None:
    sent = HEAD + OFFER + rest + (b"" if by_bytes else ALIVE)
    step = 1 if by_bytes else len(sent)
    async with dial(echo) as (reader, writer):
        for at in range(0, len(sent), step):
            writer.write(sent[at : at + step])
            await asyncio.sleep(0)
        answer = await reader.read()

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"[echo-1] hi" in answer
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in answer


async def test_a_broken_body_behind_an_offer_is_refused(echo: Any) -> None:
    answer = await raw(echo.url, HEAD + OFFER + b"Transfer-Encoding: chunked\r\n\r\nx\r\n")

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"expected the encoding that its headers announce" in answer


# What isn't


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /healthz HTTP/1.1\r\nAuthorization: Bearer swordfish" + b"x" * HEADER_MAX_BYTES + b"\r\n\r\n",
        b"GET /" + b"swordfish" * 4096 + b" HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n"
        + b"".join(b"X-%d: swordfish\r\n" % number for number in range(HEADERS_MAX + 10))
        + b"\r\n",
        b"GET /healthz HTTP/1.1\r\n" + b"X: swordfish\r\n" * (HEADERS_MAX + 1) + b"\r\n",
        b"swordfish\r\n\r\n",
        b"GET /healthz HTTP/swordfish\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nswordfish\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nX-A: sword\x00fish\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: -1\r\n\r\nswordfish",
        b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nswordfish",
        b"\x16\x03\x01\x02\x00swordfish",
        HEAD + b"Host: swordfish\r\n\r\n",
        HEAD + b"Authorization: Bearer a\r\nauthorization: Bearer swordfish\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nsword",
        HEAD + b"Content-Length: " + b"0" * 5000 + b"5\r\n\r\nsword",
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nsword\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nX-A: sword\r\n fish\r\n\r\n",
        b"GET /healthz HTTP/1.1\nX-A: swordfish\n\n",
    ],
)
async def test_what_is_no_http_within_bounds_is_refused_in_openais_shape(
    node: Any, caplog: pytest.LogCaptureFixture, request_: bytes
) -> None:
    caplog.set_level(logging.DEBUG)

    answer = await raw(node.url, request_)

    assert answer.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 "))
    assert error_in(answer)["code"] == "bad_request"
    assert error_in(answer)["message"] == connection.EXPECTED
    assert b"swordfish" not in answer
    assert "swordfish" not in caplog.text
    assert (await raw(node.url, b"GET /healthz HTTP/1.0\r\n\r\n")).endswith(b'{"status":"ok"}')


@pytest.mark.parametrize("request_", [b"", b"GET /healthz HTTP/1.1\r\nHost:"])
async def test_a_connection_that_says_nothing_whole_is_closed(
    start_node: Any, monkeypatch: pytest.MonkeyPatch, request_: bytes
) -> None:
    monkeypatch.setattr(connection, "KEEPALIVE_SECONDS", 0.1)
    node = await start_node("node-a")

    assert await raw(node.url, request_) == b""


@pytest.mark.parametrize("endless", [b"X-A: ", b"0\r\nX-A: ", b"5;"], ids=["header", "trailer", "extension"])
async def test_what_never_ends_is_given_up_at_the_bound(echo: Any, endless: bytes) -> None:
    head = HEAD if endless == b"X-A: " else HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    async with dial(echo) as (reader, writer):
        writer.write(head + endless)
        for _ in range(64):  # beyond what one read may bring
            writer.write(b"x" * HEADER_MAX_BYTES)
        answer = await reader.read()

    assert answer.startswith(b"HTTP/1.1 400 ")


async def test_what_is_no_http_behind_a_request_ends_the_connection_behind_its_answer(echo: Any) -> None:
    answer = await raw(echo.url, ALIVE + b"swordfish\r\n\r\n")

    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.endswith(b'{"status":"ok"}')


async def test_a_refused_client_that_still_sends_may_read_why(echo: Any) -> None:
    async with dial(echo) as (reader, writer):
        writer.write(HEAD + b"Content-Length: 999999999\r\n\r\n")
        answer = await reader.read()
        for _ in range(20):
            writer.write(b"x" * 100_000)
            await writer.drain()

    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_a_slow_client_may_take_its_time_as_long_as_it_takes_something(
    start_node: Any,
    start_provider: Any,
    stack: AsyncExitStack,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outlet, "CLIENT_SECONDS", 2.0)  # a busy machine may stop us for some
    said = msgspec.json.encode({"choices": [{"message": {"content": "x" * 20_000_000}}]})
    upstream = await stack.enter_async_context(ByteServer(http_answer(said)).serve())
    node = await start_node("node-a", await start_provider(upstream))

    async with dial(node) as (reader, writer):
        writer.write(post(CHAT.replace(b"echo-1", b"mock-model"), b"Connection: close"))
        taken = 0
        while piece := await reader.read(1 << 19):
            taken += len(piece)
            await asyncio.sleep(0.08)  # 40 times: longer than that altogether

    assert taken > len(said)
