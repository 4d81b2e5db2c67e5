"""Whole answers of the edge, which has no Django around it."""

import json
from http import HTTPStatus
from typing import Any

Send = Any


async def respond(
    send: Send, status: HTTPStatus, body: bytes, content_type: bytes, *headers: tuple[bytes, bytes]
) -> None:
    """Send one answer."""
    length = (b"content-length", str(len(body)).encode())
    head = [(b"content-type", content_type), length, (b"cache-control", b"no-store"), *headers]
    await send({"type": "http.response.start", "status": status.value, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def problem(
    send: Send, status: HTTPStatus, detail: str, *headers: tuple[bytes, bytes], **more: Any
) -> None:
    """Send an error in the format of the API's errors (RFC 9457), with the members `more`."""
    what = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail, **more}
    await respond(send, status, json.dumps(what).encode(), b"application/problem+json", *headers)
