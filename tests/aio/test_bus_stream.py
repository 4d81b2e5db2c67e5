"""Streams in one process: commit, failover before it, breaks after it, cancellation."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from meshcore.aio.bus import BusSettings, BusStream, CapabilityBus
from meshcore.aio.bus_stream import UNCOMMITTED_MAX
from meshcore.aio.chunk_stream import Batch, ChunkStream
from meshcore.aio.testing import wait_until
from meshcore.aio.transport import InMemoryTransport
from meshcore.capability import CapabilityDescriptor, RouteRequest
from meshcore.config_sections import OnBrokenStream
from meshcore.errors import CallError
from meshcore.openai_wire import Chunk, ChunkKind, parse_chunk
from meshcore.testing import ManualClock
from meshcore.trace import RoutingTrace
from tests.aio.bus_mesh import (
    BODY,
    CHAT,
    ROLE,
    STOP,
    USAGE,
    Script,
    fails,
    introduce,
    is_at_rest,
    make_bus,
    says,
)

OTHER = b'{"choices":[]}'


async def forever() -> None:
    await asyncio.Event().wait()


class Pair:
    """node-a with a script of its own and node-b with another, joined in memory."""

    def __init__(self, local: Script | None, remote: Script, clock: ManualClock | None = None) -> None:
        transport = InMemoryTransport()
        self.a = self._bus("node-a", transport, clock)
        self.b = self._bus("node-b", transport, clock)
        if local is not None:
            local.offer_to(self.a)
        remote.offer_to(self.b)
        introduce(self.a, self.b)
        self.transport = transport

    def _bus(self, node: str, transport: InMemoryTransport, clock: ManualClock | None) -> CapabilityBus:
        return make_bus(node, transport, clock=clock) if clock else make_bus(node, transport)

    def at_rest(self) -> bool:
        return is_at_rest(self.a, self.b)


async def test_chunks_come_in_order_as_they_were_sent() -> None:
    pair = Pair(Script(ROLE, says("hello "), says("world"), STOP, USAGE), Script())

    async with pair.a.stream(*CHAT, BODY, trace_id="t1") as stream:
        chunks = [chunk async for chunk in stream]

    assert [chunk.data for chunk in chunks] == [ROLE, says("hello "), says("world"), STOP, USAGE]
    assert (stream.routed_via, stream.model, stream.trace_id, stream.attempts) == ("local", "m", "t1", 1)
    trace = pair.a.traces.last(1)[0]
    assert (trace.outcome, trace.stream, trace.tokens_in, trace.tokens_out) == ("ok", True, 3, 2)
    assert trace.attempts[0].committed
    assert trace.ttft_ms is not None
    assert pair.at_rest()


async def test_case_36_a_role_only_first_chunk_followed_by_an_error_still_fails_over() -> None:
    pair = Pair(Script(ROLE, fails("unavailable")), Script(ROLE, says("from b"), STOP))

    async with pair.a.stream(*CHAT, BODY) as stream:
        await stream.start()
        committed = (stream.routed_via, stream.attempts)
        chunks = [chunk.data async for chunk in stream]

    assert committed == ("node-b", 2)
    assert chunks == [ROLE, says("from b"), STOP]
    assert [attempt.code for attempt in pair.a.traces.last(1)[0].attempts] == ["unavailable", ""]
    assert pair.at_rest()


async def test_case_36_a_break_after_content_is_an_error_and_a_strike() -> None:
    other = Script(says("never"))
    pair = Pair(Script(says("halb"), fails("unavailable", "cut off")), other)
    received = []

    with pytest.raises(CallError) as caught:
        async with pair.a.stream(*CHAT, BODY) as stream:
            async for chunk in stream:
                received.append(chunk.text)

    assert received == ["halb"]
    assert (caught.value.code, caught.value.attempts[0]["committed"]) == ("unavailable", True)
    assert other.calls == 0
    state = pair.a.health.get_state("scripted")
    assert state is not None
    assert state.consecutive_failures == 1
    trace = pair.a.traces.last(1)[0]
    assert (trace.outcome, trace.routed_via) == ("error", "local")
    assert pair.at_rest()


async def test_a_peers_stream_is_that_peers_strike() -> None:
    pair = Pair(None, Script(says("halb"), fails("unavailable")))

    with pytest.raises(CallError):
        async with pair.a.stream(*CHAT, BODY) as stream:
            async for _ in stream:
                pass

    assert pair.a.health.state("node:node-b") == "closed"
    assert pair.b.health.state("scripted") == "suspect"
    assert pair.a.registry.of_peer("node-b")[0].window.success_rate == 0.0
    assert pair.b.traces.last(1)[0].inbound
    assert pair.at_rest()


async def test_when_all_fail_before_content_the_first_error_is_raised() -> None:
    pair = Pair(Script(fails("unavailable", "first")), Script(fails("timeout", "second")))

    stream = pair.a.stream(*CHAT, BODY)
    with pytest.raises(CallError) as caught:
        await stream.start()

    assert (caught.value.code, caught.value.message) == ("unavailable", "first")
    assert [attempt["code"] for attempt in caught.value.attempts] == ["unavailable", "timeout"]
    assert [chunk async for chunk in stream] == []
    assert pair.at_rest()


async def test_an_error_that_nobody_could_answer_better_is_not_tried_again() -> None:
    other = Script(says("never"))
    pair = Pair(Script(fails("bad_request")), other)

    with pytest.raises(CallError):
        await pair.a.stream(*CHAT, BODY).start()

    assert other.calls == 0


async def test_an_empty_stream_is_an_answer() -> None:
    other = Script(says("never"))
    pair = Pair(Script(ROLE), other)

    async with pair.a.stream(*CHAT, BODY) as stream:
        assert [chunk.data async for chunk in stream] == [ROLE]

    assert other.calls == 0
    assert pair.a.traces.last(1)[0].outcome == "ok"


async def test_a_stream_without_any_content_is_committed_at_a_bound() -> None:
    pair = Pair(Script(*[OTHER] * (UNCOMMITTED_MAX + 3), forever), Script())

    async with pair.a.stream(*CHAT, BODY) as stream:
        await stream.start()
        first = await anext(stream)

    assert first.kind is ChunkKind.OTHER
    assert pair.at_rest()


async def test_the_first_token_is_waited_for_within_the_descriptors_timeout() -> None:
    pair = Pair(Script(ROLE, forever, timeout_seconds=0.05), Script(says("b"), STOP))

    async with pair.a.stream(*CHAT, BODY) as stream:
        await stream.start()

    assert stream.routed_via == "node-b"
    assert pair.a.traces.last(1)[0].attempts[0].code == "timeout"
    assert pair.at_rest()


async def test_a_peer_that_accepted_but_gives_no_token_is_not_struck() -> None:
    pair = Pair(None, Script(forever))

    with pytest.raises(CallError) as caught:
        await pair.a.stream(*CHAT, BODY, deadline_seconds=0.05).start()

    assert caught.value.code == "timeout"
    assert pair.a.health.state("node:node-b") == "closed"
    await wait_until(pair.at_rest)


async def test_after_the_first_token_the_callers_deadline_ends_the_stream_without_blame() -> None:
    pair = Pair(Script(says("begun"), forever, timeout_seconds=30.0), Script())
    received = []

    with pytest.raises(CallError) as caught:
        async with pair.a.stream(*CHAT, BODY, deadline_seconds=0.1) as stream:
            async for chunk in stream:
                received.append(chunk.text)

    assert received == ["begun"]
    assert caught.value.code == "timeout"
    assert [trace.code for trace in pair.a.traces.last(2)] == ["timeout"]
    assert pair.a.health.state("scripted") == "closed"
    assert pair.at_rest()


async def test_what_came_in_time_is_given_out_even_when_it_is_read_late() -> None:
    clock = ManualClock()
    bus = make_bus("node-a", clock=clock)
    script = Script()

    async def batches() -> AsyncGenerator[Batch, None]:
        yield Batch([parse_chunk(says("one")), parse_chunk(says("two"))])
        await forever()

    bus.register_capability(script.descriptor, script.call, stream=lambda request: ChunkStream(batches()))
    received = []

    with pytest.raises(CallError) as caught:
        async with bus.stream(*CHAT, BODY, deadline_seconds=5.0) as stream:
            async for chunk in stream:
                received.append(chunk.text)
                clock.advance(10.0)

    assert received == ["one", "two"]
    assert caught.value.code == "timeout"


async def test_closing_a_stream_closes_what_is_open_upstream_and_counts_as_neither() -> None:
    local = Script(says("begun"), forever)
    pair = Pair(local, Script())

    async with pair.a.stream(*CHAT, BODY) as stream:
        await stream.start()
    await stream.aclose()

    assert (local.running, local.closed) == (0, 1)
    assert pair.a.traces.last(1)[0].code == "cancelled"
    assert len(pair.a.traces) == 1
    assert pair.a.registry.all_local()[0].window.success_rate == 1.0
    assert pair.at_rest()


async def test_closing_a_peers_stream_closes_it_over_there() -> None:
    remote = Script(says("begun"), forever)
    pair = Pair(None, remote)

    async with pair.a.stream(*CHAT, BODY) as stream:
        await stream.start()

    await wait_until(lambda: remote.running == 0)
    assert pair.at_rest()


async def test_closing_behind_the_finish_reason_is_a_success() -> None:
    pair = Pair(Script(says("all"), STOP, forever), Script())

    async with pair.a.stream(*CHAT, BODY) as stream:
        async for chunk in stream:
            if chunk.kind is ChunkKind.FINISH:
                break

    assert pair.a.traces.last(1)[0].outcome == "ok"
    assert pair.at_rest()


async def test_a_stream_closed_before_it_began_asks_nobody() -> None:
    local = Script(says("never"))
    pair = Pair(local, Script())

    stream = pair.a.stream(*CHAT, BODY)
    await stream.aclose()

    assert [chunk async for chunk in stream] == []
    assert local.calls == 0
    assert [trace.code for trace in pair.a.traces.last(2)] == ["cancelled"]


async def test_a_stream_read_to_its_end_needs_no_closing() -> None:
    pair = Pair(Script(says("all")), Script())

    assert [chunk.text async for chunk in pair.a.stream(*CHAT, BODY)] == ["all"]

    assert [trace.outcome for trace in pair.a.traces.last(2)] == ["ok"]
    assert pair.at_rest()


@pytest.mark.parametrize("steps", [(forever,), (ROLE, forever), (says("begun"), forever)])
async def test_a_cancelled_reader_leaves_nothing_behind(steps: tuple[bytes]) -> None:
    local = Script(*steps)
    pair = Pair(local, Script())
    received = []

    async def read() -> None:
        async for chunk in pair.a.stream(*CHAT, BODY):
            received.append(chunk)

    reader = asyncio.create_task(read())
    await wait_until(lambda: local.running == 1 and (len(received) > 0) == (steps[0] == says("begun")))
    reader.cancel()
    await asyncio.wait([reader])

    assert reader.cancelled()
    assert (local.running, pair.a.traces.last(1)[0].code) == (0, "cancelled")
    assert pair.at_rest()


async def test_a_long_trial_frees_the_breaker_at_its_first_token() -> None:
    clock = ManualClock()
    local = Script(fails("unavailable"))
    pair = Pair(local, Script(says("b")), clock)
    for _ in range(2):
        await pair.a.call(*CHAT, BODY)
    clock.advance(61.0)
    local.steps = (says("begun"), forever)

    async with pair.a.stream(*CHAT, BODY) as stream:
        await stream.start()
        state = pair.a.health.state("scripted")

    assert (stream.routed_via, state) == ("local", "closed")


@pytest.mark.parametrize(("path", "code"), [(("node-b",), "hop"), ((), "draining")])
async def test_an_inbound_stream_is_refused_like_a_call(path: tuple[str, ...], code: str) -> None:
    pair = Pair(None, Script(says("never")))
    pair.b.draining = lambda: True

    stream = pair.b.handle_stream(RouteRequest(*CHAT, BODY, path=path, stream=True))
    with pytest.raises(CallError) as caught:
        await stream.start()

    assert caught.value.code == code
    assert [trace.code for trace in pair.b.traces.last(2)] == [code]


async def test_a_draining_node_streams_from_its_peers() -> None:
    pair = Pair(Script(says("a")), Script(says("b")))
    pair.a.draining = lambda: True

    assert [chunk.text async for chunk in pair.a.stream(*CHAT, BODY)] == ["b"]


async def test_what_does_not_stream_is_not_asked_to() -> None:
    pair = Pair(None, Script(says("b")))
    unary = Script(says("a"))
    pair.a.register_capability(CapabilityDescriptor(name="llm.chat", provider="unary"), unary.call)

    async with pair.a.stream(*CHAT, BODY) as stream:
        assert [chunk.text async for chunk in stream] == ["b"]

    assert unary.calls == 0


async def test_a_provider_whose_stream_is_no_generator_serves_too() -> None:
    bus = make_bus("node-a")
    script = Script(says("one"), says("two"))

    class Plain:
        def __init__(self, request: RouteRequest) -> None:
            self.chunks = iter([parse_chunk(says("one")), parse_chunk(says("two"))])

        def __aiter__(self) -> "Plain":
            return self

        async def __anext__(self) -> Chunk:
            for chunk in self.chunks:
                return chunk
            raise StopAsyncIteration

    bus.register_capability(script.descriptor, script.call, stream=Plain)

    assert [chunk.text async for chunk in bus.stream(*CHAT, BODY)] == ["one", "two"]


# Going on with an answer that broke

PREFILL = {"model": "m", "continuation": "prefill"}


def said(text: str, answer: str) -> bytes:
    """Return a content chunk of an answer that has an id."""
    return b'{"id":"%s","choices":[{"delta":{"content":"%s"}}]}' % (answer.encode(), text.encode())


def ends(answer: str) -> bytes:
    return b'{"id":"%s","choices":[{"delta":{},"finish_reason":"stop"}]}' % answer.encode()


class Trio:
    """node-a with a provider that breaks, and two others that can go on: one of its own, one of node-b."""

    def __init__(self, broken: Script, own: Script | None, peers: Script | None, **settings: Any) -> None:
        transport = InMemoryTransport()
        self.a = make_bus("node-a", transport, settings=BusSettings(**settings))
        self.b = make_bus("node-b", transport)
        for script, bus in ((broken, self.a), (own, self.a), (peers, self.b)):
            if script is not None:
                script.offer_to(bus)
        introduce(self.a, self.b)

    async def read(self, body: dict[str, Any] = BODY) -> tuple[list[bytes], BusStream]:
        async with self.a.stream(*CHAT, body) as stream:
            return [chunk.data async for chunk in stream], stream

    async def error(self, body: dict[str, Any] = BODY) -> tuple[list[bytes], CallError]:
        received = []
        with pytest.raises(CallError) as caught:
            async with self.a.stream(*CHAT, body) as stream:
                async for chunk in stream:
                    received.append(chunk.data)
        return received, caught.value

    def trace(self) -> RoutingTrace:
        return self.a.traces.last(1)[0]

    def at_rest(self) -> bool:
        return is_at_rest(self.a, self.b)


def breaking(*steps: Any) -> Script:
    return Script(*steps, fails("unavailable", "cut off"), provider="breaks")


def able(*steps: Any, provider: str = "able", params: dict[str, Any] = PREFILL, **fields: Any) -> Script:
    return Script(*steps, provider=provider, params=params, **fields)


async def test_another_provider_goes_on_where_the_answer_broke() -> None:
    able_one = able(ROLE, said("three ", "2"), ends("2"))
    trio = Trio(breaking(said("one ", "1"), said("two ", "1")), able_one, None)

    chunks, stream = await trio.read()

    assert chunks == [said("one ", "1"), said("two ", "1"), said("three ", "1"), ends("1")]
    assert able_one.requests[0].body["openai"]["messages"][-1] == {
        "role": "assistant",
        "content": "one two ",
    }
    assert (stream.routed_via, stream.attempts) == ("local", 2)
    assert trio.at_rest()


async def test_the_trace_shows_the_splice_and_both_attempts() -> None:
    trio = Trio(breaking(said("one ", "1")), able(said("two ", "2"), ends("2"), USAGE), None)

    await trio.read()

    trace = trio.trace()
    (splice,) = trace.splices
    assert (splice.from_node, splice.from_provider) == ("node-a", "breaks")
    assert (splice.to_node, splice.to_provider) == ("node-a", "able")
    assert (splice.after_chunks, splice.reason) == (1, "unavailable")
    assert [(each.outcome, each.committed) for each in trace.attempts] == [("error", True), ("ok", True)]
    assert splice.at_ms >= trace.attempts[1].started_ms
    assert (trace.outcome, trace.provider, trace.why) == ("ok", "able", "failover")
    assert (trace.tokens_in, trace.tokens_out) == (2, 3)
    first = trace.attempts[0]
    assert trace.ttft_ms == first.started_ms + (first.ttft_ms or 0)
    state = trio.a.health.get_state("breaks")
    assert state is not None
    assert state.consecutive_failures == 1


async def test_a_peers_provider_goes_on_and_is_the_one_that_was_meant() -> None:
    unable = Script(said("never", "3"), provider="unable")
    trio = Trio(breaking(said("one ", "1")), None, able(ROLE, said("two ", "2"), ends("2")))
    unable.offer_to(trio.b)
    introduce(trio.a, trio.b)

    chunks, stream = await trio.read()

    assert chunks == [said("one ", "1"), said("two ", "1"), ends("1")]
    assert unable.calls == 0
    assert stream.routed_via == trio.trace().routed_via == "node-b"
    assert [splice.to_node for splice in trio.trace().splices] == ["node-b"]
    assert trio.at_rest()


async def test_a_peers_answer_that_breaks_is_continued_too() -> None:
    trio = Trio(fails_at_once := Script(fails("unavailable")), None, breaking(said("one ", "1")))
    able(said("two ", "2"), ends("2")).offer_to(trio.b)
    introduce(trio.a, trio.b)

    chunks, _ = await trio.read()

    assert fails_at_once.calls == 1
    assert chunks == [said("one ", "1"), said("two ", "1"), ends("1")]
    assert [(each.from_node, each.to_provider) for each in trio.trace().splices] == [("node-b", "able")]


async def test_who_goes_on_may_break_and_be_continued_in_turn() -> None:
    first, second = breaking(said("one ", "1")), able(said("two ", "2"), fails("timeout"), provider="second")
    third = able(said("three ", "3"), ends("3"), params=PREFILL | {"continuation": "vllm"})
    trio = Trio(first, second, third)

    chunks, stream = await trio.read()

    assert chunks == [said("one ", "1"), said("two ", "1"), said("three ", "1"), ends("1")]
    assert third.requests[0].body["openai"]["messages"][-1]["content"] == "one two "
    assert third.requests[0].body["openai"]["continue_final_message"] is True
    assert [(each.after_chunks, each.reason) for each in trio.trace().splices] == [
        (1, "unavailable"),
        (2, "timeout"),
    ]
    assert stream.attempts == 3
    assert trio.at_rest()


async def test_who_fails_to_go_on_is_replaced_and_nothing_of_it_is_seen() -> None:
    first, second = breaking(said("one ", "1")), able(said("", "2"), fails("unavailable"), provider="second")
    trio = Trio(first, second, able(said("two ", "3"), ends("3")))

    chunks, _ = await trio.read()

    assert chunks == [said("one ", "1"), said("two ", "1"), ends("1")]
    assert len(trio.trace().splices) == 1


@pytest.mark.parametrize(
    "others",
    [
        (None, None),
        (able(said("no", "2"), params={"model": "m"}), None),
        (able(said("no", "2"), params=PREFILL | {"continuation": "none"}), None),
        (able(said("no", "2"), params=PREFILL | {"model": "another"}), None),
        (able(fails("unavailable"), provider="one"), able(fails("unavailable"))),
        (able(fails("bad_request")), None),
    ],
)
async def test_when_nobody_can_go_on_the_break_is_the_error(others: tuple[Script, Script]) -> None:
    trio = Trio(breaking(said("one ", "1")), *others)

    received, error = await trio.error()

    assert received == [said("one ", "1")]
    assert (error.code, error.attempts[0]["provider"]) == ("unavailable", "breaks")
    assert error.message == "cut off; the answer can't be continued: no other provider can"
    assert (trio.trace().outcome, trio.trace().splices) == ("error", ())
    assert trio.trace().provider == "breaks"
    assert trio.at_rest()


async def test_a_request_that_rules_it_out_says_why() -> None:
    other = able(said("never", "2"))
    trio = Trio(breaking(said("one ", "1")), other, None)

    _, error = await trio.error({**BODY, "openai": {"messages": BODY["input"]["messages"], "n": 2}})

    assert error.message == "cut off; the answer can't be continued: the request asks for several choices"
    assert other.calls == 0


@pytest.mark.parametrize("setting", [OnBrokenStream.FAIL, OnBrokenStream.RESTART])
async def test_a_node_may_be_told_not_to_continue(setting: OnBrokenStream) -> None:
    other = able(said("never", "2"))
    trio = Trio(breaking(said("one ", "1")), other, None, on_broken_stream=setting)

    received, error = await trio.error()

    assert (received, error.message, other.calls) == ([said("one ", "1")], "cut off", 0)


async def test_a_break_that_is_the_requests_own_fault_is_not_continued() -> None:
    other = able(said("never", "2"))
    trio = Trio(Script(said("one ", "1"), fails("bad_request"), provider="breaks"), other, None)

    _, error = await trio.error()

    assert (error.code, other.calls) == ("bad_request", 0)


async def test_an_answer_that_broke_at_its_limit_of_tokens_has_its_length() -> None:
    other = able(said("never", "2"))
    trio = Trio(breaking(said("one ", "1"), said("two ", "1")), other, None)

    chunks, _ = await trio.read({**BODY, "openai": {"messages": BODY["input"]["messages"], "max_tokens": 2}})

    last = parse_chunk(chunks[-1])
    assert (len(chunks), last.finish_reason) == (3, "length")
    assert (trio.trace().outcome, other.calls) == ("ok", 0)
    assert trio.at_rest()


async def test_a_reader_cancelled_while_somebody_is_asked_to_go_on_leaves_nothing_behind() -> None:
    other = able(forever)
    trio = Trio(breaking(said("one ", "1")), other, None)

    reader = asyncio.create_task(trio.read())
    await wait_until(lambda: other.running == 1)
    reader.cancel()
    await asyncio.wait([reader])

    assert reader.cancelled()
    assert (other.running, trio.trace().code) == (0, "cancelled")
    assert trio.at_rest()


async def test_a_callee_leaves_it_to_its_caller_to_find_who_goes_on() -> None:
    other = able(said("never", "2"))
    trio = Trio(breaking(said("one ", "1")), other, None)

    stream = trio.a.handle_stream(RouteRequest(*CHAT, BODY, stream=True))
    with pytest.raises(CallError):
        [chunk async for chunk in stream]

    assert other.calls == 0
