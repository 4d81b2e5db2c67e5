"""Bytes to a node and back without any client between, and requests without any connection."""

import asyncio
from typing import Any

import msgspec

from meshcore.aio.gateway.message import Body, Request
from meshcore.aio.http_fields import Headers


async def raw(url: str, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(request)
    try:
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)


def error_in(answer: bytes) -> dict[str, Any]:
    """Return the error of an answer in OpenAI's shape."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Content-Type: application/json" in head
    error: dict[str, Any] = msgspec.json.decode(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


class Nobody:
    """A channel that nothing is sent through."""

    def head(self, request: Request, status: int, lines: str) -> bytes:
        raise NotImplementedError

    async def write(self, data: bytes, *, within_seconds: float | None = None) -> None:
        raise NotImplementedError


def request_for(target: str, method: str = "GET", headers: Headers | None = None) -> Request:
    return Request(
        method,
        target,
        headers or Headers({}),
        Body(lambda: None),
        Nobody(),
        remote=None,
        keep_alive=True,
        is_http_1_0=False,
    )
