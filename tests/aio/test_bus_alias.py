"""Calls by alias through a whole bus. Cases are those of bus-and-health §4, read with the design's words."""

import asyncio
from typing import Any

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from meshcore.aio.bus import CapabilityBus
from meshcore.aio.exposition import NodeMetrics
from meshcore.aio.transport import InMemoryTransport
from meshcore.alias import AliasBook
from meshcore.breaker_terms import BreakerState
from meshcore.capability import RouteRequest
from meshcore.drain import NodeState, Readout
from meshcore.errors import CallError
from meshcore.testing import ManualClock
from meshcore.trace import AliasSkip, RoutingTrace, Why
from tests.aio.bus_mesh import CHAT, Script, content, fails, introduce, is_at_rest, make_bus, says

TWO_STEP = {"mesh/two-step": ("alpha/m1", "beta/m2")}
WITH_GAMMA = {"mesh/two-step": ("alpha/m1", "beta/m2", "gamma/m3")}
REFUSED = "unavailable"
MESSAGES = [{"role": "user", "content": "hi"}]


def ask(model: str = "mesh/two-step", **fields: Any) -> dict[str, Any]:
    """Return the body of a call, as the gateway makes it."""
    request = {"model": model, "messages": MESSAGES, **fields}
    raw = msgspec.Raw(msgspec.json.encode(request))
    return {"params": {"model": model}, "input": {"messages": request["messages"]}, "openai": raw}


class Scene:
    """A node with the providers alpha and beta, its traces and its metrics."""

    def __init__(self, alpha: Script, beta: Script | None = None, *, table: Any = TWO_STEP) -> None:
        self.alpha, self.beta = alpha, beta or Script(says("from beta"), provider="beta", model="m2")
        self.traces: list[RoutingTrace] = []
        self.clock = ManualClock()
        self.bus: CapabilityBus = make_bus(
            "node-a", clock=self.clock, aliases=AliasBook(table), on_trace=self._on_trace
        )
        self.metrics = NodeMetrics(
            "node-a",
            version="1",
            readout=lambda: Readout(state=NodeState.RUNNING, accepting=True),
            breakers=self.bus.health.reports,
        )
        for script in (self.alpha, self.beta):
            script.offer_to(self.bus)

    @property
    def trace(self) -> RoutingTrace:
        return self.traces[-1]

    def attempts(self) -> list[tuple[str, str]]:
        """Return what was tried last, and how it ended."""
        return [(f"{each.provider}/{each.model}", each.code or "ok") for each in self.trace.attempts]

    def skips(self) -> list[tuple[str, str]]:
        """Return what was passed over last, and why."""
        return [(skip.entry, skip.reason) for skip in self.trace.alias_skips]

    def count(self, name: str, **labels: str) -> float:
        """Return a metric's value."""
        families = text_string_to_metric_families(self.metrics.text().decode())
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    def _on_trace(self, trace: RoutingTrace) -> None:
        self.traces.append(trace)
        self.metrics.on_trace(trace)


def alpha(*steps: Any, **fields: Any) -> Script:
    return Script(*steps, provider="alpha", model="m1", **fields)


def beta(*steps: Any, **fields: Any) -> Script:
    return Script(*steps, provider="beta", model="m2", **fields)


async def test_case_14_the_next_entry_serves_when_the_first_can_not_be_reached() -> None:
    scene = Scene(alpha(fails(REFUSED)), table=WITH_GAMMA)

    result = await scene.bus.call(*CHAT, ask())

    assert (content(result), result["model"]) == ("from beta", "m2")
    assert scene.attempts() == [("alpha/m1", REFUSED), ("beta/m2", "ok")]
    assert (scene.alpha.calls, scene.trace.why) == (1, Why.FAILOVER)
    assert (scene.trace.alias, scene.trace.model_asked, scene.trace.model_served) == (
        "mesh/two-step",
        "mesh/two-step",
        "m2",
    )
    assert is_at_rest(scene.bus)


async def test_case_14_when_all_fail_the_error_says_what_was_tried_and_what_was_not() -> None:
    scene = Scene(alpha(fails(REFUSED, "alpha is away")), beta(fails(REFUSED)), table=WITH_GAMMA)

    result = await scene.bus.call(*CHAT, ask())

    assert (result["error"], result["message"]) == (REFUSED, "alpha is away")
    assert [(each["provider"], each["code"]) for each in result["attempts"]] == [
        ("alpha", REFUSED),
        ("beta", REFUSED),
    ]
    assert [(each["provider"], each["model"], each["reason"]) for each in result["refused"]] == [
        ("gamma", "m3", "unconfigured")
    ]
    assert scene.skips() == [("gamma/m3", "unconfigured")]


