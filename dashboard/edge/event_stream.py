"""Server-sent events over plain ASGI: a bounded answer that ends when its client leaves or may not stay.

`send` of the server returns when the client has taken most of what it was given (`dashboard.serving`), so a
client that reads nothing holds up what feeds it, and after `STUCK_SECONDS` is left alone.
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from http import HTTPStatus
from typing import Any

from meshcore.run_view import HELLO

RESPONSE_MAX_BYTES = 4 << 20  # of one answer; then the client comes again, for the rest
COMMENT_SECONDS = 15.0  # of silence; proxies take a connection that is silent for longer for dead
STUCK_SECONDS = 60.0  # in which a client must take what it was given
HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-accel-buffering", b"no"),  # a proxy that gathers an answer before it passes it on shows nothing live
]


class Full(Exception):
    """All places are taken."""


class Places:
    """How many may watch at once in this process."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0

    def __enter__(self) -> None:
        if self.taken >= self.most:
            raise Full(f"{self.most} watch here already, which is the bound; try again later.")
        self.taken += 1

    def __exit__(self, *exc_info: object) -> None:
        self.taken -= 1


async def respond(
    send: Any, receive: Any, events: AsyncGenerator[bytes, None], *, until: Coroutine[Any, Any, None]
) -> None:
    """Send `events` until they end, the client leaves, `until` returns, or the answer has its full size."""
    works = [_send_all(send, events), _until_left(receive), until]
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if tasks[1] not in done:
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send_all(send: Any, events: AsyncGenerator[bytes, None]) -> None:
    await send({"type": "http.response.start", "status": HTTPStatus.OK.value, "headers": HEADERS})
    size = 0
    async with aclosing(events):
        async for data in _with_head(events):
            size += len(data)
            if size > RESPONSE_MAX_BYTES or not await _sent(send, data):
                return


async def _with_head(events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield HELLO
    async for data in events:
        yield data


async def _sent(send: Any, data: bytes) -> bool:
    """Return whether the client took what it was given before, in time."""
    try:
        async with asyncio.timeout(STUCK_SECONDS):
            await send({"type": "http.response.body", "body": data, "more_body": True})
    except TimeoutError:
        return False
    return True


async def _until_left(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
