"""What never becomes a request: refused in OpenAI's shape, and told neither to the client nor to the log."""

import logging
from typing import Any

import pytest

from meshcore.aio.gateway import connection
from tests.aio.gateway.wire import error_in, raw


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /healthz HTTP/1.1\r\nAuthorization: Bearer swordfish"
        + b"x" * connection.HEADER_MAX_BYTES
        + b"\r\n\r\n",
        b"GET /" + b"swordfish" * 4096 + b" HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n"
        + b"".join(b"X-%d: swordfish\r\n" % number for number in range(connection.HEADERS_MAX + 10))
        + b"\r\n",
        b"swordfish\r\n\r\n",
        b"GET /healthz HTTP/swordfish\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nswordfish\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nX-A: sword\x00fish\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: -1\r\n\r\nswordfish",
        b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: 5\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nswordfish",
        b"\x16\x03\x01\x02\x00swordfish",
    ],
)
async def test_what_is_no_http_within_bounds_is_refused_in_openais_shape(
    node: Any, caplog: pytest.LogCaptureFixture, request_: bytes
) -> None:
    caplog.set_level(logging.DEBUG)

    answer = await raw(node.url, request_)

    assert answer.startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 "))
    assert error_in(answer)["code"] == "bad_request"
    assert error_in(answer)["message"] == connection.EXPECTED
    assert b"swordfish" not in answer
    assert "swordfish" not in caplog.text
    assert (await raw(node.url, b"GET /healthz HTTP/1.0\r\n\r\n")).endswith(b'{"status":"ok"}')


@pytest.mark.parametrize("request_", [b"", b"GET /healthz HTTP/1.1\r\nHost:"])
async def test_a_connection_that_says_nothing_whole_is_closed(
    start_node: Any, monkeypatch: pytest.MonkeyPatch, request_: bytes
) -> None:
    monkeypatch.setattr(connection, "KEEPALIVE_SECONDS", 0.1)
    node = await start_node("node-a")

    assert await raw(node.url, request_) == b""
