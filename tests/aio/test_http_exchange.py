"""Exchanges over HTTP, over real sockets, with servers of every temper."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from meshcore.aio.http_answer import AHEAD_MAX_BYTES
from meshcore.aio.http_client import HttpClient
from meshcore.aio.http_terms import Broken, HttpError, NotHttp, TooLarge
from meshcore.aio.testing import STREAM_HEAD, ByteServer, http_answer, wait_until
from tests.aio.far_server import KEEP, Far, body_of, get

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    client = HttpClient({"User-Agent": "tests"}, connect_seconds=5.0)
    yield client
    await client.close()


# Answers


@pytest.mark.parametrize(
    "sent",
    [
        http_answer(b"hello"),
        CHUNKED + b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nX-Trailer: 1\r\n\r\n",
        STREAM_HEAD + b"hello",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + http_answer(b"hello"),
    ],
    ids=["length", "chunks", "to the end", "old", "hints before"],
)
@pytest.mark.parametrize("by_bytes", [False, True])
async def test_an_answer_is_read_however_its_end_is_told(
    client: HttpClient, sent: bytes, by_bytes: bool
) -> None:
    steps = [sent[at : at + 1] for at in range(len(sent))] if by_bytes else [sent]

    async with ByteServer(*steps).serve() as url:
        answer = await client.request("POST", url, b"{}")
        assert answer.status == 200
        assert await body_of(answer) == b"hello"
        assert answer.at_end


async def test_an_answer_without_a_body_is_at_its_end(client: HttpClient) -> None:
    async with Far(b"HTTP/1.1 204 No Content\r\n\r\n").serve() as url:
        assert await get(client, url) == b""

    assert client.idle == 1


async def test_a_redirect_is_an_answer_like_others(client: HttpClient) -> None:
    async with ByteServer(http_answer(b"", status="302 Found", headers="Location: /\r\n")).serve() as url:
        answer = await client.request("GET", url)
        answer.release()

    assert answer.status == 302


async def test_a_stream_is_read_as_it_comes(client: HttpClient) -> None:
    go_on = asyncio.Event()

    async def play(writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + b"1\r\na\r\n1\r\nb\r\n")
        await go_on.wait()
        writer.write(b"1\r\nc\r\n0\r\n\r\n")

    async with Far(play).serve() as url:
        answer = await client.request("GET", url)
        first = await answer.read_any()
        go_on.set()
        rest = await answer.read(10)
        answer.release()

    assert (first, rest) == (b"ab", b"c")
    assert await answer.read_any() == b""


async def test_an_answer_beyond_the_readers_bound_is_an_error(client: HttpClient) -> None:
    async with Far(http_answer(b"x" * 11)).serve() as url:
        assert await body_of(await client.request("GET", url), 11) == b"x" * 11
        with pytest.raises(TooLarge):
            await body_of(await client.request("GET", url), 10)


async def test_a_server_waits_for_a_reader_who_doesnt_read(client: HttpClient) -> None:
    sent = 0

    async def play(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(STREAM_HEAD)
        for _ in range(1000):
            writer.write(bytes(100_000))
            await writer.drain()
            sent += 100_000
        raise ConnectionError

    async with Far(play).serve() as url:
        answer = await client.request("GET", url)
        before = -1
        while before != sent:  # until it can send no more
            before = sent
            await asyncio.sleep(0.05)
        assert sent < 50_000_000
        assert len(await body_of(answer, 1 << 30)) == 100_000_000


# Connections


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        KEEP + KEEP,
        KEEP + b"?",
    ],
    ids=["unfinished", "last", "old", "two", "junk"],
)
async def test_a_connection_is_closed_behind_any_other(client: HttpClient, sent: bytes) -> None:
    far = Far(sent)

    async with far.serve() as url:
        answer = await client.request("GET", url)
        assert await answer.read_any() == b"ok"
        answer.release()

        assert client.idle == 0
        await wait_until(lambda: far.closed == 1)


async def test_a_connection_whose_answer_nobody_read_is_used_again(client: HttpClient) -> None:
    almost = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (AHEAD_MAX_BYTES + 2) + bytes(AHEAD_MAX_BYTES)
    go_on = asyncio.Event()

    async def play(writer: asyncio.StreamWriter) -> None:
        writer.write(almost)
        await go_on.wait()
        writer.write(b"ok")  # with which there is more than a server may send ahead

    far = Far(play)
    async with far.serve() as url:
        for _ in range(2):
            answer = await client.request("GET", url)
            go_on.set()
            await wait_until(lambda: answer.is_whole)  # noqa: B023 - waited for at once
            answer.release()
            go_on.clear()

    assert far.opened == 1


async def test_what_comes_unasked_closes_an_idle_connection(client: HttpClient) -> None:
    async def play(writer: asyncio.StreamWriter) -> None:
        writer.write(KEEP)
        await asyncio.sleep(0.02)
        writer.write(KEEP)

    far = Far(play)
    async with far.serve() as url:
        assert await get(client, url) == b"ok"
        await wait_until(lambda: far.closed == 1)
        assert await get(client, url) == b"ok"

    assert far.opened == 2


async def test_an_answer_that_is_given_up_closes_its_connection_at_once(client: HttpClient) -> None:
    server = ByteServer(...)

    async with server.serve() as url:
        asking = asyncio.create_task(client.request("GET", url))
        await wait_until(lambda: len(server.requests) == 1)
        asking.cancel()
        await wait_until(lambda: server.left == 1)

    assert client.idle == 0


async def test_an_end_that_comes_in_time_leaves_a_connection_to_use(client: HttpClient) -> None:
    end = asyncio.Event()

    async def play(writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + b"1\r\na\r\n")
        await end.wait()
        writer.write(b"1\r\nb\r\n0\r\n\r\n")

    async with Far(play).serve() as url:
        answer = await client.request("GET", url)
        assert await answer.read_any() == b"a"
        answer.release(rest_within_seconds=10.0)
        assert client.idle == 0
        end.set()
        await wait_until(lambda: client.idle == 1)


@pytest.mark.parametrize("rest", [b"", b"1\r\nb\r\n", b"?"])
async def test_an_end_that_doesnt_come_in_time_closes_the_connection(client: HttpClient, rest: bytes) -> None:
    async def play(writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + b"1\r\na\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)
        writer.write(rest)

    far = Far(play)
    async with far.serve() as url:
        answer = await client.request("GET", url)
        await answer.read_any()
        answer.release(rest_within_seconds=0.1)
        await wait_until(lambda: far.closed == 1)

    assert client.idle == 0


async def test_a_server_that_leaves_before_the_end_leaves_no_connection(client: HttpClient) -> None:
    server = ByteServer(CHUNKED + b"1\r\na\r\n", 0.05)

    async with server.serve() as url:
        answer = await client.request("GET", url)
        await answer.read_any()
        answer.release(rest_within_seconds=10.0)
        await wait_until(lambda: not client._open)

    assert client.idle == 0


async def test_a_connection_whose_reader_had_let_its_server_wait_is_read_on(client: HttpClient) -> None:
    rest = bytes(70_000)

    async def play(writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + b"1\r\na\r\n" + b"%x\r\n%b\r\n0\r\n\r\n" % (len(rest), rest))

    async with Far(play).serve() as url:
        answer = await client.request("GET", url)
        await wait_until(lambda: answer._ended)
        answer.release()
        assert client.idle == 1
        assert len(await get(client, url)) == 70_001


# Errors


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"SSH-2.0-OpenSSH\r\n", NotHttp),
        (b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", NotHttp),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok", NotHttp),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300 + b"\r\n", NotHttp),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 17 + KEEP, NotHttp),
        (b"HTTP/1.1 000 Odd\r\nContent-Length: 2\r\n\r\nok", NotHttp),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", NotHttp),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok", NotHttp),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok", Broken),
        (b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(300)) + b"\r\n", NotHttp),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 300_000 + b"\r\n\r\n", NotHttp),
        (b"HTTP/1.1 200 OK\r\nContent-Len", Broken),
        (b"", Broken),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", Broken),
        (CHUNKED + b"5\r\nhello\r\n", Broken),
        (CHUNKED + b"5\r\nhelloWORLD\r\n", NotHttp),
    ],
)
async def test_what_is_no_whole_answer_is_an_error(
    client: HttpClient, sent: bytes, error: type[HttpError]
) -> None:
    async with ByteServer(sent).serve() as url:
        with pytest.raises(error):
            await get(client, url)

    assert client.idle == 0


async def test_what_came_before_the_connection_broke_is_read_before_the_error(client: HttpClient) -> None:
    async with ByteServer(CHUNKED + b"5\r\nhello\r\n").serve() as url:
        answer = await client.request("GET", url)
        await wait_until(lambda: not client._open)

        assert await answer.read_any() == b"hello"
        with pytest.raises(Broken):
            await answer.read_any()
        answer.release()
