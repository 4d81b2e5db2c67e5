"""Reading requests of strangers within bounds: every bound has a clear answer."""

import asyncio

from aiohttp import StreamReader, web

from meshcore.api_keys import ApiKeys
from meshcore.config_values import is_loopback
from meshcore.errors import CallError, Code
from meshcore.openai_errors import BadRequest

BODY_SECONDS = 30.0  # for a whole body; 8 MiB at 2 Mbit/s


class Unauthorized(CallError):
    """The client's own key is missing or wrong; not to be taken for an upstream's `unauthorized`."""

    def __init__(self) -> None:
        super().__init__(Code.UNAUTHORIZED, "Authorization: expected Bearer and an API key of this node")


class ForeignHost(CallError):
    """A node without keys was asked by a name that isn't this machine's."""

    def __init__(self) -> None:
        super().__init__(
            Code.UNAUTHORIZED,
            "Host: expected localhost or a loopback address, as this node has no API keys",
        )


def is_asked_locally(request: web.Request) -> bool:
    """Return whether the request is addressed to this machine itself, as far as it says.

    A web page may point a name of its own here; then its browser counts the node as the page's own server,
    and reads and posts what it likes. Browsers always say the name.
    """
    try:
        return "Host" not in request.headers or is_loopback(request.url.host or "")
    except ValueError:  # it is no name at all
        return False


def caller_of(request: web.Request, api_keys: ApiKeys) -> str:
    """Return the name of who calls; raises Unauthorized, or ForeignHost where no keys are asked for."""
    if not api_keys and not is_asked_locally(request):
        raise ForeignHost
    caller = api_keys.caller(request.headers.get("Authorization", ""))
    if caller is None:
        raise Unauthorized
    return caller


def require_json(request: web.Request) -> None:
    """Raise BadRequest unless the body says that it is JSON.

    A web page of any origin may post plain text and forms to a loopback address unasked; for JSON its browser
    must ask first, which nobody here answers.
    """
    kind = request.content_type
    if kind != "application/json" and not kind.endswith("+json"):
        raise BadRequest("Content-Type", f"expected application/json, got {kind}")


async def read_body(request: web.Request, max_bytes: int) -> bytes:
    """Return the whole body.

    Raises CallError(too_large), before anything is read when the length is announced, BadRequest when its
    encoding is broken, HTTPRequestTimeout when it takes longer than `BODY_SECONDS`.
    """
    if (request.content_length or 0) > max_bytes:
        raise _too_large(max_bytes)
    content = request.content
    body = bytearray()
    try:
        if content.is_eof():  # it came with the head: there is nothing to wait for
            body += content.read_nowait()
        else:
            await _gather(content, body, max_bytes)
    except web.RequestPayloadError as exc:
        raise BadRequest("body", "expected the encoding that its headers announce") from exc
    except TimeoutError as exc:
        raise web.HTTPRequestTimeout from exc
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    return bytes(body)


async def _gather(content: StreamReader, body: bytearray, max_bytes: int) -> None:
    """Add what comes until the end, or until it is too much; raises TimeoutError."""
    async with asyncio.timeout(BODY_SECONDS):
        async for part in content.iter_any():
            body += part
            if len(body) > max_bytes:
                return


def _too_large(max_bytes: int) -> CallError:
    return CallError(Code.TOO_LARGE, f"body: expected at most {max_bytes} bytes")