async def test_case_15_an_entry_whose_breaker_is_open_is_passed_over_with_its_reason() -> None:
    scene = Scene(alpha(says("never")))
    for _ in range(2):
        scene.bus.health.mark_unhealthy("alpha", "down")

    result = await scene.bus.call(*CHAT, ask())

    assert content(result) == "from beta"
    assert (scene.alpha.calls, scene.trace.why) == (0, Why.ALIAS)
    assert scene.trace.alias_skips == (
        AliasSkip(entry="alpha/m1", reason="breaker_open", detail="60 s left"),
    )
    assert [(c.provider, c.model, c.reason) for c in scene.trace.candidates if c.reason] == [
        ("alpha", "m1", "breaker_open")
    ]


@pytest.mark.parametrize("code", ["unavailable", "timeout", "rate_limited", "internal_error", "not_found"])
async def test_case_15_what_another_provider_may_do_better_goes_to_the_next_entry(code: str) -> None:
    scene = Scene(alpha(fails(code)))

    assert content(await scene.bus.call(*CHAT, ask())) == "from beta"


@pytest.mark.parametrize("code", ["bad_request", "unauthorized", "not_implemented"])
async def test_case_15_what_no_other_provider_does_better_goes_to_the_caller(code: str) -> None:
    scene = Scene(alpha(fails(code)))

    result = await scene.bus.call(*CHAT, ask())

    assert result["error"] == code
    assert scene.beta.calls == 0
    assert scene.bus.health.get_state("alpha") is None


async def test_case_16_a_pinned_model_falls_back_to_nobody_and_resolves_no_alias() -> None:
    scene = Scene(alpha(fails(REFUSED)))

    result = await scene.bus.call(*CHAT, {**ask("m1"), "params": {"model": "m1", "provider": "alpha"}})

    assert (result["error"], scene.beta.calls) == (REFUSED, 0)
    assert scene.trace.alias == ""
    assert scene.count("mesh_alias_resolved_total") == 0


async def test_case_17_a_stream_falls_back_before_its_first_content() -> None:
    scene = Scene(alpha(fails(REFUSED)), beta(says("one "), says("two "), says("three")))

    async with scene.bus.stream(*CHAT, ask()) as stream:
        texts = [chunk.text async for chunk in stream]

    assert (texts, stream.model, stream.attempts) == (["one ", "two ", "three"], "m2", 2)


async def test_case_17_an_empty_stream_is_an_answer_and_paid_for_once() -> None:
    scene = Scene(alpha())

    async with scene.bus.stream(*CHAT, ask()) as stream:
        chunks = [chunk async for chunk in stream]

    assert (chunks, scene.beta.calls) == ([], 0)
    assert scene.trace.outcome == "ok"


async def test_case_17_a_break_in_mid_stream_is_an_error_that_nobody_repeats() -> None:
    scene = Scene(alpha(says("halb"), fails(REFUSED)))
    texts = []

    with pytest.raises(CallError):
        async with scene.bus.stream(*CHAT, ask()) as stream:
            async for chunk in stream:
                texts.append(chunk.text)

    assert (texts, scene.beta.calls) == (["halb"], 0)


async def test_a_broken_answer_goes_on_at_an_entry_of_the_chain_with_the_same_model() -> None:
    same = {"model": "m", "continuation": "prefill"}
    scene = Scene(
        Script(says("one "), fails(REFUSED), provider="alpha", params=same),
        Script(says("two"), provider="beta", params=same),
        table={"mesh/same": ("alpha/m", "gamma/other", "beta/m")},
    )
    other = Script(says("wrong"), provider="gamma", params={**same, "model": "other"}).offer_to(scene.bus)

    async with scene.bus.stream(*CHAT, ask("mesh/same")) as stream:
        texts = [chunk.text async for chunk in stream]

    assert texts == ["one ", "two"]
    assert [(each.from_provider, each.to_provider) for each in scene.trace.splices] == [("alpha", "beta")]
    assert scene.beta.requests[0].params()["provider"] == "beta"
    assert other.calls == 0


async def test_case_17_a_stream_that_nobody_can_begin_raises_the_first_error() -> None:
    scene = Scene(alpha(fails(REFUSED)), beta(fails("timeout")))

    with pytest.raises(CallError) as caught:
        await scene.bus.stream(*CHAT, ask()).start()

    assert caught.value.code == REFUSED
    assert [each["provider"] for each in caught.value.attempts] == ["alpha", "beta"]


