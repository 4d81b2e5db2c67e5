"""Answers in OpenAI's shape."""

import json
from datetime import timedelta
from typing import Any, NoReturn

import pytest

from meshcore.aio.gateway.answers import (
    Answer,
    Dateline,
    Refused,
    answer_to,
    error_answer,
    json_answer,
    mesh_headers,
    refusal,
    status_line,
)
from meshcore.aio.gateway.message import Request
from meshcore.errors import CallError, Code
from meshcore.testing import ManualClock
from tests.aio.gateway.wire import request_for


def test_json_is_utf8_with_its_status_and_headers() -> None:
    answer = json_answer({"ü": 1}, status=201, headers={"X-A": "b"})

    assert answer.body == '{"ü":1}'.encode()
    assert answer.status == 201
    assert answer.header_lines() == "Content-Type: application/json\r\nContent-Length: 8\r\nX-A: b\r\n"


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        (CallError(Code.RATE_LIMITED, "", retry_after_seconds=0.2), 429, "1"),
        (CallError(Code.RATE_LIMITED, "", retry_after_seconds=15.0), 429, "15"),
        (CallError(Code.NO_HEALTHY_PROVIDER, ""), 503, "5"),
        (CallError(Code.TIMEOUT, "", retry_after_seconds=15.0), 504, None),
        (CallError("a code of the future", ""), 502, None),
    ],
)
def test_a_failed_call_has_its_status_and_whole_seconds_to_wait(
    error: CallError, status: int, retry_after: str | None
) -> None:
    answer = error_answer(error, {"X-A": "b"})

    assert (answer.status, answer.headers.get("Retry-After")) == (status, retry_after)
    assert answer.headers["X-A"] == "b"


def test_a_refusal_names_its_param() -> None:
    answer = refusal(404, "not_found", "no", param="model")

    assert json.loads(answer.body)["error"] == {
        "message": "no",
        "type": "not_found_error",
        "param": "model",
        "code": "not_found",
    }


def test_foreign_names_cannot_begin_a_header_of_their_own() -> None:
    headers = mesh_headers(trace_id="t", routed_via="node-b\r\nX-Evil: 1", model="grüße", attempts=2)

    assert headers == {
        "X-Mesh-Trace-Id": "t",
        "X-Mesh-Routed-Via": "node-b??X-Evil: 1",
        "X-Mesh-Model": "gr??e",
        "X-Mesh-Attempts": "2",
    }


def test_without_a_model_none_is_named() -> None:
    assert "X-Mesh-Model" not in mesh_headers(trace_id="t", routed_via="local")


@pytest.mark.parametrize(
    ("status", "line"),
    [(200, "HTTP/1.1 200 OK\r\n"), (404, "HTTP/1.1 404 Not Found\r\n"), (499, "HTTP/1.1 499 \r\n")],
)
def test_an_answer_begins_with_its_status(status: int, line: str) -> None:
    assert status_line(status) == line


def test_an_answer_says_when_it_was_made() -> None:
    clock = ManualClock()
    dateline = Dateline(clock, clock.utcnow)

    first = dateline()
    clock.advance(1.0)
    second = dateline()

    said = f"{clock.utcnow() - timedelta(seconds=1):Date: %a, %d %b %Y %H:%M:%S GMT}\r\n"
    assert first == said
    assert second != first


# Errors


@pytest.fixture
def request_() -> Request:
    return request_for("/path")


def raising(error: BaseException) -> Any:
    async def handler(_: Request) -> NoReturn:
        raise error

    return handler


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Refused(405, "method_not_allowed", "no", headers={"Allow": "GET"}), 405, "method_not_allowed"),
        (CallError(Code.NOT_IMPLEMENTED, "not yet"), 501, "not_implemented"),
        (RuntimeError("the password is swordfish"), 500, "internal_error"),
    ],
)
async def test_every_error_is_answered_in_openais_shape(
    request_: Request, error: Exception, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    answer = await answer_to(request_, raising(error))

    assert isinstance(answer, Answer)
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (status, code)
    assert answer.headers == ({"Allow": "GET"} if status == 405 else {})
    assert b"swordfish" not in answer.body
    logged = [record.message for record in caplog.records]
    assert logged == (["a request failed"] if status == 500 else [])
    assert ("swordfish" in caplog.text) is (status == 500)


async def test_nobody_is_answered_who_is_gone(request_: Request) -> None:
    with pytest.raises(BrokenPipeError):
        await answer_to(request_, raising(BrokenPipeError()))


async def test_an_answer_that_began_and_can_not_be_ended_breaks_its_connection(request_: Request) -> None:
    request_.begun = True

    with pytest.raises(ConnectionResetError):
        await answer_to(request_, raising(RuntimeError()))
