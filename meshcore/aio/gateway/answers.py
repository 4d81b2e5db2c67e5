"""Answers of the endpoint: JSON, errors in OpenAI's shape, headers that say where an answer came from."""

import logging
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from email.utils import format_datetime
from http import HTTPStatus

import msgspec

from meshcore.aio.gateway.message import Request
from meshcore.clock import Clock, UtcNow
from meshcore.errors import CallError, http_status
from meshcore.openai_errors import call_error_body, error_body, retry_after_seconds

JSON = "application/json"
Headers = Mapping[str, str]

_NOT_PRINTABLE = re.compile(r"[^\x20-\x7e]")
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}

logger = logging.getLogger(__name__)


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A whole answer."""

    body: bytes
    status: int = 200
    headers: Headers = {}
    content_type: str = JSON

    def header_lines(self) -> str:
        """Return its header fields as they are sent."""
        own = f"Content-Type: {self.content_type}\r\nContent-Length: {len(self.body)}\r\n"
        return own + header_lines(self.headers)


Handler = Callable[[Request], Awaitable[Answer | None]]
"""Returns the answer, or None when it was streamed."""


class Refused(Exception):
    """A request never became a call; the attributes are what its client is told."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        headers: Headers | None = None,
    ) -> None:
        super().__init__(message)
        self.answer = refusal(status, code, message, param=param, headers=headers)


class Dateline:
    """The header line that says when an answer was made (RFC 9110 §6.6.1), written once a second."""

    def __init__(self, clock: Clock, utcnow: UtcNow) -> None:
        self._clock = clock
        self._utcnow = utcnow
        self._line = ""
        self._until = -math.inf  # monotonic seconds

    def __call__(self) -> str:
        if self._clock() >= self._until:
            now = self._utcnow()
            self._until = self._clock() + 1.0 - now.microsecond / 1e6
            self._line = f"Date: {format_datetime(now, usegmt=True)}\r\n"
        return self._line


def status_line(status: int) -> str:
    """Return the first line of an answer."""
    return _STATUS_LINES.get(status) or f"HTTP/1.1 {status} \r\n"


def header_lines(headers: Headers) -> str:
    """Return header fields as they are sent; their values must be printable."""
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])


def json_answer(body: object, *, status: int = 200, headers: Headers | None = None) -> Answer:
    """Return `body` as JSON."""
    return Answer(msgspec.json.encode(body), status, headers or {})


def error_answer(error: CallError, headers: Headers | None = None) -> Answer:
    """Return a failed call in OpenAI's shape, with Retry-After where waiting helps."""
    wait = retry_after_seconds(error)
    if wait is not None:
        headers = {**(headers or {}), "Retry-After": str(math.ceil(wait))}
    return json_answer(call_error_body(error), status=http_status(error.code), headers=headers)


def refusal(
    status: int, code: str, message: str, *, param: str | None = None, headers: Headers | None = None
) -> Answer:
    """Return a request's refusal in OpenAI's shape; for what never became a call."""
    return json_answer(error_body(code, message, status=status, param=param), status=status, headers=headers)


def mesh_headers(*, trace_id: str, routed_via: str, model: str = "", attempts: int = 0) -> dict[str, str]:
    """Return the headers that say where an answer came from; foreign names are made printable."""
    headers = {"X-Mesh-Trace-Id": trace_id, "X-Mesh-Routed-Via": _printable(routed_via)}
    if model:
        headers["X-Mesh-Model"] = _printable(model)
    headers["X-Mesh-Attempts"] = str(attempts)
    return headers


def _printable(text: str) -> str:
    """Header values are lines of ASCII; a name with a line break in it would begin a header of its own."""
    return text if text.isascii() and text.isprintable() else _NOT_PRINTABLE.sub("?", text)


async def answer_to(request: Request, handler: Handler) -> Answer | None:
    """Return what `handler` answers, every error in OpenAI's shape, whoever made it; a stranger learns
    nothing of our own faults.

    ConnectionError when the client is gone, or when an answer that began can't be ended.
    """
    try:
        return await handler(request)
    except Refused as exc:
        return exc.answer
    except CallError as exc:
        return error_answer(exc)
    except ConnectionError:
        raise  # the client is gone: there is nobody to answer
    except Exception as exc:
        logger.exception("a request failed", extra={"method": request.method, "path": request.path})
        if request.begun:
            raise ConnectionResetError("the rest of the answer is missing") from exc
        return refusal(500, "internal_error", "internal error")
