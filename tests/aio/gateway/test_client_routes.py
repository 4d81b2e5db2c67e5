"""The OpenAI wire for clients, spoken by the real client to real nodes."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import msgspec
import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from meshcore.aio.gateway import ClientLimits
from meshcore.aio.mock_ai import MockAi
from meshcore.aio.providers import EchoProvider, UnavailableProvider
from meshcore.aio.testing import STREAM_HEAD, ByteServer, http_answer, wait_until
from meshcore.drain import DrainPolicy
from meshcore.mock_script import Faults
from meshcore.sse import encode
from meshcore.trace import Why

ClientOf = Callable[..., openai.AsyncOpenAI]
TRACE = "0af7651916cd43dd8448eb211c80319c"
HELLO = encode(b'{"choices":[{"delta":{"content":"hello"}}]}')
FINISH = encode(b'{"choices":[{"delta":{},"finish_reason":"stop"}]}')
DONE = encode(b"[DONE]")


def user(words: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": words}]


def chat(words: str = "slow:2x0", **fields: Any) -> dict[str, Any]:
    return {"model": "mock-model", "messages": user(words), **fields}


async def texts_of(stream: AsyncIterator[Any]) -> list[str]:
    return [choice.delta.content or "" async for chunk in stream for choice in chunk.choices]


@pytest.fixture
def post(http: aiohttp.ClientSession, node: Any) -> Callable[..., Any]:
    def post(path: str = "/v1/chat/completions", **request: Any) -> Any:
        return http.post(f"{node.url}{path}", **request)

    return post


# What works


async def test_a_chat_is_answered_and_says_where_the_answer_came_from(node: Any, client_of: ClientOf) -> None:
    raw = await client_of(node).chat.completions.with_raw_response.create(
        model="mock-model", messages=user("slow:2x0")
    )

    answer = raw.parse()
    assert answer.choices[0].message.content == "chunk-1 chunk-2 "
    assert answer.usage is not None
    assert raw.headers["X-Mesh-Routed-Via"] == "local"
    assert raw.headers["X-Mesh-Model"] == "mock-model"
    assert raw.headers["X-Mesh-Attempts"] == "1"
    assert raw.headers["X-Mesh-Trace-Id"] == node.traces[0].trace_id


async def test_a_chat_is_streamed_and_says_where_it_comes_from(node: Any, client_of: ClientOf) -> None:
    raw = await client_of(node).chat.completions.with_raw_response.create(
        model="mock-model", messages=user("slow:3x1"), stream=True
    )

    assert await texts_of(raw.parse()) == ["", "chunk-1 ", "chunk-2 ", "chunk-3 ", ""]
    assert raw.headers["X-Mesh-Routed-Via"] == "local"
    assert raw.headers["X-Mesh-Model"] == "mock-model"
    assert raw.headers["X-Mesh-Attempts"] == "1"
    assert raw.headers["X-Mesh-Trace-Id"] == node.traces[0].trace_id


async def test_whoever_waits_for_a_stream_can_see_who_serves_it(node: Any, client_of: ClientOf) -> None:
    stream = await client_of(node).chat.completions.create(
        model="mock-model", messages=user("slow:3x1 hang:after=1"), stream=True
    )

    async with stream:
        work = node.controller.ledger.active_work()

    assert [(each.kind, each.provider) for each in work] == [("stream", "alpha")]


async def test_completions_and_embeddings_are_served_the_same_way(node: Any, client_of: ClientOf) -> None:
    client = client_of(node)

    whole = await client.completions.create(model="mock-model", prompt="slow:1x0")
    stream = await client.completions.create(model="mock-model", prompt="slow:2x0", stream=True)
    texts = [chunk.choices[0].text async for chunk in stream]
    embeddings = await client.embeddings.create(model="mock-model", input=["a", "b"])

    assert whole.choices[0].text == "chunk-1 "
    assert texts == ["chunk-1 ", "chunk-2 ", ""]
    assert [len(item.embedding) for item in embeddings.data] == [8, 8]


async def test_fields_that_nobody_here_knows_reach_the_upstream(
    post: Callable[..., Any], mock: MockAi
) -> None:
    request = chat(x_unknown={"deep": [1, 2.5, None]}, seed=2**63, tools=[{"type": "function"}], user="ü")

    async with post(json=request) as answer:
        assert answer.status == 200

    assert mock.calls.last is not None
    assert mock.calls.last["body"] == request


async def test_an_answer_reaches_the_client_with_all_its_fields(
    start_node: Any, start_provider: Any, stack: AsyncExitStack, http: aiohttp.ClientSession
) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    body = {
        "choices": [{"message": {"role": "assistant", "content": None, "tool_calls": [call]}, "x": 1}],
        "x_unknown": {"deep": [1.5, "ü"]},
    }
    server = ByteServer(http_answer(msgspec.json.encode(body)))
    node = await start_node("node-a", await start_provider(await stack.enter_async_context(server.serve())))

    async with http.post(f"{node.url}/v1/chat/completions", json=chat()) as answer:
        assert await answer.json() == body


async def test_a_stream_reaches_the_client_byte_for_byte(
    start_node: Any, start_provider: Any, stack: AsyncExitStack, http: aiohttp.ClientSession
) -> None:
    odd = encode(b'{ "x_unknown":1.50, "choices":[ {"delta":{"tool_calls":[{"index":0}]}} ] }')
    server = ByteServer(STREAM_HEAD, odd, HELLO, FINISH, DONE)
    node = await start_node("node-a", await start_provider(await stack.enter_async_context(server.serve())))

    async with http.post(f"{node.url}/v1/chat/completions", json=chat(stream=True)) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        assert await answer.read() == odd + HELLO + FINISH + DONE


async def test_a_stream_crosses_the_mesh_byte_for_byte(
    start_node: Any, start_provider: Any, stack: AsyncExitStack, http: aiohttp.ClientSession
) -> None:
    odd = encode('{ "x_unknown":1.50, "choices":[ {"delta":{"content":"ü"}} ] }'.encode())
    server = ByteServer(STREAM_HEAD, odd, HELLO, FINISH, DONE)
    node = await start_node("node-a")
    node.knows(
        await start_node("node-b", await start_provider(await stack.enter_async_context(server.serve())))
    )

    async with http.post(f"{node.url}/v1/chat/completions", json=chat(stream=True)) as answer:
        assert answer.headers["X-Mesh-Routed-Via"] == "node-b"
        assert await answer.read() == odd + HELLO + FINISH + DONE


async def test_a_provider_without_objects_of_its_own_is_answered_in_openais_shape(
    start_node: Any, client_of: ClientOf
) -> None:
    client = client_of(await start_node("node-a", EchoProvider("echo")))

    whole = await client.chat.completions.create(model="echo-1", messages=user("hi there"))
    stream = await client.chat.completions.create(model="echo-1", messages=user("hi there"), stream=True)

    assert whole.choices[0].message.content == "[echo-1] hi there"
    assert (whole.object, whole.model) == ("chat.completion", "echo-1")
    assert "".join(await texts_of(stream)) == "[echo-1] hi there "


async def test_a_provider_before_the_models_name_pins_it(
    start_node: Any, start_provider: Any, stack: AsyncExitStack, client_of: ClientOf
) -> None:
    mocks = [MockAi(name="m1"), MockAi(name="m2")]
    urls = [await stack.enter_async_context(mock.serve()) for mock in mocks]
    providers = [await start_provider(url, name) for url, name in zip(urls, ("alpha", "beta"), strict=True)]
    client = client_of(await start_node("node-a", *providers))

    for _ in range(3):
        await client.chat.completions.create(model="beta/mock-model", messages=user("slow:1x0"))

    assert (mocks[0].calls.calls, mocks[1].calls.calls) == (0, 3)
    assert mocks[1].calls.last is not None
    assert mocks[1].calls.last["body"]["model"] == "mock-model"


async def test_the_callers_trace_is_kept_and_passed_on(
    post: Callable[..., Any], node: Any, mock: MockAi
) -> None:
    traceparent = f"00-{TRACE}-b7ad6b7169203331-01"

    async with post(json=chat(), headers={"traceparent": traceparent}) as answer:
        assert answer.headers["X-Mesh-Trace-Id"] == TRACE

    assert node.traces[0].trace_id == TRACE
    assert mock.calls.last is not None
    passed_on = mock.calls.last["traceparent"].split("-")
    assert passed_on[1] == TRACE
    assert passed_on[2] != "b7ad6b7169203331"


async def test_models_are_those_that_can_be_served_now(node: Any, mock: MockAi, client_of: ClientOf) -> None:
    client = client_of(node)

    before = [(model.id, model.owned_by) async for model in client.models.list()]
    one = await client.models.retrieve("mock-model")
    node.bus.health.mark_unhealthy("alpha", "down")
    node.bus.health.mark_unhealthy("alpha", "down")
    after = [model.id async for model in client.models.list()]

    assert before == [("mock-model", "node-a")]
    assert one.id == "mock-model"
    assert after == []
    with pytest.raises(openai.NotFoundError, match="nobody serves 'mock-model' now"):
        await client.models.retrieve("mock-model")


# Failover


@pytest.fixture
async def pair(start_node: Any, start_provider: Any, stack: AsyncExitStack, mock: MockAi) -> tuple[Any, Any]:
    """node-a, whose own provider is dead, and node-b, whose provider is well."""
    well = await start_provider(await stack.enter_async_context(mock.serve()), "beta")
    a = await start_node("node-a", UnavailableProvider("alpha", ["mock-model"]))
    b = await start_node("node-b", well)
    a.knows(b)
    return a, b


@pytest.mark.parametrize("stream", [False, True])
async def test_a_dead_provider_is_replaced_by_a_peers(
    pair: tuple[Any, Any], client_of: ClientOf, stream: bool
) -> None:
    node, _ = pair
    raw = await client_of(node).chat.completions.with_raw_response.create(
        model="mock-model", messages=user("slow:2x0"), stream=stream
    )

    answer = raw.parse()
    text = (
        "".join(await texts_of(answer))
        if isinstance(answer, openai.AsyncStream)
        else answer.choices[0].message.content
    )
    assert text == "chunk-1 chunk-2 "
    assert raw.headers["X-Mesh-Routed-Via"] == "node-b"
    assert raw.headers["X-Mesh-Attempts"] == "2"
    trace = node.traces[0]
    assert [(attempt.node, attempt.code) for attempt in trace.attempts] == [
        ("node-a", "unavailable"),
        ("node-b", ""),
    ]
    assert trace.why is Why.FAILOVER


async def test_a_provider_that_only_announced_itself_is_still_replaced(
    start_node: Any, start_provider: Any, stack: AsyncExitStack, mock: MockAi, client_of: ClientOf
) -> None:
    role = encode(b'{"choices":[{"delta":{"role":"assistant"}}]}')
    broken = await stack.enter_async_context(ByteServer(STREAM_HEAD, role).serve())
    well = await stack.enter_async_context(mock.serve())
    node = await start_node(
        "node-a", await start_provider(broken, "alpha"), await start_provider(well, "beta")
    )

    stream = await client_of(node).chat.completions.create(
        model="mock-model", messages=user("slow:1x0"), stream=True
    )

    assert await texts_of(stream) == ["", "chunk-1 ", ""]


@pytest.mark.parametrize("control", ["fail:after=2", "err:after=2"])
async def test_a_stream_that_breaks_after_its_first_content_ends_with_one_error_event(
    post: Callable[..., Any], node: Any, client_of: ClientOf, control: str
) -> None:
    async with post(json=chat(f"slow:5x1 {control}", stream=True)) as answer:
        body = await answer.read()

    assert answer.status == 200
    assert body.count(b"chunk-") == 2
    assert body.count(b'data: {"error"') == 1
    assert b"[DONE]" not in body
    stream = await client_of(node).chat.completions.create(
        model="mock-model", messages=user(f"slow:5x1 {control}"), stream=True
    )
    with pytest.raises(openai.APIError):
        await texts_of(stream)


async def test_a_failure_of_our_own_in_mid_stream_tells_strangers_nothing(
    start_node: Any, http: aiohttp.ClientSession
) -> None:
    class Faulty(EchoProvider):
        async def stream(self, *arguments: Any) -> Any:
            async for chunk in super().stream(*arguments):
                yield chunk
                raise RuntimeError("the password is swordfish")

    node = await start_node("node-a", Faulty("echo"))

    async with http.post(
        f"{node.url}/v1/chat/completions", json=chat("hi", model="echo-1", stream=True)
    ) as answer:
        body = await answer.read()

    assert b'"error"' in body
    assert b"swordfish" not in body
    assert b"[DONE]" not in body


# Refusals


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "raised", "code", "retry_after"),
    [
        (Faults(http=429, retry_after=7), openai.RateLimitError, "rate_limited", "7"),
        (Faults(http=401), openai.InternalServerError, "unauthorized", None),
        (Faults(http=404), openai.NotFoundError, "not_found", None),
        (Faults(http=422), openai.BadRequestError, "bad_request", None),
        (Faults(http=503), openai.InternalServerError, "unavailable", None),
    ],
)
async def test_an_upstreams_refusal_reaches_the_client_as_openais_own_exception(
    node: Any,
    mock: MockAi,
    client_of: ClientOf,
    fault: Faults,
    raised: type[openai.APIStatusError],
    code: str,
    retry_after: str | None,
    stream: bool,
) -> None:
    mock.faults = fault

    with pytest.raises(raised) as caught:
        await client_of(node).chat.completions.create(model="mock-model", messages=user("hi"), stream=stream)

    assert caught.value.code == code
    assert caught.value.response.headers.get("Retry-After") == retry_after
    assert caught.value.response.headers["X-Mesh-Attempts"] == "1"
    assert caught.value.response.headers["X-Mesh-Routed-Via"] == "local"
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["attempts"][0]["code"] == code


async def test_a_model_that_nobody_has_is_not_found(node: Any, client_of: ClientOf) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await client_of(node).chat.completions.create(model="gpt-99", messages=user("hi"))

    assert caught.value.response.headers["X-Mesh-Attempts"] == "0"


async def test_nothing_healthy_says_what_was_refused_and_why(
    node: Any, mock: MockAi, client_of: ClientOf
) -> None:
    client = client_of(node)
    mock.faults = Faults(http=503)
    for _ in range(2):
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model="mock-model", messages=user("hi"))

    with pytest.raises(openai.InternalServerError) as caught:
        await client.chat.completions.create(model="mock-model", messages=user("hi"))

    assert (caught.value.status_code, caught.value.code) == (503, "no_healthy_provider")
    assert int(caught.value.response.headers["Retry-After"]) > 0
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["refused"][0]["reason"] == "breaker_open"


async def test_a_busy_provider_is_a_rate_limit(
    start_node: Any, start_provider: Any, stack: AsyncExitStack, mock: MockAi, client_of: ClientOf
) -> None:
    url = await stack.enter_async_context(mock.serve())
    client = client_of(await start_node("node-a", await start_provider(url, max_concurrent=1)))
    mock.faults = Faults(hang=True)
    first = asyncio.create_task(client.chat.completions.create(model="mock-model", messages=user("hi")))
    await wait_until(lambda: mock.calls.open == 1)

    with pytest.raises(openai.RateLimitError) as caught:
        await client.chat.completions.create(model="mock-model", messages=user("hi"))

    assert caught.value.code == "capacity_exceeded"
    assert caught.value.response.headers["Retry-After"] == "1"
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)


async def test_one_stream_too_many_is_refused_and_whole_answers_are_not(
    start_node: Any, start_provider: Any, stack: AsyncExitStack, mock: MockAi, client_of: ClientOf
) -> None:
    url = await stack.enter_async_context(mock.serve())
    limits = ClientLimits(max_streams=1)
    client = client_of(await start_node("node-a", await start_provider(url), limits=limits))
    first = await client.chat.completions.create(
        model="mock-model", messages=user("slow:2x0 hang:after=1"), stream=True
    )

    with pytest.raises(openai.RateLimitError, match="1 streams open"):
        await client.chat.completions.create(model="mock-model", messages=user("slow:1x0"), stream=True)
    await client.chat.completions.create(model="mock-model", messages=user("slow:1x0"))
    await first.close()
    await wait_until(lambda: mock.calls.open == 0)

    again = await client.chat.completions.create(model="mock-model", messages=user("slow:1x0"), stream=True)
    assert "".join(await texts_of(again)) == "chunk-1 "


async def test_a_wrong_key_is_refused_and_the_right_ones_name_is_traced(
    start_node: Any, client_of: ClientOf
) -> None:
    node = await start_node("node-a", EchoProvider("echo"), api_keys=("billing:sk-1", "sk-2"))

    await client_of(node, "sk-1").chat.completions.create(model="echo-1", messages=user("hi"))
    await client_of(node, "sk-2").chat.completions.create(model="echo-1", messages=user("hi"))
    with pytest.raises(openai.AuthenticationError) as caught:
        await client_of(node, "sk-3").chat.completions.create(model="echo-1", messages=user("hi"))
    with pytest.raises(openai.AuthenticationError):
        await client_of(node, "sk-3").models.list()

    assert caught.value.code == "invalid_api_key"
    assert caught.value.response.headers["WWW-Authenticate"] == "Bearer"
    assert "sk-" not in caught.value.message
    assert [trace.caller for trace in node.traces] == ["billing", "key-2"]


@pytest.mark.parametrize(
    ("request_", "status", "param"),
    [
        ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 400, "body"),
        ({"json": {"model": "m"}}, 400, "messages"),
        ({"json": {"messages": []}}, 400, "model"),
        ({"json": chat(stream="yes")}, 400, "stream"),
        ({"data": b"hello"}, 400, "Content-Type"),
        ({"data": {"model": "m"}}, 400, "Content-Type"),
    ],
)
async def test_a_malformed_request_is_refused_and_reaches_nobody(
    post: Callable[..., Any], node: Any, mock: MockAi, request_: dict[str, Any], status: int, param: str
) -> None:
    async with post(**request_) as answer:
        error = (await answer.json())["error"]

    assert (answer.status, error["param"]) == (status, param)
    assert error["type"] == "invalid_request_error"
    assert error["message"].startswith(f"{param}: expected")
    assert mock.calls.calls == 0
    assert node.traces == []


# Who leaves


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_closes_the_upstream_request(
    post: Callable[..., Any], node: Any, mock: MockAi, stream: bool
) -> None:
    call = asyncio.ensure_future(post(json=chat("slow:2x0 hang:after=1", stream=stream)))
    await wait_until(lambda: mock.calls.open == 1 and node.controller.readout().in_flight.total == 1)
    if stream:
        (await call).close()
    call.cancel()

    await wait_until(lambda: mock.calls.aborts == 1)
    await wait_until(lambda: node.controller.readout().in_flight.total == 0)
    assert node.bus.health.permits_out == 0
    assert [trace.code for trace in node.traces] == ["cancelled"]


# Drain


async def test_a_draining_node_passes_calls_on_to_a_peer_and_counts_them_apart(
    pair: tuple[Any, Any], mock: MockAi, client_of: ClientOf
) -> None:
    node, peer = pair
    node.controller.enter()
    stream = await client_of(node).chat.completions.create(
        model="mock-model", messages=user("slow:2x0 hang:after=1"), stream=True
    )
    await anext(stream)

    readout = node.controller.readout()
    assert (readout.in_flight.total, readout.edge) == (0, 1)
    assert peer.controller.readout().in_flight.streams == 1
    await stream.close()
    await wait_until(lambda: node.controller.readout().edge == 0)
    assert node.traces[0].why is Why.DRAIN
    assert len(node.traces[0].attempts) == 1


async def test_a_stream_that_runs_when_the_drain_begins_finishes_untouched(
    node: Any, client_of: ClientOf
) -> None:
    stream = await client_of(node).chat.completions.create(
        model="mock-model", messages=user("slow:5x20"), stream=True
    )
    await anext(stream)
    node.controller.enter()

    during = node.controller.readout()
    texts = await texts_of(stream)

    assert (during.state, during.in_flight.streams) == ("draining", 1)
    assert "".join(texts) == "chunk-1 chunk-2 chunk-3 chunk-4 chunk-5 "
    await wait_until(lambda: node.controller.readout().state == "drained")


@pytest.mark.parametrize("stream", [False, True])
async def test_after_the_grace_a_draining_node_refuses(
    start_node: Any, client_of: ClientOf, stream: bool
) -> None:
    node = await start_node("node-a", EchoProvider("echo"), policy=DrainPolicy(edge_grace_seconds=0.0))
    node.controller.enter()

    with pytest.raises(openai.InternalServerError, match="draining") as caught:
        await client_of(node).chat.completions.create(model="echo-1", messages=user("hi"), stream=stream)

    assert (caught.value.status_code, caught.value.code) == (503, "node_draining")
    assert caught.value.response.headers["Retry-After"] == "5"
    node.controller.exit()
    await client_of(node).chat.completions.create(model="echo-1", messages=user("hi"))


async def test_a_joining_node_refuses(start_node: Any, client_of: ClientOf) -> None:
    node = await start_node("node-a", EchoProvider("echo"), policy=DrainPolicy(join_wait_seconds=60.0))

    with pytest.raises(openai.InternalServerError, match="joining") as caught:
        await client_of(node).chat.completions.create(model="echo-1", messages=user("hi"))

    assert (caught.value.status_code, caught.value.code) == (503, "joining")
    node.controller.joined()
    await client_of(node).chat.completions.create(model="echo-1", messages=user("hi"))


async def test_drain_case_26_work_in_flight_never_rises_behind_a_closed_gate(
    start_node: Any, start_provider: Any, stack: AsyncExitStack, mock: MockAi, client_of: ClientOf
) -> None:
    url = await stack.enter_async_context(mock.serve())
    node = await start_node("node-a", await start_provider(url), policy=DrainPolicy(edge_grace_seconds=0.0))
    mock.faults = Faults(hang=True)
    client = client_of(node)
    calls = [
        asyncio.create_task(client.chat.completions.create(model="mock-model", messages=user("hi")))
        for _ in range(50)
    ]
    await wait_until(lambda: node.controller.readout().in_flight.total > 0)
    node.controller.enter()
    closed_with = node.controller.readout().in_flight.total
    seen: list[int] = []

    def all_decided() -> bool:
        seen.append(node.controller.readout().in_flight.total)
        return bool(sum(call.done() for call in calls) == 50 - closed_with)

    await wait_until(all_decided)

    assert max(seen) <= closed_with
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await wait_until(lambda: node.controller.readout().in_flight.total == 0)
