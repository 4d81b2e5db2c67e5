"""The provider for OpenAI-compatible upstreams, over real sockets, against upstreams of every temper."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from meshcore.aio.mock_ai import MockAi
from meshcore.aio.providers import openai_http
from meshcore.aio.providers.openai_http import OpenAiProvider
from meshcore.aio.testing import STREAM_HEAD, ByteServer, Step, http_answer, wait_until
from meshcore.capability import CallInfo
from meshcore.clock import monotonic
from meshcore.config_sections import Continuation, ProviderSection
from meshcore.errors import CallError, Code
from meshcore.mock_script import Faults
from meshcore.openai_wire import ChunkKind
from meshcore.sse import encode

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROLE = encode(b'{"choices":[{"delta":{"role":"assistant"}}]}')
HELLO = encode(b'{"choices":[{"delta":{"content":"hello"}}]}')
FINISH = encode(b'{"choices":[{"delta":{},"finish_reason":"stop"}]}')
DONE = encode(b"[DONE]")
ANSWER = b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}],"usage":{"total_tokens":3}}'


def chat(words: str = "slow:2x0", **fields: Any) -> dict[str, Any]:
    return {"openai": {"model": "asked", "messages": [{"role": "user", "content": words}], **fields}}


def info(**changes: Any) -> CallInfo:
    settings: dict[str, Any] = {
        "trace_id": "t",
        "capability": "llm.chat",
        "caller": "tests",
        "deadline": monotonic() + 30,
        "timeout_seconds": 10.0,
    }
    return CallInfo(**(settings | changes))


@asynccontextmanager
async def provider_for(
    url: str, *, api_key: str = "", models: tuple[str, ...] = ("m1",), **settings: Any
) -> AsyncIterator[OpenAiProvider]:
    section = ProviderSection(name="alpha", base_url=f"{url}/v1/", models=models, **settings)
    provider = OpenAiProvider(section, api_key, clock=monotonic, utcnow=lambda: NOW)
    await provider.start()
    try:
        yield provider
    finally:
        await provider.close()


async def call_code(*steps: Step, **settings: Any) -> CallError:
    async with ByteServer(*steps).serve() as url, provider_for(url, **settings) as provider:
        with pytest.raises(CallError) as caught:
            await provider.call("llm.chat", chat(), info())
    return caught.value


async def stream_error(*steps: Step, **settings: Any) -> tuple[list[bytes], CallError]:
    """The data of the chunks that came, and the error behind them."""
    texts: list[bytes] = []
    async with ByteServer(*steps).serve() as url, provider_for(url, **settings) as provider:
        with pytest.raises(CallError) as caught:
            async for chunk in provider.stream("llm.chat", chat(), info()):
                texts.append(chunk.data)
    return texts, caught.value


@pytest.fixture
def mock() -> MockAi:
    return MockAi()


@pytest.fixture
async def provider(mock: MockAi) -> AsyncIterator[OpenAiProvider]:
    async with mock.serve() as url, provider_for(url) as provider:
        yield provider


async def test_a_call_gives_the_upstreams_whole_answer_and_the_model_that_served(
    provider: OpenAiProvider, mock: MockAi
) -> None:
    result = await provider.call("llm.chat", chat(x_unknown=[1]), info())

    assert result["output"]["message"]["content"] == "chunk-1 chunk-2 "
    assert msgspec.json.decode(result["openai"])["object"] == "chat.completion"
    assert result["model"] == "m1"
    assert mock.calls.last is not None
    assert mock.calls.last["body"] == chat(x_unknown=[1])["openai"] | {"model": "m1"}


async def test_the_model_that_the_bus_chose_is_asked(provider: OpenAiProvider, mock: MockAi) -> None:
    result = await provider.call("llm.chat", chat(), info(model="m2"))

    assert result["model"] == "m2"
    assert mock.calls.last is not None
    assert mock.calls.last["body"]["model"] == "m2"


async def test_completions_and_embeddings_go_to_their_own_paths(
    provider: OpenAiProvider, mock: MockAi
) -> None:
    completion = await provider.call("llm.completion", {"input": {"prompt": "slow:1x0"}}, info())
    embedding = await provider.call("llm.embedding", {"input": {"input": ["a"]}}, info())

    assert completion["output"]["text"] == "chunk-1 "
    assert len(embedding["output"]["data"][0]["embedding"]) == 8


async def test_a_capability_that_no_upstream_has_is_not_implemented(provider: OpenAiProvider) -> None:
    with pytest.raises(CallError) as caught:
        await provider.call("llm.dance", chat(), info())

    assert caught.value.code is Code.NOT_IMPLEMENTED


async def test_a_stream_yields_every_chunk_as_it_was_sent(provider: OpenAiProvider) -> None:
    chunks = [chunk async for chunk in provider.stream("llm.chat", chat(), info())]

    assert [chunk.kind for chunk in chunks] == [
        ChunkKind.ROLE,
        ChunkKind.CONTENT,
        ChunkKind.CONTENT,
        ChunkKind.FINISH,
    ]
    assert [chunk.text for chunk in chunks] == ["", "chunk-1 ", "chunk-2 ", ""]


async def test_chunks_come_byte_for_byte_whatever_the_network_does() -> None:
    odd = '{ "choices":[ {"delta":{"content":"grüße 🙂"}, "x":1.50} ] }'.encode()
    sent = b": ping\r\n\r\n" + encode(odd).replace(b"\n", b"\r\n") + FINISH + DONE
    server = ByteServer(STREAM_HEAD, *(sent[index : index + 1] for index in range(len(sent))))

    async with server.serve() as url, provider_for(url) as provider:
        chunks = [chunk async for chunk in provider.stream("llm.chat", chat(), info())]

    assert chunks[0].data == odd
    assert chunks[0].text == "grüße 🙂"


async def test_the_key_goes_to_the_upstream_and_the_trace_with_it() -> None:
    server = ByteServer(http_answer(ANSWER))

    async with server.serve() as url, provider_for(url, api_key="sk-secret") as provider:
        await provider.call("llm.chat", chat(), info(traceparent="00-aa-bb-01"))

    assert server.requests[0].head.startswith("POST /v1/chat/completions ")
    assert server.requests[0].header("Authorization") == "Bearer sk-secret"
    assert server.requests[0].header("traceparent") == "00-aa-bb-01"


async def test_a_cookie_that_an_upstream_sets_in_one_call_is_not_sent_with_the_next() -> None:
    server = ByteServer(http_answer(ANSWER, headers="Connection: close\r\nSet-Cookie: who=alice\r\n"))

    async with server.serve() as url, provider_for(url.replace("127.0.0.1", "localhost")) as provider:
        await provider.call("llm.chat", chat(), info())
        await provider.call("llm.chat", chat(), info())

    assert [request.header("Cookie") for request in server.requests] == ["", ""]


async def test_without_a_key_none_is_sent() -> None:
    server = ByteServer(http_answer(ANSWER))

    async with server.serve() as url, provider_for(url) as provider:
        await provider.call("llm.chat", chat(), info())

    assert server.requests[0].header("Authorization") == ""
    assert server.requests[0].header("traceparent") == ""


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("401 Unauthorized", Code.UNAUTHORIZED),
        ("404 Not Found", Code.NOT_FOUND),
        ("422 Unprocessable", Code.BAD_REQUEST),
        ("429 Too Many", Code.RATE_LIMITED),
        ("503 Unavailable", Code.UNAVAILABLE),
        ("302 Found", Code.INTERNAL_ERROR),
    ],
)
async def test_an_upstreams_status_becomes_a_code(status: str, code: Code) -> None:
    answer = http_answer(
        b'{"error":{"message":"because"}}', status=status, headers="Retry-After: 7\r\nLocation: /\r\n"
    )

    error = await call_code(answer)
    _, streamed = await stream_error(answer)

    assert (error.code, streamed.code) == (code, code)
    assert error.retry_after_seconds == (7.0 if code in (Code.RATE_LIMITED, Code.UNAVAILABLE) else None)


async def test_a_refused_request_carries_the_upstreams_words() -> None:
    error = await call_code(http_answer(b'{"error":{"message":"too hot"}}', status="400 Bad"))

    assert "too hot" in error.message


async def test_a_port_where_nobody_listens_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    async with provider_for(f"http://127.0.0.1:{port}") as provider:
        with pytest.raises(CallError) as caught:
            await provider.call("llm.chat", chat(), info())

    assert caught.value.code is Code.UNAVAILABLE
    assert caught.value.message == "provider alpha can't be reached: Connection refused"
    assert caught.value.__cause__ is not None
    assert isinstance(caught.value.__cause__.__cause__, ConnectionRefusedError)


async def test_an_upstream_that_accepts_no_connection_times_out_by_itself() -> None:
    with socket.socket() as server, socket.socket() as waiting, socket.socket() as one_too_many:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for client in (waiting, one_too_many):  # fill the queue of connections that nobody accepts
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        began = monotonic()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        async with provider_for(url, connect_seconds=0.1, first_token_seconds=60.0) as provider:
            with pytest.raises(CallError) as caught:
                await provider.call("llm.chat", chat(), info())

    assert caught.value.code is Code.TIMEOUT
    assert monotonic() - began < 5


async def test_an_upstream_that_speaks_no_tls_where_it_should_is_unavailable() -> None:
    def speak_plainly(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(speak_plainly, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, provider_for(f"https://127.0.0.1:{port}") as provider:
        with pytest.raises(CallError, match="TLS failed") as caught:
            await provider.call("llm.chat", chat(), info())

    assert caught.value.code is Code.UNAVAILABLE


async def test_a_provider_that_was_not_started_is_unavailable() -> None:
    section = ProviderSection(name="alpha", base_url="http://127.0.0.1:1/v1")
    provider = OpenAiProvider(section, clock=monotonic, utcnow=lambda: NOW)

    with pytest.raises(CallError, match="not started"):
        await provider.call("llm.chat", chat(), info())
    await provider.close()


@pytest.mark.parametrize(
    ("steps", "code"),
    [
        ([http_answer(b"<html>")], Code.INTERNAL_ERROR),
        ([http_answer(b'{"error":{"message":"overloaded"}}')], Code.INTERNAL_ERROR),
        ([b"SSH-2.0-OpenSSH\r\n"], Code.INTERNAL_ERROR),
        ([http_answer(ANSWER)[:-5]], Code.UNAVAILABLE),
        ([], Code.UNAVAILABLE),
    ],
)
async def test_what_is_no_whole_answer_becomes_a_code(steps: list[Step], code: Code) -> None:
    assert (await call_code(*steps)).code is code


async def test_an_answer_beyond_the_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_http, "ANSWER_MAX_BYTES", 50)

    error = await call_code(http_answer(ANSWER))

    assert error.code is Code.INTERNAL_ERROR
    assert "at most 50 bytes" in error.message


async def test_the_request_of_a_call_that_is_given_up_is_closed() -> None:
    server = ByteServer(...)

    async with server.serve() as url, provider_for(url) as provider:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await provider.call("llm.chat", chat(), info())
        await wait_until(lambda: server.left == 1)


async def test_a_stream_ends_at_the_callers_deadline() -> None:
    async with ByteServer(...).serve() as url, provider_for(url) as provider:
        with pytest.raises(CallError) as caught:
            await anext(provider.stream("llm.chat", chat(), info(deadline=monotonic() + 0.05)))

    assert caught.value.code is Code.TIMEOUT


@pytest.mark.parametrize(
    "steps", [[...], [STREAM_HEAD, ...], [STREAM_HEAD, ROLE, ...], [STREAM_HEAD, b": ping\n\n", ...]]
)
async def test_neither_head_nor_role_nor_comment_counts_as_the_first_token(steps: list[Step]) -> None:
    began = monotonic()

    chunks, error = await stream_error(*steps, first_token_seconds=0.1)

    assert error.code is Code.TIMEOUT
    assert monotonic() - began < 5
    assert len(chunks) <= 1


async def test_a_pause_between_tokens_that_is_too_long_is_a_timeout() -> None:
    chunks, error = await stream_error(STREAM_HEAD, HELLO, HELLO, ..., between_tokens_seconds=0.1)

    assert (len(chunks), error.code) == (2, Code.TIMEOUT)


async def test_comments_between_tokens_buy_no_time() -> None:
    pings: list[Step] = [b": ping\n\n", 0.05] * 100
    began = monotonic()

    chunks, error = await stream_error(STREAM_HEAD, HELLO, *pings, between_tokens_seconds=0.2)

    assert (len(chunks), error.code) == (1, Code.TIMEOUT)
    assert monotonic() - began < 4


async def test_each_token_starts_the_wait_anew() -> None:
    tokens: list[Step] = [HELLO, 0.1] * 6
    server = ByteServer(STREAM_HEAD, *tokens, DONE)

    async with (
        server.serve() as url,
        provider_for(url, first_token_seconds=5, between_tokens_seconds=0.4) as provider,
    ):
        chunks = [chunk async for chunk in provider.stream("llm.chat", chat(), info())]

    assert len(chunks) == 6


@pytest.mark.parametrize("end", [[], [DONE], [DONE, 0.01, b": bye\n\n"], [b"data: [DONE]"]])
async def test_a_stream_may_end_in_any_of_the_ways_that_servers_have(end: list[Step]) -> None:
    server = ByteServer(STREAM_HEAD, HELLO, FINISH, *end)

    async with server.serve() as url, provider_for(url) as provider:
        chunks = [chunk async for chunk in provider.stream("llm.chat", chat(), info())]

    assert [chunk.kind for chunk in chunks] == [ChunkKind.CONTENT, ChunkKind.FINISH]


async def test_an_upstream_that_goes_on_talking_behind_its_end_is_hung_up_on() -> None:
    chatter: list[Step] = [b": bye\n\n", 0.02] * 500
    server = ByteServer(STREAM_HEAD, HELLO, DONE, *chatter)
    began = monotonic()

    async with server.serve() as url, provider_for(url) as provider:
        chunks = [chunk async for chunk in provider.stream("llm.chat", chat(), info())]

    assert len(chunks) == 1
    assert monotonic() - began < 5


@pytest.mark.parametrize(
    ("steps", "chunks", "code"),
    [
        ([STREAM_HEAD, ROLE], 1, Code.INTERNAL_ERROR),
        ([STREAM_HEAD, ROLE, HELLO], 2, Code.INTERNAL_ERROR),
        ([STREAM_HEAD], 0, Code.INTERNAL_ERROR),
        ([STREAM_HEAD, HELLO, encode(b"garbage")], 1, Code.INTERNAL_ERROR),
        ([STREAM_HEAD, HELLO, encode(b'{"error":{"message":"broke"}}')], 1, Code.INTERNAL_ERROR),
        ([http_answer(HELLO * 3)[:-5]], 2, Code.UNAVAILABLE),
    ],
)
async def test_a_stream_that_breaks_is_an_error_behind_its_chunks(
    steps: list[Step], chunks: int, code: Code
) -> None:
    came, error = await stream_error(*steps)

    assert (len(came), error.code) == (chunks, code)


async def test_closing_a_stream_closes_the_upstream_request_within_200_ms(
    provider: OpenAiProvider, mock: MockAi
) -> None:
    async with aclosing(provider.stream("llm.chat", chat("slow:50x50"), info())) as stream:
        while (await anext(stream)).kind is not ChunkKind.CONTENT:
            pass
        left_at = monotonic()

    await wait_until(lambda: mock.calls.aborts == 1)
    assert monotonic() - left_at < 0.2


@pytest.mark.parametrize("streamed", [True, False])
async def test_cancelling_a_call_closes_the_upstream_request(
    provider: OpenAiProvider, mock: MockAi, streamed: bool
) -> None:
    mock.faults = Faults(hang=True)
    whole = provider.call("llm.chat", chat(), info())
    first = provider.stream("llm.chat", chat(), info())
    task: asyncio.Task[Any] = asyncio.ensure_future(anext(first) if streamed else whole)
    await wait_until(lambda: mock.calls.open == 1)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    await wait_until(lambda: mock.calls.aborts == 1)
    whole.close()


async def test_a_connection_is_used_again_after_whole_answers_and_streams(monkeypatch: Any) -> None:
    mock = MockAi()
    opened: list[object] = []
    create = asyncio.get_running_loop().create_connection

    async def counted(*args: Any, **kwargs: Any) -> Any:
        opened.append(args)
        return await create(*args, **kwargs)

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", counted)
    async with mock.serve() as url, provider_for(url) as provider:
        for _ in range(3):
            await provider.call("llm.chat", chat(), info())
            assert len([chunk async for chunk in provider.stream("llm.chat", chat(), info())]) == 4

    assert mock.calls.calls == 6
    assert len(opened) == 1


async def test_configured_models_are_offered_with_every_operation() -> None:
    section = ProviderSection(name="alpha", models=("m1", "m2"), max_concurrent=3, vision=True)
    provider = OpenAiProvider(section, clock=monotonic, utcnow=lambda: NOW)

    offered = provider.descriptors()

    assert [descriptor.name for descriptor in offered] == ["llm.chat", "llm.completion", "llm.embedding"]
    assert offered[0].params == {"model": "m1", "models": ["m1", "m2"], "tools": True, "vision": True}
    assert (offered[0].provider, offered[0].max_concurrent, offered[0].timeout_seconds) == ("alpha", 3, 60.0)


async def test_only_who_can_go_on_from_a_partial_answer_says_so() -> None:
    section = ProviderSection(name="alpha", models=("m1",), continuation=Continuation.PREFILL)
    provider = OpenAiProvider(section, clock=monotonic, utcnow=lambda: NOW)

    assert provider.descriptors()[0].params["continuation"] == "prefill"


async def test_models_are_discovered_at_the_start() -> None:
    mock = MockAi(models=["x", "y"])

    async with mock.serve() as url, provider_for(url, models=()) as provider:
        result = await provider.call("llm.chat", chat(), info())

    assert provider.descriptors()[0].params["models"] == ["x", "y"]
    assert result["model"] == "x"


async def test_models_that_come_up_later_are_announced() -> None:
    mock = MockAi()
    mock.faults = Faults(http=503)
    changes: list[list[str]] = []

    async with mock.serve() as url, provider_for(url, models=()) as provider:
        assert provider.descriptors()[0].params == {"model": "", "models": [], "tools": True, "vision": False}
        provider.on_change = lambda: changes.append(provider.descriptors()[0].params["models"])
        assert not await provider.probe()
        mock.faults = Faults()
        assert await provider.probe()
        assert await provider.probe()

    assert changes == [["mock-model"]]


async def test_without_models_of_its_own_the_clients_model_is_asked() -> None:
    mock = MockAi()
    mock.faults = Faults(http=503)

    async with mock.serve() as url, provider_for(url, models=()) as provider:
        mock.faults = Faults()
        await provider.call("llm.chat", chat(), info())

    assert mock.calls.last is not None
    assert mock.calls.last["body"]["model"] == "asked"


async def test_an_upstream_out_of_reach_at_the_start_is_a_warning_without_the_key(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)

    async with provider_for("http://127.0.0.1:9", models=(), api_key="sk-secret") as provider:
        with pytest.raises(CallError) as caught:
            await provider.probe()

    assert "no list of models yet" in caplog.text
    assert caught.value.code is Code.UNAVAILABLE
    assert "sk-secret" not in caplog.text + caught.value.message


@pytest.mark.parametrize(("status", "alive"), [("404 Not Found", True), ("500 Error", False)])
async def test_an_answer_below_500_is_alive(status: str, alive: bool) -> None:
    server = ByteServer(http_answer(b"", status=status))

    async with server.serve() as url, provider_for(url, models=()) as provider:
        assert await provider.probe() is alive


async def test_a_list_of_models_that_is_none_is_an_error_of_the_probe() -> None:
    answer = msgspec.json.encode({"models": []})

    async with ByteServer(http_answer(answer)).serve() as url, provider_for(url, models=()) as provider:
        with pytest.raises(CallError) as caught:
            await provider.probe()

    assert caught.value.code is Code.INTERNAL_ERROR
