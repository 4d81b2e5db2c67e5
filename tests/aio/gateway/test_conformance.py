"""What OpenAI's own client relies on, and what it doesn't know of: real client, real nodes, real sockets."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import openai
import pytest
from aiohttp import web
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

from meshcore.aio.health import ProviderHealthCache
from meshcore.aio.mock_ai import MockAi
from meshcore.aio.testing import STREAM_HEAD, ByteServer, http_answer, wait_until
from meshcore.clock import monotonic
from meshcore.sse import encode
from tests.aio.bus_mesh import serve_app

ClientOf = Callable[..., openai.AsyncOpenAI]
JSON = {"Content-Type": "application/json"}
CHAT_PATH = "/v1/chat/completions"
TOOL: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"minimum": 1.50}}},
    },
}
CALLED = (
    b'{"id":"call_1","type":"function","function":{"name":"weather","arguments":"{\\"city\\": \\"Bern\\"}"}}'
)
CALLED_IN_PARTS = (
    b'{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"weather","arguments":""}}]}',
    b'{"tool_calls":[{"index":0,"function":{"arguments":"{\\"city\\": "}}]}',
    b'{"tool_calls":[{"index":0,"function":{"arguments":"\\"Bern\\"}"}}]}',
)
# Everything in it would change if it were decoded and encoded again.
ODD = b'{"a": 1.50, "b":1e2,"c" : "\\u00fc\\/", "b":100000000000000000000000001 , "d":[ ] }'


def user(words: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": words}]


@pytest.fixture
def start_before(stack: AsyncExitStack, start_node: Any, start_provider: Any) -> Callable[..., Any]:
    """Start a node before an upstream; `far` puts another node between."""

    async def start(server: ByteServer | MockAi, *, far: bool = False) -> Any:
        provider = await start_provider(await stack.enter_async_context(server.serve()))
        if not far:
            return await start_node("node-a", provider)
        node = await start_node("node-a")
        node.knows(await start_node("node-b", provider))
        return node

    return start


FAR = pytest.mark.parametrize("far", [False, True], ids=["local", "peer"])


# The client


@FAR
async def test_tools_reach_the_upstream_and_its_calls_the_client(
    start_before: Callable[..., Any], client_of: ClientOf, far: bool
) -> None:
    said = b'{"role":"assistant","content":null,"tool_calls":[%s]}' % CALLED
    upstream = ByteServer(
        http_answer(b'{"choices":[{"index":0,"message":%s,"finish_reason":"tool_calls"}]}' % said)
    )
    client = client_of(await start_before(upstream, far=far))

    answer = await client.chat.completions.create(model="mock-model", messages=user("hi"), tools=[TOOL])

    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.id, call.function.name, call.function.arguments) == ("call_1", "weather", '{"city": "Bern"}')
    assert b'"tools":[{"type":"function"' in upstream.requests[0].body
    assert b'"tool_calls"' not in upstream.requests[0].body


@FAR
async def test_a_streamed_tool_call_is_put_together_by_the_client(
    start_before: Callable[..., Any], client_of: ClientOf, far: bool
) -> None:
    frames = [encode(b'{"choices":[{"index":0,"delta":%s}]}' % delta) for delta in CALLED_IN_PARTS]
    end = encode(b'{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}') + encode(b"[DONE]")
    client = client_of(await start_before(ByteServer(STREAM_HEAD, *frames, end), far=far))

    arguments, finished = "", None
    async for chunk in await client.chat.completions.create(
        model="mock-model", messages=user("hi"), tools=[TOOL], stream=True
    ):
        for part in chunk.choices[0].delta.tool_calls or []:
            arguments += (part.function.arguments or "") if part.function else ""
        finished = chunk.choices[0].finish_reason or finished

    assert (arguments, finished) == ('{"city": "Bern"}', "tool_calls")


@FAR
async def test_a_stream_tells_its_usage_when_it_is_asked_to(
    start_before: Callable[..., Any], client_of: ClientOf, far: bool
) -> None:
    node = await start_before(MockAi(), far=far)

    stream = await client_of(node).chat.completions.create(
        model="mock-model",
        messages=user("slow:3x0 please"),
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]

    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].choices == []
    usage = chunks[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (2, 3, 5)
    await wait_until(lambda: len(node.traces) == 1)
    assert (node.traces[0].tokens_in, node.traces[0].tokens_out) == (2, 3)


@FAR
async def test_embeddings_come_as_the_client_wants_them(
    start_before: Callable[..., Any], client_of: ClientOf, far: bool
) -> None:
    client = client_of(await start_before(MockAi(), far=far))

    packed = await client.embeddings.create(model="mock-model", input=["a", "b"])
    plain = await client.embeddings.create(model="mock-model", input="a", encoding_format="float")

    assert [item.index for item in packed.data] == [0, 1]
    assert packed.data[0].embedding == pytest.approx(plain.data[0].embedding)
    assert packed.usage.prompt_tokens == 2


TRIES = 5  # of which the best counts: what always takes longer is a fault, one time is the machine's
LEFT_ALONE = "slow:2x0 hang:after=1"  # silent, so that nothing but the leaving itself can be noticed


@FAR
async def test_closing_a_stream_closes_the_upstream_request_within_200_ms(
    start_before: Callable[..., Any], client_of: ClientOf, far: bool
) -> None:
    mock = MockAi()
    node = await start_before(mock, far=far)
    client = client_of(node)

    seconds = []
    for tries in range(1, TRIES + 1):
        stream = await client.chat.completions.create(
            model="mock-model", messages=user(LEFT_ALONE), stream=True
        )
        await anext(stream)
        left_at = monotonic()
        await stream.close()
        await wait_until(lambda: mock.calls.aborts == tries)  # noqa: B023 - waited for at once
        seconds.append(monotonic() - left_at)

    assert min(seconds) < 0.2
    await wait_until(lambda: node.controller.readout().in_flight.total == 0)
    assert node.bus.health.permits_out == 0


@FAR
async def test_a_cancelled_call_closes_the_upstream_request_within_200_ms(
    start_before: Callable[..., Any], client_of: ClientOf, far: bool
) -> None:
    mock = MockAi()
    client = client_of(await start_before(mock, far=far))

    seconds = []
    for tries in range(1, TRIES + 1):
        create = client.chat.completions.create
        call = asyncio.ensure_future(create(model="mock-model", messages=user(LEFT_ALONE)))
        await wait_until(lambda: mock.calls.open == 1)
        left_at = monotonic()
        call.cancel()
        await wait_until(lambda: mock.calls.aborts == tries)  # noqa: B023 - waited for at once
        seconds.append(monotonic() - left_at)
        await asyncio.wait([call])

    assert min(seconds) < 0.2


# Byte for byte


@FAR
@pytest.mark.parametrize("stream", [False, True])
async def test_fields_that_nobody_knows_reach_the_upstream_byte_for_byte(
    start_before: Callable[..., Any], http: aiohttp.ClientSession, far: bool, stream: bool
) -> None:
    upstream = ByteServer(http_answer(b'{"choices":[{"message":{}}]}'))
    node = await start_before(upstream, far=far)
    flag = b"true" if stream else b"false"
    message = b'{"role":"user" , "content":"hi", "y":%s}' % ODD
    body = b'{"x":%s,"model":"mock-model","stream":%s,"messages":[%s],"tools":%s}' % (ODD, flag, message, ODD)

    async with http.post(node.url + CHAT_PATH, data=body, headers=JSON) as answer:
        await answer.read()

    assert upstream.requests[0].body == body


@FAR
@pytest.mark.parametrize(
    ("path", "ask", "body"),
    [
        (CHAT_PATH, b'"messages":[{"role":"user"}]', b'{"choices" : [{"message":{"y":%s}}],"x":%s}\n'),
        ("/v1/completions", b'"prompt":"hi"', b' {"choices":[{"text":"a", "y":%s}],"x":%s}'),
        ("/v1/embeddings", b'"input":"hi"', b'{"data":[{"embedding":[1.50], "y":%s}],"x":%s}'),
    ],
)
async def test_an_upstreams_whole_answer_reaches_the_client_byte_for_byte(
    start_before: Callable[..., Any],
    http: aiohttp.ClientSession,
    far: bool,
    path: str,
    ask: bytes,
    body: bytes,
) -> None:
    said = body % (ODD, ODD)
    node = await start_before(ByteServer(http_answer(said)), far=far)

    async with http.post(node.url + path, data=b'{"model":"mock-model",%s}' % ask, headers=JSON) as answer:
        assert (await answer.read()).strip() == said.strip()


# Half-open


async def test_case_32_of_50_clients_at_half_open_one_reaches_the_provider(
    stack: AsyncExitStack, start_node: Any, start_provider: Any, client_of: ClientOf
) -> None:
    calls, release, is_well = 0, asyncio.Event(), False

    async def answer(_: web.Request) -> web.Response:
        nonlocal calls
        if not is_well:
            return web.Response(status=503)
        calls += 1
        await release.wait()
        return web.json_response({"choices": [{"message": {"role": "assistant", "content": "well"}}]})

    app = web.Application()
    app.add_routes([web.post(CHAT_PATH, answer)])
    provider = await start_provider(await stack.enter_async_context(serve_app(app)))
    health = ProviderHealthCache(unhealthy_backoff_sec=0.2, clock=monotonic)
    node = await start_node("node-a", provider, health=health)
    client = client_of(node)

    def ask() -> asyncio.Task[Any]:
        return asyncio.ensure_future(client.chat.completions.create(model="mock-model", messages=user("hi")))

    await asyncio.wait([ask()])
    await asyncio.wait([ask()])
    await wait_until(lambda: health.state("alpha") == "half_open")
    is_well = True
    asked = [ask() for _ in range(50)]
    await wait_until(lambda: sum(task.done() for task in asked) == 49)
    release.set()
    answers = await asyncio.gather(*asked, return_exceptions=True)

    assert calls == 1
    assert health.state("alpha") == "closed"
    refused = [each for each in answers if isinstance(each, openai.InternalServerError)]
    assert len(refused) == 49
    assert {each.code for each in refused} == {"no_healthy_provider"}
    assert {each.body["refused"][0]["reason"] for each in refused} == {"half_open_busy"}  # type: ignore[index]
    assert health.permits_out == 0
