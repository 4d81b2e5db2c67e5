"""Runs over HTTP: who may see them, how they are watched, and what stands in another node's log."""

import asyncio
from typing import Any

import aiohttp
import msgspec
import openai
import pytest

from meshcore.aio.mock_ai import MockAi
from meshcore.aio.runlog.memory import MemoryLog
from tests.aio.gateway.conftest import Node, StartNode, StartProvider

KEYS = ("alice:a-key", "charlie:c-key")
ALICE = {"Authorization": "Bearer a-key"}
CHARLIE = {"Authorization": "Bearer c-key"}


def chat(content: str = "many:3", **fields: Any) -> dict[str, Any]:
    return {"model": "mock-model", "messages": [{"role": "user", "content": content}], **fields}


async def post(
    http: aiohttp.ClientSession, url: str, body: dict[str, Any], headers: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    async with http.post(url, json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def get(
    http: aiohttp.ClientSession, url: str, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    async with http.get(url, headers=headers) as answer:
        return answer.status, await answer.json()


async def attached(
    http: aiohttp.ClientSession, url: str, headers: dict[str, str] | None = None
) -> list[tuple[str, Any]]:
    """Return (event, data) of a run until its end."""
    async with http.get(url, headers=headers) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        events = (await answer.text()).split("\n\n")
    fields = [
        dict(line.split(": ", 1) for line in event.split("\n") if line[:1] not in ("", ":"))
        for event in events
    ]
    return [(each["event"], msgspec.json.decode(each["data"])) for each in fields if each]


@pytest.fixture
async def upstream(mock: MockAi, stack: Any) -> str:
    url: str = await stack.enter_async_context(mock.serve())
    return url


@pytest.fixture
async def node(start_node: StartNode, start_provider: StartProvider, upstream: str) -> Node:
    return await start_node("node-a", await start_provider(upstream), api_keys=KEYS, log=MemoryLog())


async def made(http: aiohttp.ClientSession, node: Node, body: dict[str, Any] | None = None) -> str:
    status, answer = await post(http, f"{node.url}/v1/runs", body or chat(), ALICE)
    assert status == 202, answer
    return str(answer["id"])


async def test_a_run_is_watched_to_its_end(node: Node, http: aiohttp.ClientSession) -> None:
    run_id = await made(http, node)

    events = await attached(http, f"{node.url}/v1/runs/{run_id}/attach", ALICE)

    assert [name for name, _ in events] == ["epoch", "chunk", "chunk", "chunk", "chunk", "end"]
    said = [data["delta"].get("content") for name, data in events if name == "chunk"]
    assert said == ["chunk-1 ", "chunk-2 ", "chunk-3 ", None]
    assert events[-1][1]["status"] == "completed"
    _, run = await get(http, f"{node.url}/v1/runs/{run_id}", ALICE)
    assert (run["status"], run["text"], run["owner"]) == ("completed", "chunk-1 chunk-2 chunk-3 ", "node-a")
    assert run["log_id"] == node.log_id


async def test_only_the_key_that_made_a_run_sees_it(node: Node, http: aiohttp.ClientSession) -> None:
    run_id = await made(http, node)
    url = f"{node.url}/v1/runs/{run_id}"

    seen = [await get(http, url, CHARLIE), await get(http, f"{url}/attach", CHARLIE)]
    cancelled = await post(http, f"{url}/cancel", {}, CHARLIE)
    without_key, _ = await get(http, url)

    assert {status for status, _ in (*seen, cancelled)} == {404}
    assert without_key == 401
    unknown = await get(http, f"{node.url}/v1/runs/{run_id[:-4]}0000", ALICE)
    assert unknown[0] == 404


@pytest.mark.parametrize("query", ["starting_after=x", "starting_after=-1", "history=some"])
async def test_a_wrong_question_is_named(node: Node, http: aiohttp.ClientSession, query: str) -> None:
    run_id = await made(http, node)

    status, body = await get(http, f"{node.url}/v1/runs/{run_id}/attach?{query}", ALICE)

    assert (status, body["error"]["param"]) == (400, query.partition("=")[0])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (chat(n=2), "n"),
        ({"capability": "", "body": {}}, "capability"),
        ({"capability": "llm.chat", "body": 1}, "body"),
        ({"model": "mock-model"}, "messages"),
    ],
)
async def test_a_request_that_is_none_makes_no_run(
    node: Node, http: aiohttp.ClientSession, body: dict[str, Any], param: str
) -> None:
    status, answer = await post(http, f"{node.url}/v1/runs", body, ALICE)

    assert (status, answer["error"]["param"]) == (400, param)


async def test_any_capability_can_be_a_run(node: Node, http: aiohttp.ClientSession) -> None:
    asked = {"params": {"model": "mock-model"}, "input": {"input": "some words"}}

    run_id = await made(http, node, {"capability": "llm.embedding", "body": asked})
    events = await attached(http, f"{node.url}/v1/runs/{run_id}/attach", ALICE)

    assert [name for name, _ in events] == ["epoch", "chunk", "end"]
    assert events[1][1]["delta"]["output"]["data"]


async def test_a_draining_node_makes_no_runs_of_its_own(node: Node, http: aiohttp.ClientSession) -> None:
    node.controller.enter()
    node.controller.begin_shutdown()

    status, body = await post(http, f"{node.url}/v1/runs", chat(), ALICE)

    assert (status, body["error"]["code"]) == (503, "node_draining")


async def test_a_run_of_a_peers_log_is_asked_of_that_peer(
    node: Node, start_node: StartNode, http: aiohttp.ClientSession
) -> None:
    other = await start_node("node-b", api_keys=("charlie:x", "alice:another"), log=MemoryLog())
    other.knows(node)
    alice = {"Authorization": "Bearer another"}
    run_id = await made(http, node, chat("slow:100x50"))
    url = f"{other.url}/v1/runs/{run_id}"

    watching = asyncio.create_task(attached(http, f"{url}/attach", alice))
    _, run = await get(http, url, alice)
    stranger, _ = await get(http, url, {"Authorization": "Bearer x"})
    status, body = await post(http, f"{url}/cancel", {}, alice)
    events = await watching

    assert (run["id"], run["log_id"], stranger) == (run_id, node.log_id, 404)
    assert (status, body["cancelled"]) == (202, True)
    assert events[-1][1]["status"] == "cancelled"


async def test_a_log_that_nobody_has_is_unreachable_and_not_unknown(
    node: Node, http: aiohttp.ClientSession
) -> None:
    status, body = await get(http, f"{node.url}/v1/runs/run_zzzzzz_{'0' * 32}", ALICE)

    assert (status, body["error"]["code"]) == (503, "log_unreachable")


async def test_what_no_peer_signed_is_refused(node: Node, http: aiohttp.ClientSession) -> None:
    run_id = await made(http, node)

    status, _ = await post(http, f"{node.url}/bus/v1/run", {"run_id": run_id, "what": "show"})

    assert status == 401


async def test_without_a_log_there_are_no_runs(start_node: StartNode, http: aiohttp.ClientSession) -> None:
    node = await start_node("node-a")

    status, body = await post(http, f"{node.url}/v1/runs", chat())

    assert (status, body["error"]["code"]) == (503, "log_unreachable")


async def test_a_detached_call_that_fails_at_once_is_a_status(
    node: Node, mock: MockAi, upstream: str
) -> None:
    async with openai.AsyncOpenAI(base_url=f"{node.url}/v1", api_key="a-key", max_retries=0) as client:
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(
                model="mock-model",
                messages=[{"role": "user", "content": "fail:http=503"}],
                stream=True,
                extra_headers={"X-Mesh-Detach": "1"},
            )


async def test_a_detached_stream_that_breaks_ends_with_an_error(node: Node) -> None:
    async with openai.AsyncOpenAI(base_url=f"{node.url}/v1", api_key="a-key", max_retries=0) as client:
        stream = await client.chat.completions.create(
            model="mock-model",
            messages=[{"role": "user", "content": "many:5 fail:after=2"}],
            stream=True,
            extra_headers={"X-Mesh-Detach": "1"},
        )
        with pytest.raises(openai.APIError):
            async for _ in stream:
                pass


async def test_a_detached_text_completion_is_one(node: Node) -> None:
    async with openai.AsyncOpenAI(base_url=f"{node.url}/v1", api_key="a-key", max_retries=0) as client:
        whole = await client.completions.create(
            model="mock-model", prompt="many:3", extra_headers={"X-Mesh-Detach": "1"}
        )
        stream = await client.completions.create(
            model="mock-model", prompt="many:3", stream=True, extra_headers={"X-Mesh-Detach": "1"}
        )
        streamed = "".join([chunk.choices[0].text async for chunk in stream])

    assert whole.choices[0].text == streamed == "chunk-1 chunk-2 chunk-3 "


async def test_a_detached_embedding_is_one(node: Node) -> None:
    async with openai.AsyncOpenAI(base_url=f"{node.url}/v1", api_key="a-key", max_retries=0) as client:
        detached = await client.embeddings.create(
            model="mock-model", input="some words", extra_headers={"X-Mesh-Detach": "1"}
        )
        plain = await client.embeddings.create(model="mock-model", input="some words")

    assert detached.data[0].embedding == plain.data[0].embedding