async def test_case_19_metrics_count_who_served_and_which_failover_was_made() -> None:
    scene = Scene(alpha(says("x")), table=WITH_GAMMA)
    await scene.bus.call(*CHAT, ask())
    scene.alpha.steps = (fails(REFUSED),)

    result = await scene.bus.call(*CHAT, ask())

    assert result["model"] == "m2"
    resolved = "mesh_alias_resolved_total"
    assert scene.count(resolved, alias="mesh/two-step", target="alpha/m1") == 1
    assert scene.count(resolved, alias="mesh/two-step", target="beta/m2") == 1
    assert scene.count(resolved) == 2
    assert scene.count("mesh_failovers_total", reason=REFUSED) == 1
    assert scene.count("mesh_failovers_total") == 1


async def test_case_19_what_was_passed_over_is_no_failover() -> None:
    scene = Scene(alpha(says("x")), table={"mesh/two-step": ("gamma/m3", "delta/m4", "alpha/m1")})

    await scene.bus.call(*CHAT, ask())

    assert scene.skips() == [("gamma/m3", "unconfigured"), ("delta/m4", "unconfigured")]
    assert scene.count("mesh_failovers_total") == 0
    assert scene.count("mesh_alias_resolved_total", target="alpha/m1") == 1


TOOLS = [{"type": "function", "function": {"name": "look"}}]


async def test_case_35_the_first_entry_that_takes_tools_serves() -> None:
    scene = Scene(
        Script(says("never"), provider="alpha", params={"model": "m1", "tools": False}),
        Script(says("with tools"), provider="beta", params={"model": "m2", "tools": True}),
    )

    result = await scene.bus.call(*CHAT, ask(tools=TOOLS))

    assert content(result) == "with tools"
    assert scene.skips() == [("alpha/m1", "no_tools")]
    assert scene.alpha.calls == 0


async def test_case_35_only_when_no_entry_can_is_the_request_refused() -> None:
    scene = Scene(
        Script(says("never"), provider="alpha", params={"model": "m1", "tools": False}),
        Script(says("never"), provider="beta", params={"model": "m2", "tools": False}),
    )

    result = await scene.bus.call(*CHAT, ask(tools=TOOLS))

    assert result["error"] == "bad_request"
    assert "no entry of mesh/two-step can do what the request needs" in result["message"]
    assert result["attempts"] == []
    assert (scene.alpha.calls, scene.beta.calls) == (0, 0)
    assert scene.bus.health.get_state("alpha") is None


async def test_case_35_without_needs_the_first_entry_serves() -> None:
    scene = Scene(Script(says("plain"), provider="alpha", params={"model": "m1", "tools": False}))

    assert content(await scene.bus.call(*CHAT, ask())) == "plain"


@pytest.mark.parametrize(
    ("params", "request_fields", "reason"),
    [
        (
            {"vision": False},
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "no_vision",
        ),
        ({"context_tokens": 100}, {"max_tokens": 101}, "context"),
    ],
)
async def test_images_and_context_are_looked_at_like_tools(
    params: dict[str, Any], request_fields: dict[str, Any], reason: str
) -> None:
    scene = Scene(Script(says("never"), provider="alpha", params={"model": "m1", **params}))

    result = await scene.bus.call(*CHAT, ask(**request_fields))

    assert content(result) == "from beta"
    assert scene.skips() == [("alpha/m1", reason)]


async def test_an_unknown_alias_is_not_found_and_the_known_ones_are_listed() -> None:
    scene = Scene(alpha(says("never")))

    result = await scene.bus.call(*CHAT, ask("mesh/nope"))

    assert (result["error"], result["_routed_via"]) == ("not_found", "local")
    assert result["message"] == "model: no alias 'mesh/nope'; known are mesh/two-step"
    assert (scene.trace.alias, scene.trace.model_asked) == ("", "mesh/nope")


async def test_case_20_an_alias_that_was_removed_is_unknown_at_once() -> None:
    scene = Scene(alpha(says("x")))

    scene.bus.aliases.load({"mesh/other": ("alpha/m1",)})
    result = await scene.bus.call(*CHAT, ask())

    assert result["error"] == "not_found"
    assert "known are mesh/other" in result["message"]


