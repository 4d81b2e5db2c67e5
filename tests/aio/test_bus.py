"""The bus in one process: routing, failover, breakers, accounting. Cases are those of bus-and-health §4."""

import asyncio
import random
from typing import Any

import pytest

from meshcore.aio.bus import BusSettings, CapabilityBus
from meshcore.aio.providers import LlmService
from meshcore.aio.testing import wait_until
from meshcore.aio.transport import InMemoryTransport
from meshcore.capability import CapabilityDescriptor, RouteRequest
from meshcore.errors import Code
from meshcore.registry import PeerRecord
from meshcore.testing import ManualClock
from meshcore.trace import RoutingTrace, Why
from tests.aio.bus_mesh import (
    BODY,
    CHAT,
    Script,
    content,
    fails,
    introduce,
    is_at_rest,
    make_bus,
    says,
)


async def forever() -> None:
    await asyncio.Event().wait()


def mesh(*services: tuple[str, Any], clock: Any = None, **fields: Any) -> list[CapabilityBus]:
    """Return buses joined in memory, each with its service, all of which know each other."""
    transport = InMemoryTransport()
    more = {"clock": clock} if clock is not None else {}
    buses = [make_bus(node_id, transport, **more, **fields) for node_id, _ in services]
    for bus, (_, service) in zip(buses, services, strict=True):
        if isinstance(service, Script):
            service.offer_to(bus)
        elif service is not None:
            bus.register_service(service)
    for bus in buses:
        for peer in buses:
            if peer is not bus:
                introduce(bus, peer)
    return buses


def attempts(trace: RoutingTrace) -> list[tuple[str, str]]:
    return [(attempt.node, attempt.code or "ok") for attempt in trace.attempts]


def reasons(trace: RoutingTrace) -> list[tuple[str, str]]:
    return [(candidate.node, candidate.reason) for candidate in trace.candidates if candidate.reason]


# Seed 000


async def test_case_1_a_dead_local_provider_fails_over_to_a_peer() -> None:
    a, b = mesh(("node-a", LlmService()), ("node-b", LlmService(model="echo-1")))

    result = await a.call(*CHAT, BODY)

    assert "error" not in result
    assert result["_routed_via"] == "node-b"
    assert content(result) == "[echo-1] hi"
    assert is_at_rest(a, b)


async def test_case_2_what_can_be_served_locally_stays_local() -> None:
    (a,) = mesh(("node-a", LlmService(model="echo-A")))

    result = await a.call(*CHAT, BODY)

    assert (result["_routed_via"], content(result)) == ("local", "[echo-A] hi")


async def test_case_3_without_alternative_the_local_error_is_surfaced() -> None:
    (a,) = mesh(("node-a", LlmService()))

    result = await a.call(*CHAT, BODY)

    assert result["error"] == "unavailable"
    assert result["message"]
    assert result["_routed_via"] == "local"
    assert [attempt["code"] for attempt in result["attempts"]] == ["unavailable"]


async def test_case_4_a_peers_call_neither_fails_over_nor_is_stamped() -> None:
    script = Script(says("hi"))
    a, b = mesh(("node-a", script), ("node-b", LlmService()))

    result = await b.handle_call(RouteRequest(*CHAT, BODY, "node-a", "t1"), local_only=True)

    assert result["error"] == "unavailable"
    assert not {"_routed_via", "_trace_id"} & set(result)
    assert script.calls == 0
    assert is_at_rest(a, b)


# Seed 000's surface


async def test_the_public_surface_of_the_seed_holds() -> None:
    bus = CapabilityBus(node_id_full="node-a", community_id="default", transport=InMemoryTransport())
    bus.register_service(LlmService(model="echo-1"))

    entry = bus.registry.all_local()[0]

    assert (bus.node_id_full, bus.community_id) == ("node-a", "default")
    assert (entry.descriptor.name, entry.descriptor.params["model"]) == ("llm.chat", "echo-1")
    assert entry.descriptor.max_concurrent > 0


# Upstream and corrections


