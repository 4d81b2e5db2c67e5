"""Choosing and accounting: what each outcome does to slot, permit, window and freshness."""

import pytest

from meshcore.aio.dispatch import BusSettings, Dispatcher, Lease
from meshcore.aio.health import ProviderHealthCache
from meshcore.capability import CapabilityDescriptor, RouteRequest
from meshcore.errors import CallError, Code, ExchangeError
from meshcore.journey import Journey
from meshcore.registry import Entry, PeerRecord, Registry
from meshcore.testing import START, ManualClock
from tests.aio.bus_mesh import BODY, CHAT, Script


class Scene:
    """A dispatcher of node-a with a local entry and one of node-b."""

    def __init__(self, *, timeout_seconds: float = 60.0) -> None:
        self.clock = ManualClock()
        self.registry = Registry("node-a", clock=self.clock)
        self.health = ProviderHealthCache(clock=self.clock)
        self.dispatcher = Dispatcher(self.registry, self.health, BusSettings(), clock=self.clock)
        descriptor = CapabilityDescriptor(
            name="llm.chat", provider="mine", max_concurrent=5, timeout_seconds=timeout_seconds
        )
        self.local: Entry = self.registry.register_local(descriptor, Script().call)
        self.registry.update_from_peer_manifest(
            PeerRecord("node-b"), {"capabilities": [{"name": "llm.chat"}]}
        )
        self.remote: Entry = self.registry.of_peer("node-b")[0]

    def journey(self, *, local_only: bool = False, seconds: float = 300.0) -> Journey:
        return Journey(
            RouteRequest(*CHAT, BODY),
            node_id="node-a",
            started=self.clock(),
            started_at=START,
            deadline=self.clock() + seconds,
            local_only=local_only,
            params=BODY["params"],
            model_asked="",
        )

    def lease(self, journey: Journey, *, draining: bool = False) -> Lease:
        lease = self.dispatcher.next(journey, draining=draining)
        assert lease is not None
        return lease


def test_an_attempt_holds_a_slot_and_a_permit_until_it_is_settled() -> None:
    scene = Scene()
    journey = scene.journey()

    lease = scene.lease(journey)
    during = (scene.local.in_flight, scene.health.permits_out)
    scene.clock.advance(0.25)
    scene.dispatcher.succeeded(lease, journey)

    assert during == (1, 1)
    assert (scene.local.in_flight, scene.health.permits_out) == (0, 0)
    assert scene.local.window.p50_ms == 250.0
    assert (journey.attempts[0].ms, journey.attempts[0].outcome) == (250.0, "ok")


def test_an_attempt_has_the_descriptors_time_or_what_is_left() -> None:
    scene = Scene(timeout_seconds=30.0)

    assert scene.lease(scene.journey()).timeout_seconds == 30.0
    assert scene.lease(scene.journey(seconds=5.0)).timeout_seconds == 5.0


def test_a_permit_lasts_as_long_as_its_attempt() -> None:
    scene = Scene(timeout_seconds=30.0)

    assert scene.lease(scene.journey()).permit.expires_at == scene.clock() + 30.0


def test_attempts_are_numbered_and_timed_from_the_calls_start() -> None:
    scene = Scene()
    journey = scene.journey()
    scene.clock.advance(0.5)
    scene.dispatcher.failed(scene.lease(journey), journey, CallError(Code.UNAVAILABLE, "down"))
    scene.clock.advance(1.0)
    scene.dispatcher.succeeded(scene.lease(journey), journey)

    assert [(attempt.n, attempt.started_ms) for attempt in journey.attempts] == [(1, 500.0), (2, 1500.0)]


def test_a_rate_limit_cools_for_as_long_as_it_says() -> None:
    scene = Scene()
    journey = scene.journey()
    limited = CallError(Code.RATE_LIMITED, "slow down", retry_after_seconds=9.0)

    scene.dispatcher.failed(scene.lease(journey), journey, limited)

    refusal = scene.health.refusal("mine")
    assert refusal is not None
    assert (refusal.reason, refusal.seconds_remaining) == ("cooling", 9.0)


def test_a_peers_call_has_one_attempt() -> None:
    scene = Scene()
    journey = scene.journey(local_only=True)
    scene.dispatcher.failed(scene.lease(journey), journey, CallError(Code.UNAVAILABLE, "down"))

    assert scene.dispatcher.next(journey, draining=False) is None


def test_no_attempt_begins_when_the_time_is_over() -> None:
    scene = Scene()
    journey = scene.journey(seconds=10.0)

    scene.clock.advance(10.0)

    assert scene.dispatcher.next(journey, draining=False) is None


@pytest.mark.parametrize(
    ("code", "strikes", "success_rate", "goes_on"),
    [
        (Code.UNAVAILABLE, 1, 0.0, True),
        (Code.TIMEOUT, 1, 0.0, True),
        (Code.INTERNAL_ERROR, 1, 0.0, True),
        ("brand_new_code", 1, 0.0, True),
        (Code.BAD_REQUEST, 0, 1.0, False),
        (Code.UNAUTHORIZED, 0, 1.0, False),
        (Code.NOT_IMPLEMENTED, 0, 1.0, False),
        (Code.NOT_FOUND, 0, 1.0, True),
        (Code.RATE_LIMITED, 0, 1.0, True),
        (Code.CAPACITY_EXCEEDED, 0, 1.0, True),
        (Code.DRAINING, 0, 1.0, True),
    ],
)
def test_a_local_failure_is_judged_by_its_code(
    code: str, strikes: int, success_rate: float, goes_on: bool
) -> None:
    scene = Scene()
    journey = scene.journey()

    again = scene.dispatcher.failed(scene.lease(journey), journey, CallError(code, "said"))

    state = scene.health.get_state("mine")
    assert (state.consecutive_failures if state else 0) == strikes
    assert scene.local.window.success_rate == success_rate
    assert again is goes_on
    assert (scene.local.in_flight, scene.health.permits_out) == (0, 0)


