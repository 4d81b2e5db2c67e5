"""Runs over HTTP: who may make, see and watch them."""

from typing import Any

import aiohttp
import pytest

from tests.aio.gateway.conftest import Node, StartNode
from tests.aio.gateway.run_client import ALICE, CHARLIE, attached, chat, get, made, post


async def test_a_run_is_watched_to_its_end(run_node: Node, http: aiohttp.ClientSession) -> None:
    run_id = await made(http, run_node)

    events = await attached(http, f"{run_node.url}/v1/runs/{run_id}/attach", ALICE)

    assert [name for name, _ in events] == ["epoch", "chunk", "chunk", "chunk", "chunk", "end"]
    said = [data["delta"].get("content") for name, data in events if name == "chunk"]
    assert said == ["chunk-1 ", "chunk-2 ", "chunk-3 ", None]
    assert events[-1][1]["status"] == "completed"
    _, run = await get(http, f"{run_node.url}/v1/runs/{run_id}", ALICE)
    assert (run["status"], run["text"], run["owner"]) == ("completed", "chunk-1 chunk-2 chunk-3 ", "node-a")
    assert run["log_id"] == run_node.log_id


async def test_only_the_key_that_made_a_run_sees_it(run_node: Node, http: aiohttp.ClientSession) -> None:
    run_id = await made(http, run_node)
    url = f"{run_node.url}/v1/runs/{run_id}"

    seen = [await get(http, url, CHARLIE), await get(http, f"{url}/attach", CHARLIE)]
    cancelled = await post(http, f"{url}/cancel", {}, CHARLIE)
    without_key, _ = await get(http, url)

    assert {status for status, _ in (*seen, cancelled)} == {404}
    assert without_key == 401
    unknown = await get(http, f"{run_node.url}/v1/runs/{run_id[:-4]}0000", ALICE)
    assert unknown[0] == 404


@pytest.mark.parametrize("query", ["starting_after=x", "starting_after=-1", "history=some"])
async def test_a_wrong_question_is_named(run_node: Node, http: aiohttp.ClientSession, query: str) -> None:
    run_id = await made(http, run_node)

    status, body = await get(http, f"{run_node.url}/v1/runs/{run_id}/attach?{query}", ALICE)

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
    run_node: Node, http: aiohttp.ClientSession, body: dict[str, Any], param: str
) -> None:
    status, answer = await post(http, f"{run_node.url}/v1/runs", body, ALICE)

    assert (status, answer["error"]["param"]) == (400, param)


async def test_any_capability_can_be_a_run(run_node: Node, http: aiohttp.ClientSession) -> None:
    asked = {"params": {"model": "mock-model"}, "input": {"input": "some words"}}

    run_id = await made(http, run_node, {"capability": "llm.embedding", "body": asked})
    events = await attached(http, f"{run_node.url}/v1/runs/{run_id}/attach", ALICE)

    assert [name for name, _ in events] == ["epoch", "chunk", "end"]
    assert events[1][1]["delta"]["output"]["data"]


async def test_a_draining_node_makes_no_runs_of_its_own(run_node: Node, http: aiohttp.ClientSession) -> None:
    run_node.controller.enter()
    run_node.controller.begin_shutdown()

    status, body = await post(http, f"{run_node.url}/v1/runs", chat(), ALICE)

    assert (status, body["error"]["code"]) == (503, "node_draining")


async def test_what_no_peer_signed_is_refused(run_node: Node, http: aiohttp.ClientSession) -> None:
    run_id = await made(http, run_node)

    status, _ = await post(http, f"{run_node.url}/bus/v1/run", {"run_id": run_id, "what": "show"})

    assert status == 401


async def test_without_a_log_there_are_no_runs(start_node: StartNode, http: aiohttp.ClientSession) -> None:
    without = await start_node("node-a")

    status, body = await post(http, f"{without.url}/v1/runs", chat())

    assert (status, body["error"]["code"]) == (503, "log_unreachable")