async def test_case_21_a_tripped_fast_provider_is_passed_over_for_a_slow_one() -> None:
    fast, slow = Script(says("fast")), Script(says("slow"))
    a, *_ = mesh(("node-a", None), ("fast", fast), ("slow", slow))
    a.registry.of_peer("fast")[0].window.succeeded(1.0)
    a.registry.of_peer("slow")[0].window.succeeded(100.0)
    for _ in range(2):
        a.health.mark_unhealthy("node:fast", "partition")

    result = await a.call(*CHAT, BODY)

    assert content(result) == "slow"
    assert a.traces.last(1)[0].routed_via == "slow"


async def test_case_21_a_caller_without_the_capability_routes_to_a_peer() -> None:
    a, _ = mesh(("node-a", None), ("node-b", Script(says("found"))))

    await a.call(*CHAT, BODY)

    trace = a.traces.last(1)[0]
    assert (trace.routed_via, trace.why) == ("node-b", Why.SCORE)


async def test_case_26_two_failures_open_the_breaker_and_the_third_call_goes_straight_to_the_peer() -> None:
    script = Script(fails("internal_error"))
    a, _ = mesh(("node-a", script), ("node-b", LlmService(model="echo-1")))

    for _ in range(2):
        assert (await a.call(*CHAT, BODY))["_routed_via"] == "node-b"
        assert attempts(a.traces.last(1)[0]) == [("node-a", "internal_error"), ("node-b", "ok")]
        assert a.traces.last(1)[0].why is Why.FAILOVER
    third = await a.call(*CHAT, BODY)

    trace = a.traces.last(1)[0]
    assert third["_routed_via"] == "node-b"
    assert attempts(trace) == [("node-b", "ok")]
    assert reasons(trace) == [("node-a", "breaker_open")]
    assert trace.why is Why.BREAKER
    assert a.registry.all_local()[0].window.success_rate == 0.0
    assert script.calls == 2


async def test_case_26_without_peer_an_open_breaker_gives_a_clear_error() -> None:
    (a,) = mesh(("node-a", Script(fails("internal_error"))))
    for _ in range(2):
        await a.call(*CHAT, BODY)

    result = await a.call(*CHAT, BODY)

    assert result["error"] == "no_healthy_provider"
    assert result["_routed_via"] == "local"
    assert result["attempts"] == []
    assert [candidate["reason"] for candidate in result["refused"]] == ["breaker_open"]
    assert result["retry_after_ms"] > 0


async def test_case_27_a_peer_that_can_not_be_reached_fails_over_to_another() -> None:
    transport = InMemoryTransport()
    a, b, c = (make_bus(name, transport) for name in ("node-a", "b", "c"))
    for bus in (b, c):
        Script(says(bus.node_id_full)).offer_to(bus)
        introduce(a, bus)
    a.registry.of_peer("b")[0].window.succeeded(1.0)
    transport.detach("b")

    result = await a.call(*CHAT, BODY)

    assert content(result) == "c"
    assert attempts(a.traces.last(1)[0]) == [("b", "partition"), ("c", "ok")]
    state = a.health.get_state("node:b")
    assert state is not None
    assert state.consecutive_failures == 1


async def test_case_27_a_bad_request_is_tried_once() -> None:
    other = Script(says("never"))
    a, *_ = mesh(("node-a", None), ("b", Script(fails("bad_request", "no messages"))), ("c", other))
    a.registry.of_peer("b")[0].window.succeeded(1.0)

    result = await a.call(*CHAT, BODY)

    assert (result["error"], result["message"], result["_routed_via"]) == ("bad_request", "no messages", "b")
    assert len(result["attempts"]) == 1
    assert other.calls == 0
    assert a.registry.of_peer("b")[0].window.success_rate == 1.0


async def test_case_28_a_full_node_answers_a_peer_with_capacity_exceeded_and_asks_nobody() -> None:
    script = Script(says("hi"))
    _, b = mesh(("node-a", script), ("node-b", Script(says("hi"), max_concurrent=1)))
    b.registry.all_local()[0].in_flight = 1

    result = await b.handle_call(RouteRequest(*CHAT, BODY, "node-a", "t1"), local_only=True)

    assert result["error"] == "capacity_exceeded"
    assert result["retry_after_ms"] > 0
    assert script.calls == 0
    assert b.registry.of_peer("node-a")[0].window.success_rate == 1.0


