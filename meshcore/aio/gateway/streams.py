"""Event streams to clients and peers; a client's ends with [DONE] or with one error event."""

import asyncio
import logging

import msgspec
from aiohttp import web

from meshcore.aio.bus_stream import BusStream
from meshcore.aio.forced import forcible
from meshcore.aio.gateway.answers import Headers
from meshcore.drain import Work
from meshcore.errors import CallError
from meshcore.openai_errors import call_error_body
from meshcore.openai_wire import DONE_EVENT
from meshcore.sse import encode

CLIENT_SECONDS = 60.0  # a client that takes nothing for so long is hung up on
FORCED_SECONDS = 1.0  # the same where a drain doesn't wait any longer

logger = logging.getLogger(__name__)


class _ReadyStream(web.StreamResponse):
    """A stream whose first events are there: its head goes out with them, in one system call."""

    _send_headers_immediately = False


async def begin_stream(
    request: web.Request, headers: Headers, kind: type[web.StreamResponse] = web.StreamResponse
) -> web.StreamResponse:
    """Send the head of an event stream."""
    response = kind(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", **headers})
    await response.prepare(request)
    return response


async def answer_stream(
    request: web.Request, stream: BusStream, headers: Headers, work: Work, node_id: str
) -> web.StreamResponse:
    """Send a committed stream to its client, each chunk's data exactly as its provider sent it."""
    response = await begin_stream(request, headers, _ReadyStream)
    waiting: list[
        bytes
    ] = []  # chunks that came together are sent together: a system call costs more than a chunk
    seconds: float | None = None
    try:
        with forcible(work, node_id):
            async for chunk in stream:
                waiting.append(encode(chunk.data))
                if not chunk.more:
                    events = b"".join(waiting)
                    waiting.clear()  # before: a send that a drain ends has been written all the same
                    await send(request, response, events)
        waiting.append(DONE_EVENT)
    except CallError as exc:
        seconds = FORCED_SECONDS if work.forced else None
        waiting.append(encode(msgspec.json.encode(call_error_body(exc))))
    await send(request, response, b"".join(waiting), last=True, seconds=seconds)
    return response


async def send(
    request: web.Request,
    response: web.StreamResponse,
    events: bytes,
    *,
    last: bool = False,
    seconds: float | None = None,
) -> None:
    """Send events within `seconds` (None: `CLIENT_SECONDS`), with the end of the stream behind the last ones.

    ConnectionError when the client is gone, or is hung up on because it takes nothing.
    """
    write = response.write_eof if last else response.write
    try:
        async with asyncio.timeout(seconds or CLIENT_SECONDS):
            await write(events)
    except TimeoutError:
        logger.info("hung up on a client that took nothing for %.0f s", seconds or CLIENT_SECONDS)
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the client took nothing") from None
