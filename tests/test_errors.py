"""The table of codes: status, retryability, and an error as a bus result."""

import pytest

from meshcore.errors import FINAL, CallError, Code, IllegalMove, http_status, is_retryable, is_strike


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("bad_request", 400),
        ("not_found", 404),
        ("too_large", 413),
        ("rate_limited", 429),
        ("not_implemented", 501),
        ("unauthorized", 502),
        ("no_healthy_provider", 503),
        ("timeout", 504),
        ("a_code_nobody_knows", 502),
    ],
)
def test_each_code_has_its_http_status(code: str, status: int) -> None:
    assert http_status(code) == status


def test_only_errors_that_no_other_provider_would_answer_better_are_final() -> None:
    assert {code for code in Code if not is_retryable(code)} == FINAL
    assert is_retryable("a_code_nobody_knows")


@pytest.mark.parametrize("code", ["timeout", "partition", "unavailable", "internal_error", "nobody_knows"])
def test_what_a_provider_did_wrong_is_a_strike(code: str) -> None:
    assert is_strike(code)


@pytest.mark.parametrize("code", ["draining", "cancelled", "bad_request", "rate_limited", "hop", "not_found"])
def test_what_says_nothing_against_a_provider_is_no_strike(code: str) -> None:
    assert not is_strike(code)


def test_an_error_becomes_a_bus_result_with_what_is_known() -> None:
    error = CallError(
        Code.RATE_LIMITED, "slow down", retry_after_seconds=1.5, refused=[{"reason": "cooling"}]
    )

    assert error.as_result() == {
        "error": "rate_limited",
        "message": "slow down",
        "attempts": [],
        "refused": [{"reason": "cooling"}],
        "retry_after_ms": 1500,
    }
    assert CallError("x", "y").as_result() == {"error": "x", "message": "y", "attempts": []}


def test_an_illegal_move_names_state_and_move() -> None:
    assert str(IllegalMove("stopped", "enter")) == "no move 'enter' from state 'stopped'"
