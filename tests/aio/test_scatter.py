"""The same question to many at once. Cases are those of bus-and-health §4."""

import asyncio
from typing import Any

import pytest

from meshcore.aio.testing import wait_until
from meshcore.aio.transport import InMemoryTransport
from meshcore.trace import RoutingTrace
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


def asker(*scripts: Script, on_trace: Any = None) -> tuple[Any, list[Any]]:
    """Return a bus without providers, and its peers, each with one script."""
    transport = InMemoryTransport()
    bus = make_bus("node-a", transport, on_trace=on_trace)
    peers = [make_bus(f"node-{number}", transport) for number in range(1, len(scripts) + 1)]
    for peer, script in zip(peers, scripts, strict=True):
        script.offer_to(peer)
        introduce(bus, peer)
    return bus, peers


async def test_case_23_a_good_provider_beside_a_raising_one_is_a_result() -> None:
    traces: list[RoutingTrace] = []
    a, peers = asker(Script(says("good")), Script(fails("internal_error")), on_trace=traces.append)

    answers = await a.call_all(*CHAT, BODY)

    assert [(node, content(result)) for node, result in answers] == [("node-1", "good")]
    assert answers[0][1]["_routed_via"] == "node-1"
    by_node = {trace.attempts[0].node: trace for trace in traces}
    assert (by_node["node-1"].outcome, by_node["node-2"].code) == ("ok", "internal_error")
    assert len({trace.trace_id for trace in traces}) == 1
    assert is_at_rest(a, *peers)


async def test_case_23_without_a_provider_there_is_no_answer() -> None:
    a, _ = asker()

    assert await a.call_all(*CHAT, BODY) == []


async def test_case_23_a_peer_that_can_not_be_reached_is_left_out_as_partition() -> None:
    traces: list[RoutingTrace] = []
    transport = InMemoryTransport()
    a, b = make_bus("node-a", transport, on_trace=traces.append), make_bus("node-b", transport)
    Script(says("never")).offer_to(b)
    introduce(a, b)
    transport.detach("node-b")

    assert await a.call_all(*CHAT, BODY) == []
    assert [trace.code for trace in traces] == ["partition"]


async def test_case_22_an_unreachable_peer_is_a_partition_and_no_exception() -> None:
    transport = InMemoryTransport()
    a, b = make_bus("node-a", transport), make_bus("node-b", transport)
    Script(says("never")).offer_to(b)
    introduce(a, b)
    transport.detach("node-b")

    result = await a.call(*CHAT, BODY)

    assert (result["error"], result["_routed_via"]) == ("partition", "local")
    assert [attempt["code"] for attempt in result["attempts"]] == ["partition"]


async def test_who_is_late_is_left_out_and_traced() -> None:
    traces: list[RoutingTrace] = []
    a, peers = asker(Script(says("quick")), Script(forever), on_trace=traces.append)

    answers = await a.call_all(*CHAT, BODY, timeout_seconds=0.2)

    assert [node for node, _ in answers] == ["node-1"]
    assert sorted(trace.code for trace in traces) == ["", "timeout"]
    await wait_until(lambda: is_at_rest(a, *peers))


async def test_at_most_eight_are_asked_the_best_first() -> None:
    scripts = [Script(says(f"{number}")) for number in range(10)]
    a, _ = asker(*scripts)
    for number, entry in enumerate(a.registry.all_remote()):
        entry.window.succeeded(100.0 - number)

    answers = await a.call_all(*CHAT, BODY)

    assert [content(result) for _, result in answers] == ["9", "8", "7", "6", "5", "4", "3", "2"]
    assert sum(script.calls for script in scripts) == 8


async def test_who_is_refused_by_its_breaker_is_not_asked() -> None:
    a, _ = asker(Script(says("x")), Script(says("y")))
    for _ in range(2):
        a.health.mark_unhealthy("node:node-1", "partition")

    answers = await a.call_all(*CHAT, BODY)

    assert [node for node, _ in answers] == ["node-2"]


async def test_two_scatters_at_half_open_make_one_trial() -> None:
    gate = asyncio.Event()
    script = Script(gate.wait, says("x"))
    a, _ = asker(script)
    for _ in range(2):
        a.health.mark_unhealthy("node:node-1", "partition")
    a.health.probe_succeeded("node:node-1")

    both = [asyncio.create_task(a.call_all(*CHAT, BODY)) for _ in range(2)]
    await wait_until(lambda: script.running == 1 and both[1].done())
    gate.set()

    assert [len(await scatter) for scatter in both] == [1, 0]
    assert script.calls == 1


async def test_a_scatter_that_is_given_up_blames_nobody_and_gives_everything_back() -> None:
    traces: list[RoutingTrace] = []
    scripts = Script(forever), Script(forever)
    a, peers = asker(*scripts, on_trace=traces.append)
    call = asyncio.create_task(a.call_all(*CHAT, BODY))
    await wait_until(lambda: all(script.running for script in scripts))

    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call

    assert [trace.code for trace in traces] == ["cancelled", "cancelled"]
    assert a.health.get_state("node:node-1") is None
    await wait_until(lambda: is_at_rest(a, *peers))
