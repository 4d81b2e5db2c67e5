"""Signed requests: whatever is changed on the way is noticed, and nothing counts twice."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.errors import CallError, Code
from meshcore.signing import (
    NONCE_HEADER,
    SIGNATURE_HEADER,
    TARGET_HEADER,
    TIME_HEADER,
    Verifier,
    epoch_ms,
    sign,
)
from meshcore.testing import ManualClock

SECRET = b"mesh-secret"
NONCE = "0123456789abcdef"


def signed(
    clock: ManualClock, *, off_ms: int = 0, nonce: str = NONCE, target: str = "node-b"
) -> dict[str, str]:
    return sign(
        SECRET,
        at_ms=epoch_ms(clock.utcnow()) + off_ms,
        nonce=nonce,
        method="POST",
        path="/bus/v1/call",
        target=target,
        body=b"{}",
    )


def check(
    verifier: Verifier, headers: dict[str, str], *, path: str = "/bus/v1/call", body: bytes = b"{}"
) -> None:
    verifier.check(headers, method="POST", path=path, body=body)


def refusal(
    verifier: Verifier, headers: dict[str, str], *, path: str = "/bus/v1/call", body: bytes = b"{}"
) -> str:
    with pytest.raises(CallError) as caught:
        check(verifier, headers, path=path, body=body)
    return caught.value.code


def test_a_signed_request_is_accepted_once() -> None:
    clock = ManualClock()
    verifier = Verifier(SECRET, "node-b", utcnow=clock.utcnow)
    headers = signed(clock)

    check(verifier, headers)

    assert refusal(verifier, headers) == Code.UNAUTHORIZED


def test_the_secret_is_in_no_header() -> None:
    assert SECRET.decode() not in str(signed(ManualClock()))


@pytest.mark.parametrize("header", [TIME_HEADER, NONCE_HEADER, SIGNATURE_HEADER])
@pytest.mark.parametrize("value", ["", "1", "é", "1767225600001"])
def test_a_changed_header_is_refused(header: str, value: str) -> None:
    clock = ManualClock()
    verifier = Verifier(SECRET, "node-b", utcnow=clock.utcnow)

    assert refusal(verifier, {**signed(clock), header: value}) == Code.UNAUTHORIZED


def test_another_path_body_target_or_secret_is_refused() -> None:
    clock = ManualClock()
    verifier = Verifier(SECRET, "node-b", utcnow=clock.utcnow)
    stranger = Verifier(b"another", "node-b", utcnow=clock.utcnow)

    assert refusal(verifier, signed(clock), path="/bus/v1/manifest") == Code.UNAUTHORIZED
    assert refusal(verifier, signed(clock), body=b"{ }") == Code.UNAUTHORIZED
    assert refusal(verifier, signed(clock, target="node-c")) == Code.UNAUTHORIZED
    assert refusal(stranger, signed(clock)) == Code.UNAUTHORIZED
    assert refusal(verifier, {}) == Code.UNAUTHORIZED


def test_without_a_secret_nothing_is_accepted() -> None:
    clock = ManualClock()
    verifier = Verifier(b"", "node-b", utcnow=clock.utcnow)
    forged = sign(
        b"", at_ms=epoch_ms(clock.utcnow()), nonce=NONCE, method="POST", path="/p", target="node-b", body=b""
    )

    assert refusal(verifier, forged, path="/p", body=b"") == Code.UNAUTHORIZED


@pytest.mark.parametrize(
    ("time", "nonce"), [("1767225600000.5", NONCE), ("x", NONCE), ("", NONCE), ("1", "short")]
)
def test_a_well_signed_but_malformed_time_or_nonce_is_refused(time: str, nonce: str) -> None:
    said = "\n".join(("mesh1", time, nonce, "POST", "/p", "node-b", hashlib.sha256(b"").hexdigest()))
    headers = {
        TIME_HEADER: time,
        NONCE_HEADER: nonce,
        TARGET_HEADER: "node-b",
        SIGNATURE_HEADER: hmac.new(SECRET, said.encode(), hashlib.sha256).hexdigest(),
    }

    assert refusal(Verifier(SECRET, "node-b", utcnow=ManualClock().utcnow), headers, path="/p", body=b"") == (
        Code.UNAUTHORIZED
    )


@pytest.mark.parametrize(("off_ms", "code"), [(300_001, Code.CLOCK_SKEW), (-300_001, Code.CLOCK_SKEW)])
def test_a_clock_more_than_300_s_off_is_told_so(off_ms: int, code: Code) -> None:
    clock = ManualClock()
    verifier = Verifier(SECRET, "node-b", utcnow=clock.utcnow)

    assert refusal(verifier, signed(clock, off_ms=off_ms)) == code


@pytest.mark.parametrize("off_ms", [-300_000, 0, 300_000])
def test_a_clock_up_to_300_s_off_is_accepted(off_ms: int) -> None:
    clock = ManualClock()

    check(Verifier(SECRET, "node-b", utcnow=clock.utcnow), signed(clock, off_ms=off_ms))


@given(off_seconds=st.integers(-300, 300), after_seconds=st.integers(0, 1200))
def test_a_repeated_request_is_never_accepted(off_seconds: int, after_seconds: int) -> None:
    clock = ManualClock()
    verifier = Verifier(SECRET, "node-b", utcnow=clock.utcnow)
    headers = signed(clock, off_ms=off_seconds * 1000)
    check(verifier, headers)

    clock.advance(after_seconds)

    assert refusal(verifier, headers) in (Code.UNAUTHORIZED, Code.CLOCK_SKEW)


def test_nonces_are_forgotten_after_600_s() -> None:
    clock = ManualClock()
    verifier = Verifier(SECRET, "node-b", utcnow=clock.utcnow, nonces_max=1)
    check(verifier, signed(clock))

    clock.advance(600.0)
    check(verifier, signed(clock))
    late = signed(clock, off_ms=-300_000, nonce="nonce-number-0001")
    check(verifier, late)


def test_at_the_nonces_bound_what_can_not_be_told_from_a_repetition_is_refused() -> None:
    clock = ManualClock()
    verifier = Verifier(SECRET, "node-b", utcnow=clock.utcnow, nonces_max=2)
    first = signed(clock, nonce="nonce-number-0000")
    check(verifier, first)
    clock.advance(100.0)

    for number in range(1, 4):
        check(verifier, signed(clock, nonce=f"nonce-number-000{number}"))

    assert refusal(verifier, first) == Code.CLOCK_SKEW