async def test_case_29_a_saturated_sole_provider_says_capacity_exceeded() -> None:
    gate = asyncio.Event()
    script = Script(gate.wait, says("done"), max_concurrent=1)
    (a,) = mesh(("node-a", script))
    first = asyncio.create_task(a.call(*CHAT, BODY))
    await wait_until(lambda: script.running == 1)

    second = await a.call(*CHAT, BODY)
    gate.set()

    assert (second["error"], second["retry_after_ms"]) == ("capacity_exceeded", 1000)
    assert content(await first) == "done"
    assert is_at_rest(a)


async def test_case_30_a_peer_that_is_heard_of_stays_routable_and_a_silent_one_does_not() -> None:
    clock = ManualClock()
    a, b = mesh(("node-a", None), ("node-b", Script(says("hi"))), clock=clock)
    for _ in range(60):
        clock.advance(10.0)
        introduce(a, b)
    after_ten_minutes = await a.call(*CHAT, BODY)

    clock.advance(60.1)
    silent = await a.call(*CHAT, BODY)
    clock.advance(30.0)
    forgotten = a.registry.remove_silent()

    assert content(after_ten_minutes) == "hi"
    assert silent["error"] == "no_healthy_provider"
    assert [candidate["reason"] for candidate in silent["refused"]] == ["stale"]
    assert forgotten == ["node-b"]


async def test_case_30_an_answered_call_counts_as_hearing() -> None:
    clock = ManualClock()
    a, _ = mesh(("node-a", None), ("node-b", Script(says("hi"))), clock=clock)

    for _ in range(5):
        clock.advance(50.0)
        assert content(await a.call(*CHAT, BODY)) == "hi"


async def test_case_31_a_manifest_during_calls_keeps_what_is_in_flight() -> None:
    gate = asyncio.Event()
    script = Script(gate.wait, says("done"))
    a, b = mesh(("node-a", None), ("node-b", script))
    calls = [asyncio.create_task(a.call(*CHAT, BODY)) for _ in range(2)]
    await wait_until(lambda: script.running == 2)

    introduce(a, b)
    in_flight = a.registry.of_peer("node-b")[0].in_flight
    gate.set()

    assert in_flight == 2
    assert [content(result) for result in await asyncio.gather(*calls)] == ["done", "done"]
    assert is_at_rest(a, b)


async def test_case_32_of_50_calls_at_half_open_one_reaches_the_provider() -> None:
    clock = ManualClock()
    script = Script(fails("unavailable"))
    a, b = mesh(("node-a", script), ("node-b", LlmService(model="echo-1")), clock=clock)
    for _ in range(2):
        await a.call(*CHAT, BODY)
    clock.advance(61.0)
    introduce(a, b)
    gate = asyncio.Event()
    script.steps = (gate.wait, says("back"))

    calls = [asyncio.create_task(a.call(*CHAT, BODY)) for _ in range(50)]
    await wait_until(lambda: sum(call.done() for call in calls) == 49)
    state_during_trial = a.health.state("scripted")
    gate.set()
    results = await asyncio.gather(*calls)

    assert script.calls == 3
    assert [result["_routed_via"] for result in results].count("node-b") == 49
    busy = [trace for trace in a.traces.last(50) if ("node-a", "half_open_busy") in reasons(trace)]
    assert len(busy) == 49
    assert state_during_trial == "half_open"
    assert a.health.state("scripted") == "closed"
    assert is_at_rest(a, b)


async def test_case_32_a_failed_trial_opens_for_the_whole_backoff() -> None:
    clock = ManualClock()
    script = Script(fails("unavailable"))
    (a,) = mesh(("node-a", script), clock=clock)
    for _ in range(2):
        await a.call(*CHAT, BODY)
    clock.advance(61.0)

    await a.call(*CHAT, BODY)

    state = a.health.get_state("scripted")
    assert state is not None
    assert state.unhealthy_until == clock() + 60.0


async def test_case_32_a_trial_that_its_caller_abandons_gives_the_permit_back() -> None:
    clock = ManualClock()
    script = Script(fails("unavailable"))
    (a,) = mesh(("node-a", script), clock=clock)
    for _ in range(2):
        await a.call(*CHAT, BODY)
    clock.advance(61.0)
    script.steps = (forever,)
    call = asyncio.create_task(a.call(*CHAT, BODY))
    await wait_until(lambda: script.running == 1)

    call.cancel()
    await asyncio.wait([call])

    assert a.health.state("scripted") == "half_open"
    assert a.health.refusal("scripted") is None
    assert is_at_rest(a)


