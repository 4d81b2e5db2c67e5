"""What two nodes say to each other."""

from typing import Any

import msgspec
import pytest

from meshcore.bus_wire import (
    REMAINING_MAX_MS,
    decode_call,
    decode_result,
    encode_call,
    encode_result,
    error_of,
)
from meshcore.capability import RouteRequest
from meshcore.errors import CallError, Code, FrameError

REQUEST = RouteRequest(
    "llm.chat",
    (1, 0),
    {"params": {"model": "m"}, "input": {"messages": []}},
    caller="node-a",
    trace_id="t" * 32,
    session_id="s",
    deadline_ms=5_000.0,
    stream=True,
    path=("node-a",),
    traceparent="00-aa-bb-01",
)


def test_a_call_arrives_as_it_was_sent_with_its_deadline_on_the_other_clock() -> None:
    data = encode_call(REQUEST, now=4.0)

    arrived = decode_call(data, now=77.0)

    assert arrived == RouteRequest(
        "llm.chat",
        (1, 0),
        REQUEST.body,
        "node-a",
        "t" * 32,
        "s",
        78_000.0,
        True,
        ("node-a",),
        "00-aa-bb-01",
    )


def test_a_call_without_deadline_arrives_without() -> None:
    plain = RouteRequest("llm.chat", (1, 0), {})

    assert decode_call(encode_call(plain, now=4.0), now=77.0) == plain


@pytest.mark.parametrize(("now", "remaining"), [(99.0, 1.0), (-1e9, REMAINING_MAX_MS)])
def test_the_remaining_time_stays_within_its_bounds(now: float, remaining: float) -> None:
    assert decode_call(encode_call(REQUEST, now=now), now=0.0).deadline_ms == remaining


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"{", "call"),
        (b'"\xff"', "call"),
        (b"[]", "object"),
        (b"{}", "capability"),
        (b'{"capability":"","version":[1,0],"body":{}}', "capability"),
        (b'{"capability":"a","version":[1],"body":{}}', "version"),
        (b'{"capability":"a","version":[1,0],"body":[]}', "body"),
        (b'{"capability":"a","version":[1,0],"body":{},"path":["a","b","c","d","e"]}', "path"),
        (b'{"capability":"a","version":[1,0],"body":{},"remaining_ms":0}', "remaining_ms"),
    ],
)
def test_a_malformed_call_is_refused_by_field(data: bytes, named: str) -> None:
    with pytest.raises(FrameError, match=named):
        decode_call(data, now=0.0)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"a":"\xff"}'])
def test_an_answer_that_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(FrameError, match="answer"):
        decode_result(data)


def test_a_result_arrives_as_it_was_sent() -> None:
    result = {"output": {"message": {"content": "grün"}}, "usage": None}

    assert decode_result(encode_result(result)) == result


def test_what_client_and_upstream_said_crosses_the_mesh_byte_for_byte() -> None:
    said = b'{ "a" : 1.50, "b":"\\u00fc", "a":1e2 }'
    request = RouteRequest("llm.chat", (1, 0), {"params": {}, "openai": msgspec.Raw(said)})

    arrived = decode_call(encode_call(request, now=0.0), now=0.0)
    answered = decode_result(encode_result({"output": {}, "openai": msgspec.Raw(said)}))

    assert (arrived.body["params"], bytes(arrived.body["openai"])) == ({}, said)
    assert (answered["output"], bytes(answered["openai"])) == ({}, said)


DEEP = b"[" * 100_000


@pytest.mark.parametrize("body", [b'{"a":%s' % DEEP, b'{"openai":%s' % DEEP, b'{"a":"\xff"}'])
def test_a_body_of_a_hostile_depth_or_encoding_is_refused(body: bytes) -> None:
    with pytest.raises(FrameError, match="call"):
        decode_call(b'{"capability":"a","version":[1,0],"body":%s}' % body, now=0.0)
    with pytest.raises(FrameError, match="answer"):
        decode_result(body)


def test_an_error_result_becomes_the_error_again() -> None:
    error = CallError(
        Code.RATE_LIMITED, "slow down", retry_after_seconds=1.5, attempts=[{"n": 1}], refused=[{}]
    )

    back = error_of(error.as_result())

    assert back is not None
    assert back.as_result() == error.as_result()


@pytest.mark.parametrize("result", [{}, {"error": ""}, {"error": None}, {"output": {}}])
def test_an_answer_is_no_error(result: dict[str, Any]) -> None:
    assert error_of(result) is None


def test_a_malformed_error_is_still_an_error() -> None:
    error = error_of({"error": {"message": "x"}, "retry_after_ms": "soon", "attempts": 3, "refused": 4})

    assert error is not None
    assert (error.code, error.retry_after_seconds, error.attempts, error.refused) == (
        "internal_error",
        None,
        [],
        [],
    )
