"""What is remembered of a call: one `RoutingTrace` per outermost call, with every attempt and every refusal.

Prompts and answers are not part of it (bus-and-breaker §1). The structs are the wire format of telemetry,
too. They hold nothing that could lead back to them, so the garbage collector needn't walk through the ring:
that is what `gc=False` says.
"""

import enum
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

STAMPS = ("_routed_via", "_trace_id", "_attempts")  # of the result of an outermost call


class Why(enum.StrEnum):
    """Why the call went where it went; a closed vocabulary for filters and for people."""

    LOCAL = "local"
    SCORE = "score"
    STICKY = "sticky"
    ALIAS = "alias"
    FAILOVER = "failover"
    DRAIN = "drain"
    BREAKER = "breaker"


class Reason(enum.StrEnum):
    """Why a candidate was refused, in the order in which the checks are made (bus-and-breaker §1)."""

    VERSION = "version"
    PARAMS = "params"
    UNCONFIGURED = "unconfigured"  # these four are said of entries of an alias's chain (§3)
    NO_TOOLS = "no_tools"
    NO_VISION = "no_vision"
    CONTEXT = "context"
    DRAINING = "draining"
    STALE = "stale"
    BREAKER_OPEN = "breaker_open"
    HALF_OPEN_BUSY = "half_open_busy"
    COOLING = "cooling"
    FORCED_OPEN = "forced_open"
    CAPACITY = "capacity"
    EXCLUDED = "excluded"
    HOP = "hop"


class Score(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The terms of a candidate's score: value = p50_ms * (1 + load) + 1000 * (1 - success_rate) -
    local_bonus.
    """

    value: float
    p50_ms: float
    load: float
    success_rate: float
    local_bonus: float = 0.0


class Candidate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One provider that was looked at: in what order it stood (`rank` from 1), or why it was refused."""

    node: str  # "": none has it
    provider: str
    model: str = ""  # that an alias's chain names
    rank: int = 0  # 0: refused
    reason: Reason | None = None
    detail: str = ""  # "41 s left", "12 of 12 in flight"
    seconds_remaining: float | None = None
    score: Score | None = None


class Attempt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One try: `n` counts from 1; `outcome` is "ok" or "error"; `code` the error's code; `ms` its whole
    duration.
    """

    n: int
    node: str
    provider: str
    model: str = ""
    outcome: str = "ok"
    code: str = ""
    message: str = ""
    started_ms: float = 0.0  # after the call's start
    ms: float = 0.0
    ttft_ms: float | None = None
    breaker: str = "closed"  # the breaker's state before the attempt
    committed: bool = False


class Splice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An answer that broke off and was continued by another provider without the client's noticing.

    `at_ms` after the call's start; `after_chunks` of content had been delivered by then; `reason` is the code
    of what broke it.
    """

    at_ms: float
    after_chunks: int
    from_node: str
    from_provider: str
    to_node: str
    to_provider: str
    reason: str = ""


class AliasSkip(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An entry of the alias's chain that was passed over, and why."""

    entry: str  # "provider/model"
    reason: str  # "unconfigured", "breaker_open", "no_tools", …
    detail: str = ""


class RoutingTrace(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One outermost call as its node saw it. Durations in milliseconds, `started_at` aware UTC, `outcome`
    "ok" or "error".
    """

    trace_id: str
    capability: str
    started_at: datetime
    caller: str = ""  # name of the API key or peer; never the key
    run_id: str = ""
    alias: str = ""
    model_asked: str = ""
    model_served: str = ""
    duration_ms: float = 0.0
    ttft_ms: float | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    stream: bool = False
    inbound: bool = False  # this is the callee's side of a peer's call: not counted as a call of its own
    outcome: str = "ok"
    code: str = ""
    message: str = ""
    routed_via: str = "local"
    provider: str = ""  # the one that answered, else the last one tried
    why: Why = Why.LOCAL
    candidates: tuple[Candidate, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    splices: tuple[Splice, ...] = ()
    alias_skips: tuple[AliasSkip, ...] = ()


class TraceRing:
    """The last `size` traces, newest last; a full ring drops its oldest."""

    def __init__(self, size: int = 10_000) -> None:
        self._ring: deque[RoutingTrace] = deque(maxlen=size)
        self.push: Callable[[RoutingTrace], None] = self._ring.append  # keeps a finished call

    def last(self, count: int) -> list[RoutingTrace]:
        """Return up to `count` newest traces, oldest first."""
        return list(self._ring)[-count:] if count > 0 else []

    def __len__(self) -> int:
        return len(self._ring)


def stamped(result: dict[str, Any], trace: RoutingTrace) -> dict[str, Any]:
    """Return a result with who answered it; a peer's call is stamped by that peer."""
    if trace.inbound:
        return {key: value for key, value in result.items() if key not in STAMPS}
    return {
        **result,
        "_routed_via": trace.routed_via,
        "_trace_id": trace.trace_id,
        "_attempts": len(trace.attempts),
    }