async def test_case_34_a_rate_limit_cools_without_a_strike_and_the_next_one_serves() -> None:
    clock = ManualClock()
    script = Script(fails("rate_limited", retry_after_seconds=15.0))
    a, _ = mesh(("node-a", script), ("node-b", LlmService(model="echo-1")), clock=clock)

    first = await a.call(*CHAT, BODY)
    second = await a.call(*CHAT, BODY)

    assert [first["_routed_via"], second["_routed_via"]] == ["node-b", "node-b"]
    assert script.calls == 1
    assert reasons(a.traces.last(1)[0]) == [("node-a", "cooling")]
    assert a.health.get_state("scripted") is None


async def test_a_rate_limited_sole_provider_says_rate_limited_and_when_to_come_back() -> None:
    clock = ManualClock()
    (a,) = mesh(("node-a", Script(fails("rate_limited", retry_after_seconds=15.0))), clock=clock)
    await a.call(*CHAT, BODY)

    result = await a.call(*CHAT, BODY)

    assert (result["error"], result["retry_after_ms"]) == ("rate_limited", 15000)


async def test_case_37_a_handler_that_hangs_gives_timeout_and_frees_its_slot() -> None:
    script = Script(forever)
    (a,) = mesh(("node-a", script))

    result = await a.call(*CHAT, BODY, deadline_seconds=0.05)

    assert result["error"] == "timeout"
    assert a.registry.all_local()[0].window.success_rate == 0.0
    assert is_at_rest(a)
    assert script.closed == 1


async def test_case_37_the_descriptors_timeout_bounds_an_attempt_and_leaves_time_for_the_next() -> None:
    script = Script(forever, timeout_seconds=0.05)
    a, _ = mesh(("node-a", script), ("node-b", LlmService(model="echo-1")))

    result = await a.call(*CHAT, BODY)

    assert attempts(a.traces.last(1)[0]) == [("node-a", "timeout"), ("node-b", "ok")]
    assert result["_routed_via"] == "node-b"


async def test_case_38_the_trace_ring_is_bounded_and_its_entries_say_everything() -> None:
    asyncio.get_running_loop().set_debug(False)  # a stack kept for every timer takes long
    (a,) = mesh(("node-a", Script(says("hi"))), settings=BusSettings(trace_ring=100))

    for number in range(10_000):
        await a.call(*CHAT, BODY, trace_id=str(number))

    assert len(a.traces) == 100
    assert [trace.trace_id for trace in a.traces.last(2)] == ["9998", "9999"]
    trace = a.traces.last(1)[0]
    assert trace.started_at.tzinfo is not None
    assert (trace.attempts[0].n, trace.why, trace.candidates[0].rank) == (1, Why.LOCAL, 1)
    assert is_at_rest(a)


# More of the design


async def test_a_hung_provider_of_a_peer_is_no_strike_against_the_peer() -> None:
    a, b = mesh(("node-a", None), ("node-b", Script(forever)))

    result = await a.call(*CHAT, BODY, deadline_seconds=1.0)

    assert (result["error"], result["_routed_via"]) == ("timeout", "node-b")
    assert a.health.state("node:node-b") == "closed"
    assert b.health.state("scripted") == "suspect"
    assert is_at_rest(a, b)


async def test_a_returned_error_is_a_failure_like_a_raised_one() -> None:
    bus = make_bus("node-a")

    async def answers_an_error(request: RouteRequest) -> dict[str, Any]:
        return {"error": "internal_error", "message": "returned"}

    bus.register_capability(CapabilityDescriptor(name="llm.chat", provider="p"), answers_an_error)

    result = await bus.call(*CHAT, BODY)

    assert result["error"] == "internal_error"
    assert bus.traces.last(1)[0].outcome == "error"
    assert bus.health.state("p") == "suspect"


async def test_an_exception_is_an_internal_error_that_tells_no_inside(
    caplog: pytest.LogCaptureFixture,
) -> None:
    (a,) = mesh(("node-a", Script(ValueError("key sk-123"))))

    result = await a.call(*CHAT, BODY)

    assert result["error"] == "internal_error"
    assert "sk-123" not in result["message"]
    assert "ValueError" in result["message"]


