"""The mock provider over real sockets, spoken to by the real client and by a plain one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import aiohttp
import openai
import pytest

from meshcore.aio.mock_ai import MockAi
from meshcore.aio.testing import PATIENCE_SECONDS, wait_until
from meshcore.mock_script import Faults, embedding

Ask = Callable[..., Coroutine[Any, Any, bytes]]


@pytest.fixture
def mock() -> MockAi:
    return MockAi(name="alpha", now=lambda: datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
async def url(mock: MockAi) -> AsyncIterator[str]:
    async with mock.serve() as url:
        yield url


@pytest.fixture
async def client(url: str) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def ask(http: aiohttp.ClientSession, url: str) -> Ask:
    async def ask(words: str, **fields: Any) -> bytes:
        body = {"model": "m", "messages": [{"role": "user", "content": words}], **fields}
        async with http.post(f"{url}/v1/chat/completions", json=body) as answer:
            return await answer.read()

    return ask


async def test_a_chat_is_answered_whole_with_usage(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="mock-model", messages=[{"role": "user", "content": "slow:3x0 please"}]
    )

    assert answer.choices[0].message.content == "chunk-1 chunk-2 chunk-3 "
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 3)
    assert (answer.model, answer.system_fingerprint) == ("mock-model", "alpha")


async def test_a_chat_is_streamed_role_first_and_usage_last(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="mock-model",
        messages=[{"role": "user", "content": "slow:2x0"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]

    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[0].role == "assistant"
    assert [delta.content for delta in deltas] == ["", "chunk-1 ", "chunk-2 ", None]
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 2


async def test_usage_is_streamed_only_when_asked_for(ask: Ask) -> None:
    answer = await ask("slow:1x0", stream=True)

    assert b"usage" not in answer
    assert answer.endswith(b"data: [DONE]\n\n")


async def test_an_answer_goes_on_behind_a_trailing_assistant_message(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="m",
        messages=[
            {"role": "user", "content": "slow:3x0"},
            {"role": "assistant", "content": "chunk-1 chunk-2 "},
        ],
    )

    assert answer.choices[0].message.content == "chunk-3 "


async def test_a_stamp_shows_when_the_call_began(client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(
        model="m", messages=[{"role": "user", "content": "slow:1x0 stamp:on"}]
    )

    assert answer.choices[0].message.content == "t1767225600000 chunk-1 "


async def test_completions_are_answered_whole_and_streamed(client: openai.AsyncOpenAI) -> None:
    whole = await client.completions.create(model="m", prompt="slow:2x0")
    stream = await client.completions.create(model="m", prompt=["slow:2x0"], stream=True)
    texts = [chunk.choices[0].text async for chunk in stream]

    assert whole.choices[0].text == "chunk-1 chunk-2 "
    assert texts == ["chunk-1 ", "chunk-2 ", ""]


async def test_embeddings_are_small_and_always_the_same(client: openai.AsyncOpenAI) -> None:
    answer = await client.embeddings.create(model="m", input=["a", "b"])
    one = await client.embeddings.create(model="m", input="a", encoding_format="float")

    assert answer.data[0].embedding == pytest.approx(embedding("a"))  # sent as base64, in single precision
    assert one.data[0].embedding == embedding("a")
    assert answer.usage.prompt_tokens == 2


async def test_it_lists_its_models_and_is_alive(
    client: openai.AsyncOpenAI, http: aiohttp.ClientSession, url: str
) -> None:
    models = [model async for model in client.models.list()]

    assert [(model.id, model.owned_by) for model in models] == [("mock-model", "alpha")]
    async with http.get(f"{url}/health") as health:
        assert await health.text() == "ok"


async def test_a_status_is_answered_as_an_error_of_that_family(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.InternalServerError):
        await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "fail:http=503"}]
        )


async def test_a_malformed_request_is_refused_and_not_counted(
    mock: MockAi, http: aiohttp.ClientSession, url: str
) -> None:
    async with http.post(f"{url}/v1/chat/completions", data=b"{") as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["param"] == "body"

    assert mock.calls.calls == 0


@pytest.mark.parametrize("stream", [True, False])
async def test_a_dropped_connection_breaks_the_answer(ask: Ask, mock: MockAi, stream: bool) -> None:
    with pytest.raises(aiohttp.ClientError):
        await ask("slow:3x0 fail:after=2", stream=stream)

    await wait_until(lambda: mock.calls.open == 0)
    assert (mock.calls.calls, mock.calls.aborts) == (1, 0)


async def test_an_error_event_ends_a_stream_without_done(ask: Ask) -> None:
    answer = await ask("slow:3x0 err:after=1", stream=True)

    assert b"chunk-1 " in answer
    assert b"chunk-2 " not in answer
    assert b'"error"' in answer
    assert b"[DONE]" not in answer


async def test_an_error_of_a_whole_answer_is_a_status(client: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.InternalServerError, match="broke down"):
        await client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "slow:1x0 err:after=0"}]
        )


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_a_silent_answer_is_counted_as_an_abort(
    ask: Ask, mock: MockAi, stream: bool
) -> None:
    call = asyncio.create_task(ask("slow:2x0 hang:after=1", stream=stream))
    await wait_until(lambda: mock.calls.open == 1)

    call.cancel()

    await wait_until(lambda: mock.calls.open == 0)
    assert mock.calls.aborts == 1


async def test_faults_hold_for_all_calls_until_they_are_taken_back(
    http: aiohttp.ClientSession, url: str
) -> None:
    faults = {"http": 429, "retry_after": 7}
    async with http.post(f"{url}/_faults", json=faults) as answer:
        assert (await answer.json())["http"] == 429
    async with http.get(f"{url}/_faults") as answer:
        assert (await answer.json())["retry_after"] == 7

    async with http.get(f"{url}/v1/models") as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
    async with http.delete(f"{url}/_faults") as answer:
        assert (await answer.json())["http"] == 0
    async with http.get(f"{url}/v1/models") as answer:
        assert answer.status == 200


async def test_unknown_faults_are_refused_and_change_nothing(
    http: aiohttp.ClientSession, url: str, mock: MockAi
) -> None:
    mock.faults = Faults(http=503)

    async with http.post(f"{url}/_faults", json={"htpp": 200}) as answer:
        assert answer.status == 400
        assert "htpp" in (await answer.json())["error"]["message"]

    assert mock.faults == Faults(http=503)


async def test_a_hanging_provider_answers_nothing_at_all(
    http: aiohttp.ClientSession, url: str, mock: MockAi
) -> None:
    mock.faults = Faults(hang=True)

    with pytest.raises(TimeoutError):
        await http.get(f"{url}/v1/models", timeout=aiohttp.ClientTimeout(total=0.05))


async def test_calls_are_counted_shown_and_reset(ask: Ask, http: aiohttp.ClientSession, url: str) -> None:
    await ask("slow:1x0", x_unknown=7)

    async with http.get(f"{url}/_calls") as answer:
        calls = await answer.json()
    assert (calls["calls"], calls["aborts"], calls["open"]) == (1, 0, 0)
    assert calls["last"]["path"] == "/v1/chat/completions"
    assert calls["last"]["body"]["x_unknown"] == 7
    async with http.delete(f"{url}/_calls") as answer:
        assert (await answer.json())["calls"] == 0


async def test_it_stops_at_once_while_an_answer_plays() -> None:
    mock = MockAi()
    async with aiohttp.ClientSession() as http, asyncio.timeout(PATIENCE_SECONDS):
        async with mock.serve() as url:
            body = {"model": "m", "messages": [{"role": "user", "content": "slow:99x100"}], "stream": True}
            answer = await http.post(f"{url}/v1/chat/completions", json=body)
            await answer.content.readline()

        with pytest.raises(aiohttp.ClientError):
            await answer.read()
