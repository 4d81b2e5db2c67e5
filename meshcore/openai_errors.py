"""Errors in OpenAI's shape, both ways: what a client of ours is told, and what an upstream's refusal means to
us."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from meshcore.errors import CallError, Code, DrainForced, http_status

MESSAGE_MAX_CHARS = 500  # of an upstream's words that are passed on
RETRY_AFTER_MAX_SECONDS = 600.0  # whoever asks for more is asked again then (bus-and-breaker §2, "Cooling")
RETRY_AFTER_SECONDS: dict[str, float] = {Code.CAPACITY_EXCEEDED: 1.0}
RETRY_AFTER_DEFAULT_SECONDS = 5.0  # a peer is polled every 10 s, a drain's end is seen within 1 s
WORTH_RETRYING = frozenset({429, 503})
"""HTTP statuses that always carry Retry-After."""

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class BadRequest(CallError):
    """The client's request is wrong in its field `param`."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(Code.BAD_REQUEST, f"{param}: {message}")
        self.param = param


def error_body(code: str, message: str, *, status: int, param: str | None = None) -> dict[str, Any]:
    """Return an error in OpenAI's shape, for an answer that has `status`."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def call_error_body(error: CallError) -> dict[str, Any]:
    """Return a failed call in OpenAI's shape, with what was tried and refused beside the message."""
    code = str(Code.NODE_DRAINING if error.code == Code.DRAINING else error.code)
    param = error.param if isinstance(error, BadRequest) else None
    body = error_body(code, error.message, status=http_status(error.code), param=param)
    if isinstance(error, DrainForced):
        body["error"]["reason"] = error.reason
    if error.attempts:
        body["error"]["attempts"] = error.attempts
    if error.refused:
        body["error"]["refused"] = error.refused
    return body


def retry_after_seconds(error: CallError) -> float | None:
    """Return how long the client should wait, None when the status does not invite another try."""
    if http_status(error.code) not in WORTH_RETRYING:
        return None
    if error.retry_after_seconds is not None:
        return error.retry_after_seconds
    return RETRY_AFTER_SECONDS.get(error.code, RETRY_AFTER_DEFAULT_SECONDS)


def upstream_error(status: int, body: bytes, retry_after: str, *, now: datetime) -> CallError:
    """Return what an upstream's HTTP status other than 200 means; `now` is aware UTC and dates `retry_after`.

    Its words are passed on only where the caller's request is at fault: elsewhere they may hold parts of a
    key or insides of the upstream's network.
    """
    wait = parse_retry_after(retry_after, now=now)
    if status == 429:
        return CallError(Code.RATE_LIMITED, "the provider limits its rate (429)", retry_after_seconds=wait)
    if status in (401, 403):
        return CallError(Code.UNAUTHORIZED, f"the provider refused this node's credentials ({status})")
    if status == 404:
        return CallError(
            Code.NOT_FOUND, f"the provider knows no such model or path: {upstream_message(body)}"
        )
    if status == 408:
        return CallError(Code.TIMEOUT, "the provider gave up waiting (408)")
    if status == 425 or status >= 500:
        return CallError(Code.UNAVAILABLE, f"the provider answered {status}", retry_after_seconds=wait)
    if status == 413:
        return CallError(Code.TOO_LARGE, f"too large for the provider: {upstream_message(body)}")
    if status >= 400:
        return CallError(Code.BAD_REQUEST, f"the provider refused the request: {upstream_message(body)}")
    return CallError(Code.INTERNAL_ERROR, f"the provider answered {status}, which is no answer to a call")


def upstream_message(body: bytes) -> str:
    """Return the message in an upstream's error body, at most `MESSAGE_MAX_CHARS` of it."""
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        answer = None
    return error_message(answer.get("error", answer) if isinstance(answer, dict) else answer)


def error_message(error: object) -> str:
    """Return the message of an error object or text, at most `MESSAGE_MAX_CHARS` of it."""
    message = error.get("message") if isinstance(error, dict) else error
    if not isinstance(message, str) or not message:
        return "no message"
    return message[:MESSAGE_MAX_CHARS]


def parse_retry_after(text: str, *, now: datetime) -> float | None:
    """Return the wait that a Retry-After header asks for, as seconds or date; None if unreadable."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(
            float(text[:9]), RETRY_AFTER_MAX_SECONDS
        )  # 9 digits are 30 years; more would only overflow
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:  # "-0000": a date without a statement about its zone, by RFC 5322 still UTC
        date = date.replace(tzinfo=UTC)
    return min(max((date - now).total_seconds(), 0.0), RETRY_AFTER_MAX_SECONDS)
