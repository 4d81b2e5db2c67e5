"""A streamed answer to a client: begins when the bus has committed, ends with [DONE] or with one error event."""

import asyncio
import logging

import msgspec
from aiohttp import web

from meshcore.aio.bus_stream import BusStream
from meshcore.aio.gateway.answers import Headers
from meshcore.errors import CallError, Code
from meshcore.openai_errors import call_error_body
from meshcore.openai_wire import DONE_EVENT
from meshcore.sse import encode

CLIENT_SECONDS = 60.0  # a client that takes nothing for so long is hung up on

logger = logging.getLogger(__name__)


async def answer_stream(request: web.Request, stream: BusStream, headers: Headers) -> web.StreamResponse:
    """Send a committed stream to its client, each chunk's data exactly as its provider sent it."""
    response = web.StreamResponse(
        headers={**headers, "Content-Type": "text/event-stream", "Cache-Control": "no-cache"}
    )
    await response.prepare(request)
    try:
        async for chunk in stream:
            await _send(request, response, encode(chunk.data))
        await _send(request, response, DONE_EVENT)
    except CallError as exc:
        await _send(request, response, encode(msgspec.json.encode(call_error_body(exc))))
    except ConnectionError:
        raise  # the client is gone
    except Exception:
        logger.exception("a stream failed")
        error = CallError(Code.INTERNAL_ERROR, "internal error")
        await _send(request, response, encode(msgspec.json.encode(call_error_body(error))))
    return response


async def _send(request: web.Request, response: web.StreamResponse, event: bytes) -> None:
    try:
        async with asyncio.timeout(CLIENT_SECONDS):
            await response.write(event)
    except TimeoutError:
        logger.info("hung up on a client that took nothing for %.0f s", CLIENT_SECONDS)
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError from None
