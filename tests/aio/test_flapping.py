"""10 000 calls while providers flap at random: everybody is answered, and nothing is left behind."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any

from meshcore.aio.bus import BusSettings, CapabilityBus
from meshcore.aio.health import ProviderHealthCache
from meshcore.aio.transport import InMemoryTransport
from meshcore.capability import CallInfo, CapabilityDescriptor, RouteRequest
from meshcore.errors import CallError, Code
from meshcore.openai_wire import Chunk, parse_chunk
from meshcore.testing import ManualClock
from meshcore.trace import RoutingTrace
from tests.aio.bus_mesh import BODY, CHAT, STOP, introduce, is_at_rest, says

CALLS = 10_000
CLIENTS = 50
TRACES = 4 * CALLS
WORDS = ("one ", "two ", "three ", "four ")
FAULTS = (Code.UNAVAILABLE, Code.TIMEOUT, Code.RATE_LIMITED, Code.INTERNAL_ERROR, Code.BAD_REQUEST)


class Flapping:
    """A provider that fails at random, before its answer or in the middle of it; it goes on from a text."""

    def __init__(self, name: str, chance: random.Random) -> None:
        self.descriptor = CapabilityDescriptor(
            name="llm.chat",
            provider=name,
            params={"model": "m", "continuation": "prefill"},
            max_concurrent=CLIENTS // 2,
        )
        self.calls = 0
        self._chance = chance

    async def call(self, request: RouteRequest, info: CallInfo) -> dict[str, Any]:
        chunks = [chunk async for chunk in self.stream(request, info)]
        return {"output": {"message": {"content": "".join(chunk.text for chunk in chunks)}}}

    async def stream(self, request: RouteRequest, info: CallInfo) -> AsyncGenerator[Chunk, None]:
        self.calls += 1
        last = request.body["input"]["messages"][-1]
        begun = last["content"] if last["role"] == "assistant" else ""
        rest = [word for place, word in enumerate(WORDS) if "".join(WORDS[: place + 1]) not in begun]
        breaks_at = self._chance.choice([None, None, 0, 1, 2, 3])
        for place, word in enumerate(rest):
            await asyncio.sleep(0)
            if place == breaks_at:
                raise CallError(self._chance.choice(FAULTS), "flapped", retry_after_seconds=0.001)
            yield parse_chunk(says(word))
        yield parse_chunk(STOP)


class Clients:
    """Call after call, whole, streamed, or left in the middle; `outcomes` has what became of each."""

    def __init__(self, bus: CapabilityBus, chance: random.Random, clock: ManualClock) -> None:
        self.outcomes: Counter[str] = Counter()
        self._bus = bus
        self._clock = clock
        self._chance = chance
        self._left = CALLS

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._go_on())

    async def _go_on(self) -> None:
        while self._left:
            self._left -= 1
            self._clock.advance(0.001)
            await asyncio.sleep(0)
            manner = self._chance.choice([self._whole, self._streamed, self._streamed, self._left_early])
            self.outcomes[await manner()] += 1

    async def _whole(self) -> str:
        result = await self._bus.call(*CHAT, BODY)
        if "error" in result:
            return "error" if result["message"] else "silence"
        return _judged(result["output"]["message"]["content"])

    async def _streamed(self) -> str:
        text = ""
        async with self._bus.stream(*CHAT, BODY) as stream:
            try:
                async for chunk in stream:
                    text += chunk.text
            except CallError as exc:
                return "error" if exc.message else "silence"
        return _judged(text)

    async def _left_early(self) -> str:
        async with self._bus.stream(*CHAT, BODY) as stream:
            try:
                await anext(stream)
            except CallError:
                return "error"
        return "left"


def _judged(text: str) -> str:
    return "answer" if text == "".join(WORDS) else f"wrong answer {text!r}"


async def test_every_client_gets_an_answer_or_one_clear_error_and_nothing_is_left_behind() -> None:
    asyncio.get_running_loop().set_debug(False)  # which takes longer than the calls do
    chance, clock = random.Random(1), ManualClock()
    transport = InMemoryTransport()
    traces: list[RoutingTrace] = []
    a, b = (
        CapabilityBus(
            node_id,
            transport=transport,
            clock=clock,
            settings=BusSettings(max_attempts=4, trace_ring=TRACES),
            health=ProviderHealthCache(unhealthy_backoff_sec=0.01, clock=clock),
            on_trace=traces.append,
        )
        for node_id in ("node-a", "node-b")
    )
    providers = [Flapping(name, chance) for name in ("one", "two", "three", "four")]
    for provider, bus in zip(providers, (a, a, b, b), strict=True):
        bus.register_capability(provider.descriptor, provider.call, stream=provider.stream)
    introduce(a, b)
    clients = Clients(a, chance, clock)

    await clients.run()

    outcomes = clients.outcomes
    assert set(outcomes) == {"answer", "error", "left"}
    assert min(outcomes.values()) > CALLS / 100
    assert outcomes.total() == len(traces) == len({trace.trace_id for trace in traces}) == CALLS
    ended = Counter(trace.code if trace.code == "cancelled" else trace.outcome for trace in traces)
    assert ended == {"ok": outcomes["answer"], "error": outcomes["error"], "cancelled": outcomes["left"]}
    made = [attempt for trace in traces for attempt in trace.attempts]
    served_by_b = b.traces.last(TRACES)
    assert len([attempt for attempt in made if attempt.node == "node-b"]) == len(served_by_b)
    reached = [attempt for attempt in made if attempt.node == "node-a"]
    reached += [attempt for trace in served_by_b for attempt in trace.attempts]
    assert Counter(attempt.provider for attempt in reached) == {
        provider.descriptor.provider: provider.calls for provider in providers
    }
    assert any(len(trace.splices) > 1 for trace in traces)
    assert is_at_rest(a, b)
