"""Answers in OpenAI's shape."""

import json
import logging
from typing import NoReturn

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from meshcore.aio.gateway.answers import error_answer, json_answer, mesh_headers, openai_errors, refusal
from meshcore.errors import CallError, Code


def test_json_is_utf8_with_its_status_and_headers() -> None:
    answer = json_answer({"ü": 1}, status=201, headers={"X-A": "b"})

    assert answer.body == '{"ü":1}'.encode()
    assert (answer.status, answer.headers["X-A"]) == (201, "b")
    assert answer.content_type == "application/json"


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

    assert isinstance(answer.body, bytes)
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


async def fail(_: web.Request) -> NoReturn:
    raise RuntimeError("the password is swordfish")


async def refuse(_: web.Request) -> NoReturn:
    raise CallError(Code.NOT_IMPLEMENTED, "not yet")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("DELETE", "/refuse", 405, "method_not_allowed"),
        ("GET", "/refuse", 501, "not_implemented"),
        ("GET", "/fail", 500, "internal_error"),
    ],
)
async def test_every_error_is_answered_in_openais_shape(
    method: str, path: str, status: int, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = web.Application(middlewares=[openai_errors])
    app.add_routes([web.get("/refuse", refuse), web.get("/fail", fail)])

    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        answer = await http.request(method, server.make_url(path))
        body = await answer.json()

    assert (answer.status, body["error"]["code"]) == (status, code)
    assert "swordfish" not in str(body)
    assert ("swordfish" in caplog.text) is (path == "/fail")
    assert answer.headers.get("Allow") == ("GET,HEAD" if status == 405 else None)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == [
        record for record in caplog.records if record.message == "a request failed"
    ]