async def test_a_result_that_is_no_object_is_an_internal_error() -> None:
    bus = make_bus("node-a")

    async def answers_a_list(request: RouteRequest) -> Any:
        return ["hi"]

    bus.register_capability(CapabilityDescriptor(name="llm.chat"), answers_a_list)

    assert (await bus.call(*CHAT, BODY))["error"] == "internal_error"


async def test_a_stamp_that_comes_with_an_answer_is_overwritten_and_stripped() -> None:
    bus = make_bus("node-a")

    async def forges(request: RouteRequest) -> dict[str, Any]:
        return {"output": {}, "_routed_via": "node-x", "_trace_id": "x"}

    bus.register_capability(CapabilityDescriptor(name="llm.chat"), forges)

    outermost = await bus.call(*CHAT, BODY, trace_id="t1")
    inbound = await bus.handle_call(RouteRequest(*CHAT, BODY, "node-b", "t1"), local_only=True)

    assert (outermost["_routed_via"], outermost["_trace_id"], outermost["_attempts"]) == ("local", "t1", 1)
    assert inbound == {"output": {}}


async def test_at_most_max_attempts_are_made() -> None:
    scripts = [Script(fails("unavailable", str(number))) for number in range(5)]
    a, *_ = mesh(*((f"node-{number}", script) for number, script in enumerate(scripts)))

    result = await a.call(*CHAT, BODY)

    assert len(result["attempts"]) == 3
    assert sum(script.calls for script in scripts) == 3
    assert result["message"] == "0"


async def test_a_draining_node_sends_its_own_calls_to_peers_and_refuses_those_of_peers() -> None:
    script = Script(says("local"))
    a, _ = mesh(("node-a", script), ("node-b", LlmService(model="echo-1")))
    a.draining = lambda: True

    own = await a.call(*CHAT, BODY)
    inbound = await a.handle_call(RouteRequest(*CHAT, BODY, "node-b", "t1"), local_only=True)

    assert own["_routed_via"] == "node-b"
    assert a.traces.last(1)[0].why is Why.DRAIN
    assert reasons(a.traces.last(1)[0]) == [("node-a", "draining")]
    assert inbound["error"] == "draining"
    assert script.calls == 0
    assert a.manifest().draining


async def test_a_peer_that_says_draining_is_not_struck_and_not_asked_again() -> None:
    script = Script(says("b"))
    a, b, _ = mesh(("node-a", None), ("b", script), ("c", Script(says("c"))))
    a.registry.of_peer("b")[0].window.succeeded(1.0)
    b.draining = lambda: True

    first = await a.call(*CHAT, BODY)
    second = await a.call(*CHAT, BODY)

    assert [content(first), content(second)] == ["c", "c"]
    assert attempts(a.traces.last(2)[0]) == [("b", "draining"), ("c", "ok")]
    assert attempts(a.traces.last(2)[1]) == [("c", "ok")]
    assert a.health.state("node:b") == "closed"
    assert a.registry.of_peer("b")[0].window.success_rate == 1.0


@pytest.mark.parametrize("path", [("node-a", "node-b"), ("1", "2", "3", "4", "5")])
async def test_a_call_that_was_here_or_came_too_far_is_refused(path: tuple[str, ...]) -> None:
    script = Script(says("hi"))
    (a,) = mesh(("node-a", script))

    result = await a.handle_call(RouteRequest(*CHAT, BODY, path=path), local_only=True)

    assert result["error"] == "hop"
    assert script.calls == 0


async def test_a_call_made_elsewhere_may_still_be_routed_but_never_back() -> None:
    transport = InMemoryTransport()
    a, b = make_bus("node-a", transport), make_bus("node-b", transport)
    Script(says("b")).offer_to(b)
    introduce(a, b)

    result = await a.handle_call(RouteRequest(*CHAT, BODY, path=("node-b",)))

    assert result["error"] == "no_healthy_provider"
    assert [candidate["reason"] for candidate in result["refused"]] == ["hop"]
    assert len(result["_trace_id"]) == 32


async def test_nobody_offering_is_not_found() -> None:
    (a,) = mesh(("node-a", Script(says("hi"))))

    assert (await a.call("llm.chat", (2, 0), BODY))["error"] == "not_found"
    assert (await a.call("rag.query", (1, 0), BODY))["error"] == "not_found"
    assert (await a.call(*CHAT, {"params": {"model": "other"}}))["error"] == "not_found"


