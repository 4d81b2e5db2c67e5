"""Runs of other logs, by way of a peer that has them."""

import asyncio

import aiohttp

from meshcore.aio.runlog.memory import MemoryLog
from tests.aio.gateway.conftest import Node, StartNode
from tests.aio.gateway.run_client import ALICE, attached, chat, get, made, post


async def test_a_run_of_a_peers_log_is_asked_of_that_peer(
    run_node: Node, start_node: StartNode, http: aiohttp.ClientSession
) -> None:
    other = await start_node("node-b", api_keys=("charlie:x", "alice:another"), log=MemoryLog())
    other.knows(run_node)
    alice = {"Authorization": "Bearer another"}
    run_id = await made(http, run_node, chat("slow:100x50"))
    url = f"{other.url}/v1/runs/{run_id}"

    watching = asyncio.create_task(attached(http, f"{url}/attach", alice))
    _, run = await get(http, url, alice)
    stranger, _ = await get(http, url, {"Authorization": "Bearer x"})
    status, body = await post(http, f"{url}/cancel", {}, alice)
    events = await watching

    assert (run["id"], run["log_id"], stranger) == (run_id, run_node.log_id, 404)
    assert (status, body["cancelled"]) == (202, True)
    assert events[-1][1]["status"] == "cancelled"


async def test_a_log_that_nobody_has_is_unreachable_and_not_unknown(
    run_node: Node, http: aiohttp.ClientSession
) -> None:
    status, body = await get(http, f"{run_node.url}/v1/runs/run_zzzzzz_{'0' * 32}", ALICE)

    assert (status, body["error"]["code"]) == (503, "log_unreachable")
