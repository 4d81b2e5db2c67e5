"""The record of one call."""

from typing import Any

import pytest

from meshcore.capability import CallInfo, CapabilityDescriptor, RouteRequest
from meshcore.errors import CallError, Code, ExchangeError
from meshcore.journey import Journey
from meshcore.openai_wire import Usage, parse_chunk
from meshcore.registry import Entry, PeerRecord, Registry
from meshcore.routing import Choice, rank, refused
from meshcore.splice import Begun
from meshcore.testing import START, ManualClock
from meshcore.trace import Attempt, Reason, RoutingTrace, Splice, Why


async def serve(request: RouteRequest, info: CallInfo) -> dict[str, Any]:
    return {}


class Trip:
    """A journey on node-a with a local entry, a remote one, and shorthands."""

    def __init__(self) -> None:
        registry = Registry("node-a", clock=ManualClock())
        self.local = registry.register_local(CapabilityDescriptor(name="llm.chat", provider="mine"), serve)
        registry.update_from_peer_manifest(PeerRecord("node-b"), {"capabilities": [{"name": "llm.chat"}]})
        self.remote = registry.of_peer("node-b")[0]
        request = RouteRequest("llm.chat", (1, 0), {"params": {"model": "m"}}, caller="key", trace_id="t1")
        self.journey = Journey(
            request,
            node_id="node-a",
            started=10.0,
            started_at=START,
            deadline=20.0,
            local_only=False,
            params=request.params(),
            model_asked="m",
        )

    def saw(self, *entries: Entry, refused_local: Reason | None = None) -> None:
        candidates = [refused(self.local, refused_local)] if refused_local else []
        self.journey.saw(Choice([rank(entry, "m") for entry in entries], candidates))

    def ok(self, entry: Entry, **fields: Any) -> None:
        self.journey.tried.append(entry)
        self.journey.made(self._attempt(entry, **fields))

    def fail(self, entry: Entry, error: CallError, **fields: Any) -> None:
        self.journey.tried.append(entry)
        self.journey.failed(self._attempt(entry, outcome="error", code=error.code, **fields), error)

    def trace(self, error: CallError | None = None) -> RoutingTrace:
        return self.journey.trace(now=10.5, error=error)

    def _attempt(self, entry: Entry, **fields: Any) -> Attempt:
        n = len(self.journey.attempts) + 1
        return Attempt(n=n, node=entry.node_id, provider=entry.descriptor.provider, model="m", **fields)


UNAVAILABLE = CallError(Code.UNAVAILABLE, "the provider is down", retry_after_seconds=3.0)


def test_a_call_that_was_answered_locally_says_so() -> None:
    trip = Trip()
    trip.saw(trip.local, trip.remote)
    trip.ok(trip.local)
    trip.journey.count_tokens(Usage(prompt_tokens=3, completion_tokens=5))

    trace = trip.trace()

    assert (trace.outcome, trace.routed_via, trace.why, trace.provider) == ("ok", "local", Why.LOCAL, "mine")
    assert (trace.model_asked, trace.model_served, trace.duration_ms) == ("m", "m", 500.0)
    assert (trace.tokens_in, trace.tokens_out, trace.caller) == (3, 5, "key")
    assert [candidate.rank for candidate in trace.candidates] == [1, 2]


def test_failover_surfaces_the_first_error_with_all_attempts() -> None:
    trip = Trip()
    trip.saw(trip.local, trip.remote)
    trip.fail(trip.local, UNAVAILABLE)
    trip.fail(trip.remote, CallError(Code.TIMEOUT, "too slow"))

    error = trip.journey.surfaced(trip.journey.question(draining=False))

    assert (error.code, error.message, error.retry_after_seconds) == (
        Code.UNAVAILABLE,
        "the provider is down",
        3.0,
    )
    assert [attempt["code"] for attempt in error.attempts] == ["unavailable", "timeout"]
    trace = trip.trace(error)
    assert (trace.outcome, trace.code, trace.routed_via, trace.why) == (
        "error",
        "unavailable",
        "local",
        Why.FAILOVER,
    )
    assert trace.model_served == ""


def test_nothing_tried_surfaces_why_nobody_could() -> None:
    trip = Trip()
    trip.saw(refused_local=Reason.BREAKER_OPEN)

    error = trip.journey.surfaced(trip.journey.question(draining=False))

    assert error.code is Code.NO_HEALTHY_PROVIDER
    assert [candidate["reason"] for candidate in error.refused] == ["breaker_open"]
    assert trip.journey.routed_via() == "local"


