"""Reading requests of strangers within bounds: every bound has a clear answer."""

import asyncio
import zlib
from urllib.parse import urlsplit

from meshcore.aio.gateway.answers import Refused
from meshcore.aio.gateway.message import BodyBroken, BodyTooLarge, Request
from meshcore.api_keys import ApiKeys
from meshcore.config_values import is_loopback
from meshcore.errors import CallError, Code
from meshcore.openai_errors import BadRequest

BODY_SECONDS = 30.0  # for a whole body; 8 MiB at 2 Mbit/s
_ANY_HEADER = zlib.MAX_WBITS | 32  # of gzip or zlib
PACKED = frozenset({"gzip", "x-gzip", "deflate"})


class Unauthorized(Refused):
    """The client's own key is missing or wrong."""

    def __init__(self) -> None:
        message = "Authorization: expected Bearer and an API key of this node"
        super().__init__(401, "invalid_api_key", message, headers={"WWW-Authenticate": "Bearer"})


class ForeignHost(Refused):
    """A node without keys was asked by a name that isn't this machine's."""

    def __init__(self) -> None:
        message = "Host: expected localhost or a loopback address, as this node has no API keys"
        super().__init__(403, "foreign_host", message, param="Host")


def is_asked_locally(request: Request) -> bool:
    """Return whether the request is addressed to this machine itself, as far as it says.

    A web page may point a name of its own here; then its browser counts the node as the page's own server,
    and reads and posts what it likes. Browsers always say the name.
    """
    return request.host is None or is_loopback(_name_in(request.host))


def _name_in(host: str) -> str:
    """Return a host without its port, "" for what is no host."""
    try:
        parts = urlsplit(f"//{host}")
        return parts.hostname or "" if parts.port != 0 else ""
    except ValueError:
        return ""


def caller_of(request: Request, api_keys: ApiKeys) -> str:
    """Return the name of who calls; raises Unauthorized, or ForeignHost where no keys are asked for."""
    if not api_keys and not is_asked_locally(request):
        raise ForeignHost
    caller = api_keys.caller(request.headers.get("Authorization"))
    if caller is None:
        raise Unauthorized
    return caller


def require_json(request: Request) -> None:
    """Raise BadRequest unless the body says that it is JSON.

    A web page of any origin may post plain text and forms to a loopback address unasked; for JSON its browser
    must ask first, which nobody here answers.
    """
    kind = request.headers.get("Content-Type").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise BadRequest("Content-Type", f"expected application/json, got {kind or 'nothing'}")


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Return the whole body, unpacked.

    Raises CallError(too_large), before anything is read when the length is announced, BadRequest when its
    encoding is broken, Refused when it takes longer than `BODY_SECONDS`.
    """
    if int(request.headers.get("Content-Length", "0")) > max_bytes:
        raise _too_large(max_bytes)
    try:
        body = await _whole(request, max_bytes)
    except BodyTooLarge as exc:
        raise _too_large(max_bytes) from exc
    except BodyBroken as exc:
        raise _badly_encoded() from exc
    encoding = request.headers.get("Content-Encoding").lower()
    if not encoding or encoding == "identity":
        return body
    return _unpacked(body, encoding, max_bytes)


async def _whole(request: Request, max_bytes: int) -> bytes:
    if request.body.complete:  # it came with the head: there is nothing to wait for
        return await request.body.read(max_bytes)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await request.body.read(max_bytes)
    except TimeoutError as exc:
        message = f"{request.method} {request.path}: request timeout"
        raise Refused(408, "request_timeout", message) from exc


def _unpacked(body: bytes, encoding: str, max_bytes: int) -> bytes:
    if encoding not in PACKED:
        raise BadRequest("Content-Encoding", f"expected gzip, deflate or identity, got {encoding[:20]}")
    unpacking = zlib.decompressobj(_ANY_HEADER)
    try:
        unpacked = unpacking.decompress(body, max_bytes + 1)
    except zlib.error as exc:
        raise _badly_encoded() from exc
    if len(unpacked) > max_bytes:
        raise _too_large(max_bytes)
    if not unpacking.eof:
        raise _badly_encoded()
    return unpacked


def _badly_encoded() -> BadRequest:
    return BadRequest("body", "expected the encoding that its headers announce")


def _too_large(max_bytes: int) -> CallError:
    return CallError(Code.TOO_LARGE, f"body: expected at most {max_bytes} bytes")