async def test_a_call_without_time_asks_nobody() -> None:
    script = Script(says("hi"))
    (a,) = mesh(("node-a", script))

    result = await a.call(*CHAT, BODY, deadline_seconds=0.0)

    assert (result["error"], script.calls) == ("timeout", 0)


async def test_a_peer_without_a_transport_is_a_partition() -> None:
    a, b = make_bus("node-a"), make_bus("node-b")
    Script(says("hi")).offer_to(b)
    introduce(a, b)

    assert (await a.call(*CHAT, BODY))["error"] == "partition"


async def test_a_cancelled_call_is_traced_and_counts_as_neither() -> None:
    traces: list[RoutingTrace] = []
    script = Script(forever)
    (a,) = mesh(("node-a", script), on_trace=traces.append)
    call = asyncio.create_task(a.call(*CHAT, BODY))
    await wait_until(lambda: script.running == 1)

    call.cancel()
    await asyncio.wait([call])

    assert call.cancelled()
    assert [trace.code for trace in traces] == ["cancelled"]
    assert a.registry.all_local()[0].window.success_rate == 1.0
    assert a.health.get_state("scripted") is None
    assert is_at_rest(a)


async def test_only_outermost_calls_are_handed_on_as_traces() -> None:
    traces: list[RoutingTrace] = []
    a, b = mesh(("node-a", None), ("node-b", Script(says("hi"))), on_trace=traces.append)

    await a.call(*CHAT, BODY, trace_id="t1", caller="key-1")

    assert [(trace.trace_id, trace.caller, trace.inbound) for trace in traces] == [("t1", "key-1", False)]
    inbound = b.traces.last(1)[0]
    assert (inbound.trace_id, inbound.caller, inbound.inbound) == ("t1", "node-a", True)


