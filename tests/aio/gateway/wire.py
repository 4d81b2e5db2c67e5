"""Bytes to a node and back, without any client between."""

import asyncio
from typing import Any

import msgspec


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
