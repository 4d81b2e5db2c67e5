"""The clients: what they send, when an answer is whole, what counts as an error."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from benchmarks.load import Crowd, Target, is_whole


def target(url: str, **changes: object) -> Target:
    fields = {"body": b"{}", "headers": {"X": "y"}, "marker": b"fine", "connections": 2, "seconds": 0.05}
    return Target(url=url, **(fields | changes))  # type: ignore[arg-type]


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000) and answer:
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/path"


def test_a_request_is_what_a_server_expects() -> None:
    assert target("http://host:1/path").request() == (
        b"POST /path HTTP/1.1\r\nHost: host:1\r\nX: y\r\nContent-Length: 2\r\n\r\n{}"
    )


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", False),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nA: b\r\n\r\n{", False),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nA: b\r\n\r\n{}", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", True),
    ],
)
def test_an_answer_is_whole_by_its_length_or_its_last_chunk(answer: bytes, whole: bool) -> None:
    assert is_whole(bytearray(answer)) is whole


@pytest.mark.parametrize(
    ("answer", "all_wrong"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nelse", True),
        (b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nfine", True),
    ],
)
async def test_a_wrong_answer_is_an_error(answer: bytes, all_wrong: bool) -> None:
    async with answering(answer) as url:
        tally = await Crowd(target(url)).ask()

    assert tally.count > 0
    assert tally.errors == (tally.count if all_wrong else 0)
    assert tally.p99_ms is not None


async def test_a_connection_that_breaks_is_an_error() -> None:
    async with answering(b"") as url:
        tally = await Crowd(target(url, seconds=30.0)).ask()

    assert (tally.count, tally.errors, tally.p99_ms) == (0, 2, None)