async def test_a_trace_listener_that_fails_harms_no_call(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(trace: RoutingTrace) -> None:
        raise RuntimeError("full")

    (a,) = mesh(("node-a", Script(says("hi"))), on_trace=refuse)

    assert content(await a.call(*CHAT, BODY)) == "hi"
    assert "was not taken" in caplog.text


async def test_tokens_and_model_of_the_answer_are_in_the_trace() -> None:
    bus = make_bus("node-a")

    async def answers(request: RouteRequest) -> dict[str, Any]:
        return {"output": {}, "model": "m-2024", "usage": {"prompt_tokens": 3, "completion_tokens": 2}}

    bus.register_capability(CapabilityDescriptor(name="llm.chat", params={"model": "m"}), answers)

    await bus.call(*CHAT, BODY)

    trace = bus.traces.last(1)[0]
    assert (trace.model_served, trace.tokens_in, trace.tokens_out) == ("m-2024", 3, 2)


async def test_a_provider_of_several_models_has_a_breaker_for_each() -> None:
    script = Script(fails("unavailable"), params={"models": ["one", "two"]})
    (a,) = mesh(("node-a", script))
    for _ in range(2):
        await a.call(*CHAT, {"params": {"model": "one"}})
    script.steps = (says("hi"),)

    one = await a.call(*CHAT, {"params": {"model": "one"}})
    two = await a.call(*CHAT, {"params": {"model": "two"}})

    assert one["error"] == "no_healthy_provider"
    assert content(two) == "hi"
    assert a.health.state("scripted", "one") == "open"
    assert a.health.state("scripted") == "closed"


class Changing:
    """A provider whose offers change."""

    name = "changing"

    def __init__(self) -> None:
        self.on_change: Any = None
        self.names = ["llm.chat", "llm.embedding"]

    def descriptors(self) -> list[CapabilityDescriptor]:
        return [CapabilityDescriptor(name=name) for name in self.names]

    async def call(self, capability: str, body: dict[str, Any], call: Any) -> dict[str, Any]:
        return {"output": capability, "model": call.model}

    def stream(self, capability: str, body: dict[str, Any], call: Any) -> Any:
        return Script(says("streamed")).stream(RouteRequest(capability, (1, 0), body), call)


async def test_a_provider_is_offered_as_it_is_now() -> None:
    bus = make_bus("node-a")
    provider = Changing()
    bus.register_provider(provider)
    before = [entry.descriptor.name for entry in bus.registry.all_local()]

    provider.names = ["llm.chat"]
    provider.on_change()

    assert before == ["llm.chat", "llm.embedding"]
    assert [entry.descriptor.name for entry in bus.registry.all_local()] == ["llm.chat"]
    assert (await bus.call(*CHAT, {"params": {"provider": "changing"}}))["output"] == "llm.chat"
    assert [chunk.text async for chunk in bus.stream(*CHAT, BODY)] == ["streamed"]
    assert [report.key for report in bus.health.reports()] == ["changing"]


async def test_a_handler_with_its_own_rule_for_params_decides_itself() -> None:
    bus = make_bus("node-a")
    script = Script(says("hi"))
    bus.register_capability(
        script.descriptor, script.call, lambda _, requested: requested.get("model") == "odd"
    )

    assert (await bus.call(*CHAT, {"params": {"model": "m"}}))["error"] == "not_found"
    assert content(await bus.call(*CHAT, {"params": {"model": "odd"}})) == "hi"


async def test_the_manifest_marks_what_the_nodes_own_breaker_refuses() -> None:
    (a,) = mesh(("node-a", Script(fails("unavailable"))))
    for _ in range(2):
        await a.call(*CHAT, BODY)

    manifest = a.manifest(url="http://a", log_id="log-1", draining=False)

    assert (manifest.node_id, manifest.url, manifest.log_id) == ("node-a", "http://a", "log-1")
    assert [offer.available for offer in manifest.capabilities] == [False]


async def test_the_snapshot_shows_peers_entries_and_the_last_calls() -> None:
    a, _ = mesh(("node-a", Script(says("hi"))), ("node-b", Script(says("hi"))))
    await a.call(*CHAT, BODY)

    snapshot = a.topology_snapshot()

    assert snapshot["our_node_id"] == "node-a"
    assert [peer["node_id"] for peer in snapshot["peers"]] == ["node-b"]
    assert [entry["success_rate"] for entry in snapshot["capabilities_local"]] == [1.0]
    assert snapshot["in_flight_total"] == 0
    assert len(snapshot["traces"]) == 1


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ({"max_attempts": 0}, "max_attempts=0"),
        ({"trace_ring": 0}, "trace_ring=0"),
        ({"freshness_seconds": 0.0}, "freshness_seconds=0.0"),
        ({"deadline_seconds": -1.0}, "deadline_seconds=-1.0"),
    ],
)
def test_settings_out_of_bounds_are_refused_by_name(setting: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        BusSettings(**setting)


async def test_ten_thousand_random_calls_leave_nothing_behind() -> None:
    asyncio.get_running_loop().set_debug(False)  # a stack kept for every timer would take a minute
    dice = random.Random(7)
    codes = [code for code in Code if code is not Code.CANCELLED]
    scripts = [Script(says("ok"), max_concurrent=3) for _ in range(3)]
    a, b, c = mesh(
        *zip(("node-a", "b", "c"), scripts, strict=True), settings=BusSettings(deadline_seconds=5.0)
    )

    async def one() -> None:
        script = dice.choice(scripts)
        fate = dice.random()
        script.steps = (says("ok"),) if fate < 0.6 else (fails(dice.choice(codes)),)
        call = asyncio.create_task(a.call(*CHAT, BODY))
        if fate > 0.9:
            await asyncio.sleep(0)
            call.cancel()
        await asyncio.wait([call])
        if fate > 0.8:
            for bus in (a, b, c):
                for report in bus.health.reports():
                    bus.health.reset(report.key, actor="test", reason="go on")

    for _ in range(1_000):
        await asyncio.gather(*(one() for _ in range(10)))

    assert is_at_rest(a, b, c)
    assert all(script.running == 0 for script in scripts)


async def test_a_record_of_a_stranger_may_be_registered_by_hand() -> None:
    a = make_bus("node-a", InMemoryTransport())

    diff = a.registry.update_from_peer_manifest(
        PeerRecord("node-b", "B", "default", ["http://b"], source="manual"),
        {
            "capabilities": [
                {"name": "llm.chat", "version": "1.0", "params": {"model": "m"}, "max_concurrent": 2}
            ]
        },
    )

    assert len(diff.added) == 1
