"""Errors in OpenAI's shape, as we give them and as we read them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.errors import CallError, Code
from meshcore.openai_errors import (
    RETRY_AFTER_MAX_SECONDS,
    BadRequest,
    call_error_body,
    error_body,
    parse_retry_after,
    retry_after_seconds,
    upstream_error,
    upstream_message,
)

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "server_error"),
        (503, "server_error"),
    ],
)
def test_an_error_names_its_family_as_openai_does(status: int, kind: str) -> None:
    body = error_body("some_code", "what happened", status=status)

    assert body == {"error": {"message": "what happened", "type": kind, "param": None, "code": "some_code"}}


def test_a_wrong_request_names_the_field_as_param() -> None:
    error = BadRequest("model", "expected a name, got nothing")

    assert call_error_body(error)["error"] == {
        "message": "model: expected a name, got nothing",
        "type": "invalid_request_error",
        "param": "model",
        "code": "bad_request",
    }


def test_what_was_tried_and_refused_stands_beside_the_message() -> None:
    attempts = [{"n": 1, "node": "node-a", "code": "timeout"}]
    refused = [{"node": "node-b", "reason": "draining"}]
    error = CallError(Code.NO_HEALTHY_PROVIDER, "nobody", attempts=attempts, refused=refused)

    body = call_error_body(error)["error"]

    assert (body["attempts"], body["refused"], body["param"]) == (attempts, refused, None)


def test_draining_is_told_to_clients_as_node_draining() -> None:
    assert call_error_body(CallError(Code.DRAINING, "node-a is draining"))["error"]["code"] == "node_draining"


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (CallError(Code.CAPACITY_EXCEEDED, ""), 1.0),
        (CallError(Code.NO_HEALTHY_PROVIDER, ""), 5.0),
        (CallError(Code.RATE_LIMITED, "", retry_after_seconds=0.0), 0.0),
        (CallError(Code.RATE_LIMITED, "", retry_after_seconds=42.0), 42.0),
        (CallError(Code.BAD_REQUEST, "", retry_after_seconds=42.0), None),
        (CallError(Code.UNAVAILABLE, ""), None),
        (CallError("a code from the future", ""), None),
    ],
)
def test_retry_after_goes_with_429_and_503_only(error: CallError, seconds: float | None) -> None:
    assert retry_after_seconds(error) == seconds


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (302, Code.INTERNAL_ERROR),
        (400, Code.BAD_REQUEST),
        (401, Code.UNAUTHORIZED),
        (403, Code.UNAUTHORIZED),
        (404, Code.NOT_FOUND),
        (408, Code.TIMEOUT),
        (413, Code.TOO_LARGE),
        (422, Code.BAD_REQUEST),
        (425, Code.UNAVAILABLE),
        (429, Code.RATE_LIMITED),
        (500, Code.UNAVAILABLE),
        (503, Code.UNAVAILABLE),
        (529, Code.UNAVAILABLE),
    ],
)
def test_an_upstreams_status_becomes_a_code(status: int, code: Code) -> None:
    assert upstream_error(status, b"", "", now=NOW).code is code


def test_an_upstreams_words_are_passed_on_where_the_request_is_at_fault() -> None:
    body = b'{"error": {"message": "temperature must be at most 2"}}'

    assert "temperature must be at most 2" in upstream_error(400, body, "", now=NOW).message


@pytest.mark.parametrize("status", [401, 403, 429, 500])
def test_an_upstreams_words_stay_inside_where_they_may_hold_secrets(status: int) -> None:
    body = b'{"error": {"message": "Incorrect API key provided: sk-secret"}}'

    assert "sk-secret" not in upstream_error(status, body, "", now=NOW).message


def test_a_rate_limit_carries_the_wait_that_the_upstream_asks_for() -> None:
    assert upstream_error(429, b"", "15", now=NOW).retry_after_seconds == 15.0
    assert upstream_error(429, b"", "", now=NOW).retry_after_seconds is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"error": {"message": "no"}}', "no"),
        (b'{"error": "no"}', "no"),
        (b'{"message": "no"}', "no"),
        (b'"no"', "no"),
        (b'{"error": {"message": 7}}', "no message"),
        (b"<html>", "no message"),
        (b'"\xff"', "no message"),
        (b"[" * 100_000, "no message"),
    ],
)
def test_the_message_of_an_error_body_is_found_or_said_to_be_missing(body: bytes, message: str) -> None:
    assert upstream_message(body) == message


def test_a_long_message_is_cut() -> None:
    assert len(upstream_message(b'"' + b"x" * 10_000 + b'"')) == 500


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("15", 15.0),
        (" 15 ", 15.0),
        ("0", 0.0),
        ("9" * 500, RETRY_AFTER_MAX_SECONDS),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 12:00:30 -0000", 30.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("Fri, 02 Jan 2026 12:00:00 GMT", RETRY_AFTER_MAX_SECONDS),
        ("Thu, 01 Jan 99999999999 12:00:00 GMT", None),
        ("soon", None),
        ("-1", None),
        ("", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(text: str, seconds: float | None) -> None:
    assert parse_retry_after(text, now=NOW) == seconds


@given(st.text(max_size=60))
def test_no_retry_after_text_breaks_the_reader(text: str) -> None:
    seconds = parse_retry_after(text, now=NOW)

    assert seconds is None or 0 <= seconds <= RETRY_AFTER_MAX_SECONDS
