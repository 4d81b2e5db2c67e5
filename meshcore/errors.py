"""Every error that crosses a border, by cause.

    MeshError
    ├── CallError        a call failed: code, message, and what the caller may do next
    │   ├── DrainForced      a drain ended the call, because its deadline was over
    │   └── ExchangeError    the exchange with a peer failed, before or instead of its answer
    ├── AlreadyRunning   another process holds the folder: names it
    ├── ConfigError      the settings are wrong: names the key, the value and what is allowed
    ├── IdentityTaken    another node lives under this one's id: names it
    ├── FrameError       a wire message is malformed: names the field
    └── IllegalMove      a state machine was asked for a move it does not have

The codes, which of them are retried and their HTTP status are the tables of the bus design
(bus-and-breaker §1, §5).
"""

import enum
from typing import Any


class Code(enum.StrEnum):
    """Outcome codes of a call; the values travel on the wire."""

    BAD_REQUEST = "bad_request"
    SCHEMA_MISMATCH = "schema_mismatch"
    UNAUTHORIZED = "unauthorized"
    REVOKED = "revoked"
    NOT_FOUND = "not_found"
    TOO_LARGE = "too_large"
    CAPACITY_EXCEEDED = "capacity_exceeded"
    RATE_LIMITED = "rate_limited"
    CANCELLED = "cancelled"
    NOT_IMPLEMENTED = "not_implemented"
    UNAVAILABLE = "unavailable"
    PARTITION = "partition"
    INTERNAL_ERROR = "internal_error"
    NO_HEALTHY_PROVIDER = "no_healthy_provider"
    DRAINING = "draining"
    NODE_DRAINING = "node_draining"
    JOINING = "joining"
    LOG_UNREACHABLE = "log_unreachable"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    TIMEOUT = "timeout"
    HALF_OPEN_BUSY = "half_open_busy"
    COOLING = "cooling"
    HOP = "hop"
    CLOCK_SKEW = "clock_skew"


FINAL = frozenset(
    {
        Code.BAD_REQUEST,
        Code.SCHEMA_MISMATCH,
        Code.UNAUTHORIZED,
        Code.REVOKED,
        Code.NOT_IMPLEMENTED,
        Code.CANCELLED,
        Code.TOO_LARGE,
    }
)
"""Codes that no other provider would answer better; everything else, known or not, goes to the next
candidate.
"""

HTTP_STATUS: dict[str, int] = {
    Code.BAD_REQUEST: 400,
    Code.SCHEMA_MISMATCH: 400,
    Code.NOT_FOUND: 404,
    Code.IDEMPOTENCY_CONFLICT: 409,
    Code.TOO_LARGE: 413,
    Code.CAPACITY_EXCEEDED: 429,
    Code.RATE_LIMITED: 429,
    Code.CANCELLED: 499,
    Code.NOT_IMPLEMENTED: 501,
    Code.UNAVAILABLE: 502,
    Code.PARTITION: 502,
    Code.INTERNAL_ERROR: 502,
    Code.UNAUTHORIZED: 502,  # an upstream's refusal: the client's own key was right
    Code.REVOKED: 502,
    Code.NO_HEALTHY_PROVIDER: 503,
    Code.DRAINING: 503,
    Code.NODE_DRAINING: 503,
    Code.JOINING: 503,
    Code.LOG_UNREACHABLE: 503,
    Code.TIMEOUT: 504,
}
"""HTTP status that the gateway answers for a code (bus-and-breaker §5); what is not listed is 502."""


def http_status(code: str) -> int:
    """Return the gateway's HTTP status for `code`; a code nobody knows is an upstream's failure, 502."""
    return HTTP_STATUS.get(code, 502)


NO_STRIKE = FINAL | {
    Code.NOT_FOUND,
    Code.CAPACITY_EXCEEDED,
    Code.RATE_LIMITED,
    Code.NO_HEALTHY_PROVIDER,
    Code.DRAINING,
    Code.NODE_DRAINING,
    Code.JOINING,
    Code.HALF_OPEN_BUSY,
    Code.COOLING,
    Code.HOP,
    Code.CLOCK_SKEW,
}
"""Codes that say nothing against the provider that answered them; everything else, known or not, does."""


def is_strike(code: str) -> bool:
    """Return whether `code` counts as a failure of the provider that answered it."""
    return code not in NO_STRIKE


def is_retryable(code: str) -> bool:
    """Return whether another candidate may be tried after `code`, provided that nothing was delivered yet."""
    return code not in FINAL


class MeshError(Exception):
    """Base of all errors of this package."""


class CallError(MeshError):
    """A call failed with `code`; `retry_after_seconds` is set when waiting helps, `attempts` when any were
    made.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retry_after_seconds: float | None = None,
        attempts: list[dict[str, Any]] | None = None,
        refused: list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after_seconds = retry_after_seconds
        self.attempts = attempts or []
        self.refused = refused or []

    def as_result(self) -> dict[str, Any]:
        """Return the error as a bus result: `{"error", "message", "attempts"}` and what else is known."""
        result: dict[str, Any] = {"error": str(self.code), "message": self.message, "attempts": self.attempts}
        if self.refused:
            result["refused"] = self.refused
        if self.retry_after_seconds is not None:
            result["retry_after_ms"] = round(self.retry_after_seconds * 1000)
        return result


DRAIN_FORCED = "drain_forced"


class DrainForced(CallError):
    """The node ended the call: its drain was past the deadline. Says nothing against any provider."""

    def __init__(self, node_id: str) -> None:
        super().__init__(Code.DRAINING, f"{node_id} is draining and its deadline is over: {DRAIN_FORCED}")
        self.reason = DRAIN_FORCED


class ExchangeError(CallError):
    """The exchange with a peer itself failed: not connected, cut off, no answer in time. Strikes the peer."""


class AlreadyRunning(MeshError):
    """Another process holds the lock at `path`; `holder` is its process id, "" when unknown."""

    def __init__(self, path: str, *, holder: str = "") -> None:
        super().__init__(
            f"already running: {path} is held by {f'process {holder}' if holder else 'another process'}"
        )
        self.path = path
        self.holder = holder


class IdentityTaken(MeshError):
    """Another process lives under node id `node` in the run log; `instance` is how it is known there."""

    def __init__(self, node: str, instance: str) -> None:
        super().__init__(f"node.id={node!r}: taken in the run log by a living instance, {instance}")
        self.node = node
        self.instance = instance


class ConfigError(MeshError):
    """A setting is wrong; the message names file, key, value and what is allowed."""


class FrameError(MeshError):
    """A wire message is malformed; the message names the field."""


class IllegalMove(MeshError):
    """A state machine has no move from `state` on `move`."""

    def __init__(self, state: str, move: str) -> None:
        super().__init__(f"no move {move!r} from state {state!r}")
        self.state = state
        self.move = move
