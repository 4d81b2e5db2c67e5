"""Answers of the endpoint: JSON, errors in OpenAI's shape, headers that say where an answer came from."""

import logging
import math
import re
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from meshcore.aio.gateway.requests import ForeignHost, Unauthorized
from meshcore.errors import CallError, http_status
from meshcore.openai_errors import call_error_body, error_body, retry_after_seconds

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Headers = dict[str, str]

_NOT_PRINTABLE = re.compile(r"[^\x20-\x7e]")

logger = logging.getLogger(__name__)


def json_answer(body: object, *, status: int = 200, headers: Headers | None = None) -> web.Response:
    """Return `body` as JSON."""
    data = msgspec.json.encode(body)
    return web.Response(body=data, status=status, headers=headers, content_type="application/json")


def error_answer(error: CallError, headers: Headers | None = None) -> web.Response:
    """Return a failed call in OpenAI's shape, with Retry-After where waiting helps."""
    wait = retry_after_seconds(error)
    if wait is not None:
        headers = {**(headers or {}), "Retry-After": str(math.ceil(wait))}
    return json_answer(call_error_body(error), status=http_status(error.code), headers=headers)


def refusal(
    status: int, code: str, message: str, *, param: str | None = None, headers: Headers | None = None
) -> web.Response:
    """Return a request's refusal in OpenAI's shape; for what never became a call."""
    return json_answer(error_body(code, message, status=status, param=param), status=status, headers=headers)


def mesh_headers(*, trace_id: str, routed_via: str, model: str = "", attempts: int = 0) -> Headers:
    """Return the headers that say where an answer came from; foreign names are made printable."""
    headers = {"X-Mesh-Trace-Id": trace_id, "X-Mesh-Routed-Via": _printable(routed_via)}
    if model:
        headers["X-Mesh-Model"] = _printable(model)
    headers["X-Mesh-Attempts"] = str(attempts)
    return headers


def _printable(text: str) -> str:
    """Header values are lines of ASCII; a name with a line break in it would begin a header of its own."""
    return _NOT_PRINTABLE.sub("?", text)


@web.middleware
async def openai_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer every error in OpenAI's shape, whoever made it; a stranger learns nothing of our own faults."""
    try:
        return await handler(request)
    except Unauthorized as exc:
        return refusal(401, "invalid_api_key", exc.message, headers={"WWW-Authenticate": "Bearer"})
    except ForeignHost as exc:
        return refusal(403, "foreign_host", exc.message, param="Host")
    except CallError as exc:
        return error_answer(exc)
    except ConnectionError:
        raise  # the client is gone: there is nobody to answer
    except web.HTTPException as exc:
        headers = {"Allow": exc.headers["Allow"]} if "Allow" in exc.headers else None
        code = exc.reason.lower().replace(" ", "_")
        message = f"{request.method} {request.path}: {exc.reason.lower()}"
        return refusal(exc.status, code, message, headers=headers)
    except Exception:
        logger.exception("a request failed", extra={"method": request.method, "path": request.path})
        return refusal(500, "internal_error", "internal error")
