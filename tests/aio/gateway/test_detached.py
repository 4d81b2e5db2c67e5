"""Plain calls that are executed as runs: a client that knows nothing of runs is answered as ever."""

import openai
import pytest

from meshcore.aio.mock_ai import MockAi
from tests.aio.gateway.conftest import Node


async def test_a_detached_call_that_fails_at_once_is_a_status(
    run_node: Node, mock: MockAi, upstream: str
) -> None:
    async with openai.AsyncOpenAI(base_url=f"{run_node.url}/v1", api_key="a-key", max_retries=0) as client:
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(
                model="mock-model",
                messages=[{"role": "user", "content": "fail:http=503"}],
                stream=True,
                extra_headers={"X-Mesh-Detach": "1"},
            )


async def test_a_detached_stream_that_breaks_ends_with_an_error(run_node: Node) -> None:
    async with openai.AsyncOpenAI(base_url=f"{run_node.url}/v1", api_key="a-key", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="mock-model",
            messages=[{"role": "user", "content": "many:5 fail:after=2"}],
            stream=True,
            extra_headers={"X-Mesh-Detach": "1"},
        )
        with pytest.raises(openai.APIError):
            async for _ in stream:
                pass


async def test_a_detached_text_completion_is_one(run_node: Node) -> None:
    async with openai.AsyncOpenAI(base_url=f"{run_node.url}/v1", api_key="a-key", max_retries=0) as client:
        whole = await client.completions.create(
            model="mock-model", prompt="many:3", extra_headers={"X-Mesh-Detach": "1"}
        )
        stream = await client.completions.create(
            model="mock-model", prompt="many:3", stream=True, extra_headers={"X-Mesh-Detach": "1"}
        )
        streamed = "".join([chunk.choices[0].text async for chunk in stream])

    assert whole.choices[0].text == streamed == "chunk-1 chunk-2 chunk-3 "


async def test_a_detached_embedding_is_one(run_node: Node) -> None:
    async with openai.AsyncOpenAI(base_url=f"{run_node.url}/v1", api_key="a-key", max_retries=0) as client:
        detached = await client.embeddings.create(
            model="mock-model", input="some words", extra_headers={"X-Mesh-Detach": "1"}
        )
        plain = await client.embeddings.create(model="mock-model", input="some words")

    assert detached.data[0].embedding == plain.data[0].embedding


async def test_a_detached_call_has_the_trace_of_its_client(run_node: Node) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    async with openai.AsyncOpenAI(base_url=f"{run_node.url}/v1", api_key="a-key", max_retries=0) as client:
        answers = [
            await client.chat.completions.with_raw_response.create(
                model="mock-model",
                messages=[{"role": "user", "content": "many:2"}],
                stream=stream,
                extra_headers={"X-Mesh-Detach": "1", "traceparent": f"00-{trace_id}-b7ad6b7169203331-01"},
            )
            for stream in (False, True)
        ]

    assert [answer.headers["X-Mesh-Trace-Id"] for answer in answers] == [trace_id] * 2
