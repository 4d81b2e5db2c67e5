"""What travels between two nodes: one JSON object for a call, one for its answer, server-sent events for a
stream.

    POST /bus/v1/call       WireCall -> the result object, or a stream of
                            data: <chunk as its provider sent it>
                            event: done | error            exactly one, the last
    GET  /bus/v1/manifest   Manifest
    POST /bus/v1/run        RunAsk -> what a client of the callee would be answered

What client and upstream said in their own objects is under `openai` of call and answer: it is neither parsed
nor encoded again on the way, so that not a byte of it changes.

Everything that says something of the call is in the body, so that the signature covers it. The deadline
travels as remaining milliseconds, because two nodes share no monotonic clock.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from meshcore import sse
from meshcore.capability import HOPS_MAX, RouteRequest
from meshcore.errors import CallError, Code, FrameError
from meshcore.openai_errors import error_message

DONE_EVENT = "done"
ERROR_EVENT = "error"
ACCEPTED = b": accepted\n\n"  # begins every stream, before its provider is asked: the peer is there
CALL_PATH = "/bus/v1/call"
MANIFEST_PATH = "/bus/v1/manifest"
RUN_PATH = "/bus/v1/run"
ANSWER_MAX_BYTES = 32 << 20  # four times the biggest request
MANIFEST_MAX_BYTES = 1 << 20
REMAINING_MAX_MS = 3_600_000.0
CODE_MAX_CHARS = 100  # the longest of our own has 19
UNTOUCHED = "openai"  # the field of bodies and results that stays as it was sent

_Text = Annotated[str, Meta(max_length=200)]


class WireCall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A call on the wire; `path` ends with the node that sends it."""

    capability: Annotated[str, Meta(min_length=1, max_length=100)]
    version: tuple[int, int]
    body: dict[str, Any]
    trace_id: _Text = ""
    caller: _Text = ""
    session_id: _Text | None = None
    remaining_ms: Annotated[float, Meta(gt=0, le=REMAINING_MAX_MS)] | None = None
    stream: bool = False
    path: Annotated[tuple[_Text, ...], Meta(max_length=HOPS_MAX)] = ()
    traceparent: _Text = ""


class _Arrived(WireCall, frozen=True, kw_only=True):
    """A call whose body's fields are still bytes."""

    body: dict[str, msgspec.Raw]


_encode = msgspec.json.Encoder().encode
_decode_call = msgspec.json.Decoder(_Arrived).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_value = msgspec.json.Decoder().decode
_MALFORMED = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)  # what bytes of strangers raise


def encode_call(request: RouteRequest, *, now: float) -> bytes:
    """Return a request as bytes at the monotonic moment `now`."""
    remaining = request.deadline_ms - now * 1000 if request.deadline_ms else None
    call = WireCall(
        capability=request.capability,
        version=request.version_req,
        body=request.body,
        trace_id=request.trace_id,
        caller=request.caller,
        session_id=request.session_id,
        remaining_ms=None if remaining is None else min(max(remaining, 1.0), REMAINING_MAX_MS),
        stream=request.stream,
        path=request.path,
        traceparent=request.traceparent,
    )
    return _encode(call)


def decode_call(data: bytes, *, now: float) -> RouteRequest:
    """Return the request in `data`, its deadline by this node's clock; FrameError names a bad field."""
    try:
        call = _decode_call(data)
        body = _values(call.body)
    except _MALFORMED as exc:
        raise FrameError(f"call: {exc}") from exc
    return RouteRequest(
        capability=call.capability,
        version_req=call.version,
        body=body,
        caller=call.caller,
        trace_id=call.trace_id,
        session_id=call.session_id,
        deadline_ms=0.0 if call.remaining_ms is None else now * 1000 + call.remaining_ms,
        stream=call.stream,
        path=call.path,
        traceparent=call.traceparent,
    )


def encode_result(result: dict[str, Any]) -> bytes:
    """Return a result as bytes."""
    return _encode(result)


def decode_result(data: bytes) -> dict[str, Any]:
    """Return the result in `data`; raises FrameError when it is no JSON object."""
    try:
        return _values(_decode_fields(data))
    except _MALFORMED as exc:
        raise FrameError(f"answer: {exc}") from exc


def _values(fields: dict[str, msgspec.Raw]) -> dict[str, Any]:
    return {name: raw if name == UNTOUCHED else _decode_value(raw) for name, raw in fields.items()}


def error_of(result: dict[str, Any]) -> CallError | None:
    """Return the error that a result says, or None when it is an answer."""
    code = result.get("error")
    if not code:
        return None
    after_ms = result.get("retry_after_ms")
    attempts, refused = result.get("attempts"), result.get("refused")
    return CallError(
        code if isinstance(code, str) and len(code) <= CODE_MAX_CHARS else Code.INTERNAL_ERROR,
        error_message(result),
        retry_after_seconds=after_ms / 1000 if isinstance(after_ms, int | float) else None,
        attempts=attempts if isinstance(attempts, list) else None,
        refused=refused if isinstance(refused, list) else None,
    )


def done_event() -> bytes:
    """Return the event that ends a stream that went well."""
    return sse.encode(b"{}", DONE_EVENT)


def error_event(error: CallError) -> bytes:
    """Return the event that ends a stream that failed."""
    return sse.encode(_encode(error.as_result()), ERROR_EVENT)