@pytest.mark.parametrize(
    ("error", "strikes", "success_rate"),
    [
        (ExchangeError(Code.PARTITION, "gone"), 1, 0.0),
        (ExchangeError(Code.TIMEOUT, "silent"), 1, 0.0),
        (CallError(Code.PARTITION, "its provider is gone"), 0, 0.0),
        (CallError(Code.UNAVAILABLE, "its provider is down"), 0, 0.0),
        (CallError(Code.RATE_LIMITED, "its provider is limited", retry_after_seconds=9.0), 0, 1.0),
        (CallError(Code.NO_HEALTHY_PROVIDER, "none"), 0, 1.0),
        (CallError(Code.HALF_OPEN_BUSY, "trial"), 0, 1.0),
    ],
)
def test_a_peer_is_struck_by_the_exchange_alone(error: CallError, strikes: int, success_rate: float) -> None:
    scene = Scene()
    journey = scene.journey()

    again = scene.dispatcher.failed(scene.lease(journey, draining=True), journey, error)

    state = scene.health.get_state("node:node-b")
    assert (state.consecutive_failures if state else 0) == strikes
    assert scene.remote.window.success_rate == success_rate
    assert scene.health.refusal("node:node-b") is None
    assert again


def test_a_peer_that_answers_is_fresh_whatever_it_says() -> None:
    scene = Scene()
    scene.clock.advance(50.0)
    journey = scene.journey()
    answered = CallError(Code.UNAVAILABLE, "down")
    assert scene.remote.peer is not None

    scene.dispatcher.failed(
        scene.lease(journey, draining=True), journey, ExchangeError(Code.PARTITION, "gone")
    )
    after_silence = scene.remote.peer.heard_at
    other = scene.journey()
    scene.dispatcher.failed(scene.lease(other, draining=True), other, answered)

    assert after_silence == scene.clock() - 50.0
    assert scene.remote.peer.heard_at == scene.clock()


def test_a_candidate_whose_permit_is_gone_by_now_is_refused_and_the_next_is_taken() -> None:
    scene = Scene()
    scene.health.refusal = lambda key, model="": None  # type: ignore[method-assign]  # a look that is too old
    for _ in range(2):
        scene.health.mark_unhealthy("mine", "down")
    journey = scene.journey()

    lease = scene.lease(journey)

    assert lease.entry is scene.remote
    scene.dispatcher.succeeded(lease, journey)
    reasons = [c.reason for c in journey.trace(now=scene.clock()).candidates if c.reason]
    assert reasons == ["breaker_open"]


def test_when_every_permit_is_gone_there_is_no_attempt() -> None:
    scene = Scene()
    scene.registry.remove_peer("node-b")
    scene.health.refusal = lambda key, model="": None  # type: ignore[method-assign]
    for _ in range(2):
        scene.health.mark_unhealthy("mine", "down")

    assert scene.dispatcher.next(scene.journey(), draining=False) is None
    assert scene.local.in_flight == 0


def test_a_committed_stream_released_its_permit_and_a_break_is_a_strike() -> None:
    scene = Scene()
    journey = scene.journey()
    lease = scene.lease(journey)

    scene.clock.advance(0.1)
    scene.dispatcher.committed(lease, journey)
    out = scene.health.permits_out
    again = scene.dispatcher.failed(lease, journey, CallError(Code.UNAVAILABLE, "broke"))

    assert out == 0
    assert not again
    state = scene.health.get_state("mine")
    assert state is not None
    assert state.consecutive_failures == 1
    assert journey.attempts[0].committed
    assert journey.attempts[0].ttft_ms == pytest.approx(100.0)


def test_a_committed_stream_that_breaks_for_no_fault_is_no_strike() -> None:
    scene = Scene()
    journey = scene.journey()
    lease = scene.lease(journey)
    scene.dispatcher.committed(lease, journey)

    scene.dispatcher.failed(lease, journey, CallError(Code.DRAINING, "moved on"))

    assert scene.health.state("mine") == "closed"


def test_the_speed_of_a_stream_is_its_first_token() -> None:
    scene = Scene()
    journey = scene.journey()
    lease = scene.lease(journey)
    scene.clock.advance(0.1)
    scene.dispatcher.committed(lease, journey)
    scene.clock.advance(60.0)

    scene.dispatcher.succeeded(lease, journey)

    assert scene.local.window.p50_ms == pytest.approx(100.0)


def test_an_abandoned_attempt_blames_nobody() -> None:
    scene = Scene()
    journey = scene.journey()
    lease = scene.lease(journey)

    scene.dispatcher.abandoned(lease, journey, journey.cancelled())

    assert (scene.local.in_flight, scene.health.permits_out) == (0, 0)
    assert scene.health.get_state("mine") is None
    assert scene.local.window.success_rate == 1.0