async def test_a_provider_is_asked_for_its_model_and_hears_nothing_of_the_alias() -> None:
    scene = Scene(alpha(says("x")))

    await scene.bus.call(*CHAT, ask(x_unknown=1))

    request, info = scene.alpha.requests[0], scene.alpha.infos[0]
    assert request.params() == {"model": "m1", "provider": "alpha"}
    assert msgspec.json.decode(request.body["openai"])["x_unknown"] == 1
    assert info.model == "m1"


def far_mesh(*scripts: Script, table: Any = TWO_STEP) -> tuple[CapabilityBus, list[CapabilityBus]]:
    """Return a bus without providers of its own, and a peer for each script."""
    transport = InMemoryTransport()
    a = make_bus("node-a", transport, aliases=AliasBook(table))
    peers = [make_bus(f"node-{letter}", transport) for letter, _ in zip("bcdef", scripts, strict=False)]
    for peer, script in zip(peers, scripts, strict=True):
        script.offer_to(peer)
        introduce(a, peer)
    return a, peers


async def test_an_entry_may_be_served_by_a_peer_that_knows_no_aliases() -> None:
    served = beta(says("from afar"))
    a, peers = far_mesh(served)

    result = await a.call(*CHAT, ask())

    assert (content(result), result["_routed_via"]) == ("from afar", "node-b")
    assert served.requests[0].params() == {"model": "m2", "provider": "beta"}
    assert peers[0].traces.last(1)[0].alias == ""
    assert is_at_rest(a, *peers)


async def test_a_peers_call_is_never_led_by_an_alias() -> None:
    scene = Scene(alpha(says("never")))

    result = await scene.bus.handle_call(RouteRequest(*CHAT, ask(), "node-b", "t1"), local_only=True)

    assert (result["error"], scene.alpha.calls) == ("not_found", 0)


async def test_many_dead_nodes_of_one_entry_leave_an_attempt_for_the_next_entry() -> None:
    dead = [alpha(fails(REFUSED)) for _ in range(4)]
    a, _ = far_mesh(*dead, beta(says("from beta")))

    result = await a.call(*CHAT, ask())

    assert content(result) == "from beta"
    assert [each.provider for each in a.traces.last(1)[0].attempts] == ["alpha", "alpha", "beta"]


async def test_two_models_of_one_provider_are_two_entries_with_breakers_of_their_own() -> None:
    both = Script(provider="alpha", params={"models": ["m1", "m2"]})
    asked: list[str] = []

    async def answer(request: Any, info: Any) -> dict[str, Any]:
        asked.append(info.model)
        if info.model == "m1":
            raise CallError("unavailable", "m1 is not loaded")
        return {"output": {"message": {"content": "m2 speaks"}}, "model": info.model}

    bus = make_bus("node-a", aliases=AliasBook({"mesh/two-step": ("alpha/m1", "alpha/m2")}))
    bus.register_capability(both.descriptor, answer)

    results = [await bus.call(*CHAT, ask()) for _ in range(3)]

    assert [content(result) for result in results] == ["m2 speaks"] * 3
    assert asked == ["m1", "m2", "m1", "m2", "m2"]
    assert bus.health.state("alpha", "m1") is BreakerState.OPEN
    assert bus.health.state("alpha") is BreakerState.CLOSED
    assert bus.traces.last(1)[0].alias_skips[0].reason == "breaker_open"


async def test_a_table_swapped_during_a_call_changes_nothing_for_that_call() -> None:
    gate = asyncio.Event()
    scene = Scene(alpha(gate.wait, fails(REFUSED)))
    call = asyncio.create_task(scene.bus.call(*CHAT, ask()))
    await asyncio.sleep(0)

    scene.bus.aliases.want({})
    gate.set()

    assert content(await call) == "from beta"


async def test_case_39_a_provider_that_is_forced_open_is_passed_over_at_once_and_serves_after_a_reset() -> (
    None
):
    scene = Scene(alpha(says("from alpha")))
    told: list[tuple[str, str, str]] = []
    scene.bus.health.add_transition_listener(
        lambda event: told.append((str(event.to_state), event.actor, event.reason))
    )

    for _ in range(2):
        scene.bus.health.force_open("alpha", actor="alice", reason="maintenance", seconds=600.0)
    forced = await scene.bus.call(*CHAT, ask())
    skipped = scene.skips()
    for _ in range(2):
        scene.bus.health.reset("alpha", actor="alice", reason="done")
    after = await scene.bus.call(*CHAT, ask())

    assert (content(forced), content(after)) == ("from beta", "from alpha")
    assert skipped == [("alpha/m1", "forced_open")]
    assert told == [("forced_open", "alice", "maintenance"), ("closed", "alice", "done")]