@pytest.mark.parametrize(
    ("error", "via"),
    [(CallError(Code.BAD_REQUEST, "no"), "node-b"), (ExchangeError(Code.PARTITION, "no route"), "local")],
)
def test_an_error_is_routed_via_whoever_made_it(error: CallError, via: str) -> None:
    trip = Trip()
    trip.saw(trip.remote)
    trip.fail(trip.remote, error)

    assert trip.journey.routed_via() == via


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        (Reason.DRAINING, Why.DRAIN),
        (Reason.BREAKER_OPEN, Why.BREAKER),
        (Reason.COOLING, Why.BREAKER),
        (Reason.CAPACITY, Why.SCORE),
        (None, Why.SCORE),
    ],
)
def test_going_to_a_peer_has_a_reason(reason: Reason | None, why: Why) -> None:
    trip = Trip()
    trip.saw(trip.remote, refused_local=reason)
    trip.ok(trip.remote)

    assert trip.trace().why is why
    assert trip.trace().routed_via == "node-b"


def test_a_later_look_adds_new_refusals_once_and_never_what_was_tried() -> None:
    trip = Trip()
    trip.saw(trip.local, trip.remote)
    trip.fail(trip.local, UNAVAILABLE)

    for reason in (Reason.EXCLUDED, Reason.BREAKER_OPEN, Reason.BREAKER_OPEN):
        trip.saw(trip.remote, refused_local=reason)

    reasons = [candidate.reason for candidate in trip.trace().candidates]
    assert reasons == [None, None, Reason.BREAKER_OPEN]


def test_a_stream_that_broke_was_answered_by_who_began_it() -> None:
    trip = Trip()
    trip.saw(trip.remote)
    trip.fail(trip.remote, UNAVAILABLE, committed=True, ttft_ms=40.0, started_ms=10.0)

    error = trip.journey.broken(UNAVAILABLE)
    trace = trip.trace(error)

    assert [attempt["committed"] for attempt in error.attempts] == [True]
    assert (trace.routed_via, trace.model_served, trace.ttft_ms) == ("node-b", "m", 50.0)


def test_a_call_given_up_has_code_cancelled() -> None:
    trip = Trip()

    assert trip.trace(trip.journey.cancelled()).code == "cancelled"


def test_a_call_whose_time_was_over_before_any_look_says_so() -> None:
    trip = Trip()

    error = trip.journey.surfaced(trip.journey.question(draining=False))

    assert error.code is Code.TIMEOUT
    assert trip.trace(error).candidates == ()


def test_the_answers_own_word_for_its_model_counts_when_it_is_a_text() -> None:
    trip = Trip()
    trip.saw(trip.local)
    trip.ok(trip.local)

    trip.journey.answered(7, None)
    by_attempt = trip.trace().model_served
    trip.journey.answered("m-2024", None)

    assert (by_attempt, trip.trace().model_served) == ("m", "m-2024")


def begun_by(trip: Trip) -> Begun:
    begun = Begun()
    begun.saw(parse_chunk(b'{"choices":[{"delta":{"content":"one "}}]}'))
    trip.fail(trip.local, UNAVAILABLE, committed=True, started_ms=1.0, ttft_ms=2.0)
    trip.journey.broke_off(begun, UNAVAILABLE)
    return begun


def test_behind_a_break_the_rest_of_the_same_models_answer_is_asked() -> None:
    trip = Trip()
    trip.saw(trip.local, trip.remote)
    assert trip.journey.request_to(trip.remote, "m") is trip.journey.request

    begun_by(trip)
    question = trip.journey.question(draining=False)

    assert question.continues
    assert question.params == {"model": "m"}


def test_a_break_that_nobody_goes_on_from_is_the_error_whatever_failed_before_and_behind_it() -> None:
    trip = Trip()
    trip.saw(trip.local, trip.remote)
    trip.fail(trip.remote, CallError(Code.TIMEOUT, "too slow"))
    begun_by(trip)
    trip.fail(trip.remote, CallError(Code.TIMEOUT, "too slow again"))

    error = trip.journey.surfaced(trip.journey.question(draining=False))

    assert error.code == Code.UNAVAILABLE
    assert error.message == "the provider is down; the answer can't be continued: no other provider can"
    assert len(error.attempts) == 3
    trace = trip.trace(error)
    assert (trace.routed_via, trace.provider, trace.ttft_ms, trace.splices) == ("local", "mine", 3.0, ())


def test_who_goes_on_is_told_as_a_splice() -> None:
    trip = Trip()
    trip.saw(trip.local, trip.remote)
    trip.journey.goes_on_with(trip.local, now=10.1)
    begun_by(trip)
    trip.ok(trip.remote)

    trip.journey.goes_on_with(trip.remote, now=10.25)

    (splice,) = trip.trace().splices
    assert splice == Splice(
        at_ms=250.0,
        after_chunks=1,
        from_node="node-a",
        from_provider="mine",
        to_node="node-b",
        to_provider="",
        reason="unavailable",
    )
    assert trip.trace().routed_via == "node-b"
